//! `.npy` files: one array, as NumPy writes them; bools, integers and floats of either byte order, in C or Fortran order.
//!
//! Source: NumPy Enhancement Proposal 1, "A simple file format for NumPy arrays".

use std::path::Path;

use genzoo_core::{DType, Device, Error, Result, Tensor};

/// Most elements of an array we read: 2³⁰.
const MAX_ELEMENTS: usize = 1 << 30;

/// The bytes of a version 1.0 file, little-endian f32 or f64, C order.
pub(super) fn encode(x: &Tensor) -> Result<Vec<u8>> {
    let wide = x.dtype() == DType::F64;
    let dims: Vec<String> = x.dims().iter().map(ToString::to_string).collect();
    let shape = if dims.len() == 1 { format!("({},)", dims[0]) } else { format!("({})", dims.join(", ")) };
    let mut header =
        format!("{{'descr': '<f{}', 'fortran_order': False, 'shape': {shape}, }}", if wide { 8 } else { 4 });
    let pad = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(pad));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    let flat = x.flatten_all()?;
    if wide {
        out.extend(flat.to_vec1::<f64>()?.iter().flat_map(|v| v.to_le_bytes()));
    } else {
        out.extend(flat.to_dtype(DType::F32)?.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()));
    }
    Ok(out)
}

/// The array of a file's bytes as f64; `path` is named in errors.
pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Tensor> {
    let bad = |found: &str| Error::file(path, format!("expected a .npy array of numbers, found {found}"));
    let (magic, rest) = bytes.split_at_checked(8).ok_or_else(|| bad("fewer than 8 bytes"))?;
    if &magic[..6] != b"\x93NUMPY" {
        return Err(bad("another format"));
    }
    let long = magic[6] >= 2;
    let (len, rest) = rest.split_at_checked(if long { 4 } else { 2 }).ok_or_else(|| bad("a cut header"))?;
    let len = len.iter().rev().fold(0usize, |a, &b| (a << 8) | usize::from(b));
    let (header, data) = rest.split_at_checked(len).ok_or_else(|| bad("a cut header"))?;
    let header = std::str::from_utf8(header).map_err(|_| bad("a header that is not text"))?;
    let field = |key: &str| {
        let at = header.find(&format!("'{key}'"))?;
        Some(header[at + key.len() + 2..].trim_start().strip_prefix(':')?.trim_start())
    };
    let fields = field("descr").is_some_and(|s| s.starts_with('['));
    let descr = field("descr").and_then(|s| s.strip_prefix('\'')?.split('\'').next());
    let descr = descr.ok_or_else(|| bad(if fields { "records with fields" } else { "no 'descr'" }))?;
    let (size, number) = number(descr)
        .ok_or_else(|| bad(&format!("type {descr}; save real numbers or bools, e.g. x.astype('float32')")))?;
    let fortran = match field("fortran_order") {
        Some(s) if s.starts_with("False") => false,
        Some(s) if s.starts_with("True") => true,
        _ => return Err(bad("no 'fortran_order'")),
    };
    let shape = field("shape")
        .and_then(|s| s.strip_prefix('(')?.split(')').next())
        .ok_or_else(|| bad("no 'shape'"))?;
    let mut dims: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.parse().map_err(|_| bad("a shape that is not numbers")))
        .collect::<Result<_>>()?;
    let count = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).filter(|&c| c <= MAX_ELEMENTS);
    let count = count.ok_or_else(|| bad("a shape that is too large"))?;
    if Some(data.len()) != count.checked_mul(size) {
        return Err(bad(&format!("{} bytes of data for shape {dims:?} of type {descr}", data.len())));
    }
    let values: Vec<f64> = data.chunks_exact(size).map(number).collect();
    if !fortran || dims.len() < 2 {
        return Ok(Tensor::from_vec(values, dims, &Device::Cpu)?);
    }
    // The first index runs fastest: C order of the transpose.
    dims.reverse();
    let order: Vec<usize> = (0..dims.len()).rev().collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.permute(order)?.contiguous()?)
}

/// The number in the bytes of one element.
type Number = fn(&[u8]) -> f64;

