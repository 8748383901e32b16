//! A generator as a latent-variable model: Gaussian noise around what it makes.
//!
//! ```text
//! z ~ N(0, I),   x = G(z) + σ ε,   log p(x|z) = −|x − G(z)|² / 2σ² − D log σ − D/2 log 2π
//! ```
//!
//! Without noise the samples of a GAN lie on a surface and have no density. σ is a parameter of the judged model, so it is
//! fitted on rows that are neither trained nor tested on. A generator offers its [`Decoder`] with σ = 1; everything for
//! another σ follows from that one value, gradient included: `∇ log p_σ = ∇ log p_1 / σ²`.
//! Source: Wu, Burda, Salakhutdinov & Grosse (2017), arXiv:1611.04273, §4.

use candle_core::{DType, Tensor};
use genzoo_core::capability::Decoder;
use genzoo_core::math::HALF_LOG_TAU;
use genzoo_core::{Error, Noise, Result};
use rayon::prelude::*;

use super::ais::{Ais, Ladder};
use crate::rows;
use crate::special::Moments;

/// Draws of the prior, for images and for points: the nearest of them tells where σ may lie, all of them bound its
/// likelihood.
const CODES: usize = 1_024;
const CODES_OF_POINTS: usize = 16_384;
/// Most coordinates of a point.
const POINT: usize = 32;
/// How far σ may lie above and below that distance, on a logarithmic scale.
const ABOVE: f64 = 2.0;
const BELOW: f64 = 3.0;
/// Values of σ that are tried.
const STEPS: usize = 60;

/// A generator seen through noise of standard deviation `sigma`.
pub struct Observed<'a> {
    generator: &'a dyn Decoder,
    sigma: f64,
}

impl<'a> Observed<'a> {
    /// `generator` must give `log N(x; G(z), I)`, as [`Decoder::is_generator`] promises.
    ///
    /// # Errors
    /// If `sigma` is not a finite number above 0.
    pub fn new(generator: &'a dyn Decoder, sigma: f64) -> Result<Self> {
        if !(sigma.is_finite() && sigma > 0.0) {
            return Err(Error::config("sigma", "a finite number above 0", sigma));
        }
        Ok(Self { generator, sigma })
    }

    /// The σ under which the rows of `validation`, `(n, event…)`, are likeliest. One annealing knows them all, because a
    /// likelihood at the temperature β is one of wider noise:
    ///
    /// ```text
    /// N(x; G, σ₁² I)^β ∝ N(x; G, σ² I),  σ = σ₁/√β      log p_σ(x) = log Z_β + β D/2 log 2πσ₁² − D/2 log 2πσ²
    /// ```
    /// So `ais` anneals to the smallest σ there may be, through `STEPS` temperatures of its own choice, and the largest
    /// mean of log p_σ on the way is σ's. A few chains that are cooled this fast miss modes of the posterior, and are too
    /// low where σ is small; draws of the prior alone,
    ///
    /// ```text
    /// log p_σ(x) ≥ E log 1/M Σ_j N(x; G(z_j), σ² I)
    /// ```
    /// miss none where data have few dimensions. Of both bounds the higher one counts, σ by σ.
    ///
    /// # Errors
    /// If there are no rows, or the generator fails.
    pub fn fit(
        generator: &'a dyn Decoder,
        validation: &Tensor,
        ais: &Ais,
        noise: &mut Noise,
    ) -> Result<Self> {
        let (n, d) = (validation.dim(0)?, validation.elem_count() as f64 / validation.dim(0)?.max(1) as f64);
        if n == 0 {
            return Err(Error::data("validation rows", "at least 1", 0));
        }
        let squares = squares(generator, validation, &mut noise.fork("codes"))?;
        let nearest: Vec<f64> =
            squares.iter().map(|row| row.iter().copied().fold(f64::INFINITY, f64::min)).collect();
        // The nearest of some images is farther than the best one, so σ may lie far below; or the images are too few
        // where the rows are, and it lies above.
        let reach = (Moments::of(&nearest).mean() / d).sqrt().max(1e-6);
        let (first, last) = (reach.ln() + ABOVE, reach.ln() - BELOW);
        let log_sigma = |k: usize| first + (last - first) * k as f64 / (STEPS - 1) as f64;
        let least = Self::new(generator, last.exp())?;
        let betas = (0..STEPS).map(|k| (2.0 * (last - log_sigma(k))).exp());
        let mut betas: Vec<f64> = std::iter::once(0.0).chain(betas).collect();
        betas[STEPS] = 1.0;
        let transitions = ais.transitions.max(2);
        let ais = Ais { ladder: Ladder::Given(betas), transitions, ..ais.clone() };
        let (betas, along) = ais.evidence_along(&least, validation, &mut noise.fork("anneal"))?;
        let normal = |log_sigma: f64| -0.5 * d * (std::f64::consts::TAU.ln() + 2.0 * log_sigma);
        let curve: Vec<f64> = (0..STEPS)
            .map(|k| {
                let log_z = Moments::of(&along[k + 1]).mean();
                let annealed = log_z - betas[k + 1] * normal(last) + normal(log_sigma(k));
                annealed.max(drawn(&squares, log_sigma(k)) + normal(log_sigma(k)))
            })
            .collect();
        let best = (0..STEPS).max_by(|&a, &b| curve[a].total_cmp(&curve[b])).unwrap_or(0);
        // The top of the parabola through the best and its neighbours, equally far apart.
        let bend = match (best.checked_sub(1).map(|k| curve[k]), curve.get(best + 1)) {
            (Some(left), Some(right)) => 0.5 * (left - right) / (left - 2.0 * curve[best] + right),
            _ => 0.0,
        };
        let step = (last - first) / (STEPS - 1) as f64;
        Self::new(generator, (log_sigma(best) + step * if bend.is_finite() { bend } else { 0.0 }).exp())
    }

