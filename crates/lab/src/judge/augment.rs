//! Small random affine maps of training images, so that the judge forgives where and how large a digit stands.
//!
//! ```text
//! out(p) = in(c + A (p − c) + s),   A = rotation(α) · shear(h) · diag(e^a, e^b),   c the centre of the image
//! α ~ N(0, 0.12²),   h ~ N(0, 0.1²),   a, b ~ N(0, 0.08²),   s ~ N(0, 1.2²) pixels, twice
//! ```
//! Bilinear, black outside. One image costs six normals.

use genzoo_core::{Device, Noise, Result, Tensor};
use rayon::prelude::*;

use super::net::SIZE;

const ROTATION: f64 = 0.12;
const SHEAR: f64 = 0.1;
const SCALE: f64 = 0.08;
const SHIFT: f64 = 1.2;

/// Moves every image of `(b, 1, 28, 28)` at random.
pub(super) fn augment(x: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    let (b, area) = (x.dim(0)?, SIZE * SIZE);
    let input = x.flatten_all()?.to_vec1::<f32>()?;
    let draws = noise.normals(6 * b);
    let mut out = vec![0f32; b * area];
    out.par_chunks_mut(area).zip(input.par_chunks(area)).zip(draws.par_chunks(6)).for_each(
        |((out, image), z)| {
            let (sin, cos) = (ROTATION * z[0]).sin_cos();
            let (shear, a, b) = (SHEAR * z[1], (SCALE * z[2]).exp(), (SCALE * z[3]).exp());
            let map = [a * cos, b * (shear * cos - sin), a * sin, b * (shear * sin + cos)];
            warp(image, map, [SHIFT * z[4], SHIFT * z[5]], out);
        },
    );
    Ok(Tensor::from_vec(out, x.dims(), &Device::Cpu)?)
}

/// `out(x, y) = image(c + A((x, y) − c) + s)` with `A = [[m0, m1], [m2, m3]]`.
fn warp(image: &[f32], m: [f64; 4], shift: [f64; 2], out: &mut [f32]) {
    let centre = (SIZE as f64 - 1.0) / 2.0;
    let pixel = |x: i64, y: i64| {
        let inside = (0..SIZE as i64).contains(&x) && (0..SIZE as i64).contains(&y);
        if inside { f64::from(image[y as usize * SIZE + x as usize]) } else { 0.0 }
    };
    for (i, o) in out.iter_mut().enumerate() {
        let (dx, dy) = ((i % SIZE) as f64 - centre, (i / SIZE) as f64 - centre);
        let (x, y) = (centre + m[0] * dx + m[1] * dy + shift[0], centre + m[2] * dx + m[3] * dy + shift[1]);
        let (left, top) = (x.floor(), y.floor());
        let (u, v, l, t) = (x - left, y - top, left as i64, top as i64);
        let above = (1.0 - u) * pixel(l, t) + u * pixel(l + 1, t);
        let below = (1.0 - u) * pixel(l, t + 1) + u * pixel(l + 1, t + 1);
        *o = ((1.0 - v) * above + v * below) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_shifts_and_quarter_turns_move_pixels_exactly() {
        let image: Vec<f32> = (0..SIZE * SIZE).map(|i| i as f32).collect();
        let mut out = vec![0f32; SIZE * SIZE];
        warp(&image, [1.0, 0.0, 0.0, 1.0], [2.0, -1.0], &mut out);
        assert_eq!(out[5 * SIZE + 7], image[4 * SIZE + 9]);
        assert_eq!(out[SIZE - 1], 0.0, "black outside");
        warp(&image, [0.0, -1.0, 1.0, 0.0], [0.0, 0.0], &mut out);
        assert_eq!(out[3 * SIZE + 10], image[10 * SIZE + (SIZE - 1 - 3)]);
        warp(&image, [1.0, 0.0, 0.0, 1.0], [0.25, 0.0], &mut out);
        assert_eq!(out[3 * SIZE + 10], image[3 * SIZE + 10] + 0.25);
    }

    #[test]
    fn an_image_is_moved_by_its_own_draws() -> Result<()> {
        let x = Noise::new(1).uniform((3, 1, SIZE, SIZE), genzoo_core::DType::F32, &Device::Cpu)?;
        let all = augment(&x, &mut Noise::new(2))?;
        let two = augment(&x.narrow(0, 0, 2)?, &mut Noise::new(2))?;
        let bits = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>());
        assert_eq!(bits(&all.narrow(0, 0, 2)?)?, bits(&two)?);
        assert_ne!(bits(&all)?, bits(&x)?);
        Ok(())
    }
}
