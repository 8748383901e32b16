//! What the judge sees of an image: its bytes, at 28×28.
//!
//! ```text
//! k = min(⌊256 x⌋, 255)         the byte that a picture of x shows; dequantisation noise is gone
//! y = R_h (k/255) R_wᵀ          R the triangle filter from h to 28 pixels, rows summing to 1
//! R_ij ∝ max(0, 1 − |(i + ½) h/28 − (j + ½)|/max(1, h/28))
//! ```
//! The filter is Pillow's `BILINEAR`: interpolation when it enlarges, an average when it shrinks, the identity at 28.

use genzoo_core::{DType, Device, Error, Result, Tensor};

use super::net::SIZE;

/// Images `(n, 1, h, w)` with values in [0, 1] as the network takes them, `(n, 1, 28, 28)`, f32.
///
/// # Errors
/// For other shapes and for values outside [0, 1].
pub(super) fn prepare(x: &Tensor) -> Result<Tensor> {
    let &[n, 1, h, w] = x.dims() else {
        return Err(Error::data(
            "images",
            "grey ones of shape (n, 1, height, width)",
            format!("{:?}", x.dims()),
        ));
    };
    let mut v = x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    for x in &mut v {
        if !(0.0..=1.0).contains(x) {
            return Err(Error::data("pixels", "values in [0, 1]", *x));
        }
        *x = (256.0 * *x).floor().min(255.0) / 255.0;
    }
    let x = Tensor::from_vec(v, (n, h, w), &Device::Cpu)?;
    let x = if w == SIZE { x } else { along_rows(&x, w)? };
    let x = if h == SIZE {
        x
    } else {
        along_rows(&x.transpose(1, 2)?.contiguous()?, h)?.transpose(1, 2)?.contiguous()?
    };
    Ok(x.unsqueeze(1)?)
}

/// The last dimension resized from `from` to 28.
fn along_rows(x: &Tensor, from: usize) -> Result<Tensor> {
    let (n, other, _) = x.dims3()?;
    let filter = Tensor::from_vec(filter(from), (SIZE, from), &Device::Cpu)?;
    Ok(x.reshape((n * other, from))?.matmul(&filter.t()?)?.reshape((n, other, SIZE))?)
}

/// R, row by row.
fn filter(from: usize) -> Vec<f32> {
    let scale = from as f64 / SIZE as f64;
    let row = |i: usize| {
        let at = move |j: usize| {
            let distance = ((i as f64 + 0.5) * scale - (j as f64 + 0.5)).abs();
            (1.0 - distance / scale.max(1.0)).max(0.0)
        };
        let total: f64 = (0..from).map(at).sum();
        (0..from).map(move |j| (at(j) / total) as f32)
    };
    (0..SIZE).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(values: &[f32], h: usize, w: usize) -> Result<Tensor> {
        Ok(Tensor::from_slice(values, (1, 1, h, w), &Device::Cpu)?)
    }

    #[test]
    fn bytes_come_through_dequantisation_unchanged() -> Result<()> {
        for u in [0.0, 0.3, 0.999] {
            let values: Vec<f32> = (0..784).map(|i| ((i % 256) as f32 + u) / 256.0).collect();
            let got = prepare(&images(&values, 28, 28)?)?.flatten_all()?.to_vec1::<f32>()?;
            for (i, g) in got.iter().enumerate() {
                assert_eq!(*g, (i % 256) as f32 / 255.0);
            }
        }
        let ends = prepare(&images(&[1.0; 784], 28, 28)?)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(ends.iter().all(|v| *v == 1.0));
        Ok(())
    }

    /// A plane `a + b·i + c·j` stays a plane inside: both enlarging and shrinking are exact on linear functions.
    #[test]
    fn resizing_keeps_planes_and_means() -> Result<()> {
        for (h, w) in [(14, 14), (56, 56), (14, 28), (20, 40)] {
            let plane = |y: f64, x: f64| 0.2 + 0.3 * y + 0.4 * x;
            let centre = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
            let bytes = |v: f64| ((255.0 * v).round() as f32 + 0.5) / 256.0;
            let values: Vec<f32> =
                (0..h * w).map(|i| bytes(plane(centre(i / w, h), centre(i % w, w)))).collect();
            let got = prepare(&images(&values, h, w)?)?;
            assert_eq!(got.dims(), [1, 1, 28, 28]);
            let got = got.flatten_all()?.to_vec1::<f32>()?;
            for i in 3..25 {
                for j in 3..25 {
                    let want = plane(centre(i, 28), centre(j, 28));
                    // Rounding to a byte moves a pixel by at most 1/510.
                    assert!((f64::from(got[28 * i + j]) - want).abs() < 1.0 / 510.0 + 1e-6);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_no_grey_image_is_refused() -> Result<()> {
        let e = |t: Result<Tensor>| t.and_then(|t| prepare(&t)).expect_err("refused").to_string();
        assert!(e(images(&[1.5; 784], 28, 28)).contains("[0, 1], got 1.5"));
        assert!(e(images(&[f32::NAN; 784], 28, 28)).contains("NaN"));
        assert!(e(Ok(Tensor::zeros((2, 3, 28, 28), DType::F32, &Device::Cpu)?)).contains("grey"));
        assert!(e(Ok(Tensor::zeros((2, 784), DType::F32, &Device::Cpu)?)).contains("grey"));
        Ok(())
    }
}
