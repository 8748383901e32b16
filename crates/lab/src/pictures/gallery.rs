//! What a run shows beside its samples: on the plane its density and its field, for images the training images that
//! are nearest to them. Kept as files in the run's `samples/` with an index of captions, `gallery.json`.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use genzoo_core::checkpoint::write_atomic;
use genzoo_core::{Batch, Dataset, Density, Error, Family, Kind, Model, Noise, Result, Split};
use serde::{Deserialize, Serialize};

use super::{Grid, Window, density, quiver};
use crate::data::random_rows;

const INDEX: &str = "gallery.json";
/// Largest index that is read, in bytes.
const MAX_INDEX: u64 = 1 << 16;
/// Images whose nearest training images are shown.
const PAIRS: usize = 8;
/// Training images per product of matrices.
const PIECE: u64 = 2000;
/// When the score of a diffusion is drawn: near the data, where it is still smooth.
const EARLY: f64 = 0.1;

/// The index: which files there are, and what they show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gallery {
    /// Pictures.
    #[serde(default)]
    pub pictures: Vec<Shown>,
    /// What [`Gallery::NEIGHBOURS`] holds, if it is there.
    #[serde(default)]
    pub neighbours: Option<String>,
}

/// A picture and its caption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// A PNG beside the index.
    pub file: String,
    /// What it shows.
    pub caption: String,
}

impl Gallery {
    /// The training images nearest to the first samples, `(n, c, h, w)`.
    pub const NEIGHBOURS: &'static str = "nearest.npy";

    /// The gallery in this folder, if there is one.
    pub fn read(folder: &Path) -> Option<Self> {
        let path = folder.join(INDEX);
        let small = std::fs::metadata(&path).ok()?.len() <= MAX_INDEX;
        serde_json::from_slice(&std::fs::read(&path).ok().filter(|_| small)?).ok()
    }

    /// Makes the gallery of a model of points of the plane in `folder`, in about `seconds`: of its energy or
    /// its most trusted density, and of its fields, as far as it has them.
    ///
    /// # Errors
    /// If the model or the disk fails.
    pub fn of_plane(
        model: &dyn Model,
        data: &dyn Dataset,
        seconds: f64,
        noise: &Noise,
        folder: &Path,
    ) -> Result<Self> {
        let real = random_rows(data, Split::Test, 2000, &mut noise.fork("window"))?.x;
        let window = Window::around(&real)?;
        let mut out = Self::default();
        if let Some((grid, caption)) = model_density(model, window, seconds, noise)? {
            let truth = match data.truth() {
                Some(truth) => {
                    Some(Grid::of(&mut |x| values(truth, x, &mut noise.fork("truth")), window, 120)?)
                }
                None => None,
            };
            let lines = truth.as_ref().map_or("", |_| "; lines: 50 % and 95 % of the truth");
            let side = grid.side();
            write_atomic(&folder.join("density.png"), &density(&grid, truth.as_ref()).png()?)?;
            out.add("density.png", format!("{caption} on {side}×{side} points{lines}"));
        }
        for (file, caption, mut field) in fields(model, data) {
            write_atomic(&folder.join(file), &quiver(&mut *field, Some(&real), window)?.png()?)?;
            out.add(file, caption);
        }
        out.write(folder)
    }

    /// Keeps the training images nearest to the first of `samples (n, c, h, w)` in `folder`, searching as many as it
    /// can in about `seconds`.
    ///
    /// # Errors
    /// If the data or the disk fail.
    pub fn of_images(samples: &Tensor, data: &dyn Dataset, seconds: f64, folder: &Path) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e6));
        let shown = samples.narrow(0, 0, samples.dim(0)?.min(PAIRS))?;
        let (nearest, searched) = nearest(&shown, data, deadline)?;
        crate::samples::write(&folder.join(Self::NEIGHBOURS), &nearest)?;
        let all = data.len(Split::Train).is_some_and(|n| n == searched);
        let of = if all { format!("all {searched}") } else { format!("{searched}") };
        let caption = format!("samples, and below each the nearest of {of} training images (L2 of pixels)");
        Self { neighbours: Some(caption), ..Self::default() }.write(folder)
    }

    fn add(&mut self, file: &str, caption: String) {
        self.pictures.push(Shown { file: file.into(), caption });
    }

    fn write(self, folder: &Path) -> Result<Self> {
        let path = folder.join(INDEX);
        let text = serde_json::to_string_pretty(&self).map_err(|e| Error::file(&path, e.to_string()))?;
        write_atomic(&path, (text + "\n").as_bytes())?;
        Ok(self)
    }
}

