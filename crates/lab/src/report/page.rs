//! `report.html` (in the making).

use std::path::Path;

use genzoo_core::Result;

use crate::row::Row;

/// The page.
///
/// # Errors
/// If it cannot be made.
pub fn html(_folder: &Path, _rows: &[Row]) -> Result<String> {
    Ok(String::new())
}
