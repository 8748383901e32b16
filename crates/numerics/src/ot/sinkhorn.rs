//! Entropic optimal transport between equally weighted samples.
//!
//! ```text
//! OT_ε = min_P ⟨P, C⟩ + ε KL(P | a ⊗ b),   a = 1/n, b = 1/m,   P_ij = exp((f_i + g_j − C_ij)/ε)/(n m)
//! f_i = −ε log (1/m) Σ_j exp((g_j − C_ij)/ε),   g_j = −ε log (1/n) Σ_i exp((f_i − C_ij)/ε)
//! ```
//! Log-domain: the potentials f, g are kept as logarithms; between rebuilds of `exp((f + g − C)/ε)` the iteration
//! multiplies, and absorbs its factors before they can leave the range of `f64`. ε comes down from the largest cost
//! by factors of four, so small ε neither underflow nor crawl.
//!
//! Two numbers are called "Sinkhorn": the whole value OT_ε, and the transport cost ⟨P, C⟩ at its optimum.
//!
//! Source: Cuturi (2013); Schmitzer (2019), SIAM J. Sci. Comput. 41, for absorption and scaling of ε; Feydy et al.
//! (2019), AISTATS, for the averaged iteration of a sample with itself.

use genzoo_core::{Error, Result};
use rayon::prelude::*;

/// Largest relative change of a scaling at convergence.
const TOLERANCE: f64 = 1e-11;
/// The same for the steps of ε on the way.
const ON_THE_WAY: f64 = 1e-2;
const MOST_ITERATIONS: usize = 5_000;
/// What may be left after that: the value is flat where the potentials still creep (outliers that settle slowly), so
/// its error is of the order of the square.
const CREEPING: f64 = 1e-4;
/// First steps at each ε that treat both samples alike: where they are equal, or nearly, these converge, while
/// alternating steps creep along the difference of the potentials.
const BALANCED: usize = 60;
/// Scalings are absorbed into the potentials beyond this factor, e³⁰.
const ABSORB: f64 = 1e13;
/// Rows per task; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 32;

/// The solution of an entropic transport problem.
#[derive(Clone, Debug)]
pub struct Sinkhorn {
    /// `⟨P, C⟩`.
    pub cost: f64,
    /// `⟨P, C⟩ + ε KL(P | a ⊗ b)`.
    pub entropic: f64,
    /// Potential of each row. Moving a row's weight moves `entropic` by it.
    pub f: Vec<f64>,
    /// Potential of each column.
    pub g: Vec<f64>,
    /// Iterations at the final ε.
    pub iterations: usize,
    /// Whether rows and columns are one sample.
    symmetric: bool,
}

/// Solves the problem for an n × m cost matrix, row-major.
///
/// # Errors
/// If the matrix has another size or holds a number that is not finite, if ε is not positive, or if it is so small
/// that the iteration does not converge.
pub fn sinkhorn(costs: &[f64], n: usize, m: usize, eps: f64) -> Result<Sinkhorn> {
    check(costs, n, m, eps)?;
    solve(State::new(costs, n, m), eps, State::alternate)
}

/// Solves the problem of a sample with itself, with a symmetric n × n cost matrix: both potentials agree, and the
/// averaged iteration `f ← ½(f + F f)` finds them in a few steps.
///
/// # Errors
/// Those of [`sinkhorn`].
pub fn sinkhorn_symmetric(costs: &[f64], n: usize, eps: f64) -> Result<Sinkhorn> {
    check(costs, n, n, eps)?;
    solve(State { symmetric: true, ..State::new(costs, n, n) }, eps, State::average)
}

fn solve<'a>(mut state: State<'a>, eps: f64, step: fn(&mut State<'a>) -> f64) -> Result<Sinkhorn> {
    // As a worker of the pool, thousands of short steps share their work without waking anyone.
    rayon::scope(|_| {
        for level in levels(state.costs, eps) {
            state.solve(level, if level == eps { TOLERANCE } else { ON_THE_WAY }, step)?;
        }
        Ok(state.solution(eps))
    })
}

fn check(costs: &[f64], n: usize, m: usize, eps: f64) -> Result<()> {
    if costs.len() != n * m || costs.is_empty() {
        return Err(Error::data("cost matrix", format!("{n}×{m} numbers, not empty"), costs.len()));
    }
    if let Some(bad) = costs.iter().find(|c| !c.is_finite()) {
        return Err(Error::data("cost", "a finite number", bad));
    }
    if !(eps > 0.0 && eps.is_finite()) {
        return Err(Error::config("eps", "a positive number", eps));
    }
    Ok(())
}

