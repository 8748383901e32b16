//! The density that a velocity field gives to data: [`OdeLikelihood`] behind the contract's `Density`.
//!
//! ```text
//! log p(x) = log p₀(y) + log|det ∂y/∂x|,   y = (x − m)/s,   p₀ the law that the field carries N(0, I) to
//! ```
//!
//! The field lives in standardised coordinates `y`. How far the discretisation may move a value is measured when
//! the density is made: a few of the model's own samples are judged as asked and again with half the step (or half
//! the solver's tolerance), with the same probes. Let c be the mean absolute change. For a method of order one or
//! more each further halving changes at most half as much as the one before, so all of them together change at most
//! c + c/2 + c/4 + … = 2 c: that is the stated tolerance. The method's name carries the solver, its tolerance, the
//! evaluations per row and c.

use candle_core::{DType, Device, Tensor};
use genzoo_core::capability::Velocity;
use genzoo_core::config;
use genzoo_core::{
    Batch, DataSpec, Density, Error, Evidence, Kind, LogProb, Noise, Result, Standardizer, Table,
};

use super::ode::{Divergence, OdeLikelihood, Probe};
use crate::ode::{self, Control, Scheme, Solver};
use crate::rows;
use crate::transport::Warped;

/// Log-densities along a velocity field given in standardised coordinates.
pub struct OdeDensity<'a> {
    velocity: Warped<Box<dyn Velocity + 'a>>,
    scaling: Standardizer,
    likelihood: OdeLikelihood,
    evidence: Evidence,
}

/// Every option of an ODE density with its default.
///
/// Steps are equal in τ with t = τ^`warp`, so that a warp above 1 crowds them at the data.
/// `solver` is `euler`, `heun`, `rk4` (with `steps`) or `dopri5` (with the tolerance `rtol`); `probes` Hutchinson
/// probes, `probe` = `rademacher` or `gaussian`, estimate the divergence beyond three dimensions.
pub fn ode_density_defaults() -> Table {
    let mut table = Table::new();
    table.insert("solver".into(), "rk4".into());
    table.insert("steps".into(), 32.into());
    table.insert("rtol".into(), 1e-5.into());
    table.insert("warp".into(), 2.0.into());
    table.insert("probes".into(), 1.into());
    table.insert("probe".into(), Probe::Rademacher.name().into());
    table
}

/// The scheme that the options `solver`, `steps` and `rtol` of `section` ask for.
///
/// # Errors
/// If the solver is unknown, or `steps` or `rtol` are not above 0.
pub fn scheme_of(options: &Table, section: &str) -> Result<Scheme> {
    let name: String = config::get(options, "solver", section)?;
    let solver: Solver = name.parse()?;
    if solver == Solver::Dopri5 {
        let rtol: f64 = config::get(options, "rtol", section)?;
        if rtol > 0.0 {
            return Ok(Scheme::adaptive(rtol, rtol));
        }
        return Err(Error::config(format!("{section}.rtol"), "a number > 0", rtol));
    }
    let steps: i64 = config::get(options, "steps", section)?;
    match usize::try_from(steps) {
        Ok(steps) if steps > 0 => Ok(Scheme::fixed(solver, steps)),
        _ => Err(Error::config(format!("{section}.steps"), "an integer ≥ 1", steps)),
    }
}

/// The option `warp` of `section`.
///
/// # Errors
/// If it is below 1.
pub fn warp_of(options: &Table, section: &str) -> Result<f64> {
    let power: f64 = config::get(options, "warp", section)?;
    if (1.0..=10.0).contains(&power) {
        Ok(power)
    } else {
        Err(Error::config(format!("{section}.warp"), "a number from 1 to 10", power))
    }
}

