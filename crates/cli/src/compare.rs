//! `genzoo compare`: two sample files from any software, judged by the zoo's metrics.

use std::path::Path;

use genzoo_core::{Better, Error, Noise, Tensor};
use genzoo_lab::metrics::{self, Compared, Comparison, Directions, Features, Points, Settings};
use genzoo_lab::row::Share;
use genzoo_lab::samples;
use serde_json::{Map, Value, json};

use crate::args::Compare;
use crate::output::Output;

pub(crate) fn command(args: &Compare, out: &Output) -> anyhow::Result<i32> {
    let features = Features::find(&args.features)?;
    let read = |path: &Path| samples::read(path, args.key.as_deref());
    let (real, fake) = (read(&args.real)?, read(&args.fake)?);
    alike(&real, &fake, "fake samples")?;
    // A judge brings bytes to its own scale.
    if let Some(note) = scales(&real, &fake)?.filter(|_| features.judge().is_none()) {
        out.note(note);
    }
    let train = args.train.as_deref().map(read).transpose()?;
    if let Some(train) = &train {
        alike(&real, train, "training rows")?;
    }
    let (real, fake) = (features.see(&real)?, features.see(&fake)?);
    let train = train.map(|t| features.of(&t)).transpose()?;
    let settings = settings(args, real.points.dims())?;
    let spinner = out.spinner("compare");
    let noise = Noise::new(crate::EVAL_SEED).fork("compare");
    let found = metrics::compare(&real, &fake, train.as_ref(), args.metrics.as_deref(), &settings, &noise)?;
    spinner.finish_and_clear();
    if out.json() {
        out.print_json(&json!({
            "real": args.real, "fake": args.fake, "n_real": real.points.len(), "n_fake": fake.points.len(),
            "features": features.name(), "judge_sha256": features.judge().map(genzoo_lab::judge::Judge::sha256), "k": settings.k, "bandwidth": found.bandwidth, "eps": found.eps,
            "metrics": found.metrics.iter().map(entry).collect::<genzoo_core::Result<Map<_, _>>>()?,
            "classes": found.classes,
        }))?;
    } else {
        out.print(&table(&found))?;
        if !found.classes.is_empty() {
            out.print(&histogram(&found.classes))?;
        }
        if let Some(judge) = features.judge() {
            out.print(&format!("features of the judge {}, sha256 {}", features.name(), judge.sha256()))?;
        }
    }
    Ok(0)
}

fn settings(args: &Compare, dims: usize) -> genzoo_core::Result<Settings> {
    let bandwidth = match args.bandwidth.as_str() {
        "median" => None,
        other => Some(other.parse().map_err(|_| {
            Error::config("--bandwidth", "a positive number or 'median'", format!("'{other}'"))
        })?),
    };
    let directions = match args.projections.parse::<usize>() {
        Ok(n) if (1..=1_000_000).contains(&n) => Directions::Random(n),
        Ok(n) => return Err(Error::config("--projections", "a file, or a number from 1 to 1000000", n)),
        Err(_) => Directions::Given(directions(Path::new(&args.projections), dims)?),
    };
    // Exact transport of 5000 rows takes a minute or more: only where it is asked for by name.
    let most_exact = if args.metrics.is_some() { 5000 } else { Settings::default().most_exact };
    Ok(Settings { bandwidth, pooled: true, k: args.k as usize, eps: args.eps, directions, most_exact })
}

/// Unit vectors from a file: the columns of a `(d, n)` array, as POT has them, or the rows of an `(n, d)` array.
fn directions(path: &Path, d: usize) -> genzoo_core::Result<Points> {
    let array = samples::read(path, None)?;
    let unit = |p: &Points| p.rows().all(|r| (r.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-6);
    let dims = array.dims().to_vec();
    if dims.len() == 2 {
        for vectors in [array.t()?.contiguous()?, array] {
            let vectors = Points::new(&vectors)?;
            if vectors.dims() == d && unit(&vectors) {
                return Ok(vectors);
            }
        }
    }
    Err(Error::file(
        path,
        format!("expected unit vectors as the columns of a ({d}, n) array, found {dims:?}"),
    ))
}

/// Rows of the same shape, whether or not a dimension of 1 is written; a flat row may stand for an image, row by row.
fn alike(real: &Tensor, other: &Tensor, what: &str) -> genzoo_core::Result<()> {
    let event = |x: &Tensor| x.dims()[1..].iter().copied().filter(|d| *d != 1).collect::<Vec<_>>();
    let (a, b) = (event(real), event(other));
    let (one_is_flat, size) = (a.len().min(b.len()) <= 1, |event: &[usize]| event.iter().product::<usize>());
    if a == b || one_is_flat && size(&a) == size(&b) {
        return Ok(());
    }
    let shape = |x: &Tensor| format!("{:?}", &x.dims()[1..]);
    Err(Error::data(what, format!("rows of shape {} as the real ones", shape(real)), shape(other)))
}

/// Bytes beside numbers in [0, 1] are an oversight.
fn scales(real: &Tensor, fake: &Tensor) -> genzoo_core::Result<Option<&'static str>> {
    let range = |x: &Tensor| -> genzoo_core::Result<(f64, f64)> {
        let flat = x.flatten_all()?;
        Ok((flat.min(0)?.to_scalar()?, flat.max(0)?.to_scalar()?))
    };
    let (a, b) = (range(real)?, range(fake)?);
    let bytes = |r: (f64, f64)| r.0 >= 0.0 && r.1 > 2.0 && r.1 <= 255.0;
    let parts = |r: (f64, f64)| r.0 >= 0.0 && r.1 <= 1.0;
    // Few coordinates may have any scale; hundreds of them are pixels.
    let pixels = real.rank() > 2 || real.dim(1)? >= 64;
    let mixed = pixels && (bytes(a) && parts(b) || parts(a) && bytes(b));
    Ok(mixed.then_some(
        "note: one file holds numbers up to 255 and the other numbers in [0, 1]: are both on one scale?",
    ))
}

