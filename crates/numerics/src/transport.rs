//! From noise to data in the coordinates of the data: the frame of every sampler that starts at `N(0, I)`.

use candle_core::{DType, Device, Tensor};
use genzoo_core::{DataSpec, Error, Noise, Result, Standardizer};

use crate::rows;

/// `n` draws of `N(0, I)` shaped like the data, carried by `push` and brought back to the data's scale and range.
///
/// Works piece by piece, so that memory does not grow with `n`. `push` maps `(b, event…)` in standardised
/// coordinates, from noise to data.
///
/// # Errors
/// If `n` is 0 or `push` fails.
pub fn from_noise(
    spec: &DataSpec,
    scaling: &Standardizer,
    device: &Device,
    n: usize,
    noise: &mut Noise,
    mut push: impl FnMut(Tensor, &mut Noise) -> Result<Tensor>,
) -> Result<Tensor> {
    if n == 0 {
        return Err(Error::config("n", "an integer ≥ 1", 0));
    }
    let at_once = if spec.image().is_some() { 256 } else { 16_384 };
    let done = rows::pieces(n, at_once).map(|(_, b)| {
        let z = noise.normal(spec.batch_shape(b), DType::F32, device)?;
        spec.clamp(&scaling.inverse(&push(z, noise)?)?)
    });
    Ok(Tensor::cat(&done.collect::<Result<Vec<_>>>()?, 0)?)
}

/// `b` times in (0, 1), one in each of `b` equal cells: the law of each is uniform over a random row, and their
/// mean has far less variance than that of independent draws.
pub fn stratified_times(b: usize, noise: &mut Noise) -> Vec<f64> {
    let u = noise.uniforms(b);
    u.into_iter()
        .enumerate()
        .map(|(i, u)| (i as f64 + u) / b as f64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Space;

    #[test]
    fn pieces_come_back_in_the_scale_and_range_of_the_data() -> Result<()> {
        let spec = DataSpec {
            shape: vec![1],
            space: Space::Continuous,
            classes: None,
            range: Some((4.0, 6.0)),
        };
        let scaling = Standardizer::new(vec![5.0], vec![2.0], &spec)?;
        let x = from_noise(
            &spec,
            &scaling,
            &Device::Cpu,
            20_000,
            &mut Noise::new(0),
            |z, _| Ok(z),
        )?;
        let x = rows::host(&x)?;
        assert_eq!(x.len(), 20_000);
        assert!(x.iter().all(|x| (4.0..=6.0).contains(x)));
        let inside = x.iter().filter(|x| **x > 4.0 && **x < 6.0).count() as f64 / 20_000.0;
        assert!(
            (inside - 0.382_925).abs() < 4.0 * (0.25f64 / 20_000.0).sqrt(),
            "{inside}"
        ); // P(|z| < ½)
        Ok(())
    }

    #[test]
    fn stratified_times_hit_every_cell() {
        let t = stratified_times(64, &mut Noise::new(0));
        assert!(
            t.iter()
                .enumerate()
                .all(|(i, t)| (t * 64.0).floor() as usize == i)
        );
    }
}
