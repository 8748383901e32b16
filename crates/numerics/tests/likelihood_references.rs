//! Likelihoods against numbers of other software: scipy's integrator, enumeration by numpy, scikit-learn's machine.
//! `fixtures/generate.py` made the files.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::{Energy, Velocity};
use genzoo_core::{Error, Noise, Result};
use genzoo_numerics::likelihood::ais::{Ais, BinaryRbm, Ladder};
use genzoo_numerics::likelihood::enumeration::Enumeration;
use genzoo_numerics::likelihood::ode::OdeLikelihood;
use genzoo_numerics::ode::{Scheme, Solver};
use genzoo_numerics::rows;

type File = HashMap<String, Tensor>;

fn load(name: &str) -> Result<File> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?)
}

fn get<'a>(file: &'a File, key: &str) -> Result<&'a Tensor> {
    file.get(key).ok_or_else(|| Error::data("fixture", format!("a tensor '{key}'"), "none"))
}

fn numbers(file: &File, key: &str) -> Result<Vec<f64>> {
    rows::host(get(file, key)?)
}

/// The largest difference, relative to numbers above 1.
fn worst(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
}

/// A mixture of Gaussians with full covariances in one or two dimensions, under variance-preserving noise whose rate rises
/// from 0.1 to 20; everything by finite formulas in plain `f64`.
struct Mixture {
    d: usize,
    weights: Vec<f64>,
    means: Vec<Vec<f64>>,
    covariances: Vec<Vec<f64>>,
}

/// One component at a point: log-density with its weight, pull −P(x − m), precision P.
struct Component {
    log: f64,
    pull: Vec<f64>,
    precision: Vec<f64>,
}

impl Mixture {
    fn of(file: &File) -> Result<Self> {
        let d = get(file, "means")?.dim(1)?;
        let chunks = |key: &str, n: usize| -> Result<Vec<Vec<f64>>> {
            Ok(numbers(file, key)?.chunks(n).map(<[f64]>::to_vec).collect())
        };
        let (means, covariances) = (chunks("means", d)?, chunks("covs", d * d)?);
        Ok(Self { d, weights: numbers(file, "weights")?, means, covariances })
    }

    fn rate(t: f64) -> f64 {
        0.1 + 19.9 * t
    }

    fn components(&self, x: &[f64], t: f64) -> Vec<Component> {
        let a = (-0.5 * (0.1 * t + 9.95 * t * t)).exp();
        let component = |k: usize| {
            let noise = 1.0 - a * a;
            let c = |i: usize, j: usize| {
                a * a * self.covariances[k][i * self.d + j] + if i == j { noise } else { 0.0 }
            };
            let (det, precision) = match self.d {
                1 => (c(0, 0), vec![1.0 / c(0, 0)]),
                _ => {
                    let det = c(0, 0) * c(1, 1) - c(0, 1) * c(1, 0);
                    (det, vec![c(1, 1) / det, -c(0, 1) / det, -c(1, 0) / det, c(0, 0) / det])
                }
            };
            let gap: Vec<f64> = x.iter().zip(&self.means[k]).map(|(x, m)| x - a * m).collect();
            let pull: Vec<f64> = (0..self.d)
                .map(|i| -(0..self.d).map(|j| precision[i * self.d + j] * gap[j]).sum::<f64>())
                .collect();
            let form: f64 = gap.iter().zip(&pull).map(|(g, p)| -g * p).sum();
            let log =
                self.weights[k].ln() - 0.5 * (form + det.ln() + self.d as f64 * std::f64::consts::TAU.ln());
            Component { log, pull, precision }
        };
        (0..self.weights.len()).map(component).collect()
    }

    fn log_density(&self, x: &[f64], t: f64) -> f64 {
        let logs: Vec<f64> = self.components(x, t).iter().map(|c| c.log).collect();
        let top = logs.iter().copied().fold(f64::MIN, f64::max);
        top + logs.iter().map(|l| (l - top).exp()).sum::<f64>().ln()
    }

