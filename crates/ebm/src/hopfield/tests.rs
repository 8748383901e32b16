//! Couplings by their definitions, energies that never rise, ties that keep, and memories that remember.

use super::*;
use genzoo_core::{Noise, Result};

fn patterns(sites: usize, count: usize, seed: u64) -> Result<Patterns> {
    Patterns::random(sites, count, &mut Noise::new(seed))
}

/// −½ Σ J s s and the field, from the couplings one by one.
fn energy(network: &Network, s: &[i8]) -> f64 {
    let n = s.len();
    let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
    -0.5 * pairs.map(|(i, j)| network.coupling(i, j) * f64::from(s[i] * s[j])).sum::<f64>()
}

#[test]
fn couplings_are_those_of_the_rules() -> Result<()> {
    let (n, count) = (13, 70);
    let many = patterns(n, count, 1)?;
    let few = patterns(n, 5, 2)?;
    let xi = |p: &Patterns, mu: usize, i: usize| f64::from(p.row(mu)[i]);
    let hebb = Network::hebb(&many);
    // Storkey's rule as it is printed, with its field summed for every pair.
    let mut storkey = vec![vec![0.0; n]; n];
    for mu in 0..5 {
        let before = storkey.clone();
        let h = |i: usize, j: usize| -> f64 {
            (0..n).filter(|k| *k != i && *k != j).map(|k| before[i][k] * xi(&few, mu, k)).sum()
        };
        for (i, row) in storkey.iter_mut().enumerate() {
            for (j, w) in row.iter_mut().enumerate().filter(|(j, _)| *j != i) {
                let (a, b) = (xi(&few, mu, i), xi(&few, mu, j));
                *w += (a * b - a * h(j, i) - h(i, j) * b) / n as f64;
            }
        }
    }
    let fast = Network::storkey(&few);
    for (i, row) in storkey.iter().enumerate() {
        for (j, by_hand) in row.iter().enumerate() {
            let product: f64 = (0..count).map(|mu| xi(&many, mu, i) * xi(&many, mu, j)).sum();
            let want = if i == j { 0.0 } else { product / n as f64 };
            assert!((hebb.coupling(i, j) - want).abs() < 1e-12);
            assert!((fast.coupling(i, j) - by_hand).abs() < 1e-6);
            assert!((fast.coupling(i, j) - fast.coupling(j, i)).abs() < 1e-6);
        }
    }
    // A projection P has P ξ = ξ for every pattern, so with its diagonal taken away the field is (1 − P_ii) ξ_i; the
    // trace of P is the number of patterns.
    let inverse = Network::pseudo_inverse(&few)?;
    let mut trace = 0.0;
    for i in 0..n {
        let rest: Vec<f64> = (0..5)
            .map(|mu| (0..n).map(|j| inverse.coupling(i, j) * xi(&few, mu, j)).sum::<f64>() * xi(&few, mu, i))
            .collect();
        assert!(rest.iter().all(|r| (r - rest[0]).abs() < 1e-5));
        trace += 1.0 - rest[0];
    }
    assert!((trace - 5.0).abs() < 1e-4, "{trace}");
    assert!(Network::pseudo_inverse(&patterns(4, 5, 3)?).is_err());
    Ok(())
}

#[test]
fn energies_never_rise_and_settled_states_are_stable() -> Result<()> {
    let stored = patterns(60, 12, 4)?;
    let mut noise = Noise::new(5);
    for network in [Network::hebb(&stored), Network::storkey(&stored), Network::pseudo_inverse(&stored)?] {
        for start in 0..10 {
            let mut state = patterns(60, 1, 100 + start)?.row(0).to_vec();
            let mut last = energy(&network, &state);
            assert!((network.energy(&state) - last).abs() < 1e-4);
            loop {
                let settled = network.settle(&mut state, 1, &mut noise)?;
                let now = energy(&network, &state);
                assert!(if settled.flips > 0 { now < last } else { now == last }, "{last} {now}");
                last = now;
                if settled.stable {
                    break;
                }
            }
            assert!(network.stable(&state).iter().all(|s| *s));
        }
        assert!(network.settle(&mut [1; 59], 1, &mut noise).is_err());
    }
    for interaction in
        [Interaction::Power(3), Interaction::Rectified(3), Interaction::Power(4), Interaction::Exponential]
    {
        let memory = Dense::new(stored.clone(), interaction)?;
        for start in 0..5 {
            let mut state = patterns(60, 1, 200 + start)?.row(0).to_vec();
            let mut last = memory.energy(&state);
            loop {
                let settled = memory.settle(&mut state, 1, &mut noise)?;
                let now = memory.energy(&state);
                assert!(
                    if settled.flips > 0 { now < last } else { now == last },
                    "{interaction:?} {last} {now}"
                );
                last = now;
                if settled.stable {
                    break;
                }
            }
            assert!(memory.stable(&state).iter().all(|s| *s));
        }
        assert!(memory.settle(&mut [1; 61], 1, &mut noise).is_err());
    }
    assert!(Dense::new(stored, Interaction::Power(1)).is_err());
    Ok(())
}