/// ε from the largest cost down to its goal.
fn levels(costs: &[f64], eps: f64) -> Vec<f64> {
    let largest = costs.iter().fold(0.0f64, |a, c| a.max(c.abs()));
    let mut levels: Vec<f64> = std::iter::successors(Some(largest), |e| Some(e / 4.0)).take(200).collect();
    levels.retain(|e| *e > eps);
    levels.push(eps);
    levels
}

impl Sinkhorn {
    /// The influence of each row and column on `cost`: `f − ε ∂f/∂ε` and `g − ε ∂g/∂ε`, since
    /// `⟨P, C⟩ = OT_ε − ε ∂OT_ε/∂ε`. The derivatives solve `∂f = κ − Π ∂g, ∂g = λ − Πᵀ ∂f` with the plan's
    /// conditional laws Π and the row and column means κ, λ of `(f_i + g_j − C_ij)/ε`. Of a sample with itself they are
    /// one, `∂f = κ − Π ∂f`: the averaged step halves its error whatever Π, where alternating ones would creep as Π
    /// comes close to the identity.
    pub fn cost_influence(&self, costs: &[f64], eps: f64) -> (Vec<f64>, Vec<f64>) {
        let (n, m) = (self.f.len(), self.g.len());
        let mut state =
            State { costs, n, m, f: self.f.clone(), g: self.g.clone(), ..State::new(costs, n, m) };
        state.rebuild(eps);
        let exponent = |i: usize, j: usize| (self.f[i] + self.g[j] - costs[i * m + j]) / eps;
        let parts: Vec<(Vec<f64>, Vec<f64>)> = state
            .kernel
            .par_chunks(CHUNK * m)
            .enumerate()
            .map(|(chunk, rows)| {
                let (mut own, mut columns) = (Vec::new(), vec![0.0; m]);
                for (r, row) in rows.chunks_exact(m).enumerate() {
                    let i = chunk * CHUNK + r;
                    let mut sum = 0.0;
                    for (j, (k, column)) in row.iter().zip(&mut columns).enumerate() {
                        let term = if *k > 0.0 { k * exponent(i, j) } else { 0.0 };
                        sum += term;
                        *column += term;
                    }
                    own.push(sum / m as f64);
                }
                (own, columns)
            })
            .collect();
        let kappa: Vec<f64> = parts.iter().flat_map(|p| p.0.iter().copied()).collect();
        let mut lambda = vec![0.0; m];
        parts.iter().for_each(|p| lambda.iter_mut().zip(&p.1).for_each(|(l, v)| *l += v / n as f64));
        let mut slope_g = vec![0.0; m];
        let mut slope_f = vec![0.0; n];
        let size = kappa.iter().fold(1e-300f64, |a, k| a.max(k.abs()));
        for _ in 0..1000 {
            let mut next: Vec<f64> =
                state.rows_times(&slope_g).into_iter().zip(&kappa).map(|(s, k)| k - s / m as f64).collect();
            if self.symmetric {
                next.iter_mut().zip(&slope_f).for_each(|(next, old)| *next = 0.5 * (*next + old));
            }
            let change = next.iter().zip(&slope_f).fold(0.0f64, |a, (x, y)| a.max((x - y).abs()));
            slope_f = next;
            slope_g = if self.symmetric {
                slope_f.clone()
            } else {
                let sums = state.columns_times(&slope_f).into_iter().zip(&lambda);
                sums.map(|(s, l)| l - s / n as f64).collect()
            };
            if change < 1e-9 * size {
                break;
            }
        }
        let influence = |f: &[f64], slope: &[f64]| f.iter().zip(slope).map(|(f, s)| f - eps * s).collect();
        (influence(&self.f, &slope_f), influence(&self.g, &slope_g))
    }
}

struct State<'a> {
    costs: &'a [f64],
    n: usize,
    m: usize,
    f: Vec<f64>,
    g: Vec<f64>,
    /// `exp((f_i + g_j − C_ij)/ε)`.
    kernel: Vec<f64>,
    u: Vec<f64>,
    v: Vec<f64>,
    iterations: usize,
    /// Whether rows and columns are one sample.
    symmetric: bool,
}

impl<'a> State<'a> {
    fn new(costs: &'a [f64], n: usize, m: usize) -> Self {
        let (f, g) = (vec![0.0; n], vec![0.0; m]);
        let (u, v) = (vec![1.0; n], vec![1.0; m]);
        Self { costs, n, m, f, g, kernel: Vec::new(), u, v, iterations: 0, symmetric: false }
    }

