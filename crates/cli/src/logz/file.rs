//! A Boltzmann machine from a file of any software.
//!
//! | written by   | couplings                     | visible biases        | hidden biases        |
//! |--------------|-------------------------------|-----------------------|----------------------|
//! | anyone       | `W`, visible × hidden         | `b_v`                 | `b_h`                |
//! | genzoo       | `main/W`, visible × hidden    | `main/b_v`            | `main/b_h`           |
//! | scikit-learn | `components_`, hidden × visible | `intercept_visible_` | `intercept_hidden_` |

use std::collections::BTreeMap;
use std::path::Path;

use genzoo_core::checkpoint::read_tensors;
use genzoo_core::{DType, Device, Error, Result, Tensor};
use genzoo_ebm::rbm::{Machine, Units};
use genzoo_numerics::rows;

/// A machine in `f64`, and the rows `v` beside it.
pub(super) struct Found {
    pub(super) machine: Machine,
    pub(super) rows: Option<Tensor>,
}

/// Names of couplings, visible and hidden biases, and whether the couplings are hidden × visible.
const LAYOUTS: [([&str; 3], bool); 3] = [
    (["W", "b_v", "b_h"], false),
    (["main/W", "main/b_v", "main/b_h"], false),
    (["components_", "intercept_visible_", "intercept_hidden_"], true),
];

/// Whether a path is a checkpoint within a run folder.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    path.is_file() && path.parent().is_some_and(|p| p.file_name().is_some_and(|n| n == "checkpoints"))
}

/// Reads a `.safetensors` file.
///
/// # Errors
/// Names the file, the tensor, what was expected and what was found.
pub(super) fn read(path: &Path) -> Result<Found> {
    let (all, _) = read_tensors(path, &Device::Cpu)?;
    let has = |names: &[&str; 3]| names.iter().filter(|n| all.contains_key(**n)).count();
    let best = LAYOUTS.iter().max_by_key(|(names, _)| has(names)).filter(|(names, _)| has(names) > 0);
    let Some((names, transposed)) = best else {
        let found: Vec<&str> = all.keys().take(8).map(String::as_str).collect();
        let found = if found.is_empty() { "no tensors".to_string() } else { found.join(", ") };
        let want = "W (visible × hidden), b_v and b_h, or scikit-learn's components_, intercept_hidden_ and intercept_visible_";
        return Err(Error::file(path, format!("expected the tensors {want}; found {found}")));
    };
    let [w, b_v, b_h] = names.map(|name| number(path, &all, name));
    let (w, b_v, b_h) = (w?, bias(path, names[1], &b_v?)?, bias(path, names[2], &b_h?)?);
    if w.rank() != 2 || w.elem_count() == 0 {
        let want = if *transposed { "hidden × visible" } else { "visible × hidden" };
        return Err(Error::file(
            path,
            format!("{}: expected a matrix {want}, found {:?}", names[0], w.dims()),
        ));
    }
    let (d, h) = if *transposed { (w.dims()[1], w.dims()[0]) } else { (w.dims()[0], w.dims()[1]) };
    let (got_d, got_h) = (b_v.elem_count(), b_h.elem_count());
    if (got_d, got_h) != (d, h) {
        let swapped = (got_d, got_h) == (h, d);
        let hint = if swapped { "; the matrix seems to be the other way round: transpose it" } else { "" };
        let text = format!(
            "{} {:?} means {d} visible and {h} hidden units, but {} has {got_d} and {} has {got_h}{hint}",
            names[0],
            w.dims(),
            names[1],
            names[2]
        );
        return Err(Error::file(path, text));
    }
    let w = if *transposed { w.t()?.contiguous()? } else { w };
    let machine = Machine::new(Units::Binary, &w, &b_v, &b_h)?;
    let rows = if all.contains_key("v") { Some(number(path, &all, "v")?) } else { None };
    Ok(Found { machine, rows })
}

/// A tensor of finite numbers as `f64`.
fn number(path: &Path, all: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    let found = all.get(name);
    let t = found.ok_or_else(|| {
        let names: Vec<&str> = all.keys().take(8).map(String::as_str).collect();
        Error::file(path, format!("expected a tensor {name}, found {}", names.join(", ")))
    })?;
    let t = t.to_dtype(DType::F64)?;
    let values = rows::host(&t)?;
    let bad = values.iter().filter(|v| !v.is_finite()).count();
    if let Some(first) = values.iter().position(|v| !v.is_finite()) {
        let text =
            format!("{name}: expected finite numbers, found {} at {first} ({bad} such)", values[first]);
        return Err(Error::file(path, text));
    }
    Ok(t)
}

/// A list, whether or not dimensions of 1 are written.
fn bias(path: &Path, name: &str, t: &Tensor) -> Result<Tensor> {
    let long = t.dims().iter().filter(|n| **n != 1).count();
    if long > 1 {
        return Err(Error::file(
            path,
            format!("{name}: expected a list of numbers, found shape {:?}", t.dims()),
        ));
    }
    Ok(t.flatten_all()?)
}

/// Rows of 0 and 1 that fit the machine, `(n, visible)`.
///
/// # Errors
/// Names the first row with another value.
pub(super) fn bits(v: Tensor, machine: &Machine, path: &Path) -> Result<Tensor> {
    let (d, _) = machine.sizes();
    let n = v.dims().first().copied().unwrap_or(0);
    if n == 0 || v.elem_count() != n * d {
        let text = format!("expected rows of {d} visible units, found shape {:?}", v.dims());
        return Err(Error::file(path, text));
    }
    let v = v.reshape((n, d))?;
    let values = rows::host(&v)?;
    if let Some(i) = values.iter().position(|x| *x != 0.0 && *x != 1.0) {
        let text = format!("expected rows of 0 and 1, found {} in row {}", values[i], i / d);
        return Err(Error::file(path, text));
    }
    Ok(v)
}
