//! Transition matrices, written out from the definitions for a few sites, against what the kernels do.

use super::*;
use crate::mcmc::{Chains, Kernel};
use crate::rows;
use candle_core::{DType, Device};
use genzoo_core::{Error, Noise};

/// Three sites of three levels with couplings of second and third order; nothing about it is linear.
struct Tangle;

const LEVELS: [f64; 3] = [-1.0, 0.0, 1.5];

fn tangle(x: &[f64]) -> f64 {
    0.7 * x[0] * x[1] - 0.5 * x[1] * x[2] + 0.4 * x[0] * x[1] * x[2] + 0.3 * x[0] * x[0] - 0.6 * x[2]
}

impl Energy for Tangle {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }
    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let x = rows::host(x)?;
        let energies: Vec<f64> = x.chunks(3).map(tangle).collect();
        let gradient: Vec<f64> = x.chunks(3).flat_map(slope).collect();
        let n = energies.len();
        Ok((Tensor::from_vec(energies, n, &Device::Cpu)?, Tensor::from_vec(gradient, (n, 3), &Device::Cpu)?))
    }
}

fn slope(x: &[f64]) -> [f64; 3] {
    [
        0.7 * x[1] + 0.4 * x[1] * x[2] + 0.6 * x[0],
        0.7 * x[0] - 0.5 * x[2] + 0.4 * x[0] * x[2],
        -0.5 * x[1] + 0.4 * x[0] * x[1] - 0.6,
    ]
}

impl Discrete for Tangle {
    fn levels(&self) -> &[f64] {
        &LEVELS
    }
}

/// All states of `sites` sites.
fn states(levels: &[f64], sites: usize) -> Vec<Vec<f64>> {
    let count = levels.len().pow(sites as u32);
    let digit = |s: usize, i: usize| levels[s / levels.len().pow(i as u32) % levels.len()];
    (0..count).map(|s| (0..sites).map(|i| digit(s, i)).collect()).collect()
}