    fn rebuild(&mut self, eps: f64) {
        let (m, f, g) = (self.m, &self.f, &self.g);
        self.kernel.resize(self.costs.len(), 0.0);
        self.kernel.par_chunks_mut(m).zip(self.costs.par_chunks(m)).zip(f).for_each(|((k, c), f)| {
            for ((k, c), g) in k.iter_mut().zip(c).zip(g) {
                *k = ((f + g - c) / eps).exp();
            }
        });
        self.u.fill(1.0);
        self.v.fill(1.0);
    }

    fn absorb(&mut self, eps: f64) {
        self.f.iter_mut().zip(&self.u).for_each(|(f, u)| *f += eps * u.ln());
        self.g.iter_mut().zip(&self.v).for_each(|(g, v)| *g += eps * v.ln());
        self.rebuild(eps);
    }

    /// Iterates at one ε until the scalings change by less than `tolerance`.
    fn solve(&mut self, eps: f64, tolerance: f64, step: fn(&mut Self) -> f64) -> Result<()> {
        self.rebuild(eps);
        for i in 1..=MOST_ITERATIONS {
            let change = if i <= BALANCED && !self.symmetric { self.balance(step) } else { step(self) };
            let far = |s: &[f64]| s.iter().any(|s| !(1.0 / ABSORB..ABSORB).contains(s));
            let lost = |s: &[f64]| s.iter().any(|s| !(*s > 0.0 && s.is_finite()));
            if lost(&self.u) || lost(&self.v) {
                break;
            }
            if change < tolerance || (i == MOST_ITERATIONS && change < CREEPING) {
                self.iterations = i;
                self.absorb(eps);
                return Ok(());
            }
            if far(&self.u) || far(&self.v) {
                self.absorb(eps);
            }
        }
        Err(Error::data(
            "eps",
            format!(
                "a regularisation at which Sinkhorn's iteration converges in {MOST_ITERATIONS} steps; take a larger one"
            ),
            eps,
        ))
    }

    /// `u ← m/(K v)`, then `v ← n/(Kᵀ u)`, in one pass over K. Returns the largest relative change of u.
    fn alternate(&mut self) -> f64 {
        let (m, u, v) = (self.m, &self.u, &self.v);
        let parts: Vec<(Vec<f64>, Vec<f64>)> = self
            .kernel
            .par_chunks(CHUNK * m)
            .map(|rows| {
                let mut columns = vec![0.0; m];
                let own = rows.chunks_exact(m).map(|row| {
                    let u = m as f64 / dot(row, v);
                    columns.iter_mut().zip(row).for_each(|(c, k)| *c += u * k);
                    u
                });
                (own.collect(), columns)
            })
            .collect();
        let mut sums = vec![0.0; m];
        parts.iter().for_each(|p| sums.iter_mut().zip(&p.1).for_each(|(s, c)| *s += c));
        let next: Vec<f64> = parts.into_iter().flat_map(|p| p.0).collect();
        let change = largest_change(u, &next);
        self.u = next;
        self.v = sums.into_iter().map(|s| self.n as f64 / s).collect();
        change
    }

    /// `u ← √(u · m/(K v))` and `v ← √(v · n/(Kᵀ u))` at once, and `step` after it converged.
    fn balance(&mut self, step: fn(&mut Self) -> f64) -> f64 {
        let (n, m) = (self.n as f64, self.m as f64);
        let half = |old: &[f64], sums: Vec<f64>, count: f64| -> Vec<f64> {
            old.iter().zip(sums).map(|(u, s)| (u * count / s).sqrt()).collect()
        };
        let u = half(&self.u, self.rows_times(&self.v), m);
        let v = half(&self.v, self.columns_times(&self.u), n);
        let change = largest_change(&self.u, &u).max(largest_change(&self.v, &v));
        (self.u, self.v) = (u, v);
        if change < TOLERANCE { step(self) } else { change }
    }

    /// `u ← √(u · n/(K u))`, the averaged step of the symmetric problem.
    fn average(&mut self) -> f64 {
        let sums = self.rows_times(&self.u);
        let next: Vec<f64> = self.u.iter().zip(sums).map(|(u, s)| (u * self.n as f64 / s).sqrt()).collect();
        let change = largest_change(&self.u, &next);
        self.v.clone_from(&next);
        self.u = next;
        change
    }

    fn rows_times(&self, v: &[f64]) -> Vec<f64> {
        self.kernel.par_chunks(self.m).map(|row| dot(row, v)).collect()
    }