    /// The score, and the product of the Hessian of the log-density with `v`.
    fn score_and_product(&self, x: &[f64], t: f64, v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (components, log) = (self.components(x, t), self.log_density(x, t));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (mut score, mut product) = (vec![0.0; self.d], vec![0.0; self.d]);
        for c in &components {
            let share = (c.log - log).exp();
            for i in 0..self.d {
                score[i] += share * c.pull[i];
                let row = &c.precision[i * self.d..(i + 1) * self.d];
                product[i] += share * (dot(&c.pull, v) * c.pull[i] - dot(row, v));
            }
        }
        let along = dot(&score, v);
        product.iter_mut().zip(&score).for_each(|(p, s)| *p -= along * s);
        (score, product)
    }
}

impl Velocity for Mixture {
    fn velocity(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        Ok(self.velocity_vjp(x, t, &x.zeros_like()?)?.0)
    }

    fn velocity_vjp(&self, x: &Tensor, t: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut velocity, mut pulled) = (Vec::new(), Vec::new());
        let (xs, vs) = (rows::host(x)?, rows::host(v)?);
        for ((x, v), t) in xs.chunks(self.d).zip(vs.chunks(self.d)).zip(rows::host(t)?) {
            let (score, product) = self.score_and_product(x, t, v);
            let half = -0.5 * Self::rate(t);
            velocity.extend(x.iter().zip(score).map(|(x, s)| half * (x + s)));
            pulled.extend(v.iter().zip(product).map(|(v, h)| half * (v + h)));
        }
        let tensor = |values| Tensor::from_vec(values, x.shape(), x.device());
        Ok((tensor(velocity)?, tensor(pulled)?))
    }
}

/// With the exact law at t = 1 the likelihood is the closed form; with N(0, I) instead it is scipy's DOP853.
#[test]
fn the_likelihood_along_an_exact_score_is_the_closed_form() -> Result<()> {
    for name in ["pfode_1d.safetensors", "pfode_2d.safetensors"] {
        let file = load(name)?;
        let flow = Mixture::of(&file)?;
        let x = get(&file, "x")?;
        let likelihood = OdeLikelihood { scheme: Scheme::adaptive(1e-8, 1e-8), ..OdeLikelihood::default() };
        let base = |z: &Tensor| {
            let logs = rows::host(z)?.chunks(flow.d).map(|z| flow.log_density(z, 1.0)).collect();
            rows::tensor(logs, z.device())
        };
        let got = likelihood.log_prob_with(&flow, &base, x, &mut Noise::new(0))?;
        let closed: Vec<f64> = rows::host(x)?.chunks(flow.d).map(|x| flow.log_density(x, 0.0)).collect();
        assert!(worst(&closed, &numbers(&file, "log_p0")?) < 1e-12);
        assert!(worst(&rows::host(&got.values)?, &closed) < 1e-6);
        assert!(worst(&rows::host(&got.latents)?, &numbers(&file, "x_T")?) < 1e-6);
        let got = likelihood.log_prob(&flow, x, &mut Noise::new(0))?;
        assert!(worst(&rows::host(&got.values)?, &numbers(&file, "logp_ode_normal_prior")?) < 1e-6);
    }
    Ok(())
}

/// Fixed steps do the same arithmetic as numpy, from time 0 and from 0.001.
#[test]
fn fixed_steps_are_those_of_numpy() -> Result<()> {
    for name in ["pfode_1d.safetensors", "pfode_2d.safetensors"] {
        let file = load(name)?;
        let flow = Mixture::of(&file)?;
        for solver in [Solver::Euler, Solver::Heun, Solver::Rk4] {
            for (data_time, text) in [(0.0, "0"), (1e-3, "0.001")] {
                let scheme = Scheme::fixed(solver, 50);
                let likelihood = OdeLikelihood { scheme, data_time, ..OdeLikelihood::default() };
                let got = likelihood.log_prob(&flow, get(&file, "x")?, &mut Noise::new(0))?;
                let want = numbers(&file, &format!("fixed.{solver}_t0_{text}.logp"))?;
                assert!(worst(&rows::host(&got.values)?, &want) < 1e-9, "{name} {solver} {data_time}");
            }
        }
    }
    Ok(())
}

/// Free energy of a restricted Boltzmann machine: F(v) = −v·b_v − Σ_j log(1 + e^{b_h + v W}).
struct Machine<'a>(&'a File);

