//! The six targets, with exact draws to start from and exact expectations.
//!
//! | target      | d  | law                                                                                     |
//! |-------------|----|-----------------------------------------------------------------------------------------|
//! | two modes   | 2  | ¼ N((−2, 0), 0.7² I) + ¾ N((2, 0), 0.7² I)                                              |
//! | rosenbrock  | 2  | x ~ N(1, ½), y given x ~ N(x², 1/10)                                                    |
//! | funnel      | 3  | v ~ N(0, 1.5²), two x given v ~ N(0, e^v)                                               |
//! | correlated  | 10 | N(0, Σ), Σ_ij = 0.9^{|i−j|}                                                             |
//! | mixture     | 10 | ¼ N(−m, I) + ¾ N(m, I), |m| = 3.5, m along the diagonal                                  |
//! | network     | 2  | U = 3 f(x) + ¼|x|², f a perceptron with two hidden layers of 64                          |
//!
//! The weights of the network are the fractions of 43758.5453 sin(12.9898 i + 78.233 j + l), spread over ±g/√fan-in, so that
//! any other program can make the same ones. Its expectations are quadrature on a grid.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Energy;
use genzoo_core::nn::{Activation, Mlp, input_gradient};
use genzoo_core::{Device, Noise, ParamStore, Result};
use genzoo_numerics::{Gaussian, rows};

use super::super::laws::{ByRows, Mixture};

/// Names in the order of [`make`].
pub(super) const NAMES: [&str; 6] =
    ["two modes", "rosenbrock", "neal funnel", "correlated", "mixture", "network"];

/// Where the funnel's spread lies, and the correlation of neighbours.
const FUNNEL: f64 = 1.5;
const CORRELATION: f64 = 0.9;

type Draws = Box<dyn Fn(usize, &mut Noise) -> Result<Tensor>>;

/// A law to sample.
pub(super) struct Target {
    pub(super) dims: usize,
    pub(super) energy: Box<dyn Energy>,
    /// Exact draws, of the network to the width of a cell of the grid.
    pub(super) draws: Draws,
    /// Statistics of a row, and what they are on average.
    pub(super) statistics: fn(&[f64]) -> Vec<f64>,
    pub(super) truth: Vec<f64>,
}

/// Every coordinate and its square.
fn moments(x: &[f64]) -> Vec<f64> {
    x.iter().copied().chain(x.iter().map(|x| x * x)).collect()
}

/// The target of this name.
pub(super) fn make(name: &str) -> Result<Target> {
    match name {
        "two modes" => Ok(mixture(2.0, 0.7, 2, [1.0, 0.0])),
        "rosenbrock" => Ok(rosenbrock()),
        "neal funnel" => Ok(funnel()),
        "correlated" => correlated(10),
        "mixture" => Ok(mixture(3.5, 1.0, 10, [0.1f64.sqrt(); 2])),
        _ => network(),
    }
}

/// Masses ¼ and ¾ at ∓`distance` along (first, other, other, …).
fn mixture(distance: f64, deviation: f64, dims: usize, [first, other]: [f64; 2]) -> Target {
    let mean: Vec<f64> =
        (0..dims).map(|j| if j == 0 { distance * first } else { distance * other }).collect();
    let law = Mixture {
        weights: vec![0.25, 0.75],
        means: vec![mean.iter().map(|m| -m).collect(), mean.clone()],
        deviations: vec![deviation; 2],
    };
    let truth = mean.iter().map(|m| 0.5 * m);
    let truth = truth.chain(mean.iter().map(|m| m * m + deviation * deviation)).collect();
    let energy = Box::new(law.clone());
    Target { dims, energy, draws: Box::new(move |n, noise| law.sample(n, noise)), statistics: moments, truth }
}

/// Draws made of `d` standard normals each.
fn made(d: usize, of: impl Fn(&[f64]) -> Vec<f64> + 'static) -> Draws {
    Box::new(move |n, noise| {
        let x: Vec<f64> = noise.normals(n * d).chunks(d).flat_map(&of).collect();
        Ok(Tensor::from_vec(x, (n, d), &Device::Cpu)?)
    })
}

