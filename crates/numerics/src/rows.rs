//! Row-wise work on batches `(b, event…)`: the few shapes that every estimator needs.

use candle_core::{DType, Device, Tensor};
use genzoo_core::{Result, math::sum_event};

/// Squared Euclidean norm of each row, `(b,)`.
pub fn squared_norm(x: &Tensor) -> Result<Tensor> {
    Ok(sum_event(&x.sqr()?)?)
}

/// `c` of shape `(b,)` broadcast over the event of `x`, as a tensor of the shape and dtype of `x`.
pub fn spread(c: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[0] = x.dim(0)?;
    Ok(c.to_dtype(x.dtype())?.reshape(shape)?.broadcast_as(x.shape())?)
}

/// Each row multiplied by its own number, `c` of shape `(b,)`.
pub fn scale(x: &Tensor, c: &Tensor) -> Result<Tensor> {
    Ok((x * spread(c, x)?)?)
}

/// For each row the row of `yes` where `mask` (`(b,)`, u8) is not 0, else the row of `no`.
pub fn select(mask: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; yes.rank()];
    shape[0] = yes.dim(0)?;
    let mask = mask.reshape(shape)?.broadcast_as(yes.shape())?.contiguous()?;
    Ok(mask.where_cond(&yes.contiguous()?, &no.contiguous()?)?)
}

/// The batch `times` times below itself: row `r` of copy `c` is row `c·b + r` of the result.
pub fn tile(x: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return Ok(x.clone());
    }
    let mut shape = vec![times];
    shape.extend_from_slice(x.dims());
    let mut flat = x.dims().to_vec();
    flat[0] *= times;
    Ok(x.unsqueeze(0)?.broadcast_as(shape)?.contiguous()?.reshape(flat)?)
}

/// The time `t` for every row of `x`: `(b,)` in its dtype.
pub fn time(t: f64, x: &Tensor) -> Result<Tensor> {
    Ok(Tensor::full(t, x.dim(0)?, x.device())?.to_dtype(x.dtype())?)
}

/// All values on the host in `f64`, row-major.
pub fn host(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Host numbers as a `(b,)` tensor in `f64`.
pub fn tensor(values: Vec<f64>, device: &Device) -> Result<Tensor> {
    let n = values.len();
    Ok(Tensor::from_vec(values, n, device)?)
}

/// Start and length of consecutive pieces of `n` rows, at most `size` each.
pub fn pieces(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = size.max(1);
    (0..n).step_by(size).map(move |start| (start, size.min(n - start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_once() {
        for (n, size) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 0)] {
            let mut next = 0;
            for (start, length) in pieces(n, size) {
                assert_eq!(start, next);
                assert!(length >= 1);
                next += length;
            }
            assert_eq!(next, n);
        }
    }

    #[test]
    fn select_takes_whole_rows() -> Result<()> {
        let yes = Tensor::new(&[[1f64, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        let no = (&yes * -1.0)?;
        let mask = Tensor::new(&[0u8, 1], &Device::Cpu)?;
        assert_eq!(host(&select(&mask, &yes, &no)?)?, [-1.0, -2.0, 3.0, 4.0]);
        Ok(())
    }

    #[test]
    fn tile_puts_copies_below_each_other() -> Result<()> {
        let x = Tensor::new(&[[1f64, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        assert_eq!(tile(&x, 2)?.dims(), [4, 2]);
        assert_eq!(host(&tile(&x, 2)?)?, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        Ok(())
    }
}