    /// The noise's standard deviation.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// `n` pairs `(x, z)` of the model: x with an exact draw of its posterior.
    ///
    /// # Errors
    /// If the generator fails.
    pub fn simulate(&self, n: usize, like: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
        let z = noise.normal((n, self.generator.latent_dim()), like.dtype(), like.device())?;
        let x = self.generator.decode(&z)?;
        let x = (&x + (noise.normal_like(&x)? * self.sigma)?)?;
        Ok((x, z))
    }

    /// `log p_σ` from `log p_1`: with r² = −2 log p_1 − D log 2π.
    fn rescale(&self, unit: &Tensor, d: usize) -> Result<Tensor> {
        let constant = d as f64 * HALF_LOG_TAU;
        let variance = self.sigma * self.sigma;
        let unit = unit.to_dtype(DType::F64)?;
        Ok(unit.affine(1.0 / variance, constant / variance - constant - d as f64 * self.sigma.ln())?)
    }
}

impl Decoder for Observed<'_> {
    fn latent_dim(&self) -> usize {
        self.generator.latent_dim()
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        self.generator.decode(z)
    }

    fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        self.rescale(&self.generator.log_likelihood(x, z)?, x.elem_count() / x.dim(0)?.max(1))
    }

    fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (unit, gradient) = self.generator.log_likelihood_and_gradient(x, z)?;
        let value = self.rescale(&unit, x.elem_count() / x.dim(0)?.max(1))?;
        Ok((value, (gradient * (1.0 / (self.sigma * self.sigma)))?))
    }
}

/// `|x_i − G(z_j)|²` over fresh codes, row by row.
fn squares(generator: &dyn Decoder, x: &Tensor, noise: &mut Noise) -> Result<Vec<Vec<f64>>> {
    let (n, dtype) = (x.dim(0)?, x.dtype());
    let x = x.reshape((n, ()))?;
    let codes = if x.dim(1)? <= POINT { CODES_OF_POINTS } else { CODES };
    let mut all = vec![Vec::with_capacity(codes); n];
    for (_, m) in rows::pieces(codes, 256) {
        let z = noise.normal((m, generator.latent_dim()), dtype, x.device())?;
        let images = generator.decode(&z)?.reshape((m, ()))?;
        let squares = crate::ot::squared_distances(&x, &images)?;
        all.iter_mut().zip(squares.chunks(m)).for_each(|(all, row)| all.extend(row));
    }
    Ok(all)
}

