//! Against definitions, exact expectations, and the errors that theory states.

use super::*;
use genzoo_numerics::special::Moments as Scatter;

/// A square lattice with open ends.
fn lattice(rows: usize, columns: usize) -> Vec<(usize, usize)> {
    let at = |r: usize, c: usize| r * columns + c;
    let each = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c)));
    each.flat_map(|(r, c)| {
        let right = (c + 1 < columns).then(|| (at(r, c), at(r, c + 1)));
        let below = (r + 1 < rows).then(|| (at(r, c), at(r + 1, c)));
        [right, below]
    })
    .flatten()
    .collect()
}

fn machine(rows: usize, columns: usize) -> Result<Machine> {
    let machine = Machine::new(rows * columns, &lattice(rows, columns))?;
    let size = machine.theta().len();
    let theta = Noise::new(3).normals(size).iter().map(|z| 0.2 + 0.25 * z).collect();
    machine.with(theta)
}

/// The Ising torus has a closed form for log Z, written elsewhere.
#[test]
fn the_law_is_that_of_the_ising_model() -> Result<()> {
    let (side, beta) = (4, 0.37);
    let at = |r: usize, c: usize| (r % side) * side + c % side;
    let bonds: Vec<(usize, usize)> =
        (0..side * side).flat_map(|i| [(i, at(i / side, i + 1)), (i, at(i / side + 1, i))]).collect();
    let torus = Machine::new(16, &bonds)?;
    let theta: Vec<f64> = (0..48).map(|k| if k < 32 { beta } else { 0.0 }).collect();
    let moments = torus.with(theta)?.moments()?;
    let ising = genzoo_numerics::mcmc::ising::Ising::new(side, beta)?;
    assert!((moments.log_z - ising.log_z()).abs() < 1e-10);
    // Mean and variance of the energy are derivatives of log Z, here by difference quotients of the closed form.
    let log_z = |b: f64| Ok::<f64, Error>(genzoo_numerics::mcmc::ising::Ising::new(side, b)?.log_z());
    let h = 1e-4;
    let (up, down) = (log_z(beta + h)?, log_z(beta - h)?);
    let energy: f64 = moments.mean[..32].iter().sum();
    assert!((energy - (up - down) / (2.0 * h)).abs() < 1e-5, "{energy}");
    let square: f64 =
        (0..32).flat_map(|i| (0..32).map(move |j| 48 * i + j)).map(|k| moments.covariance[k]).sum();
    assert!((square - (up + down - 2.0 * moments.log_z) / (h * h)).abs() < 1e-3, "{square}");
    assert!(moments.mean[32..].iter().all(|m| m.abs() < 1e-13));
    Ok(())
}

#[test]
fn chains_and_draws_have_the_means_of_the_law() -> Result<()> {
    let machine = machine(3, 3)?;
    let want = machine.moments()?;
    let mut noise = Noise::new(1);
    let size = machine.theta().len();
    let n = 4_000;
    let chains = machine.sample(n, (30, 1, 1), &mut noise)?;
    let draws = machine.draws(n, &mut noise)?;
    for data in [chains, draws] {
        assert!((data.weights.iter().sum::<f64>() - n as f64).abs() < 1e-9);
        let mut mean = vec![0.0; size];
        for (s, share) in data.shares() {
            mean.iter_mut().zip(machine.statistics(s)).for_each(|(m, t)| *m += share * t);
        }
        for (k, (got, truth)) in mean.iter().zip(&want.mean).enumerate() {
            let error = (want.covariance[k * size + k] / n as f64).sqrt();
            assert!((got - truth).abs() < 4.0 * error, "{k}: {got} {truth}");
        }
    }
    Ok(())
}

/// From the exact law every fit finds the machine it came from; the Monte Carlo one up to the noise of its chains.
#[test]
fn every_fit_recovers_a_machine_from_its_own_law() -> Result<()> {
    let machine = machine(3, 3)?;
    let law = machine.law()?;
    let blank = Machine::new(9, &lattice(3, 3))?;
    for fit in [blank.maximum_likelihood(&law)?, blank.pseudo_likelihood(&law)?] {
        for (got, want) in fit.theta().iter().zip(machine.theta()) {
            assert!((got - want).abs() < 1e-8, "{got} {want}");
        }
    }
    let schedule = Schedule { rounds: 1_200, chains: 200, rate: 0.1 };
    let learnt = blank.monte_carlo(&law, schedule, &mut Noise::new(5))?;
    // 120,000 states of each statistic are averaged, neighbouring ones of a chain correlated over a few sweeps.
    let scale = (5.0f64 / 120_000.0).sqrt();
    for (k, (got, want)) in learnt.theta().iter().zip(machine.theta()).enumerate() {
        assert!((got - want).abs() < 8.0 * scale, "{k}: {got} {want}");
    }
    Ok(())
}

/// Scatter of both fits over repetitions against Cramér–Rao and Godambe, summed over parameters.
#[test]
fn errors_are_those_of_theory() -> Result<()> {
    let machine = machine(2, 3)?;
    let size = machine.theta().len();
    let (m, repeats) = (4_000, 150);
    let covariance = nalgebra::DMatrix::from_vec(size, size, machine.moments()?.covariance);
    let fisher = covariance.try_inverse().ok_or_else(|| Error::Unsupported("singular".into()))?;
    let sandwich = machine.sandwich(&machine.law()?, 1)?;
    let want = [fisher.trace() / m as f64, (0..size).map(|k| sandwich[k * size + k]).sum::<f64>() / m as f64];
    // Pseudo-likelihood cannot beat Cramér and Rao.
    assert!(want[1] > want[0] && want[1] < 2.0 * want[0], "{want:?}");
    let mut squares = [Scatter::default(), Scatter::default()];
    let mut noise = Noise::new(9);
    for _ in 0..repeats {
        let data = machine.draws(m, &mut noise)?;
        for (square, fit) in
            squares.iter_mut().zip([machine.maximum_likelihood(&data)?, machine.pseudo_likelihood(&data)?])
        {
            square.push(fit.theta().iter().zip(machine.theta()).map(|(a, b)| (a - b).powi(2)).sum());
        }
    }
    for (square, want) in squares.iter().zip(want) {
        assert!((square.mean() - want).abs() < 4.0 * square.standard_error(), "{} {want}", square.mean());
        assert!(square.standard_error() < 0.1 * want);
    }
    Ok(())
}

#[test]
fn what_cannot_be_learnt_is_an_error() -> Result<()> {
    assert!(Machine::new(3, &[(0, 3)]).is_err() && Machine::new(3, &[(1, 1)]).is_err());
    assert!(Machine::new(3, &[(0, 1), (1, 0)]).is_err());
    let pair = Machine::new(2, &[(0, 1)])?;
    assert!(pair.clone().with(vec![0.0; 2]).is_err() && pair.clone().with(vec![f64::NAN; 3]).is_err());
    // Two spins that were always alike leave their coupling without an upper end.
    let mut alike = Data::default();
    [[1, 1], [-1, -1]].iter().for_each(|s| alike.push(s, 1.0));
    assert!(pair.maximum_likelihood(&alike).is_err() && pair.pseudo_likelihood(&alike).is_err());
    assert!(pair.maximum_likelihood(&Data::default()).is_err());
    assert!(Machine::new(21, &[])?.moments().is_err());
    assert!(pair.heat_bath(&mut [1], &mut Noise::new(0)).is_err());
    Ok(())
}