fn entry(c: &Compared) -> genzoo_core::Result<(String, Value)> {
    let mut value = json!(c.measurement);
    if let Some(object) = value.as_object_mut() {
        object.insert("n_real".into(), json!(c.n_real));
        object.insert("floor_n".into(), json!(c.floor_n));
        object.insert("seconds".into(), json!(c.seconds));
    }
    Ok((c.name.to_string(), value))
}

fn table(found: &Comparison) -> String {
    let mut lines = vec![[
        "metric".to_string(),
        "value".to_string(),
        "± s.e.".to_string(),
        "floor".to_string(),
        "better".to_string(),
        "rows".to_string(),
    ]];
    for c in &found.metrics {
        let m = &c.measurement;
        let rows = if m.n as usize == c.n_real {
            format!("{}", m.n)
        } else {
            format!("{} of {} real", m.n, c.n_real)
        };
        lines.push([
            c.name.to_string(),
            m.value.map_or("unknown".into(), number),
            m.stderr.map_or(String::new(), number),
            m.floor.map_or(String::new(), number),
            if m.better == Better::Lower { "lower" } else { "higher" }.to_string(),
            rows,
        ]);
    }
    let width = |k: usize| lines.iter().map(|l| l[k].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = Vec::new();
    for l in &lines {
        let w = &widths;
        let line = format!("{:3$}  {:>4$}  {:>5$}", l[0], l[1], l[2], w[0], w[1], w[2]);
        text.push(format!("{line}  {:>3$}  {:4$}  {}", l[3], l[4], l[5], w[3], w[4]).trim_end().to_string());
    }
    if let Some(n) = found.metrics.iter().filter_map(|c| c.floor_n).max() {
        text.push(format!(
            "\nfloor: the same metric between two random halves of the real samples, at most {n} rows each"
        ));
    }
    text.extend(found.bandwidth.map(|h| format!("bandwidth of the kernels: {}", number(h))));
    text.extend(found.eps.map(|e| format!("ε of entropic transport: {}", number(e))));
    text.join("\n")
}

/// How often each class comes, with a 95 % interval, beside its share of the real samples.
fn histogram(classes: &[Share]) -> String {
    let mut lines = vec!["\nclass   share   95 % interval    real".to_string()];
    lines.extend(classes.iter().enumerate().map(|(c, s)| {
        let real = s.truth.map_or(String::new(), |t| format!("{:6.1} %", 100.0 * t));
        format!("{c:5} {:5.1} %  {:5.1} to {:4.1} % {real}", 100.0 * s.share, 100.0 * s.low, 100.0 * s.high)
    }));
    lines.join("\n")
}

/// Four digits that count.
fn number(v: f64) -> String {
    let magnitude = v.abs();
    if v == 0.0 || (1e-3..1e6).contains(&magnitude) {
        let digits = if v == 0.0 { 0 } else { (3 - magnitude.log10().floor() as i32).clamp(0, 6) };
        format!("{v:.0$}", digits as usize)
    } else {
        format!("{v:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::Device;

    #[test]
    fn numbers_keep_the_digits_that_count() {
        let shown = [0.0, 0.012346, 123.456, 1.0, 1.2e-7, -0.5].map(number);
        assert_eq!(shown, ["0", "0.01235", "123.5", "1.000", "1.200e-7", "-0.5000"]);
    }

    #[test]
    fn shapes_and_scales_are_held_against_each_other() -> genzoo_core::Result<()> {
        let x = |shape: &[usize], v: f64| Tensor::full(v, shape, &Device::Cpu);
        let (grey, flat, colour) = (x(&[5, 1, 4, 4], 200.0)?, x(&[3, 4, 4], 0.5)?, x(&[5, 3, 4, 4], 0.5)?);
        assert!(alike(&grey, &flat, "rows").is_ok() && alike(&grey, &colour, "rows").is_err());
        let row = x(&[5, 16], 0.5)?;
        assert!(alike(&grey, &row, "rows").is_ok() && alike(&row, &flat, "rows").is_ok());
        assert!(alike(&x(&[5, 2, 8], 0.5)?, &x(&[5, 8, 2], 0.5)?, "rows").is_err());
        assert!(alike(&row, &colour, "rows").is_err() && alike(&row, &x(&[5, 15], 0.5)?, "rows").is_err());
        assert!(scales(&grey, &flat)?.is_some() && scales(&flat, &flat)?.is_none());
        assert!(scales(&x(&[5, 784], 200.0)?, &x(&[5, 784], 0.5)?)?.is_some());
        assert!(scales(&x(&[5, 2], 200.0)?, &x(&[5, 2], 0.5)?)?.is_none());
        Ok(())
    }
}