/// The mean over rows of `log 1/M Σ_j exp(−r²_ij/2σ²)`.
fn drawn(squares: &[Vec<f64>], log_sigma: f64) -> f64 {
    let scale = -0.5 * (-2.0 * log_sigma).exp();
    let one = |row: &Vec<f64>| {
        let nearest = row.iter().copied().fold(f64::INFINITY, f64::min);
        let sum: f64 = row.iter().map(|r| (scale * (r - nearest)).exp()).sum();
        scale * nearest + (sum / row.len() as f64).ln()
    };
    let logs: Vec<f64> = squares.par_iter().map(one).collect();
    Moments::of(&logs).mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::likelihood::ais::Transition;
    use crate::targets::LinearGaussian;

    fn generator() -> LinearGaussian {
        LinearGaussian { sigma: 1.0, ..LinearGaussian::ppca() }
    }

    #[test]
    fn every_sigma_follows_from_one() -> Result<()> {
        let (x, z) = LinearGaussian::ppca().sample(5, &mut Noise::new(1))?;
        for sigma in [0.05, 0.35, 3.0] {
            let own = LinearGaussian { sigma, ..LinearGaussian::ppca() };
            let (generator, own) = (generator(), own.log_likelihood_and_gradient(&x, &z)?);
            let got = Observed::new(&generator, sigma)?.log_likelihood_and_gradient(&x, &z)?;
            for (got, want) in [(got.0, own.0), (got.1, own.1)] {
                for (got, want) in rows::host(&got)?.iter().zip(rows::host(&want)?) {
                    assert!((got - want).abs() < 1e-9 * want.abs().max(1.0), "{sigma}: {got} {want}");
                }
            }
        }
        assert!(Observed::new(&generator(), 0.0).is_err());
        Ok(())
    }

    /// The fitted σ is that of the largest evidence in closed form, found on a fine grid.
    #[test]
    fn the_noise_of_a_linear_generator_is_found() -> Result<()> {
        let truth = LinearGaussian::ppca();
        let mut noise = Noise::new(2);
        let (x, _) = truth.sample(200, &mut noise)?;
        let evidence = |sigma: f64| -> Result<f64> {
            let logs = LinearGaussian { sigma, ..truth.clone() }.log_evidence(&x)?;
            Ok(Moments::of(&logs).mean())
        };
        let (mut best, mut top) = (0.0, f64::NEG_INFINITY);
        for k in 0..200 {
            let sigma = 0.1 * 1.02f64.powi(k);
            let value = evidence(sigma)?;
            if value > top {
                (best, top) = (sigma, value);
            }
        }
        let ais = Ais { chains: 16, transition: Transition::Hmc { leapfrogs: 5 }, ..Ais::default() };
        let generator = generator();
        let got = Observed::fit(&generator, &x, &ais, &mut noise)?.sigma();
        assert!((got / best).ln().abs() < 0.05, "{got} {best}");
        assert!((best / truth.sigma).ln().abs() < 4.0 / 200f64.sqrt(), "{best}");
        Ok(())
    }

    /// x = (cos 3z, sin 3z): the posterior of a row has a mode for every turn, which fast annealing does not all find.
    struct Ring;

    impl Decoder for Ring {
        fn latent_dim(&self) -> usize {
            1
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            let angle = (z * 3.0)?;
            Ok(Tensor::cat(&[angle.cos()?, angle.sin()?], 1)?)
        }
        fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
            Ok(self.log_likelihood_and_gradient(x, z)?.0)
        }
        fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
            let image = self.decode(z)?;
            let gap = (x - &image)?;
            let along = Tensor::cat(&[image.narrow(1, 1, 1)?.neg()?, image.narrow(1, 0, 1)?], 1)?;
            let value = gap.sqr()?.sum(1)?.affine(-0.5, -2.0 * HALF_LOG_TAU)?;
            Ok((value, ((gap * along)?.sum_keepdim(1)? * 3.0)?))
        }
        fn is_generator(&self) -> bool {
            true
        }
    }

    /// The truth by quadrature over the angle; the fitted σ is nearly as likely as the likeliest one.
    #[test]
    fn the_noise_of_a_posterior_with_many_modes_is_found() -> Result<()> {
        let mut noise = Noise::new(6);
        let z = noise.normal((100, 1), DType::F64, &candle_core::Device::Cpu)?;
        let x = (Ring.decode(&z)? + (noise.normal((100, 2), DType::F64, z.device())? * 0.1)?)?;
        let flat = rows::host(&x)?;
        let likelihood = |sigma: f64| -> f64 {
            let one = |x: &[f64]| -> f64 {
                let cell = 16.0 / 8000.0;
                let at = |k: usize| -8.0 + cell * (k as f64 + 0.5);
                let term = |z: f64| {
                    let r = (x[0] - (3.0 * z).cos()).powi(2) + (x[1] - (3.0 * z).sin()).powi(2);
                    (-0.5 * (r / (sigma * sigma) + z * z)).exp()
                };
                let sum: f64 = (0..8000).map(|k| term(at(k))).sum::<f64>() * cell;
                sum.ln() - 3.0 * HALF_LOG_TAU - 2.0 * sigma.ln()
            };
            flat.chunks(2).map(one).sum::<f64>() / 100.0
        };
        let best = (0..40).map(|k| likelihood(0.05 * 1.05f64.powi(k))).fold(f64::MIN, f64::max);
        let ais = Ais { chains: 4, transition: Transition::Hmc { leapfrogs: 5 }, ..Ais::default() };
        let sigma = Observed::fit(&Ring, &x, &ais, &mut noise)?.sigma();
        assert!(likelihood(sigma) > best - 0.03, "{sigma}: {} {best}", likelihood(sigma));
        Ok(())
    }

    /// The evidence at every temperature of one annealing is the closed form under the noise that it stands for.
    #[test]
    fn one_annealing_knows_every_sigma() -> Result<()> {
        let (truth, least) = (LinearGaussian::ppca(), 0.2f64);
        let (x, _) = truth.sample(20, &mut Noise::new(4))?;
        let sigmas = [3.0, 1.5, 1.0, 0.7, 0.5, 0.35, 0.25, least];
        let betas = [0.0].into_iter().chain(sigmas.map(|s| (least / s).powi(2))).collect();
        let ais = Ais { chains: 400, ladder: Ladder::Given(betas), transitions: 3, ..Ais::default() };
        let generator = generator();
        let observed = Observed::new(&generator, least)?;
        let (betas, along) = ais.evidence_along(&observed, &x, &mut Noise::new(5))?;
        for (k, sigma) in sigmas.into_iter().enumerate() {
            let d = x.dim(1)? as f64;
            let normal = |sigma: f64| -0.5 * d * (std::f64::consts::TAU * sigma * sigma).ln();
            let want = LinearGaussian { sigma, ..truth.clone() }.log_evidence(&x)?;
            let gaps: Vec<f64> = along[k + 1]
                .iter()
                .zip(want)
                .map(|(log_z, want)| log_z - betas[k + 1] * normal(least) + normal(sigma) - want)
                .collect();
            let gaps = Moments::of(&gaps);
            assert!(gaps.mean().abs() < 4.0 * gaps.standard_error() + 0.02, "{sigma}: {gaps:?}");
            assert!(gaps.standard_error() < 0.1, "{sigma}: {gaps:?}");
        }
        Ok(())
    }

    #[test]
    fn simulated_rows_are_the_image_of_their_code_and_noise() -> Result<()> {
        let (generator, mut noise) = (generator(), Noise::new(3));
        let like = noise.normal((1, 3), DType::F64, &candle_core::Device::Cpu)?;
        let (x, z) = Observed::new(&generator, 0.2)?.simulate(4_000, &like, &mut noise)?;
        let gaps = rows::host(&(x - generator.decode(&z)?)?)?;
        let moments = Moments::of(&gaps);
        assert!((moments.variance() / 0.04 - 1.0).abs() < 4.0 * (2.0f64 / 12_000.0).sqrt(), "{moments:?}");
        Ok(())
    }
}
