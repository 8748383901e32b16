//! Small machines, summed over every state of both layers in plain loops.

use super::*;
use crate::likelihood::ais::Ladder;
use crate::special::Moments;
use candle_core::Device;

const D: usize = 5;
const H: usize = 3;
const W: [[f64; H]; D] =
    [[1.9, -0.7, 0.2], [-1.5, 0.9, 1.4], [0.3, 2.1, -1.1], [0.8, -1.6, 0.5], [-0.4, 0.6, 1.7]];
const A: [f64; D] = [0.2, -0.9, 0.1, 0.5, -1.3];
const B: [f64; H] = [-0.3, 0.5, -1.0];
const BASE: [f64; D] = [0.7, -0.4, 0.0, 1.1, -0.8];

fn bit(state: usize, i: usize) -> f64 {
    (state >> i & 1) as f64
}

/// −U_β of a joint state: at β = 0 only the base's biases.
fn joint(v: usize, h: usize, beta: f64) -> f64 {
    let pull = |i: usize| (0..H).map(|j| W[i][j] * bit(h, j)).sum::<f64>() + A[i];
    let visible = (0..D).map(|i| bit(v, i) * ((1.0 - beta) * BASE[i] + beta * pull(i)));
    visible.sum::<f64>() + (0..H).map(|j| beta * B[j] * bit(h, j)).sum::<f64>()
}

fn marginal(v: usize, beta: f64) -> f64 {
    (0..1 << H).map(|h| joint(v, h, beta).exp()).sum()
}

fn log_z(beta: f64) -> f64 {
    (0..1 << D).map(|v| marginal(v, beta)).sum::<f64>().ln()
}

fn machine() -> Result<BinaryRbm> {
    let cpu = Device::Cpu;
    let mut rbm = BinaryRbm::new(&Tensor::new(&W, &cpu)?, &Tensor::new(&A, &cpu)?, &Tensor::new(&B, &cpu)?)?;
    rbm.base = Tensor::new(&[BASE], &cpu)?;
    rbm.base_log_z = log_z(0.0);
    Ok(rbm)
}

fn visible(states: impl Iterator<Item = usize>) -> Result<Tensor> {
    let units: Vec<f64> = states.flat_map(|v| (0..D).map(move |i| bit(v, i))).collect();
    Ok(Tensor::from_vec(units.clone(), (units.len() / D, D), &Device::Cpu)?)
}

/// Exact draws of the visible layer at β = 1, by the inverse of its distribution function.
fn exact(n: usize, noise: &mut Noise) -> Result<Tensor> {
    let total = log_z(1.0).exp();
    let draw = |u: f64| {
        let mut rest = u * total;
        (0..1 << D).find(|v| {
            rest -= marginal(*v, 1.0);
            rest < 0.0
        })
    };
    visible(noise.uniforms(n).into_iter().map(|u| draw(u).unwrap_or(0)))
}

#[test]
fn weights_are_the_sums_over_all_hidden_states() -> Result<()> {
    let rbm = machine()?;
    let all = visible(0..1 << D)?;
    let fields = rbm.fields(&all)?;
    for beta in [0.0, 0.3, 1.0] {
        for (v, got) in rows::host(&rbm.log_weight(&all, &fields, beta)?)?.into_iter().enumerate() {
            assert!((got - marginal(v, beta).ln()).abs() < 1e-12, "{v} at {beta}: {got}");
        }
    }
    // Rates 1/4 and 3/4 of two rows, with one more 0 and 1 each.
    let rows = visible([0b00001, 0b00011].into_iter())?;
    let rated = machine()?.with_base_rates(&rows)?;
    let third = (1.0f64 / 3.0).ln();
    let want = [-third, 0.0, third, third, third];
    assert!(rows::host(&rated.base)?.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-15));
    let units: f64 = want.iter().map(|a| (1.0 + a.exp()).ln()).sum();
    assert!((rated.base_log_z() - units - 3.0 * 2f64.ln()).abs() < 1e-14);
    assert!(
        (BinaryRbm::new(&Tensor::new(&W, &Device::Cpu)?, &rbm.visible.squeeze(0)?, &rbm.hidden.squeeze(0)?)?
            .base_log_z()
            - 8.0 * 2f64.ln())
        .abs()
            < 1e-14
    );
    Ok(())
}

/// E Ẑ = Z forward and E 1/Ẑ = 1/Z in reverse, for any number of temperatures and of transitions: which fails if a
/// transition does not leave its law alone or a weight misses a factor.
#[test]
fn the_mean_weight_is_unbiased_for_short_ladders() -> Result<()> {
    let (rbm, truth, mut noise) = (machine()?, log_z(1.0), Noise::new(5));
    let n = 40_000;
    let exact = exact(n, &mut noise)?;
    for (betas, transitions) in [
        (vec![0.0, 1.0], 1),
        (vec![0.0, 0.4, 1.0], 1),
        (vec![0.0, 0.2, 0.7, 1.0], 1),
        (vec![0.0, 0.5, 1.0], 2),
    ] {
        let ladder = Ladder::Given(betas.clone());
        let ais =
            Ais { chains: n, ladder, transitions, pilot_chains: 0, rows_at_once: 15_000, ..Ais::default() };
        let both = ais.bracket_bipartite(&rbm, &exact, &mut noise)?;
        for got in [&both.forward, &both.reverse] {
            assert!((got.log_z - truth).abs() < 4.0 * got.standard_error, "{betas:?}: {} {truth}", got.log_z);
            assert!(got.standard_error < 0.03 && got.x.dims() == [n, D], "{}", got.standard_error);
        }
    }
    Ok(())
}