fn values(density: &(impl Density + ?Sized), x: &Tensor, noise: &mut Noise) -> Result<Tensor> {
    Ok(density.log_prob(&Batch::of(x.clone()), noise)?.values)
}

/// The log-density of a model on a grid: of its energy if it has one, which needs no log Z, else of its density.
fn model_density(
    model: &dyn Model,
    window: Window,
    seconds: f64,
    noise: &Noise,
) -> Result<Option<(Grid, String)>> {
    if let Some(energy) = model.capabilities().energy {
        let grid = Grid::within(&mut |x| Ok(energy.energy(x)?.neg()?), window, seconds)?;
        return Ok(Some((grid, "exp(−U), the energy".into())));
    }
    let Some(info) = model.densities().first() else { return Ok(None) };
    let density = model.density(info.name, &(info.defaults)(), &mut noise.fork("density"))?;
    let evidence = density.evidence();
    let bound = match evidence.kind {
        Kind::Exact => "density",
        Kind::LowerBound => "lower bound of the density",
        Kind::UpperBound => "upper bound of the density",
        Kind::Estimate => "estimate of the density",
    };
    let caption = format!("{bound} by {}", evidence.method);
    let grid =
        Grid::within(&mut |x| values(density.as_ref(), x, &mut noise.fork("points")), window, seconds)?;
    Ok(Some((grid, caption)))
}

type Field<'m> = (&'static str, String, Box<dyn FnMut(&Tensor) -> Result<Tensor> + 'm>);

/// The fields of a model: its score, and its velocity where it has one; for the data themselves the true score.
fn fields<'m>(model: &'m dyn Model, data: &'m dyn Dataset) -> Vec<Field<'m>> {
    let at = |t: f64, x: &Tensor| Tensor::full(t as f32, x.dim(0)?, &Device::Cpu);
    let own = model.capabilities();
    let mut out: Vec<Field<'m>> = Vec::new();
    if let Some(energy) = own.energy {
        let field = move |x: &Tensor| Ok(energy.energy_and_gradient(x)?.1.neg()?);
        out.push(("score.png", "score, −∇U".into(), Box::new(field)));
    } else if let Some(score) = own.score {
        let field = move |x: &Tensor| score.score(x, &at(EARLY, x)?);
        out.push(("score.png", format!("score ∇log p of the data noised to t = {EARLY}"), Box::new(field)));
    }
    if let Some(velocity) = own.velocity {
        let field = move |x: &Tensor| Ok(velocity.velocity(x, &at(0.5, x)?)?.neg()?);
        out.push(("velocity.png", "velocity toward the data at t = ½".into(), Box::new(field)));
    }
    let origin = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).ok();
    let is_data = (model.info().family, model.info().name) == (Family::Baseline, "real");
    if let (true, Some(truth), Some(origin)) = (is_data, data.truth(), origin)
        && truth.score(&origin).is_ok_and(|s| s.is_some())
    {
        let missing = || Error::Unsupported("this truth has no score".into());
        let field = move |x: &Tensor| truth.score(x)?.ok_or_else(missing);
        out.push(("score.png", "score of the truth, ∇log p".into(), Box::new(field)));
    }
    out
}