fn normalised(logs: impl Iterator<Item = f64>) -> Vec<f64> {
    let weights: Vec<f64> = logs.map(f64::exp).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

type Matrix = Vec<Vec<f64>>;

fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Matrix {
    let entry = |row: &[f64], j: usize| -> f64 { row.iter().zip(b).map(|(v, b)| v * b[j]).sum() };
    let row = |row: &Vec<f64>| -> Vec<f64> { (0..b.len()).map(|j| entry(row, j)).collect() };
    a.iter().map(row).collect()
}

fn assert_stationary(law: &[f64], matrix: &[Vec<f64>]) {
    for j in 0..law.len() {
        let flow: f64 = law.iter().zip(matrix).map(|(p, row)| p * row[j]).sum();
        assert!((flow - law[j]).abs() < 1e-13, "{flow} {}", law[j]);
        assert!((matrix[j].iter().sum::<f64>() - 1.0).abs() < 1e-13);
    }
}

fn assert_balanced(law: &[f64], matrix: &[Vec<f64>]) {
    for i in 0..law.len() {
        for j in 0..law.len() {
            assert!((law[i] * matrix[i][j] - law[j] * matrix[j][i]).abs() < 1e-14, "{i} {j}");
        }
    }
}

/// Runs `step` from the first `starts` states, `n` times each; every row of counts must fit the matrix (χ²), and no impossible state occur.
fn assert_follows(
    states: &[Vec<f64>],
    matrix: &[Vec<f64>],
    (starts, n): (usize, usize),
    mut step: impl FnMut(Tensor) -> Result<Tensor>,
) -> Result<()> {
    let sites = states[0].len();
    let (mut chi, mut cells) = (0.0, 0.0);
    for (from, row) in states.iter().zip(matrix).take(starts) {
        let x = Tensor::new(from.as_slice(), &Device::Cpu)?.unsqueeze(0)?.broadcast_as((n, sites))?;
        let mut counts = vec![0.0f64; states.len()];
        for to in rows::host(&step(x.contiguous()?)?)?.chunks(sites) {
            let found = states.iter().position(|s| s == to);
            counts[found.ok_or_else(|| Error::data("state", "one of the levels", format!("{to:?}")))?] += 1.0;
        }
        for (count, p) in counts.into_iter().zip(row) {
            let want = p * n as f64;
            assert!(*p > 0.0 || count == 0.0, "an impossible step");
            if want > 5.0 {
                chi += (count - want).powi(2) / want;
                cells += 1.0;
            }
        }
    }
    assert!(chi < cells + 4.0 * f64::sqrt(2.0 * cells), "{chi} {cells}");
    Ok(())
}

#[test]
fn gibbs_has_its_transition_matrix_and_that_leaves_the_law_alone() -> Result<()> {
    let states = states(&LEVELS, 3);
    let law = normalised(states.iter().map(|s| -tangle(s)));
    let single = |site: usize| -> Matrix {
        let like = |a: &[f64], b: &[f64]| (0..3).all(|i| i == site || a[i] == b[i]);
        let row = |from: &Vec<f64>| -> Vec<f64> {
            let total: f64 = states.iter().zip(&law).filter(|(s, _)| like(s, from)).map(|(_, p)| p).sum();
            states.iter().zip(&law).map(|(s, p)| if like(s, from) { p / total } else { 0.0 }).collect()
        };
        states.iter().map(row).collect()
    };
    for site in 0..3 {
        assert_balanced(&law, &single(site));
    }
    let sweep = product(&product(&single(0), &single(1)), &single(2));
    assert_stationary(&law, &sweep);
    let mut noise = Noise::new(1);
    assert_follows(&states, &sweep, (27, 2_000), |mut x| {
        Gibbs { scan: Scan::Systematic }.step(&Tangle, &mut x, &mut noise)?;
        Ok(x)
    })?;
    // Chains of a batch share their sites at random, so that one chain at a time follows the mean of the 27 products.
    let mut mean = vec![vec![0.0; 27]; 27];
    for order in 0..27 {
        let part = product(&product(&single(order % 3), &single(order / 3 % 3)), &single(order / 9));
        mean.iter_mut().zip(&part).for_each(|(m, p)| m.iter_mut().zip(p).for_each(|(m, p)| *m += p / 27.0));
    }
    assert_balanced(&law, &mean);
    assert_follows(&states, &mean, (2, 1_000), |x| {
        let mut ends = Vec::new();
        for i in 0..x.dim(0)? {
            let mut one = x.narrow(0, i, 1)?.contiguous()?;
            Gibbs { scan: Scan::Random }.step(&Tangle, &mut one, &mut noise)?;
            ends.push(one);
        }
        Ok(Tensor::cat(&ends, 0)?)
    })
}

#[test]
fn gibbs_with_gradients_has_its_transition_matrix_and_detailed_balance() -> Result<()> {
    let states = states(&LEVELS, 3);
    let law = normalised(states.iter().map(|s| -tangle(s)));
    let distance = |a: &[f64], b: &[f64]| (0..3).filter(|&i| a[i] != b[i]).count();
    // q(b | a), normalised over the six neighbours of a.
    let log_q =
        |a: &[f64], b: &[f64]| -> f64 { -0.5 * (0..3).map(|i| (b[i] - a[i]) * slope(a)[i]).sum::<f64>() };
    let q = |a: &[f64], b: &[f64]| -> f64 {
        let total: f64 = states.iter().filter(|s| distance(a, s) == 1).map(|s| log_q(a, s).exp()).sum();
        if distance(a, b) == 1 { log_q(a, b).exp() / total } else { 0.0 }
    };
    let mut matrix: Matrix = Vec::new();
    for (i, a) in states.iter().enumerate() {
        let mut row: Vec<f64> = Vec::new();
        for (j, b) in states.iter().enumerate() {
            let there = q(a, b);
            row.push(if there > 0.0 { there * (law[j] * q(b, a) / (law[i] * there)).min(1.0) } else { 0.0 });
        }
        row[i] = 1.0 - row.iter().sum::<f64>();
        matrix.push(row);
    }
    assert_balanced(&law, &matrix);
    let (kernel, mut noise) = (GibbsWithGradients::new(&LEVELS)?, Noise::new(2));
    assert_follows(&states, &matrix, (27, 2_000), |x| {
        let mut chains = kernel.init(&Tangle, &x)?;
        kernel.step(&Tangle, &mut chains, &mut noise)?;
        let fresh = Chains::at(&Tangle, &chains.x)?;
        assert!(rows::host(&(&chains.gradient - &fresh.gradient)?)?.iter().all(|gap| *gap == 0.0));
        Ok(chains.x)
    })?;
    assert!(GibbsWithGradients::new(&[1.0]).is_err() && GibbsWithGradients::new(&[1.0, 1.0]).is_err());
    Ok(())
}

/// A machine of three visible and two hidden units: U(v, h) = −v·W h − a·v − b·h.
struct Machine;

const W: [[f64; 2]; 3] = [[1.2, -0.7], [-0.5, 0.9], [0.3, 1.1]];
const A: [f64; 3] = [0.2, -0.4, 0.1];
const B: [f64; 2] = [-0.3, 0.5];

impl Bipartite for Machine {
    fn draw_hidden(&self, visible: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let (w, b) = (Tensor::new(&W, &Device::Cpu)?, Tensor::new(&B, &Device::Cpu)?);
        bernoulli(&visible.matmul(&w)?.broadcast_add(&b)?, noise)
    }
    fn draw_visible(&self, hidden: &Tensor, noise: &mut Noise) -> Result<Tensor> {
        let (w, a) = (Tensor::new(&W, &Device::Cpu)?, Tensor::new(&A, &Device::Cpu)?);
        bernoulli(&hidden.matmul(&w.t()?)?.broadcast_add(&a)?, noise)
    }
}

#[test]
fn block_gibbs_has_its_transition_matrix_and_detailed_balance() -> Result<()> {
    let (visible, hidden) = (states(&[0.0, 1.0], 3), states(&[0.0, 1.0], 2));
    let log = |v: &[f64], h: &[f64]| -> f64 {
        let pairs: f64 = (0..6).map(|k| v[k / 2] * W[k / 2][k % 2] * h[k % 2]).sum();
        pairs + (0..3).map(|i| A[i] * v[i]).sum::<f64>() + (0..2).map(|j| B[j] * h[j]).sum::<f64>()
    };
    let law = normalised(visible.iter().map(|v| hidden.iter().map(|h| log(v, h).exp()).sum::<f64>().ln()));
    let up: Matrix = visible.iter().map(|v| normalised(hidden.iter().map(|h| log(v, h)))).collect();
    let down: Matrix = hidden.iter().map(|h| normalised(visible.iter().map(|v| log(v, h)))).collect();
    let matrix: Matrix = up
        .iter()
        .map(|row| (0..8).map(|j| row.iter().zip(&down).map(|(p, down)| p * down[j]).sum::<f64>()).collect())
        .collect();
    assert_balanced(&law, &matrix);
    let mut noise = Noise::new(3);
    assert_follows(&visible, &matrix, (8, 2_000), |mut v| {
        let h = block_gibbs(&Machine, &mut v, &mut noise)?;
        assert_eq!(h.dims(), [2_000, 2]);
        Ok(v)
    })
}

#[test]
fn bernoulli_draws_survive_extreme_logits() -> Result<()> {
    let logits = Tensor::new(&[[-1e6f32, -200.0, 200.0, 1e6]], &Device::Cpu)?.broadcast_as((500, 4))?;
    let drawn = bernoulli(&logits.contiguous()?, &mut Noise::new(4))?;
    assert!(drawn.dtype() == DType::F32);
    assert!(rows::host(&drawn)?.chunks(4).all(|row| row == [0.0, 0.0, 1.0, 1.0]));
    Ok(())
}
