//! What samples are held against: a real sample, a second real one for the floors, and what they share.

use candle_core::Tensor;
use genzoo_core::{Error, Measurement, Modes, Noise, Result};
use genzoo_numerics::ot::projections;

use super::points::Points;
use super::sliced::{DIRECTIONS, sliced_w2};
use super::two_sample::{Estimate, Within, u_statistics, within};
use super::wasserstein::w2;
use super::{MetricInfo, energy, find, mmd, modes};

/// Largest sample of the exact Wasserstein distance.
const MOST_EXACT: usize = 2000;

/// A real sample, prepared once and used for every model.
pub struct Reference {
    real: Points,
    real_within: Within<2>,
    bandwidth: f64,
    directions: Tensor,
    modes: Option<Modes>,
    exact: usize,
    metrics: Vec<&'static MetricInfo>,
    floors: Vec<Option<f64>>,
}

impl Reference {
    /// Prepares `real`, and measures the floors on `other`, a disjoint real sample of the same size, if there is one.
    /// `exact` bounds the sample of the exact Wasserstein distance. Directions are drawn from `noise`.
    ///
    /// # Errors
    /// If a metric is unknown, or the samples are empty or not finite.
    pub fn new(
        real: &Tensor,
        other: Option<&Tensor>,
        modes: Option<&Modes>,
        metrics: &[&str],
        exact: usize,
        noise: &mut Noise,
    ) -> Result<Self> {
        let real = Points::new(real)?;
        if real.len() < 2 {
            return Err(Error::data("real sample", "at least 2 rows", real.len()));
        }
        let known = |m: &&'static MetricInfo| !m.name.starts_with("mode_") || modes.is_some();
        let metrics: Vec<_> = metrics.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
        let metrics: Vec<_> = metrics.into_iter().filter(|m| m.name != "kl").filter(known).collect();
        let bandwidth = mmd::bandwidth(&real)?;
        let mut reference = Self {
            real_within: within(&real, kernels(bandwidth))?,
            directions: projections(DIRECTIONS, real.dims(), noise)?,
            real,
            bandwidth,
            modes: modes.cloned(),
            exact: exact.min(MOST_EXACT),
            floors: vec![None; metrics.len()],
            metrics,
        };
        if let Some(other) = other {
            let measured = reference.measure(&Points::new(other)?)?;
            reference.floors = measured.into_iter().map(|(e, _)| Some(e.value)).collect();
        }
        Ok(reference)
    }

    /// Size of the real sample.
    pub fn len(&self) -> usize {
        self.real.len()
    }

    /// Whether it is empty; it never is.
    pub fn is_empty(&self) -> bool {
        self.real.is_empty()
    }

    /// The real sample.
    pub fn real(&self) -> &Points {
        &self.real
    }

    /// Every metric of `samples`, `(n, event…)`, of the size of the real sample.
    ///
    /// # Errors
    /// If the samples have another size or dimension, or are not finite.
    pub fn judge(&self, samples: &Tensor) -> Result<Vec<(String, Measurement)>> {
        let measured = self.measure(&Points::new(samples)?)?;
        let named = self.metrics.iter().zip(&self.floors).zip(measured);
        Ok(named.map(|((m, floor), (e, n))| (m.name.to_string(), m.measured(e, n, *floor))).collect())
    }

    fn measure(&self, x: &Points) -> Result<Vec<(Estimate, usize)>> {
        if x.len() != self.real.len() || x.dims() != self.real.dims() {
            let want = format!("{} rows of dimension {}", self.real.len(), self.real.dims());
            return Err(Error::data("samples", want, format!("{} of {}", x.len(), x.dims())));
        }
        let n = x.len();
        let asked = |name: &str| self.metrics.iter().any(|m| m.name == name);
        let pair = if asked("mmd2") || asked("energy_distance") {
            let kernels = kernels(self.bandwidth);
            Some(u_statistics((x, &within(x, &kernels)?), (&self.real, &self.real_within), &kernels)?)
        } else {
            None
        };
        let shares = self.modes.as_ref().map(|m| (m, modes::shares(x, m)));
        let few = n.min(self.exact);
        let one = |m: &&'static MetricInfo| match (m.name, &pair, &shares) {
            ("mmd2", Some([e, _]), _) | ("energy_distance", Some([_, e]), _) => Ok((*e, n)),
            ("sliced_w2", ..) => Ok((sliced_w2(x, &self.real, &self.directions)?, n)),
            ("w2", ..) => Ok((w2(&x.first(few), &self.real.first(few))?, few)),
            ("mode_coverage", _, Some((m, s))) => Ok((modes::coverage(s, m, n), n)),
            ("mode_error", _, Some((m, s))) => Ok((modes::mass_error(s, m, n), n)),
            (name, ..) => {
                Err(Error::Unsupported(format!("metric '{name}' cannot be measured on samples alone")))
            }
        };
        self.metrics.iter().map(one).collect()
    }
}

/// The kernels of MMD² and of the energy distance.
fn kernels(bandwidth: f64) -> impl Fn(f64) -> [f64; 2] + Sync {
    let gaussian = mmd::kernel(bandwidth);
    move |squared| [gaussian(squared), energy::kernel(squared)]
}

