//! Rules that settings of several models keep.

use std::fmt::Display;

use genzoo_core::{Error, Result};

/// An error that names `model.key`, unless `ok`.
pub(crate) fn rule(ok: bool, key: &str, want: impl Display, got: impl Display) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::config(format!("model.{key}"), want.to_string(), got)) }
}

pub(crate) fn positive(key: &str, x: f64) -> Result<()> {
    rule(x > 0.0 && x.is_finite(), key, "a number above 0", x)
}

pub(crate) fn not_negative(key: &str, x: f64) -> Result<()> {
    rule(x >= 0.0 && x.is_finite(), key, "a number ≥ 0", x)
}

pub(crate) fn share(key: &str, x: f64) -> Result<()> {
    rule((0.0..=1.0).contains(&x), key, "a share from 0 to 1", x)
}

pub(crate) fn at_least_one(key: &str, n: usize) -> Result<()> {
    rule(n > 0, key, "an integer ≥ 1", n)
}

pub(crate) fn count(key: &str, n: usize, most: usize) -> Result<()> {
    rule((1..=most).contains(&n), key, format_args!("an integer from 1 to {most}"), n)
}

/// Walkers that move in windows of so many chains.
pub(crate) fn windows(walkers: usize, chains: usize) -> Result<()> {
    at_least_one("chains", chains)?;
    let ok = walkers >= chains && walkers.is_multiple_of(chains) && walkers <= 1 << 20;
    rule(ok, "walkers", format_args!("a multiple of chains = {chains}, at most 1048576"), walkers)
}
