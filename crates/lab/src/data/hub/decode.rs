//! Images and labels out of a parquet file of PNGs, believing nothing it says about itself.
//!
//! ```text
//! image: struct { bytes: binary /* a PNG */, path: string }      label: int64
//! ```
//!
//! Row counts, codecs and sizes are checked on the footer before a page is read; a picture's dimensions on its
//! header before it is decoded. The decoders are foreign code, so a panic in them is caught and is an error.

use std::fs::File;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_datasets::hub::FileReader;
use genzoo_core::{Error, Result};
use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, Limits};
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::SerializedFileReader;
use parquet::record::{Field, Row};

/// What the file must hold.
pub(super) struct Want {
    pub(super) rows: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) classes: usize,
}

/// The longest PNG that is looked at, per pixel and on top of them.
const PNG_PER_PIXEL: usize = 4;
const PNG_EXTRA: usize = 4096;

/// Pixels row after row, and labels. `origin` is what errors name.
pub(super) fn parquet(file: File, origin: &str, want: &Want) -> Result<(Vec<u8>, Vec<u8>)> {
    catch_unwind(AssertUnwindSafe(|| read(file, want)))
        .unwrap_or_else(|_| Err("expected a parquet file, found a damaged one (its reader panicked)".into()))
        .map_err(|problem| Error::file(origin, problem))
}

type Found<T> = std::result::Result<T, String>;

fn read(file: File, want: &Want) -> Found<(Vec<u8>, Vec<u8>)> {
    let damaged =
        |e: parquet::errors::ParquetError| format!("expected a parquet file, found a damaged one ({e})");
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    check_footer(reader.metadata(), want)?;
    let mut pixels = Vec::with_capacity(want.rows * want.height * want.width);
    let mut labels = Vec::with_capacity(want.rows);
    for row in reader.get_row_iter(None).map_err(damaged)? {
        let n = labels.len();
        if n == want.rows {
            return Err(format!("expected {n} rows, found more"));
        }
        let (png, label) = image_and_label(&row.map_err(damaged)?, n)?;
        decode_png(png.data(), want, &mut pixels).map_err(|e| format!("row {n}: {e}"))?;
        let class = u8::try_from(label).ok().filter(|l| usize::from(*l) < want.classes);
        labels.push(class.ok_or_else(|| {
            format!("row {n}: expected a label from 0 to {}, found {label}", want.classes - 1)
        })?);
    }
    if labels.len() != want.rows {
        return Err(format!("expected {} rows, found {}", want.rows, labels.len()));
    }
    Ok((pixels, labels))
}

/// Claims of the footer. Other codecs than snappy expand without a bound of their own.
fn check_footer(metadata: &ParquetMetaData, want: &Want) -> Found<()> {
    let rows = metadata.file_metadata().num_rows();
    if usize::try_from(rows) != Ok(want.rows) {
        return Err(format!("expected {} rows, the file claims {rows}", want.rows));
    }
    let cap = (want.rows * (PNG_PER_PIXEL * want.height * want.width + PNG_EXTRA)) as i64;
    let mut total = 0i64;
    for column in metadata.row_groups().iter().flat_map(|g| g.columns()) {
        if !matches!(column.compression(), Compression::UNCOMPRESSED | Compression::SNAPPY) {
            return Err(format!("expected snappy or no compression, found {}", column.compression()));
        }
        if column.uncompressed_size() < 0 || column.compressed_size() < 0 {
            return Err("expected sizes of columns, found negative ones".into());
        }
        total = total.saturating_add(column.uncompressed_size());
    }
    if total > cap {
        return Err(format!("expected at most {cap} bytes of columns, the file claims {total}"));
    }
    Ok(())
}

fn image_and_label(row: &Row, n: usize) -> Found<(parquet::data_type::ByteArray, i64)> {
    let (mut image, mut label) = (None, None);
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("image", Field::Group(group)) => {
                image = group.get_column_iter().find_map(|(name, field)| match (name.as_str(), field) {
                    ("bytes", Field::Bytes(bytes)) => Some(bytes.clone()),
                    _ => None,
                });
            }
            ("label", Field::Long(value)) => label = Some(*value),
            _ => {}
        }
    }
    image
        .zip(label)
        .ok_or_else(|| format!("row {n}: expected columns image.bytes and label, found others or none"))
}

/// Appends the pixels of one grey PNG.
fn decode_png(png: &[u8], want: &Want, pixels: &mut Vec<u8>) -> Found<()> {
    let (height, width) = (want.height, want.width);
    let expected = format!("expected a grey PNG of {width} × {height}");
    let most = PNG_PER_PIXEL * height * width + PNG_EXTRA;
    if png.len() > most {
        return Err(format!("{expected} in at most {most} bytes, found {} bytes", png.len()));
    }
    let (w, h) = claimed_size(png).ok_or_else(|| format!("{expected}, found no PNG"))?;
    if (w as usize, h as usize) != (width, height) {
        return Err(format!("{expected}, found {w} × {h}"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(w);
    limits.max_image_height = Some(h);
    limits.max_alloc = Some(1 << 20);
    let decoder = PngDecoder::with_limits(Cursor::new(png), limits)
        .map_err(|e| format!("{expected}, found a damaged one ({e})"))?;
    if decoder.color_type() != ColorType::L8 || decoder.dimensions() != (w, h) {
        return Err(format!("{expected}, found one of type {:?}", decoder.color_type()));
    }
    let start = pixels.len();
    pixels.resize(start + height * width, 0);
    decoder.read_image(&mut pixels[start..]).map_err(|e| format!("{expected}, found a damaged one ({e})"))
}

/// Width and height in the first chunk of a PNG (PNG specification, 11.2.2), without a decoder.
fn claimed_size(png: &[u8]) -> Option<(u32, u32)> {
    let header = png.first_chunk::<24>()?;
    let (signature, rest) = header.split_first_chunk::<8>()?;
    if *signature != *b"\x89PNG\r\n\x1a\n" || rest[4..8] != *b"IHDR" {
        return None;
    }
    let number = |at: usize| rest.get(at..at + 4)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
    Some((number(8)?, number(12)?))
}
