//! The space in which samples are compared.
//!
//! Raw values, or the features of a [`crate::judge`]: a classifier's penultimate layer. All metrics of a comparison
//! are measured in the same space.

use candle_core::{DType, Tensor};
use genzoo_core::{Dataset, Error, Result};

use super::points::Points;
use crate::judge::{self, Judge};

/// A space to compare samples in.
#[derive(Clone, Copy, Default)]
pub enum Features {
    /// The values themselves.
    #[default]
    Raw,
    /// The features of this judge, under its name.
    Judged(&'static str, &'static Judge),
}

/// Samples in a space.
pub struct Seen {
    /// Where they lie.
    pub points: Points,
    /// Class probabilities `(n, classes)`, where a judge looked.
    pub probabilities: Option<Tensor>,
}

/// Points that nobody judged.
impl From<Points> for Seen {
    fn from(points: Points) -> Self {
        Self { points, probabilities: None }
    }
}

impl Features {
    /// The space of this name.
    ///
    /// # Errors
    /// Names the nearest one; says what would be needed for Inception.
    pub fn find(name: &str) -> Result<Self> {
        match name {
            "raw" => Ok(Self::Raw),
            "inception" => Err(Error::config(
                "--features",
                "'raw', 'mnist' or 'glyphs': Inception needs weights that you would have to supply and that are not part of genzoo; compute the features elsewhere, save them as .npy and compare those files",
                "'inception'",
            )),
            other => match judge::JUDGES.iter().find(|j| j.name == other) {
                Some(seat) => Ok(Self::Judged(seat.name, seat.judge()?)),
                None => {
                    let names = ["raw"].into_iter().chain(judge::JUDGES.iter().map(|j| j.name));
                    Err(Error::unknown("feature space", other, names))
                }
            },
        }
    }

    /// The space that rows on these data are judged in: that of their judge, if they have one.
    ///
    /// # Errors
    /// If the weights in the binary are damaged.
    pub fn of_data(data: &dyn Dataset) -> Result<Self> {
        let base = data.name().split(['{', '@']).next().unwrap_or_default();
        match judge::JUDGES.iter().find(|j| j.name == base) {
            Some(seat) => Ok(Self::Judged(seat.name, seat.judge()?)),
            None => Ok(Self::Raw),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Judged(name, _) => name,
        }
    }

    /// The judge, if it is the space of one.
    pub fn judge(self) -> Option<&'static Judge> {
        match self {
            Self::Raw => None,
            Self::Judged(_, judge) => Some(judge),
        }
    }

    /// Samples `(n, event…)` as points of the space.
    ///
    /// # Errors
    /// If a value is not finite, or a judge cannot look at such samples.
    pub fn of(self, x: &Tensor) -> Result<Points> {
        Ok(self.see(x)?.points)
    }

    /// Samples as points, and what a judge says of them.
    ///
    /// # Errors
    /// As [`Features::of`].
    pub fn see(self, x: &Tensor) -> Result<Seen> {
        match self {
            Self::Raw => Ok(Points::new(x)?.into()),
            Self::Judged(_, judge) => {
                let verdict = judge.judge(&images(x)?)?;
                Ok(Seen {
                    points: Points::new(&verdict.features)?,
                    probabilities: Some(verdict.probabilities),
                })
            }
        }
    }
}

/// Samples of other software as images `(n, 1, h, w)` in [0, 1]: the channel may be missing, last, or the image flat if
/// it is square; whole numbers up to 255 are bytes.
fn images(x: &Tensor) -> Result<Tensor> {
    let side = |d: usize| (1..=d).find(|s| s * s >= d).filter(|s| s * s == d);
    let (n, h, w) = match *x.dims() {
        [n, 1, h, w] | [n, h, w, 1] | [n, h, w] => (n, h, w),
        [n, d] if side(d).is_some_and(|s| s >= 8) => (n, side(d).unwrap_or(1), side(d).unwrap_or(1)),
        _ => {
            let want = "grey images, (n, 1, height, width) or (n, height, width)";
            return Err(Error::data("samples for a judge", want, format!("{:?}", x.dims())));
        }
    };
    let x = x.reshape((n, 1, h, w))?;
    let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let bytes = values.iter().any(|v| *v > 1.0)
        && values.iter().all(|v| v.fract() == 0.0 && (0.0..=255.0).contains(v));
    // The middle of the byte's cell.
    if bytes { Ok(x.to_dtype(DType::F64)?.affine(1.0 / 256.0, 0.5 / 256.0)?) } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_is_not_there_is_refused_with_a_way_out() {
        let find = |name: &str| Features::find(name).map(Features::name);
        assert_eq!((find("raw").ok(), find("mnist").ok()), (Some("raw"), Some("mnist")));
        for (name, words) in [("inception", "that you would have to supply"), ("rwa", "did you mean 'raw'?")]
        {
            let message = find(name).expect_err("not there").to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn images_of_any_layout_and_scale_are_the_same_to_a_judge() -> Result<()> {
        let bytes: Vec<f64> = (0..2 * 784).map(|i| f64::from(i % 256)).collect();
        let as_bytes = Tensor::from_vec(bytes, (2, 28, 28), &Device::Cpu)?;
        let judge = Features::find("glyphs")?;
        let want = judge.of(&as_bytes)?;
        assert_eq!((want.len(), want.dims()), (2, judge::FEATURES));
        let in_parts = (&as_bytes / 255.0)?;
        for x in [&as_bytes, &in_parts] {
            for shape in [vec![2, 1, 28, 28], vec![2, 28, 28, 1], vec![2, 784]] {
                assert_eq!(judge.of(&x.reshape(shape)?)?.values(), want.values());
            }
        }
        assert!(
            judge.of(&(&in_parts - 0.5)?).is_err() && judge.of(&as_bytes.reshape((2, 28, 2, 14))?).is_err()
        );
        Ok(())
    }
}
