//! `ais` for every model that offers a decoder: log p(x) by annealing from prior to posterior, row by row.
//!
//! ```text
//! E log p̂(x) ≤ log p(x) = log ∫ N(z; 0, I) p(x|z) dz          a lower bound that more temperatures tighten
//! ```
//!
//! A generator (a GAN's) has no likelihood of its own. It is judged with Gaussian noise on what it makes,
//! x = G(z) + σ ε, σ fitted on validation rows unless it is given; then rows of this very model can be simulated together
//! with their codes, and the gap between the bounds from below and above is measured on them.
//! What it says of bytes: a generator's is a density of x̃, any other decoder's is log P(k).

use candle_core::Tensor;
use genzoo_core::capability::Decoder;
use genzoo_core::{
    Batch, Dataset, Density, DensityInfo, Error, Evidence, Kind, LogProb, Noise, Result, Space, Split, Table,
    config,
};
use genzoo_numerics::likelihood::ais::{Ais, Ladder, Transition};
use genzoo_numerics::likelihood::observation::Observed;
use genzoo_numerics::rows;
use genzoo_numerics::special::Moments;
use serde::Deserialize;
use toml::toml;

use super::DEGENERATE;
use crate::data::random_rows;

pub(super) const INFO: DensityInfo = DensityInfo {
    name: "ais",
    summary: "annealed importance sampling from prior to posterior, row by row: lower bound; generators with fitted noise",
    defaults: || {
        toml! {
            chains = 32
            temperatures = 200
            ladder = "balanced"
            share = 0.99
            transition = "hmc"
            leapfrogs = 5
            sigma = 0.0
            rows = 200
        }
    },
};

#[derive(Deserialize)]
struct Options {
    chains: usize,
    temperatures: usize,
    ladder: String,
    share: f64,
    transition: String,
    leapfrogs: usize,
    sigma: f64,
}

impl Options {
    fn ais(&self, dims: usize) -> Result<Ais> {
        let ladder = match self.ladder.as_str() {
            "balanced" => Ladder::Balanced(self.temperatures),
            "even" => Ladder::Even(self.temperatures),
            "adaptive" => Ladder::Adaptive { share: self.share, at_most: self.temperatures },
            other => return Err(Error::unknown("ladder", other, ["balanced", "even", "adaptive"])),
        };
        let transition = Transition::parse(&self.transition, self.leapfrogs)?;
        // About 32 MB of data in f64 at once.
        let rows_at_once = ((1 << 22) / dims.max(1)).clamp(64, 8_192);
        Ok(Ais { chains: self.chains, ladder, transition, rows_at_once, ..Ais::default() })
    }
}

/// Validation rows on which σ is fitted.
const ROWS_TO_FIT: usize = 64;
/// Simulated rows on which the gap between both bounds is measured.
const ROWS_TO_ENCLOSE: usize = 16;

/// The density of a decoder by annealing.
pub(super) struct Annealed<'a> {
    decoder: Judged<'a>,
    ais: Ais,
    evidence: Evidence,
}

/// A decoder with its own likelihood, or a generator seen through noise.
enum Judged<'a> {
    Own(&'a dyn Decoder),
    Noisy(Observed<'a>),
}

impl Judged<'_> {
    fn decoder(&self) -> &dyn Decoder {
        match self {
            Self::Own(decoder) => *decoder,
            Self::Noisy(observed) => observed,
        }
    }
}

