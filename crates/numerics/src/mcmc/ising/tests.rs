//! Against enumeration, transfer matrices, the closed forms, and the exponents of critical slowing down.

use super::*;
use crate::mcmc::effective_sample_size;
use crate::special::Moments;
use candle_core::Device;

/// Every configuration of n spins.
fn configurations(n: usize) -> impl Iterator<Item = Vec<i8>> {
    (0..1usize << n).map(move |s| (0..n).map(|i| if s >> i & 1 == 1 { 1 } else { -1 }).collect())
}

/// Bonds of the torus, each once (twice on side 2).
fn bonds(side: usize) -> Vec<(usize, usize)> {
    let each = (0..side).flat_map(|r| (0..side).map(move |c| (r, c)));
    each.flat_map(|(r, c)| {
        [(r * side + c, r * side + (c + 1) % side), (r * side + c, (r + 1) % side * side + c)]
    })
    .collect()
}

fn energy(spins: &[i8], bonds: &[(usize, usize)]) -> f64 {
    -bonds.iter().map(|(i, j)| f64::from(spins[*i] * spins[*j])).sum::<f64>()
}

/// What chains are compared with.
#[derive(Clone, Copy, Debug)]
struct Means {
    energy: f64,
    square: f64,
}

/// log Z and means by visiting all states.
fn enumerated(side: usize, beta: f64) -> (f64, Means) {
    let bonds = bonds(side);
    let n = side * side;
    let (mut z, mut means) = (0.0, Means { energy: 0.0, square: 0.0 });
    for spins in configurations(n) {
        let e = energy(&spins, &bonds);
        let weight = (-beta * e).exp();
        let m = spins.iter().map(|s| f64::from(*s)).sum::<f64>() / n as f64;
        z += weight;
        means.energy += weight * e;
        means.square += weight * m * m;
    }
    (z.ln(), Means { energy: means.energy / z, square: means.square / z })
}

/// log Z with a field: the trace of the L-th power of the transfer matrix between rows.
fn transferred(side: usize, beta: f64, field: f64) -> f64 {
    let rows: Vec<Vec<i8>> = configurations(side).collect();
    let within = |row: &[i8]| -> f64 {
        (0..side).map(|i| beta * f64::from(row[i] * row[(i + 1) % side]) + field * f64::from(row[i])).sum()
    };
    let between = |a: &[i8], b: &[i8]| -> f64 { (0..side).map(|i| beta * f64::from(a[i] * b[i])).sum() };
    let matrix = nalgebra::DMatrix::from_fn(rows.len(), rows.len(), |i, j| {
        (0.5 * within(&rows[i]) + between(&rows[i], &rows[j]) + 0.5 * within(&rows[j])).exp()
    });
    (1..side).fold(matrix.clone(), |power, _| power * &matrix).trace().ln()
}

#[test]
fn kaufman_agrees_with_enumeration_and_transfer_matrices() -> Result<()> {
    for beta in [0.0, 0.1, 0.3, exact::CRITICAL_BETA, 0.6, 1.5] {
        for side in [2, 3, 4] {
            let (want, _) = enumerated(side, beta);
            assert!((Ising::new(side, beta)?.log_z() - want).abs() < 1e-11, "{side} {beta}");
        }
        for side in [4, 5, 6] {
            let want = transferred(side, beta, 0.0);
            assert!((Ising::new(side, beta)?.log_z() - want).abs() < 1e-11, "{side} {beta}");
        }
    }
    // Far beyond what cosh could hold: log Z → log 2 − β E_min at low temperature.
    let cold = Ising::new(200, 3.0)?.log_z();
    assert!((cold - (2f64.ln() + 3.0 * 80_000.0)).abs() < 1e-4, "{cold}");
    Ok(())
}