fn rosenbrock() -> Target {
    let energy = |x: &[f64], g: &mut [f64]| {
        let (along, across) = (x[0] - 1.0, x[1] - x[0] * x[0]);
        g[0] = 2.0 * along - 20.0 * across * x[0];
        g[1] = 10.0 * across;
        along * along + 5.0 * across * across
    };
    let draw = |z: &[f64]| {
        let x = 1.0 + 0.5f64.sqrt() * z[0];
        vec![x, x * x + 0.1f64.sqrt() * z[1]]
    };
    // E x⁴ = 1 + 6/2 + 3/4 of N(1, ½).
    let truth = vec![1.0, 1.5, 1.5, 4.75 + 0.1];
    Target { dims: 2, energy: Box::new(ByRows(energy)), draws: made(2, draw), statistics: moments, truth }
}

fn funnel() -> Target {
    let energy = |x: &[f64], g: &mut [f64]| {
        let (v, narrow) = (x[0], (-x[0]).exp());
        let square = (x[1] * x[1] + x[2] * x[2]) * narrow;
        g[0] = v / (FUNNEL * FUNNEL) - 0.5 * square + 1.0;
        g[1] = x[1] * narrow;
        g[2] = x[2] * narrow;
        0.5 * v * v / (FUNNEL * FUNNEL) + 0.5 * square + v
    };
    let draw = |z: &[f64]| {
        let v = FUNNEL * z[0];
        vec![v, (0.5 * v).exp() * z[1], (0.5 * v).exp() * z[2]]
    };
    // Squares of the wide coordinates have means that rare draws rule; signs have not.
    let statistics = |x: &[f64]| vec![x[0], x[0] * x[0], x[1].signum(), x[2].signum()];
    let truth = vec![0.0, FUNNEL * FUNNEL, 0.0, 0.0];
    Target { dims: 3, energy: Box::new(ByRows(energy)), draws: made(3, draw), statistics, truth }
}

fn correlated(d: usize) -> Result<Target> {
    let entry = |k: usize| CORRELATION.powi((k / d).abs_diff(k % d) as i32);
    let covariance: Vec<f64> = (0..d * d).map(entry).collect();
    let law = Gaussian::full(&vec![0.0; d], &covariance, DType::F64, &Device::Cpu)?;
    let truth = (0..2 * d).map(|k| if k < d { 0.0 } else { 1.0 }).collect();
    let draws = law.clone();
    Ok(Target {
        dims: d,
        energy: Box::new(law),
        draws: Box::new(move |n, noise| draws.sample(n, noise)),
        statistics: moments,
        truth,
    })
}

/// U = 3 f(x) + ¼|x|².
struct Network(Mlp);

/// Widths, and the gain of each layer.
const WIDTHS: [usize; 4] = [2, 64, 64, 1];
const GAINS: [f64; 3] = [3.0, 2.0, 4.0];

impl Network {
    fn new() -> Result<Self> {
        let params = ParamStore::new(&Noise::new(0), DType::F32, &Device::Cpu);
        let net = Mlp::new(&WIDTHS, Activation::Tanh, Activation::Identity, &params.group("net"))?;
        let mut tensors = params.snapshot()?;
        for (name, tensor) in &mut tensors {
            // net/LAYER.weight (fan out, fan in), and net/LAYER.bias, which takes j = −1.
            let layer = (0..3).find(|l| name.contains(&format!("{l}."))).unwrap_or(0);
            let fan_in = WIDTHS[layer];
            let columns = if name.ends_with("weight") { fan_in } else { 1 };
            let first = if name.ends_with("weight") { 0.0 } else { -1.0 };
            let value = |k: usize| {
                let (i, j) = ((k / columns) as f64, (k % columns) as f64 + first);
                let wave = 43_758.545_3 * (12.9898 * i + 78.233 * j + layer as f64).sin();
                (2.0 * (wave - wave.floor()) - 1.0) * GAINS[layer] / (fan_in as f64).sqrt()
            };
            let values: Vec<f64> = (0..tensor.elem_count()).map(value).collect();
            *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?;
        }
        params.load(&tensors)?;
        Ok(Self(net.frozen()))
    }
}