/// Two patterns that agree on half of the sites: where they differ the couplings to the rest cancel, fields of the
/// others are ties, and sgn(0) keeps whatever stands there.
#[test]
fn a_tie_keeps_the_state() -> Result<()> {
    // One pattern and its two-spin neighbourhood: J_01 = ½ (1 − 1) = 0, so both spins have no field at all.
    let stored = Patterns::new(2, vec![1, 1, 1, -1])?;
    let network = Network::hebb(&stored);
    assert_eq!(network.coupling(0, 1), 0.0);
    for start in [[1, 1], [1, -1], [-1, 1], [-1, -1]] {
        let mut state = start;
        let settled = network.settle(&mut state, 10, &mut Noise::new(1))?;
        assert_eq!((state, settled), (start, Settled { sweeps: 1, flips: 0, stable: true }));
    }
    Ok(())
}

/// With F(x) = x² the dense memory is Hebb's network: the same flips in the same order, hence the same end.
#[test]
fn the_square_is_hopfields_network() -> Result<()> {
    let stored = patterns(50, 9, 6)?;
    let (network, memory) = (Network::hebb(&stored), Dense::new(stored, Interaction::Power(2))?);
    for start in 0..30 {
        let first = patterns(50, 1, 300 + start)?.row(0).to_vec();
        let (mut a, mut b) = (first.clone(), first);
        let left = network.settle(&mut a, 50, &mut Noise::new(start))?;
        let right = memory.settle(&mut b, 50, &mut Noise::new(start))?;
        assert_eq!((a, left), (b, right));
    }
    Ok(())
}

#[test]
fn few_patterns_are_remembered_from_their_traces() -> Result<()> {
    let stored = patterns(200, 8, 7)?;
    let mut noise = Noise::new(8);
    let networks = [Network::hebb(&stored), Network::storkey(&stored), Network::pseudo_inverse(&stored)?];
    let memories = [
        Dense::new(stored.clone(), Interaction::Power(3))?,
        Dense::new(stored.clone(), Interaction::Exponential)?,
    ];
    for mu in 0..8 {
        let start = stored.corrupted(mu, 30, &mut noise);
        assert_eq!(start.iter().zip(stored.row(mu)).filter(|(a, b)| a != b).count(), 30);
        for network in &networks {
            let mut state = start.clone();
            assert!(network.settle(&mut state, 50, &mut noise)?.stable);
            assert_eq!(state, stored.row(mu));
        }
        for memory in &memories {
            let mut state = start.clone();
            assert!(memory.settle(&mut state, 50, &mut noise)?.stable);
            assert_eq!(state, stored.row(mu));
        }
    }
    Ok(())
}

/// Against the formulas, written out; and E falls, is not negative, and the update returns a pattern that stands apart.
#[test]
fn the_continuous_memory_descends_and_is_attention() -> Result<()> {
    let (dims, count, beta) = (16, 40, 4.0);
    let mut noise = Noise::new(9);
    let stored = noise.normals(dims * count);
    let memory = Continuous::new(dims, stored.clone(), beta)?;
    let mut x = noise.normals(dims);
    let scores: Vec<f64> = stored
        .chunks(dims)
        .map(|row| (beta * row.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>()).exp())
        .collect();
    let total: f64 = scores.iter().sum();
    let next = memory.update(&x);
    for (j, got) in next.iter().enumerate() {
        let want: f64 = scores.iter().zip(stored.chunks(dims)).map(|(s, row)| s / total * row[j]).sum();
        assert!((got - want).abs() < 1e-12);
    }
    let mut last = memory.energy(&x);
    for _ in 0..20 {
        x = memory.update(&x);
        let now = memory.energy(&x);
        assert!(now <= last + 1e-12 && now >= -1e-12, "{last} {now}");
        last = now;
    }
    // From half of a pattern, with the rest zero, one update is within 2 M (1 − p) of it.
    let pattern = &stored[..dims];
    let half: Vec<f64> =
        pattern.iter().enumerate().map(|(j, v)| if j < dims / 2 { *v } else { 0.0 }).collect();
    let found = memory.update(&memory.update(&half));
    let gap: f64 = found.iter().zip(pattern).map(|(a, b)| (a - b).powi(2)).sum();
    assert!(gap < 1e-3, "{gap}");
    assert!(Continuous::new(0, vec![], 1.0).is_err() && Continuous::new(2, vec![0.0; 2], 0.0).is_err());
    Ok(())
}
