//! A density of dequantised bytes as a bound on the probability of the bytes, from several dequantisations of each image.

use genzoo_core::{Batch, Density, Evidence, Kind, LogProb, Noise, Result};
use genzoo_numerics::likelihood::bits::dequantisation_bound;
use genzoo_numerics::rows;

/// `log P(k) ≥ log (1/m) Σ_j p((k + u_j)/256) − D log 256`.
pub(super) struct Dequantised<'a> {
    density: Box<dyn Density + 'a>,
    draws: usize,
    evidence: Evidence,
}

impl<'a> Dequantised<'a> {
    pub(super) fn new(density: Box<dyn Density + 'a>, draws: usize) -> Self {
        let inner = density.evidence();
        let mut evidence = inner.clone();
        evidence.method = format!("{}, {draws} dequantisations", inner.method);
        evidence.discrete = true;
        (evidence.kind, evidence.tolerance) = match inner.kind {
            Kind::Exact | Kind::LowerBound => (Kind::LowerBound, None),
            Kind::Estimate => (Kind::Estimate, inner.tolerance),
            // Above log p(x̃) and below log P(k) by unknown amounts.
            Kind::UpperBound => (Kind::Estimate, None),
        };
        Self { density, draws, evidence }
    }
}

impl Density for Dequantised<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, noise: &mut Noise) -> Result<LogProb> {
        let levels = batch.x.affine(256.0, 0.0)?.floor()?.clamp(0.0, 255.0)?;
        let (mut shared_error, mut inner) = (0.0f64, noise.fork("density"));
        let mut log_density = |x: &genzoo_core::Tensor| {
            let part = Batch { x: x.clone(), ..batch.clone() };
            let got = self.density.log_prob(&part, &mut inner)?;
            shared_error = shared_error.max(got.shared_error);
            rows::host(&got.values)
        };
        let values =
            dequantisation_bound(&mut log_density, &levels, self.draws, &mut noise.fork("dequantise"))?;
        Ok(LogProb { values: rows::tensor(values, batch.x.device())?, shared_error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::{DType, Device, Space, Tensor};

    /// p(x̃) = Π 2 x̃_i, so that P(k) = Π (2 k_i + 1)/256².
    struct Slope(Evidence);

    impl Density for Slope {
        fn evidence(&self) -> &Evidence {
            &self.0
        }
        fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
            let values = (&batch.x.to_dtype(DType::F64)? * 2.0)?.log()?.flatten_from(1)?.sum(1)?;
            Ok(LogProb { values, shared_error: 0.01 })
        }
    }

    #[test]
    fn the_bytes_of_a_batch_get_their_probability() -> Result<()> {
        let x = Tensor::new(&[[[[0.0f32, 0.7]]], [[[0.2, 0.999]]]], &Device::Cpu)?;
        let levels = [[0.0, 179.0], [51.0, 255.0]];
        let inner = Evidence::new(Kind::Exact, "slope", Space::U8);
        let density = Dequantised::new(Box::new(Slope(inner)), 4_000);
        let got = density.log_prob(&Batch::of(x), &mut Noise::new(1))?;
        for (got, levels) in rows::host(&got.values)?.iter().zip(levels) {
            let want: f64 = levels.iter().map(|k: &f64| ((2.0 * k + 1.0) / 65_536.0).ln()).sum();
            // The relative variance of 2u is 1/3, that of other cells far less.
            assert!((got - want).abs() < 4.0 * (1.0f64 / 3.0 / 4_000.0).sqrt(), "{got} {want}");
        }
        let evidence = density.evidence();
        assert_eq!((evidence.kind, evidence.discrete), (Kind::LowerBound, true));
        assert_eq!((evidence.method.as_str(), got.shared_error), ("slope, 4000 dequantisations", 0.01));
        Ok(())
    }
}