    fn columns_times(&self, u: &[f64]) -> Vec<f64> {
        let parts: Vec<Vec<f64>> = self
            .kernel
            .par_chunks(CHUNK * self.m)
            .zip(u.par_chunks(CHUNK))
            .map(|(rows, u)| {
                let mut columns = vec![0.0; self.m];
                for (row, u) in rows.chunks_exact(self.m).zip(u) {
                    columns.iter_mut().zip(row).for_each(|(c, k)| *c += u * k);
                }
                columns
            })
            .collect();
        let mut sums = vec![0.0; self.m];
        parts.iter().for_each(|p| sums.iter_mut().zip(p).for_each(|(s, c)| *s += c));
        sums
    }

    /// The values at the potentials reached; the kernel must be theirs.
    fn solution(self, eps: f64) -> Sinkhorn {
        let m = self.m;
        let sums: Vec<(f64, f64)> = self
            .kernel
            .par_chunks(m)
            .zip(self.costs.par_chunks(m))
            .map(|(k, c)| (dot(k, c), k.iter().sum()))
            .collect();
        let pairs = (self.n * m) as f64;
        let cost = sums.iter().map(|s| s.0).sum::<f64>() / pairs;
        let mass = sums.iter().map(|s| s.1).sum::<f64>() / pairs;
        let mean = |f: &[f64]| f.iter().sum::<f64>() / f.len() as f64;
        let entropic = mean(&self.f) + mean(&self.g) - eps * (mass - 1.0);
        let Self { f, g, iterations, symmetric, .. } = self;
        Sinkhorn { cost, entropic, f, g, iterations, symmetric }
    }
}

fn largest_change(old: &[f64], new: &[f64]) -> f64 {
    // A NaN must not look like convergence.
    old.iter().zip(new).map(|(a, b)| (b / a - 1.0).abs()).fold(0.0, |a, c| if c <= a { a } else { c })
}