/// The infinite lattice against large tori away from β_c, where sizes matter by e^{−L/ξ}, and at its singularity.
#[test]
fn onsager_is_the_limit_of_kaufman() -> Result<()> {
    for beta in [0.1, 0.3, 0.55, 1.0] {
        let log_z = |beta: f64| Ok::<f64, Error>(Ising::new(96, beta)?.log_z());
        let h = 1e-4;
        let slope = (log_z(beta + h)? - log_z(beta - h)?) / (2.0 * h);
        // The difference quotient errs by h² E''/6.
        assert!((exact::energy(beta)? + slope / 9_216.0).abs() < 1e-6, "{beta}");
    }
    assert!((exact::energy(exact::CRITICAL_BETA)? + 2f64.sqrt()).abs() < 1e-7);
    assert!(exact::energy(0.0).is_err() && exact::magnetisation(0.44) == 0.0);
    assert!((exact::magnetisation(2.0) - 1.0).abs() < 1e-6 && exact::magnetisation(0.441) < 0.7);
    Ok(())
}

type Update = fn(&Ising, &mut [i8], &mut Noise) -> Result<()>;
const HEAT_BATH: Update = |ising, spins, noise| ising.heat_bath(spins, noise);
const METROPOLIS: Update = |ising, spins, noise| ising.metropolis(spins, noise);
const SWENDSEN_WANG: Update = |ising, spins, noise| ising.swendsen_wang(spins, noise).map(drop);
const WOLFF: Update = |ising, spins, noise| ising.wolff(spins, noise).map(drop);

type Matrix = nalgebra::DMatrix<f64>;