/// Size and reader of the elements of a type; nothing for what are no real numbers.
fn number(descr: &str) -> Option<(usize, Number)> {
    /// `from_le_bytes` or `from_be_bytes` of a type, as a reader of a slice of its size.
    macro_rules! reader {
        ($type:ty, $from:ident, $size:literal) => {
            Some(($size, |b| <[u8; $size]>::try_from(b).map_or(f64::NAN, |b| <$type>::$from(b) as f64)))
        };
    }
    match (descr.get(..1)?, descr.get(1..)?) {
        (_, "b1" | "u1") => reader!(u8, from_le_bytes, 1),
        (_, "i1") => reader!(i8, from_le_bytes, 1),
        ("<", "u2") => reader!(u16, from_le_bytes, 2),
        (">", "u2") => reader!(u16, from_be_bytes, 2),
        ("<", "u4") => reader!(u32, from_le_bytes, 4),
        (">", "u4") => reader!(u32, from_be_bytes, 4),
        ("<", "u8") => reader!(u64, from_le_bytes, 8),
        (">", "u8") => reader!(u64, from_be_bytes, 8),
        ("<", "i2") => reader!(i16, from_le_bytes, 2),
        (">", "i2") => reader!(i16, from_be_bytes, 2),
        ("<", "i4") => reader!(i32, from_le_bytes, 4),
        (">", "i4") => reader!(i32, from_be_bytes, 4),
        ("<", "i8") => reader!(i64, from_le_bytes, 8),
        (">", "i8") => reader!(i64, from_be_bytes, 8),
        ("<", "f2") => Some((2, |b| half(u16::from_le_bytes([b[0], b[1]])))),
        (">", "f2") => Some((2, |b| half(u16::from_be_bytes([b[0], b[1]])))),
        ("<", "f4") => reader!(f32, from_le_bytes, 4),
        (">", "f4") => reader!(f32, from_be_bytes, 4),
        ("<", "f8") => reader!(f64, from_le_bytes, 8),
        (">", "f8") => reader!(f64, from_be_bytes, 8),
        _ => None,
    }
}

/// IEEE 754 binary16: one bit of sign, five of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1024.0 + fraction) * 2f64.powi(e - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::read;
    use std::fs;

    /// A file with this type, order and data, shape (2, 3).
    fn file(descr: &str, fortran: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': (2, 3), }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn numbers_of_every_type_order_and_endianness() -> Result<()> {
        let path = Path::new("a.npy");
        let want = [[1.0, -2.0, 3.0], [4.0, 5.0, 60.0]];
        let flat = want.concat();
        let signed = |f: &dyn Fn(i64) -> Vec<u8>| flat.iter().flat_map(|v| f(*v as i64)).collect::<Vec<u8>>();
        let cases: [(&str, Vec<u8>); 8] = [
            ("|i1", signed(&|v| vec![v as u8])),
            (">i2", signed(&|v| (v as i16).to_be_bytes().to_vec())),
            ("<i4", signed(&|v| (v as i32).to_le_bytes().to_vec())),
            (">i8", signed(&|v| v.to_be_bytes().to_vec())),
            ("<f8", signed(&|v| (v as f64).to_le_bytes().to_vec())),
            (">f4", signed(&|v| (v as f32).to_be_bytes().to_vec())),
            // 1, −2, 3, 4, 5, 60 in half precision.
            (
                "<f2",
                [0x3c00u16, 0xc000, 0x4200, 0x4400, 0x4500, 0x5380]
                    .iter()
                    .flat_map(|b| b.to_le_bytes())
                    .collect(),
            ),
            (
                ">f2",
                [0x3c00u16, 0xc000, 0x4200, 0x4400, 0x4500, 0x5380]
                    .iter()
                    .flat_map(|b| b.to_be_bytes())
                    .collect(),
            ),
        ];
        for (descr, data) in cases {
            assert_eq!(decode(&file(descr, "False", &data), path)?.to_vec2::<f64>()?, want, "{descr}");
        }
        let columns: Vec<u8> = [1u8, 4, 2, 5, 3, 6].to_vec();
        let x = decode(&file("|u1", "True", &columns), path)?;
        assert_eq!(x.to_vec2::<f64>()?, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        assert_eq!(
            (half(0x0001), half(0x7c00), half(0x3555)),
            (2f64.powi(-24), f64::INFINITY, 0.333_251_953_125)
        );
        for (descr, words) in
            [("|O", "type |O"), ("<c16", "real numbers"), ("<U1", "type <U1"), ("<f16", "type <f16")]
        {
            let message = decode(&file(descr, "False", &[]), path).expect_err("no numbers").to_string();
            assert!(message.contains(words), "{message}");
        }
        Ok(())
    }

    #[test]
    fn damaged_arrays_are_refused_and_never_panic() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "temp"))?;
        let path = dir.path().join("a.npy");
        let good = encode(&Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?)?;
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).map_err(Error::io("write", &path))?;
            assert!(read(&path, None).is_err(), "cut at {cut}");
        }
        for i in 0..good.len() - 16 {
            for flip in [1u8, 0x10, 0xff] {
                let mut bad = good.clone();
                bad[i] ^= flip;
                fs::write(&path, &bad).map_err(Error::io("write", &path))?;
                drop(read(&path, None)); // an error or the same numbers, but no panic
            }
        }
        Ok(())
    }
}