impl<'a> OdeDensity<'a> {
    /// A density with these options, between the times `data` and `base`, in the space of `spec`.
    ///
    /// # Errors
    /// If an option cannot be used or the field fails.
    pub fn new(
        velocity: Box<dyn Velocity + 'a>,
        scaling: Standardizer,
        spec: &DataSpec,
        (data, base): (f64, f64),
        options: &Table,
        noise: &mut Noise,
    ) -> Result<Self> {
        let scheme = scheme_of(options, "eval")?;
        let velocity = Warped { velocity, power: warp_of(options, "eval")? };
        let (probes, law): (usize, String) =
            (config::get(options, "probes", "eval")?, config::get(options, "probe", "eval")?);
        let divergence = Divergence::for_dimension(spec.dims(), probes, law.parse()?);
        let rows_at_once = if spec.image().is_some() { 128 } else { 8_192 };
        let likelihood = OdeLikelihood {
            scheme,
            divergence,
            data_time: velocity.clock(data),
            base_time: velocity.clock(base),
            rows_at_once,
        };
        let evidence = Evidence::new(Kind::Estimate, "ode", spec.space);
        let mut density = Self { velocity, scaling, likelihood, evidence };
        let halving = density.halve(spec, noise)?;
        density.evidence.tolerance = Some(2.0 * halving.change);
        density.evidence.method = density.method(&halving);
        Ok(density)
    }

    /// The method in words: `ode(rk4, 32 steps, exact, 128 evaluations, half the step changes 2e-5 nats)`.
    fn method(&self, halving: &Halving) -> String {
        let OdeLikelihood { scheme, divergence, .. } = self.likelihood;
        let (control, halved) = match scheme.control {
            Control::Steps(n) => (format!("{n} steps"), "step"),
            Control::Tolerance { rtol, .. } => (format!("rtol {rtol:e}"), "tolerance"),
        };
        let trace = match divergence {
            Divergence::Exact => "exact".to_string(),
            Divergence::Hutchinson(k, law) => format!("{k} {}", law.name()),
        };
        let Halving { change, evaluations } = halving;
        // Plain digits where they are few: a change of 9 is "9", one of 0.00002 "2e-5".
        let change =
            if (1e-3..1e4).contains(change) { format!("{change:.3}") } else { format!("{change:.0e}") };
        format!(
            "ode({}, {control}, {trace}, {evaluations} evaluations, half the {halved} changes {change} nats)",
            scheme.solver
        )
    }

    /// What halving the step or the tolerance changes over own samples, with the same probes.
    fn halve(&self, spec: &DataSpec, noise: &mut Noise) -> Result<Halving> {
        let n = if spec.image().is_some() { 4 } else { 64 };
        let z = noise.normal(spec.batch_shape(n), DType::F32, &Device::Cpu)?;
        let field = |t: f64, x: &Tensor| self.velocity.velocity(x, &rows::time(t, x)?);
        let OdeLikelihood { scheme, data_time, base_time, .. } = self.likelihood;
        let y = ode::integrate(&scheme, field, z, base_time, data_time)?.x;
        let asked = self.likelihood.log_prob(&self.velocity, &y, &mut noise.fork("probes"))?;
        let halved = self.likelihood.halved().log_prob(&self.velocity, &y, &mut noise.fork("probes"))?;
        let change = (&asked.values - halved.values)?.abs()?.mean_all()?.to_scalar::<f64>()?;
        // Beyond a piece the rows of the next one cost the same again.
        let pieces = rows::pieces(n, self.likelihood.rows_per_piece(y.elem_count() / n)).count() as u64;
        Ok(Halving { change, evaluations: asked.evaluations / pieces.max(1) })
    }
}

/// What halving the step says.
struct Halving {
    /// Mean absolute change of log p, nats.
    change: f64,
    /// Evaluations of the field per row, as asked.
    evaluations: u64,
}