impl Energy for Network {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }

    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (f, g) = input_gradient(&self.0, &x.to_dtype(DType::F32)?)?;
        let energy = ((f * 3.0)?.to_dtype(x.dtype())? + (rows::squared_norm(x)? * 0.25)?)?;
        Ok((energy, ((g * 3.0)?.to_dtype(x.dtype())? + (x * 0.5)?)?))
    }
}

/// The grid of the network's law: half its width, cells per side.
const REACH: f64 = 7.0;
const CELLS: usize = 350;

fn network() -> Result<Target> {
    let net = Network::new()?;
    let width = 2.0 * REACH / CELLS as f64;
    let middle = move |i: usize| -REACH + width * (i as f64 + 0.5);
    let places: Vec<f64> = (0..CELLS * CELLS).flat_map(|k| [middle(k / CELLS), middle(k % CELLS)]).collect();
    let grid = Tensor::from_vec(places.clone(), (CELLS * CELLS, 2), &Device::Cpu)?;
    let energies = rows::host(&net.energy(&grid)?)?;
    let lowest = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let (mut truth, mut cumulated, mut total) = (vec![0.0; 4], Vec::with_capacity(energies.len()), 0.0);
    for (x, u) in places.chunks(2).zip(&energies) {
        let weight = (lowest - u).exp();
        truth.iter_mut().zip(moments(x)).for_each(|(t, m)| *t += weight * m);
        total += weight;
        cumulated.push(total);
    }
    truth.iter_mut().for_each(|t| *t /= total);
    let draws: Draws = Box::new(move |n, noise| {
        let uniforms = noise.uniforms(3 * n);
        let draw = |u: &[f64]| {
            let cell = cumulated.partition_point(|c| *c < u[0] * total).min(cumulated.len() - 1);
            [middle(cell / CELLS) + width * (u[1] - 0.5), middle(cell % CELLS) + width * (u[2] - 0.5)]
        };
        let x: Vec<f64> = uniforms.chunks(3).flat_map(draw).collect();
        Ok(Tensor::from_vec(x, (n, 2), &Device::Cpu)?)
    });
    Ok(Target { dims: 2, energy: Box::new(net), draws, statistics: moments, truth })
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_numerics::special::Moments;
    use genzoo_testkit::finite_difference_gradient;

    /// Draws have the stated expectations, energies their gradients, and both belong together: E e^{U(x + c) − …} would blow up,
    /// so what is checked is Stein's identity, E[x_j ∂_jU] = 1, which ties draws to the energy.
    #[test]
    fn draws_energies_and_expectations_belong_together() -> Result<()> {
        for name in NAMES {
            let target = make(name)?;
            let n = 20_000;
            let x = (target.draws)(n, &mut Noise::new(3))?;
            let (_, gradient) = target.energy.energy_and_gradient(&x)?;
            let (points, gradient) = (rows::host(&x)?, rows::host(&gradient)?);
            let d = target.dims;
            for (s, want) in target.truth.iter().enumerate() {
                let values: Vec<f64> = points.chunks(d).map(|x| (target.statistics)(x)[s]).collect();
                let got = Moments::of(&values);
                assert!(
                    (got.mean() - want).abs() < 4.5 * got.standard_error(),
                    "{name} {s}: {} {want}",
                    got.mean()
                );
            }
            for j in 0..d {
                let terms: Vec<f64> = (0..n).map(|i| points[d * i + j] * gradient[d * i + j]).collect();
                let got = Moments::of(&terms);
                assert!((got.mean() - 1.0).abs() < 4.5 * got.standard_error(), "{name} {j}: {}", got.mean());
            }
            let value = |x: &[f64]| {
                let row = Tensor::from_vec(x.to_vec(), (1, d), &Device::Cpu);
                row.ok()
                    .and_then(|r| target.energy.energy(&r).ok())
                    .and_then(|e| rows::host(&e).ok())
                    .map_or(f64::NAN, |e| e[0])
            };
            // The network runs in f32, where a difference quotient has three digits.
            if name != "network" {
                let want = finite_difference_gradient(value, &points[..d]);
                for j in 0..d {
                    assert!((gradient[j] - want[j]).abs() < 1e-5 * (1.0 + want[j].abs()), "{name}");
                }
            }
        }
        Ok(())
    }
}