/// Single chains say E log w ≤ log Z ≤ −E log w of the reverse, and the gap closes as temperatures are added.
#[test]
fn forward_and_reverse_enclose_the_sum_over_all_states() -> Result<()> {
    let (rbm, truth, mut noise) = (machine()?, log_z(1.0), Noise::new(6));
    let n = 3_000;
    let exact = exact(n, &mut noise)?;
    let mut gaps = Vec::new();
    for rungs in [1, 8, 64] {
        let ais = Ais { chains: n, ladder: Ladder::Even(rungs), ..Ais::default() };
        let both = ais.bracket_bipartite(&rbm, &exact, &mut noise)?;
        let lower = Moments::of(&both.forward.log_weights);
        let upper = Moments::of(&both.reverse.log_weights.iter().map(|w| -w).collect::<Vec<_>>());
        assert!(lower.mean() < truth + 4.0 * lower.standard_error(), "{rungs}: {lower:?} {truth}");
        assert!(upper.mean() > truth - 4.0 * upper.standard_error(), "{rungs}: {upper:?} {truth}");
        gaps.push((upper.mean() - lower.mean(), upper.standard_error().hypot(lower.standard_error())));
    }
    // At one temperature the gap is the sum of both divergences between the ends, known state by state.
    let p = |v: usize, beta: f64| marginal(v, beta) / log_z(beta).exp();
    let far = |v: usize| (p(v, 1.0) - p(v, 0.0)) * (marginal(v, 1.0) / marginal(v, 0.0)).ln();
    let want: f64 = (0..1 << D).map(far).sum();
    assert!((gaps[0].0 - want).abs() < 4.0 * gaps[0].1, "{gaps:?} {want}");
    assert!(gaps[1].0 < 0.4 * gaps[0].0 && gaps[2].0 < 0.25 * gaps[1].0 + 4.0 * gaps[2].1, "{gaps:?}");
    Ok(())
}

/// Ladders that a pilot run places, in `f32` as models have it, and weighted draws that carry the machine's means.
#[test]
fn every_ladder_finds_the_constant_and_the_means() -> Result<()> {
    let (rbm, truth) = (machine()?, log_z(1.0));
    let narrow = |x: &Tensor| x.to_dtype(DType::F32);
    let single = BinaryRbm::new(
        &narrow(&rbm.weights)?,
        &narrow(&rbm.visible.squeeze(0)?)?,
        &narrow(&rbm.hidden.squeeze(0)?)?,
    )?;
    let share = |v: usize| marginal(v, 1.0) / truth.exp();
    for ladder in [Ladder::Balanced(40), Ladder::Even(60), Ladder::Adaptive { share: 0.995, at_most: 200 }] {
        let ais = Ais { chains: 2_000, ladder, ..Ais::default() };
        let got = ais.estimate_bipartite(&single, &mut Noise::new(7))?;
        assert!((got.log_z - truth).abs() < 4.0 * got.standard_error, "{ais:?} {} {truth}", got.log_z);
        assert!(got.standard_error < 0.02 && got.effective_sample_size > 1_000.0, "{ais:?}");
        assert!((5..=200).contains(&(got.temperatures.len() - 1)) && got.acceptance == 1.0);
        let total: f64 = got.log_weights.iter().map(|w| w.exp()).sum();
        let x = rows::host(&got.x)?;
        for i in 0..D {
            let want: f64 = (0..1 << D).map(|v| share(v) * bit(v, i)).sum();
            let mean: f64 = x.chunks(D).zip(&got.log_weights).map(|(x, w)| x[i] * w.exp() / total).sum();
            let error = 4.0 * (want * (1.0 - want) / got.effective_sample_size).sqrt();
            assert!((mean - want).abs() < error + 0.01, "unit {i}: {mean} {want}");
        }
    }
    Ok(())
}

/// The area under the mean slope, by block Gibbs, and what a fine and a coarse ladder say of each other.
#[test]
fn thermodynamic_integration_finds_the_constant() -> Result<()> {
    let (rbm, truth) = (machine()?, log_z(1.0));
    let area = |rungs: usize| {
        let ais = Ais { chains: 2_000, ladder: Ladder::Even(rungs), transitions: 6, ..Ais::default() };
        ais.integrate_bipartite(&rbm, &mut Noise::new(8))
    };
    let fine = area(40)?;
    assert!((fine.log_z - truth).abs() < 4.0 * fine.standard_error + fine.discretisation, "{fine:?} {truth}");
    assert!(fine.standard_error < 0.02 && fine.discretisation < 0.02, "{fine:?}");
    // Four trapezoids are visibly off, and say so.
    let coarse = area(4)?;
    let miss = (coarse.log_z - truth).abs();
    assert!(coarse.discretisation > 3.0 * fine.discretisation, "{coarse:?}");
    assert!(miss < 4.0 * coarse.standard_error + 2.0 * coarse.discretisation, "{coarse:?} {truth}");
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_errors() -> Result<()> {
    let cpu = Device::Cpu;
    let (w, a, b) = (Tensor::new(&W, &cpu)?, Tensor::new(&A, &cpu)?, Tensor::new(&B, &cpu)?);
    assert!(BinaryRbm::new(&w, &b, &b).is_err() && BinaryRbm::new(&w, &a, &a).is_err());
    assert!(machine()?.with_base_rates(&Tensor::zeros((3, D + 1), DType::F64, &cpu)?).is_err());
    let none = Ais { chains: 0, ..Ais::default() };
    assert!(none.estimate_bipartite(&machine()?, &mut Noise::new(0)).is_err());
    Ok(())
}