/// An inner product in eight running sums: the same bits everywhere, and fast without reassociation.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a8, b8) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a8.0.iter().zip(b8.0) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    let rest: f64 = a8.1.iter().zip(b8.1).map(|(a, b)| a * b).sum();
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ot::assign;
    use genzoo_core::Noise;

    fn squared(n: usize, m: usize, shift: f64, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        let (x, y) = (noise.normals(2 * n), noise.normals(2 * m));
        let distance = |i: usize, j: usize| {
            (x[2 * i] - y[2 * j] - shift).powi(2) + (x[2 * i + 1] - y[2 * j + 1]).powi(2)
        };
        (0..n * m).map(|k| distance(k / m, k % m)).collect()
    }

    fn itself(n: usize, seed: u64) -> Vec<f64> {
        let x = Noise::new(seed).normals(2 * n);
        let distance =
            |i: usize, j: usize| (x[2 * i] - x[2 * j]).powi(2) + (x[2 * i + 1] - x[2 * j + 1]).powi(2);
        (0..n * n).map(|k| distance(k / n, k % n)).collect()
    }

    /// The conditions that make the solution unique, and the value computed from the plan itself.
    #[test]
    fn the_plan_has_its_marginals_and_the_value_is_that_of_the_plan() -> Result<()> {
        for (n, m, eps) in [(40, 30, 0.5), (40, 40, 3.0), (25, 60, 0.05)] {
            let costs = squared(n, m, 1.0, n as u64);
            let s = sinkhorn(&costs, n, m, eps)?;
            let plan: Vec<f64> = (0..n * m)
                .map(|k| ((s.f[k / m] + s.g[k % m] - costs[k]) / eps).exp() / (n * m) as f64)
                .collect();
            for i in 0..n {
                let sum: f64 = plan[i * m..(i + 1) * m].iter().sum();
                assert!((sum * n as f64 - 1.0).abs() < 1e-8, "row {i}: {sum}");
            }
            for j in 0..m {
                let sum: f64 = plan.iter().skip(j).step_by(m).sum();
                assert!((sum * m as f64 - 1.0).abs() < 1e-12, "column {j}: {sum}");
            }
            let cost: f64 = plan.iter().zip(&costs).map(|(p, c)| p * c).sum();
            let kl: f64 = plan.iter().filter(|p| **p > 0.0).map(|p| p * (p * (n * m) as f64).ln()).sum();
            assert!((s.cost - cost).abs() < 1e-10 && (s.entropic - cost - eps * kl).abs() < 1e-7 * cost);
        }
        Ok(())
    }

    #[test]
    fn small_eps_is_exact_transport_and_large_eps_independence() -> Result<()> {
        let (n, costs) = (30, squared(30, 30, 1.0, 5));
        let exact = assign(&costs, n)?.cost / n as f64;
        let s = sinkhorn(&costs, n, n, 0.1)?;
        // OT ≤ ⟨P, C⟩ ≤ OT_ε ≤ OT + ε log n.
        assert!(s.cost >= exact - 1e-8 && s.entropic <= exact + 0.1 * 30f64.ln() && s.cost <= s.entropic);
        let mean = costs.iter().sum::<f64>() / costs.len() as f64;
        let s = sinkhorn(&costs, n, n, 1e7)?;
        assert!((s.cost / mean - 1.0).abs() < 1e-5 && (s.entropic / mean - 1.0).abs() < 1e-5);
        Ok(())
    }

    #[test]
    fn both_iterations_agree_on_a_sample_and_itself() -> Result<()> {
        let costs = itself(50, 3);
        let (a, b) = (sinkhorn(&costs, 50, 50, 0.3)?, sinkhorn_symmetric(&costs, 50, 0.3)?);
        assert!((a.entropic - b.entropic).abs() < 1e-8 && (a.cost - b.cost).abs() < 1e-7);
        assert!(b.f == b.g && a.iterations < 200);
        Ok(())
    }

    /// The influence on ⟨P, C⟩ against what a repeated row does: with weight 2/(n + 1) on row 0, the change of the
    /// cost is (I(0) − mean I)/(n + 1) to first order. And the identity behind it against a difference in ε.
    #[test]
    fn the_influence_on_the_cost_is_a_derivative() -> Result<()> {
        let (n, m, eps) = (200, 60, 1.0);
        let costs = squared(n, m, 1.0, 8);
        let s = sinkhorn(&costs, n, m, eps)?;
        let (rows, _) = s.cost_influence(&costs, eps);
        let h = 1e-4;
        let (up, down) = (sinkhorn(&costs, n, m, eps + h)?, sinkhorn(&costs, n, m, eps - h)?);
        let slope = (up.entropic - down.entropic) / (2.0 * h);
        assert!((s.cost - (s.entropic - eps * slope)).abs() < 1e-6);
        let mean = rows.iter().sum::<f64>() / n as f64;
        for i in [0, 17] {
            let more = [&costs[..], &costs[i * m..(i + 1) * m]].concat();
            let change = sinkhorn(&more, n + 1, m, eps)?.cost - s.cost;
            let want = (rows[i] - mean) / (n + 1) as f64;
            assert!((change / want - 1.0).abs() < 0.1, "row {i}: {change} {want}");
        }
        Ok(())
    }

    /// Of a sample with itself a row and its column move together: the sum of both influences against the general
    /// solver, and few points far apart, where the plan is nearly the identity.
    #[test]
    fn the_influence_in_a_symmetric_problem_is_that_of_the_general_one() -> Result<()> {
        for eps in [1.0, 5.0] {
            let costs = itself(40, 3);
            let (a, b) = (sinkhorn(&costs, 40, 40, eps)?, sinkhorn_symmetric(&costs, 40, eps)?);
            let ((f, g), (h, k)) = (a.cost_influence(&costs, eps), b.cost_influence(&costs, eps));
            assert_eq!(h, k);
            for i in 0..40 {
                assert!((f[i] + g[i] - 2.0 * h[i]).abs() < 1e-5, "{i}: {} {} {}", f[i], g[i], h[i]);
            }
        }
        let costs: Vec<f64> = (0..900).map(|k| if k % 31 == 0 { 0.0 } else { 50.0 }).collect();
        let alone = sinkhorn_symmetric(&costs, 30, 1.0)?;
        // With weights a the plan is diagonal and costs nothing, whatever the weights.
        assert!(alone.cost_influence(&costs, 1.0).0.iter().all(|i| i.abs() < 1e-6));
        Ok(())
    }

    #[test]
    fn the_same_bits_on_one_and_two_threads() -> Result<()> {
        let costs = squared(90, 70, 0.5, 2);
        let on = |threads: usize| -> Result<Sinkhorn> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(|e| Error::Unsupported(e.to_string()))?.install(|| sinkhorn(&costs, 90, 70, 0.2))
        };
        let (a, b) = (on(1)?, on(2)?);
        assert!(a.cost.to_bits() == b.cost.to_bits() && a.f == b.f);
        Ok(())
    }

    #[test]
    fn what_cannot_be_solved_is_an_error() {
        assert!(sinkhorn(&[1.0; 5], 2, 2, 1.0).is_err());
        assert!(sinkhorn(&[1.0, f64::NAN], 1, 2, 1.0).is_err());
        assert!(sinkhorn(&[1.0; 4], 2, 2, 0.0).is_err());
    }
}