/// The metrics of two sample files, each of any size: as many of each as the smaller one has, chosen at random.
/// Where the real file has twice as many, the rest gives the floors.
///
/// # Errors
/// If a metric is unknown or needs more than samples, or the samples do not match.
pub fn compare(
    real: &Tensor,
    fake: &Tensor,
    metrics: Option<&[String]>,
    noise: &mut Noise,
) -> Result<Vec<(String, Measurement)>> {
    if real.dims().get(1..) != fake.dims().get(1..) {
        return Err(Error::data(
            "samples",
            format!("rows of shape {:?}", &real.dims()[1..]),
            format!("{:?}", fake.dims()),
        ));
    }
    // More rows than this take minutes and no longer change the picture.
    const MOST: usize = 5000;
    let n = real.dim(0)?.min(fake.dim(0)?).min(MOST);
    let metrics: Vec<&str> = match metrics {
        Some(names) => names.iter().map(String::as_str).collect(),
        None => vec!["mmd2", "energy_distance", "sliced_w2", "w2"],
    };
    for name in &metrics {
        if find(name)?.name == "kl" || name.starts_with("mode_") {
            return Err(Error::Unsupported(format!(
                "metric '{name}' needs to know where the data come from, not only samples"
            )));
        }
    }
    let real = shuffled(real, &mut noise.fork("real"))?;
    let fake = shuffled(fake, &mut noise.fork("fake"))?.narrow(0, 0, n)?;
    let other = if real.dim(0)? >= 2 * n { Some(real.narrow(0, n, n)?) } else { None };
    let mut directions = noise.fork("directions");
    let reference =
        Reference::new(&real.narrow(0, 0, n)?, other.as_ref(), None, &metrics, MOST_EXACT, &mut directions)?;
    reference.judge(&fake)
}

/// The rows in random order.
pub(crate) fn shuffled(x: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    let n = x.dim(0)?;
    let order: Vec<u32> = noise.permutation(n).into_iter().map(|i| i as u32).collect();
    Ok(x.index_select(&Tensor::from_vec(order, n, x.device())?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::tests::normal;

    const ALL: [&str; 4] = ["mmd2", "energy_distance", "sliced_w2", "w2"];

    fn draw(shift: f64, seed: u64) -> Result<Tensor> {
        normal(400, 2, 1.0, shift, seed).tensor()
    }

    #[test]
    fn real_against_real_is_the_floor_and_a_shift_is_seen() -> Result<()> {
        let (real, other) = (draw(0.0, 1)?, draw(0.0, 2)?);
        let reference = Reference::new(&real, Some(&other), None, &ALL, 400, &mut Noise::new(0))?;
        for (name, m) in reference.judge(&other)? {
            assert_eq!(m.value, m.floor, "{name}");
        }
        for (name, m) in reference.judge(&draw(1.0, 3)?)? {
            let (value, stderr, floor) =
                (m.value.unwrap_or(0.0), m.stderr.unwrap_or(0.0), m.floor.unwrap_or(0.0));
            assert!(
                value > floor + 4.0 * stderr && stderr > 0.0,
                "{name}: {value} ± {stderr}, floor {floor}"
            );
            assert_eq!(m.n, 400);
        }
        Ok(())
    }

    #[test]
    fn modes_are_judged_where_they_are_known() -> Result<()> {
        let modes =
            Modes { centers: vec![vec![0.0, 0.0], vec![9.0, 0.0]], masses: vec![0.5, 0.5], radius: 4.0 };
        let names = ["mode_coverage", "mode_error"];
        let real = draw(0.0, 1)?;
        let reference = Reference::new(&real, None, Some(&modes), &names, 400, &mut Noise::new(0))?;
        let judged = reference.judge(&draw(0.0, 2)?)?;
        assert_eq!((judged[0].1.value, judged[0].1.floor), (Some(1.0), None));
        assert!((judged[1].1.value.unwrap_or(0.0) - 0.5).abs() < 0.02);
        assert!(Reference::new(&real, None, None, &names, 400, &mut Noise::new(0))?.judge(&real)?.is_empty());
        Ok(())
    }

    #[test]
    fn files_are_compared_at_equal_sizes() -> Result<()> {
        let (real, fake) = (draw(0.0, 1)?, draw(0.5, 2)?.narrow(0, 0, 150)?);
        let got = compare(&real, &fake, None, &mut Noise::new(0))?;
        assert_eq!(got.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ALL);
        assert!(got.iter().all(|(_, m)| m.n == 150 && m.floor.is_some()));
        assert_eq!(got, compare(&real, &fake, None, &mut Noise::new(0))?);
        assert!(compare(&fake, &real, None, &mut Noise::new(0))?.iter().all(|(_, m)| m.floor.is_none()));
        let err =
            compare(&real, &fake, Some(&["mmd".into()]), &mut Noise::new(0)).expect_err("no such metric");
        assert!(err.to_string().contains("mmd2"), "{err}");
        assert!(compare(&real, &fake, Some(&["kl".into()]), &mut Noise::new(0)).is_err());
        assert!(compare(&real, &normal(9, 3, 1.0, 0.0, 0).tensor()?, None, &mut Noise::new(0)).is_err());
        Ok(())
    }

    #[test]
    fn samples_that_are_not_finite_are_refused() -> Result<()> {
        let real = draw(0.0, 1)?;
        let reference = Reference::new(&real, None, None, &ALL, 400, &mut Noise::new(0))?;
        assert!(reference.judge(&(&real / 0.0)?).is_err());
        assert!(reference.judge(&real.narrow(0, 0, 10)?).is_err());
        Ok(())
    }
}