impl Density for OdeDensity<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, noise: &mut Noise) -> Result<LogProb> {
        let y = self.scaling.forward(&batch.x)?;
        let estimate = self.likelihood.log_prob(&self.velocity, &y, noise)?;
        Ok(LogProb { values: (estimate.values + self.scaling.ladj())?, shared_error: 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::{Mixture, MixtureFlow};
    use genzoo_core::Space;

    fn spec() -> DataSpec {
        DataSpec { shape: vec![2], space: Space::Continuous, classes: None, range: None }
    }

    fn options(edit: impl Fn(&mut Table)) -> Table {
        let mut table = ode_density_defaults();
        edit(&mut table);
        table
    }

    /// Standardised coordinates of a mixture that was shifted and stretched: log p(x) is known in closed form.
    #[test]
    fn the_density_of_a_stretched_mixture_is_its_own() -> Result<()> {
        let flow = MixtureFlow { mixture: Mixture::pair(), rate: 20.0 };
        let scaling = Standardizer::new(vec![3.0, -1.0], vec![2.0, 0.5], &spec())?;
        let y = flow.mixture.sample(50, &mut Noise::new(1))?;
        let x = y.broadcast_mul(&Tensor::new(&[2.0, 0.5], &Device::Cpu)?)?;
        let x = x.broadcast_add(&Tensor::new(&[3.0, -1.0], &Device::Cpu)?)?;
        let want = flow.mixture.log_densities(&y)?; // and |det| = 1
        let table = options(|t| drop(t.insert("solver".into(), "dopri5".into())));
        let density = OdeDensity::new(
            Box::new(flow.clone()),
            scaling,
            &spec(),
            (0.0, 1.0),
            &table,
            &mut Noise::new(2),
        )?;
        assert!(density.evidence().tolerance.is_some_and(|t| t < 1e-2));
        let got = rows::host(&density.log_prob(&Batch::of(x), &mut Noise::new(3))?.values)?;
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 2e-3, "{got} {want}");
        }
        Ok(())
    }

    /// The stated tolerance is twice the change under halving, so it bounds the error.
    #[test]
    fn the_tolerance_covers_the_error() -> Result<()> {
        let flow = MixtureFlow { mixture: Mixture::pair(), rate: 20.0 };
        let x = flow.mixture.sample(64, &mut Noise::new(1))?;
        let want = flow.mixture.log_densities(&x)?;
        for (solver, steps) in [("heun", 40), ("rk4", 20), ("dopri5", 1)] {
            let table = options(|t| {
                t.insert("solver".into(), solver.into());
                t.insert("steps".into(), steps.into());
                t.insert("rtol".into(), 1e-3.into());
            });
            let scaling = Standardizer::identity(&spec())?;
            let density = OdeDensity::new(
                Box::new(flow.clone()),
                scaling,
                &spec(),
                (0.0, 1.0),
                &table,
                &mut Noise::new(2),
            )?;
            let tolerance = density.evidence().tolerance.unwrap_or(0.0);
            let method = &density.evidence().method;
            let cost = if solver == "dopri5" {
                "half the tolerance changes "
            } else {
                "exact, 80 evaluations, half the step changes "
            };
            assert!(method.starts_with(&format!("ode({solver}, ")) && method.contains(cost), "{method}");
            let got = rows::host(&density.log_prob(&Batch::of(x.clone()), &mut Noise::new(3))?.values)?;
            let error = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).sum::<f64>() / 64.0;
            assert!(error < tolerance, "{solver}: error {error}, tolerance {tolerance}");
        }
        Ok(())
    }

    #[test]
    fn options_that_cannot_work_are_named() {
        let e = |key: &str, value: i64| {
            let table = options(|t| drop(t.insert(key.into(), value.into())));
            scheme_of(&table, "eval").map(|_| String::new()).unwrap_or_else(|e| e.to_string())
        };
        assert!(e("steps", 0).contains("eval.steps: expected an integer ≥ 1, got 0"));
        let table = options(|t| drop(t.insert("solver".into(), "rk5".into())));
        let message = scheme_of(&table, "eval").map(|_| String::new()).unwrap_or_else(|e| e.to_string());
        assert!(message.contains("did you mean 'rk4'"), "{message}");
    }
}