impl<'a> Annealed<'a> {
    pub(super) fn new(
        decoder: &'a dyn Decoder,
        data: &dyn Dataset,
        options: &Table,
        noise: &mut Noise,
    ) -> Result<Self> {
        let options: Options = config::read(options, INFO.name)?;
        let spec = data.spec();
        let ais = options.ais(spec.dims())?;
        let ladder = match &ais.ladder {
            Ladder::Balanced(n) => format!("{n} temperatures"),
            Ladder::Adaptive { share, .. } => format!("temperatures of share {share}"),
            _ => format!("{} even temperatures", options.temperatures),
        };
        let mut words = format!("ais({ladder}, {} chains, {}", ais.chains, ais.transition);
        let mut evidence = Evidence::new(Kind::LowerBound, "", spec.space);
        let decoder = if decoder.is_generator() {
            let rows = validation(data, &mut noise.fork("validation"))?;
            let observed = match options.sigma {
                0.0 => {
                    // The maximum is flat: few chains place it.
                    let rough = Ais { chains: ais.chains.div_ceil(4).max(4), ..ais.clone() };
                    Observed::fit(decoder, &rows, &rough, &mut noise.fork("sigma"))?
                }
                sigma => Observed::new(decoder, sigma)?,
            };
            let gap = gap(&observed, &ais, &rows, &mut noise.fork("gap"))?;
            words += &format!(
                ", sigma {:.3}, gap {:.2}±{:.2} on own rows",
                observed.sigma(),
                gap.mean(),
                gap.standard_error()
            );
            Judged::Noisy(observed)
        } else {
            evidence.discrete = spec.space == Space::U8;
            Judged::Own(decoder)
        };
        evidence.method = words + ")";
        Ok(Self { decoder, ais, evidence })
    }
}

/// Some validation rows, or training rows where there are none.
fn validation(data: &dyn Dataset, noise: &mut Noise) -> Result<Tensor> {
    let has = |split| data.len(split).is_none_or(|n| n > 0);
    let split = if has(Split::Validation) { Split::Validation } else { Split::Train };
    let n = data.len(split).map_or(ROWS_TO_FIT, |n| ROWS_TO_FIT.min(n as usize));
    Ok(random_rows(data, split, n, noise)?.x)
}

/// How far reverse lies above forward, over rows of the model itself.
fn gap(observed: &Observed<'_>, ais: &Ais, like: &Tensor, noise: &mut Noise) -> Result<Moments> {
    let (x, z) = observed.simulate(ROWS_TO_ENCLOSE, like, noise)?;
    let below = ais.evidence(observed, &x, noise)?.values;
    let above = ais.reverse_evidence(observed, &x, &z, noise)?.values;
    Ok(Moments::of(&above.iter().zip(below).map(|(a, b)| a - b).collect::<Vec<_>>()))
}

impl Density for Annealed<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, noise: &mut Noise) -> Result<LogProb> {
        let got = self.ais.evidence(self.decoder.decoder(), &batch.x, noise)?;
        if got.is_degenerate() {
            return Err(Error::Unsupported(format!(
                "{DEGENERATE}: the {} chains of a row are worth {:.1} independent weights, and 10 are needed; raise ais.temperatures or ais.chains",
                self.ais.chains,
                got.mean_effective_sample_size()
            )));
        }
        Ok(LogProb { values: rows::tensor(got.values, batch.x.device())?, shared_error: 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{OpenOptions, open};
    use genzoo_numerics::special::log_normal_density;

    /// x_i = a_i z_i + σ ε_i: independent coordinates of variance a_i² + σ².
    struct Diagonal {
        a: [f64; 2],
        sigma: f64,
        generator: bool,
    }

    impl Diagonal {
        fn log_evidence(&self, x: &[f64], sigma: f64) -> f64 {
            let each = |(x, a): (&f64, f64)| log_normal_density(*x, 0.0, a.hypot(sigma));
            x.iter().zip(self.a).map(each).sum()
        }
    }

    impl Decoder for Diagonal {
        fn latent_dim(&self) -> usize {
            2
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            Ok(z.broadcast_mul(&Tensor::new(&self.a, z.device())?.to_dtype(z.dtype())?)?)
        }
        fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
            Ok(self.log_likelihood_and_gradient(x, z)?.0)
        }
        fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
            let gap = ((x - self.decode(z)?)? / self.sigma)?;
            let constant = -std::f64::consts::TAU.ln() - 2.0 * self.sigma.ln();
            let value = gap.sqr()?.sum(1)?.affine(-0.5, constant)?;
            Ok((value, (self.decode(&gap)? / self.sigma)?))
        }
        fn is_generator(&self) -> bool {
            self.generator
        }
    }

    fn options(text: &str) -> Table {
        let mut options = (INFO.defaults)();
        options.extend(text.parse::<Table>().expect("a table"));
        options.remove("rows");
        options
    }

