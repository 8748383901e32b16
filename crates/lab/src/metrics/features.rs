//! The space in which samples are compared.
//!
//! Raw values, or the features of a judge: a classifier's penultimate layer. All metrics of a comparison are measured
//! in the same space.

use candle_core::Tensor;
use genzoo_core::{Dataset, Error, Result};

use super::points::Points;

/// A space to compare samples in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Features {
    /// The values themselves.
    #[default]
    Raw,
}

/// Names of the spaces, the default first.
pub const NAMES: [&str; 1] = ["raw"];

impl Features {
    /// The space of this name.
    ///
    /// # Errors
    /// Names the nearest one; says which judges this build has not.
    pub fn find(name: &str) -> Result<Self> {
        match name {
            "raw" => Ok(Self::Raw),
            "mnist" | "glyphs" => Err(Error::config(
                "--features",
                "'raw': this build has no judge's weights",
                format!("'{name}'"),
            )),
            "inception" => Err(Error::config(
                "--features",
                "'raw': Inception needs weights that are not part of genzoo; compute the features elsewhere, save them as .npy and compare those files",
                "'inception'",
            )),
            other => Err(Error::unknown("feature space", other, NAMES)),
        }
    }

    /// The space in which rows on these data are judged: that of the data's judge, if there is one.
    ///
    /// # Errors
    /// If the judge's weights cannot be read.
    pub fn of_data(_: &dyn Dataset) -> Result<Self> {
        Ok(Self::Raw)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
        }
    }

    /// Samples `(n, event…)` as points of the space.
    ///
    /// # Errors
    /// If a value is not finite.
    pub fn of(self, x: &Tensor) -> Result<Points> {
        match self {
            Self::Raw => Points::new(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_refused_with_a_way_out() {
        assert_eq!(Features::find("raw").expect("always there").name(), "raw");
        for (name, words) in [("inception", ".npy"), ("mnist", "raw"), ("rwa", "did you mean 'raw'?")] {
            let message = Features::find(name).expect_err("not there").to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