impl Energy for Machine<'_> {
    fn energy(&self, v: &Tensor) -> Result<Tensor> {
        let (w, visible, hidden) = (get(self.0, "W")?, get(self.0, "b_v")?, get(self.0, "b_h")?);
        let inner = v.matmul(w)?.broadcast_add(hidden)?;
        let linear = v.broadcast_mul(visible)?.sum(1)?;
        Ok((linear + genzoo_core::math::softplus(&inner)?.sum(1)?)?.neg()?)
    }

    fn energy_and_gradient(&self, _: &Tensor) -> Result<(Tensor, Tensor)> {
        Err(Error::Unsupported("states are discrete".into()))
    }
}

#[test]
fn machines_are_normalised_by_enumeration() -> Result<()> {
    for name in ["rbm_random.safetensors", "rbm_sklearn.safetensors"] {
        let file = load(name)?;
        let machine = Machine(&file);
        let v = get(&file, "v")?.to_dtype(DType::F64)?;
        let all = Enumeration::binary(v.dim(1)?).of_energy(&machine)?;
        let (log_z, entropy) = (numbers(&file, "log_z")?, numbers(&file, "entropy")?);
        assert!((all.log_z - log_z[0]).abs() < 1e-10 && (all.entropy - entropy[0]).abs() < 1e-10, "{name}");
        assert!(worst(&all.means, &numbers(&file, "model_E_v")?) < 1e-10);
        let log_p: Vec<f64> = rows::host(&machine.energy(&v)?)?.iter().map(|f| -f - all.log_z).collect();
        assert!(worst(&log_p, &numbers(&file, "log_p")?) < 1e-10);
        // The law of the hidden units, summed over the visible ones instead, has the same log Z.
        let hidden = HashMap::from([
            ("W".to_string(), get(&file, "W")?.t()?.contiguous()?),
            ("b_v".to_string(), get(&file, "b_h")?.clone()),
            ("b_h".to_string(), get(&file, "b_v")?.clone()),
        ]);
        let other = Enumeration::binary(hidden["b_v"].elem_count()).of_energy(&Machine(&hidden))?;
        assert!((all.log_z - other.log_z).abs() < 1e-10, "{} {}", all.log_z, other.log_z);
    }
    Ok(())
}

/// Annealing by block Gibbs, from base rates and from uniform units, against the sums over all states.
#[test]
fn machines_are_annealed_to_their_constants() -> Result<()> {
    for name in ["rbm_random.safetensors", "rbm_sklearn.safetensors"] {
        let file = load(name)?;
        let uniform = BinaryRbm::new(get(&file, "W")?, get(&file, "b_v")?, get(&file, "b_h")?)?;
        let rated = uniform.clone().with_base_rates(get(&file, "v")?)?;
        let truth = numbers(&file, "log_z")?[0];
        let ais = Ais { chains: 500, ladder: Ladder::Even(400), ..Ais::default() };
        for (seed, rbm) in [uniform, rated].iter().enumerate() {
            let got = ais.estimate_bipartite(rbm, &mut Noise::new(seed as u64))?;
            assert!((got.log_z - truth).abs() < 4.0 * got.standard_error, "{name} {} {truth}", got.log_z);
            assert!(got.standard_error < 0.1 && !got.is_degenerate(), "{name} {}", got.standard_error);
        }
    }
    Ok(())
}

/// The 4 × 4 torus with J = 1 and no field; log Z at T = 2 and T = 5 from the density of states, counted by numpy.
#[test]
fn the_ising_torus_is_normalised_by_enumeration() -> Result<()> {
    let side = 4;
    for (temperature, want) in [(2.0, 17.105367118731582), (5.0, 11.771470358541581)] {
        let log_weight = |s: &Tensor| {
            let s = s.reshape(((), side, side))?;
            let rolled = |axis: usize| -> Result<Tensor> {
                let (last, rest) = (s.narrow(axis, side - 1, 1)?, s.narrow(axis, 0, side - 1)?);
                Ok(Tensor::cat(&[&last, &rest], axis)?)
            };
            let bonds = ((&s * rolled(1)?)? + (&s * rolled(2)?)?)?;
            Ok((bonds.flatten_from(1)?.sum(1)? / temperature)?)
        };
        let got = Enumeration::spins(side * side).estimate(&log_weight)?;
        assert!((got.log_z - want).abs() < 1e-10, "{} {want}", got.log_z);
    }
    Ok(())
}