    fn judged(decoder: &Diagonal, text: &str) -> Result<(Evidence, Vec<f64>, Vec<f64>)> {
        let data = open("moons", &OpenOptions::default())?;
        let density = Annealed::new(decoder, data.as_ref(), &options(text), &mut Noise::new(1))?;
        let batch = data.rows(Split::Test, 0..100)?;
        let got = rows::host(&density.log_prob(&batch, &mut Noise::new(2))?.values)?;
        Ok((density.evidence().clone(), got, rows::host(&batch.x)?))
    }

    fn mean_gap(decoder: &Diagonal, sigma: f64, got: &[f64], x: &[f64]) -> Moments {
        let truth = x.chunks(2).map(|x| decoder.log_evidence(x, sigma));
        Moments::of(&got.iter().zip(truth).map(|(a, b)| a - b).collect::<Vec<_>>())
    }

    #[test]
    fn a_decoder_of_its_own_is_judged_by_its_closed_form() -> Result<()> {
        let decoder = Diagonal { a: [1.5, 0.5], sigma: 0.4, generator: false };
        for (text, words) in [
            ("", "ais(200 temperatures, 32 chains, hmc 5)"),
            ("transition = 'mala'\nladder = 'even'", "ais(200 even temperatures, 32 chains, mala)"),
            ("ladder = 'adaptive'\nshare = 0.98", "ais(temperatures of share 0.98, 32 chains, hmc 5)"),
        ] {
            let (evidence, got, x) = judged(&decoder, text)?;
            let gap = mean_gap(&decoder, 0.4, &got, &x);
            assert!(gap.mean().abs() < 4.0 * gap.standard_error() + 0.01, "{text}: {gap:?}");
            assert_eq!((evidence.kind, evidence.discrete), (Kind::LowerBound, false));
            assert_eq!(evidence.method, words);
        }
        Ok(())
    }

    #[test]
    fn a_generator_is_judged_through_noise_given_or_fitted() -> Result<()> {
        let generator = Diagonal { a: [1.0, 0.3], sigma: 1.0, generator: true };
        let (evidence, got, x) = judged(&generator, "sigma = 0.35")?;
        let gap = mean_gap(&generator, 0.35, &got, &x);
        assert!(gap.mean().abs() < 4.0 * gap.standard_error() + 0.01, "{gap:?}");
        assert!(evidence.method.contains("sigma 0.350, gap ") && evidence.method.ends_with("on own rows)"));
        let (fitted, got, x) = judged(&generator, "")?;
        let sigma: f64 = fitted
            .method
            .split("sigma ")
            .nth(1)
            .and_then(|s| s.split(',').next())
            .and_then(|s| s.parse().ok())
            .unwrap_or(f64::NAN);
        let gap = mean_gap(&generator, sigma, &got, &x);
        assert!(gap.mean().abs() < 4.0 * gap.standard_error() + 0.01, "{gap:?}");
        // The likeliest σ of the test rows is no far likelier than the one found on validation rows.
        let mean = |sigma: f64| x.chunks(2).map(|x| generator.log_evidence(x, sigma)).sum::<f64>() / 100.0;
        let best = (1..60).map(|k| mean(0.05 * k as f64)).fold(f64::MIN, f64::max);
        assert!(mean(sigma) > best - 0.05, "{sigma}: {} {best}", mean(sigma));
        Ok(())
    }

    #[test]
    fn too_few_temperatures_are_degenerate_and_options_are_checked() -> Result<()> {
        let sharp = Diagonal { a: [1.5, 0.5], sigma: 0.01, generator: false };
        let e = |text: &str| judged(&sharp, text).map(|_| String::new()).unwrap_or_else(|e| e.to_string());
        assert!(e("temperatures = 2").contains(DEGENERATE));
        assert!(e("transition = 'nuts'").contains("unknown transition 'nuts'"));
        assert!(e("ladder = 'evn'").contains("did you mean 'even'"));
        assert!(e("chains = 0").contains("chains: expected at least 1"));
        Ok(())
    }
}