/// One step on 2 × 2 sites, where 256 bond configurations give both cluster updates by their definitions.
fn matrices(beta: f64) -> (Vec<f64>, [(&'static str, Update, Matrix); 4]) {
    let (states, bonds) = (configurations(4).collect::<Vec<_>>(), bonds(2));
    let index = |s: &[i8]| states.iter().position(|t| t == s).unwrap_or(usize::MAX);
    let weights: Vec<f64> = states.iter().map(|s| (-beta * energy(s, &bonds)).exp()).collect();
    let z: f64 = weights.iter().sum();
    let law: Vec<f64> = weights.iter().map(|w| w / z).collect();
    let flipped = |s: &[i8], sites: &[usize]| -> Vec<i8> {
        (0..4).map(|i| if sites.contains(&i) { -s[i] } else { s[i] }).collect()
    };
    let (mut bath, mut walk) = (Matrix::identity(16, 16), Matrix::identity(16, 16));
    for site in 0..4 {
        let (mut one, mut other) = (Matrix::zeros(16, 16), Matrix::zeros(16, 16));
        for (i, s) in states.iter().enumerate() {
            let j = index(&flipped(s, &[site]));
            one[(i, j)] = law[j] / (law[i] + law[j]);
            other[(i, j)] = (law[j] / law[i]).min(1.0);
            one[(i, i)] = 1.0 - one[(i, j)];
            other[(i, i)] = 1.0 - other[(i, j)];
        }
        bath = &bath * one;
        walk = &walk * other;
    }
    let (mut all, mut single) = (Matrix::zeros(16, 16), Matrix::zeros(16, 16));
    for (i, s) in states.iter().enumerate() {
        for open in 0..256usize {
            let mut probability = 1.0;
            let mut label = [0usize, 1, 2, 3];
            for (k, (a, b)) in bonds.iter().enumerate() {
                let (closed, like) = (open >> k & 1 == 1, s[*a] == s[*b]);
                let bind = if like { 1.0 - (-2.0 * beta).exp() } else { 0.0 };
                probability *= if closed { bind } else { 1.0 - bind };
                if closed {
                    let (from, to) = (label[*a], label[*b]);
                    label.iter_mut().filter(|l| **l == from).for_each(|l| *l = to);
                }
            }
            for start in 0..4 {
                let cluster: Vec<usize> = (0..4).filter(|j| label[*j] == label[start]).collect();
                single[(i, index(&flipped(s, &cluster)))] += 0.25 * probability;
            }
            for coins in 0..16usize {
                // A coin for every label, used or not.
                let new: Vec<i8> = label.iter().map(|l| if coins >> l & 1 == 1 { 1 } else { -1 }).collect();
                all[(i, index(&new))] += probability / 16.0;
            }
        }
    }
    let kernels = [
        ("heat bath", HEAT_BATH, bath),
        ("Metropolis", METROPOLIS, walk),
        ("Swendsen-Wang", SWENDSEN_WANG, all),
        ("Wolff", WOLFF, single),
    ];
    (law, kernels)
}

#[test]
fn updates_have_their_transition_matrices_and_these_leave_the_law_alone() -> Result<()> {
    let (beta, n) = (0.35, 4_000);
    let (law, kernels) = matrices(beta);
    let ising = Ising::new(2, beta)?;
    for (name, update, matrix) in &kernels {
        let mut noise = Noise::new(7);
        let (mut chi, mut cells) = (0.0, 0.0);
        for (i, from) in configurations(4).enumerate() {
            assert!((matrix.row(i).sum() - 1.0).abs() < 1e-13, "{name}");
            let flow: f64 = (0..16).map(|j| law[j] * matrix[(j, i)]).sum();
            assert!((flow - law[i]).abs() < 1e-14, "{name}");
            if ["Swendsen-Wang", "Wolff"].contains(name) {
                for j in 0..16 {
                    assert!((law[i] * matrix[(i, j)] - law[j] * matrix[(j, i)]).abs() < 1e-15, "{name}");
                }
            }
            let mut counts = [0.0f64; 16];
            for _ in 0..n {
                let mut spins = from.clone();
                update(&ising, &mut spins, &mut noise)?;
                counts[(0..4).filter(|&k| spins[k] == 1).map(|k| 1 << k).sum::<usize>()] += 1.0;
            }
            for (j, count) in counts.into_iter().enumerate() {
                let want = matrix[(i, j)] * f64::from(n);
                assert!(want > 0.0 || count == 0.0, "{name}: an impossible step from {i} to {j}");
                if want > 5.0 {
                    chi += (count - want).powi(2) / want;
                    cells += 1.0;
                }
            }
        }
        assert!(chi < cells + 4.0 * f64::sqrt(2.0 * cells), "{name}: {chi} {cells}");
    }
    Ok(())
}

/// Energy and squared magnetisation per sweep, chain by chain.
fn run(ising: &Ising, update: Update, chains: u64, sweeps: usize) -> Result<[Vec<Vec<f64>>; 2]> {
    let mut out = [vec![], vec![]];
    for chain in 0..chains {
        let mut noise = Noise::new(11).at(chain);
        let mut spins = ising.hot(&mut noise);
        for _ in 0..sweeps / 10 {
            update(ising, &mut spins, &mut noise)?;
        }
        let (mut energies, mut squares) = (vec![], vec![]);
        for _ in 0..sweeps {
            update(ising, &mut spins, &mut noise)?;
            energies.push(ising.total_energy(&spins));
            squares.push(ising.magnetisation(&spins).powi(2));
        }
        out[0].push(energies);
        out[1].push(squares);
    }
    Ok(out)
}

fn assert_means(ising: &Ising, update: Update, sweeps: usize, want: Means) -> Result<()> {
    let traces = run(ising, update, 4, sweeps)?;
    for (chains, want) in traces.iter().zip([want.energy, want.square]) {
        let moments = Moments::of(&chains.concat());
        let error = (moments.variance() / effective_sample_size(chains)).sqrt();
        assert!((moments.mean() - want).abs() < 4.0 * error, "{} {want} {error}", moments.mean());
        assert!(error < 0.05 * want.abs(), "{error} {want}");
    }
    Ok(())
}

#[test]
fn chains_agree_with_enumeration_on_4_by_4() -> Result<()> {
    for beta in [0.3, exact::CRITICAL_BETA] {
        let (_, means) = enumerated(4, beta);
        let ising = Ising::new(4, beta)?;
        for update in [HEAT_BATH, METROPOLIS, SWENDSEN_WANG, WOLFF] {
            assert_means(&ising, update, 12_000, means)?;
        }
    }
    Ok(())
}

/// E = −∂ log Z/∂β and ⟨M²⟩ = ∂² log Z/∂h², by difference quotients of the transfer matrix.
#[test]
fn chains_agree_with_transfer_matrices_on_6_by_6() -> Result<()> {
    let (beta, h) = (0.42, 1e-4);
    let energy = (transferred(6, beta - h, 0.0) - transferred(6, beta + h, 0.0)) / (2.0 * h);
    let outer = transferred(6, beta, h) + transferred(6, beta, -h);
    let square = (outer - 2.0 * transferred(6, beta, 0.0)) / (h * h) / 1_296.0;
    let ising = Ising::new(6, beta)?;
    for update in [HEAT_BATH, SWENDSEN_WANG, WOLFF] {
        assert_means(&ising, update, 12_000, Means { energy, square })?;
    }
    Ok(())
}

/// 48 × 48 sites in the ordered phase, some ten correlation lengths wide.
#[test]
fn large_lattices_approach_onsager_and_yang() -> Result<()> {
    let beta = 0.5;
    let ising = Ising::new(48, beta)?;
    let [energies, squares] = run(&ising, SWENDSEN_WANG, 3, 500)?;
    let moments = Moments::of(&energies.concat());
    let error = (moments.variance() / effective_sample_size(&energies)).sqrt();
    let want = exact::energy(beta)? * ising.sites() as f64;
    assert!((moments.mean() - want).abs() < 4.0 * error && error < 0.003 * want.abs(), "{moments:?} {want}");
    let sizes: Vec<Vec<f64>> = squares.iter().map(|c| c.iter().map(|m| m.sqrt()).collect()).collect();
    let moments = Moments::of(&sizes.concat());
    let error = (moments.variance() / effective_sample_size(&sizes)).sqrt();
    let want = exact::magnetisation(beta);
    assert!((moments.mean() - want).abs() < 4.0 * error && error < 0.003, "{moments:?} {want}");
    Ok(())
}

/// From side 8 to side 16 at β_c, τ of M² grows by 2^{2.17} = 4.5 for local updates and by 2^{0.35} = 1.3 at most for
/// clusters.
#[test]
fn local_updates_slow_down_at_the_critical_point_and_clusters_hardly() -> Result<()> {
    let time = |side: usize, update: Update, sweeps: usize| -> Result<f64> {
        let [_, squares] = run(&Ising::new(side, exact::CRITICAL_BETA)?, update, 4, sweeps)?;
        Ok((4 * sweeps) as f64 / effective_sample_size(&squares))
    };
    let local = time(16, HEAT_BATH, 40_000)? / time(8, HEAT_BATH, 20_000)?;
    assert!((3.0..6.5).contains(&local), "{local}");
    let cluster = time(16, SWENDSEN_WANG, 4_000)? / time(8, SWENDSEN_WANG, 4_000)?;
    assert!((0.9..1.8).contains(&cluster), "{cluster}");
    Ok(())
}

#[test]
fn energies_gradients_and_conditionals_fit_together() -> Result<()> {
    let ising = Ising::new(3, 0.7)?;
    let mut noise = Noise::new(5);
    let spins: Vec<Vec<i8>> = (0..20).map(|_| ising.hot(&mut noise)).collect();
    let flat: Vec<f64> = spins.concat().into_iter().map(f64::from).collect();
    let x = Tensor::from_vec(flat, (20, 9), &Device::Cpu)?;
    let (energies, gradient) = ising.energy_and_gradient(&x)?;
    let gradient = rows::host(&gradient)?;
    for (i, (row, got)) in spins.iter().zip(rows::host(&energies)?).enumerate() {
        let want = 0.7 * energy(row, &bonds(3));
        assert!((got - want).abs() < 1e-12 && (0.7 * ising.total_energy(row) - want).abs() < 1e-12);
        for site in 0..9 {
            let at = |level: i8| {
                let mut row = row.clone();
                row[site] = level;
                0.7 * energy(&row, &bonds(3))
            };
            let conditional = ising.conditional(&x, site)?.to_vec2::<f64>()?;
            let difference = at(1) - at(-1);
            assert!((conditional[i][1] - conditional[i][0] - difference).abs() < 1e-12);
            // U is linear in each spin.
            assert!((2.0 * gradient[9 * i + site] - difference).abs() < 1e-12);
        }
    }
    assert!(Ising::new(1, 0.1).is_err() && Ising::new(4, f64::NAN).is_err() && Ising::new(4, -0.1).is_err());
    assert!(
        ising.heat_bath(&mut [1; 8], &mut noise).is_err() && ising.wolff(&mut [1; 10], &mut noise).is_err()
    );
    assert!(ising.swendsen_wang(&mut [], &mut noise).is_err());
    assert!(ising.energy(&x.narrow(1, 0, 4)?).is_err());
    Ok(())
}