/// For each of `x (k, event…)` the nearest training row, and how many rows were searched: at least one piece.
fn nearest(x: &Tensor, data: &dyn Dataset, deadline: Instant) -> Result<(Tensor, u64)> {
    let k = x.dim(0)?;
    let flat = x.to_dtype(DType::F32)?.flatten_from(1)?;
    let all = data.len(Split::Train).unwrap_or(10 * PIECE);
    let mut best = vec![(f32::INFINITY, None::<Tensor>); k];
    let mut searched = 0;
    while searched < all && (searched == 0 || Instant::now() < deadline) {
        let end = (searched + PIECE).min(all);
        let rows = data.rows(Split::Train, searched..end)?.x;
        let each = rows.flatten_from(1)?;
        // |r − x|² without |x|², which is the same for all rows.
        let squares = each.sqr()?.sum_keepdim(1)?;
        let distances = squares.broadcast_sub(&(each.matmul(&flat.t()?)? * 2.0)?)?.t()?.to_vec2::<f32>()?;
        for (own, best) in distances.iter().zip(&mut best) {
            let Some((i, d)) = own.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)) else { continue };
            if *d < best.0 {
                *best = (*d, Some(rows.narrow(0, i, 1)?.copy()?));
            }
        }
        searched = end;
    }
    let rows: Vec<Tensor> = best.into_iter().filter_map(|(_, row)| row).collect();
    if rows.len() < k {
        return Err(Error::data("training images", "finite ones", "none at a finite distance"));
    }
    Ok((Tensor::cat(&rows, 0)?, searched))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::real;
    use crate::data::{OpenOptions, open};

    fn folder() -> Result<tempfile::TempDir> {
        tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))
    }

    #[test]
    fn the_data_show_their_density_and_score() -> Result<()> {
        let data = open("gaussians8", &OpenOptions::default())?;
        let model = real(open("gaussians8", &OpenOptions::default())?)?;
        let at = folder()?;
        let made = Gallery::of_plane(model.as_ref(), data.as_ref(), 0.0, &Noise::new(0), at.path())?;
        let files: Vec<&str> = made.pictures.iter().map(|p| p.file.as_str()).collect();
        assert_eq!(files, ["density.png", "score.png"]);
        assert_eq!(Gallery::read(at.path()), Some(made.clone()));
        assert!(files.iter().all(|f| at.path().join(f).exists()) && made.neighbours.is_none());
        assert!(made.pictures[0].caption.contains("24×24 points; lines"), "{}", made.pictures[0].caption);
        std::fs::write(at.path().join(INDEX), "{").map_err(Error::io("write", at.path()))?;
        assert_eq!(Gallery::read(at.path()), None);
        Ok(())
    }

    #[test]
    fn the_nearest_training_image_is_that_of_a_plain_search() -> Result<()> {
        let data = open("glyphs{size=14}", &OpenOptions::default())?;
        let x = data.rows(Split::Test, 0..3)?.x;
        let (got, searched) = nearest(&x, data.as_ref(), Instant::now())?;
        assert_eq!((got.dims(), searched), (&[3, 1, 14, 14][..], PIECE));
        let rows = data.rows(Split::Train, 0..PIECE)?.x.flatten_from(1)?.to_vec2::<f32>()?;
        for (sample, found) in
            x.flatten_from(1)?.to_vec2::<f32>()?.iter().zip(got.flatten_from(1)?.to_vec2::<f32>()?)
        {
            let distance = |r: &Vec<f32>| r.iter().zip(sample).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            let best = rows.iter().map(distance).fold(f32::INFINITY, f32::min);
            assert!((distance(&found) - best).abs() < 1e-3 * best, "{} against {best}", distance(&found));
        }
        // A training image is nearest to itself.
        let own = data.rows(Split::Train, 5..6)?.x;
        assert_eq!(
            nearest(&own, data.as_ref(), Instant::now())?.0.flatten_all()?.to_vec1::<f32>()?,
            own.flatten_all()?.to_vec1::<f32>()?
        );
        Ok(())
    }
}
