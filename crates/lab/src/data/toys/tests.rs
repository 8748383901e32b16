//! What holds for every toy: the four faces of a law (rows, density, score, entropy) agree with each other.

use genzoo_core::{Batch, Dataset, Device, Draw, Noise, Split, Tensor, Truth};

use super::super::{DATASETS, DatasetKind, OpenOptions, open};

fn opened(spec: &str) -> Box<dyn Dataset> {
    open(spec, &OpenOptions { data_dir: None, seed: 11 }).unwrap()
}

/// Every toy with its defaults, and those whose shape depends on a parameter once more.
fn toys() -> Vec<Box<dyn Dataset>> {
    let defaults = DATASETS.iter().filter(|e| e.kind == DatasetKind::Toy).map(|e| e.name.to_string());
    let presets = DATASETS.iter().flat_map(|e| e.presets.iter().map(|p| format!("{}@{}", e.name, p.name)));
    let others =
        ["funnel{d=5}", "two-modes{d=1,mass=0.9}", "rings{count=2,noise=0.4}", "mixture1d{distance=2}"];
    let names = defaults.chain(presets).chain(others.map(String::from));
    names.map(|name| opened(&name)).collect()
}

fn truth(data: &dyn Dataset) -> &dyn Truth {
    data.truth().unwrap()
}

fn points(data: &dyn Dataset, split: Split, n: u64) -> Vec<Vec<f64>> {
    let x = data.rows(split, 0..n).unwrap().x;
    x.to_dtype(candle_core::DType::F64).unwrap().to_vec2().unwrap()
}

fn tensor(x: &[Vec<f64>]) -> Tensor {
    let flat: Vec<f64> = x.concat();
    Tensor::from_vec(flat, (x.len(), x[0].len()), &Device::Cpu).unwrap()
}

fn log_p(data: &dyn Dataset, x: &[Vec<f64>]) -> Vec<f64> {
    let result = truth(data).log_prob(&Batch::of(tensor(x)), &mut Noise::new(0)).unwrap();
    assert_eq!(result.shared_error, 0.0);
    result.values.to_vec1().unwrap()
}

/// Smallest and largest coordinate of many points, widened.
fn bounds(x: &[Vec<f64>], i: usize) -> (f64, f64) {
    let low = x.iter().map(|x| x[i]).fold(f64::INFINITY, f64::min);
    let high = x.iter().map(|x| x[i]).fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.5 * (high - low);
    (low - margin, high + margin)
}

#[test]
fn densities_integrate_to_one_and_agree_with_histograms() {
    let n = 20_000;
    for data in toys() {
        // The funnel is too wide for a grid and has its own test; the board's squares are its own cells.
        let name = data.name().to_string();
        if data.spec().shape != [2] || name.starts_with("funnel") {
            continue;
        }
        let x = points(&*data, Split::Train, n);
        let (bins, fine) = (24, if name.starts_with("grid25") || name.contains("sd=0.02") { 22 } else { 10 });
        let board = name == "checkerboard";
        let range = |i| if board { (-6.0, 6.0) } else { bounds(&x, i) };
        let (low, high) = ([range(0).0, range(1).0], [range(0).1, range(1).1]);
        let width = [0, 1].map(|i| (high[i] - low[i]) / f64::from(bins));
        let side = (bins * fine) as usize;
        let at = |i: usize, j: usize| low[i] + width[i] * (j as f64 + 0.5) / f64::from(fine);
        let grid: Vec<Vec<f64>> = (0..side * side).map(|j| vec![at(0, j / side), at(1, j % side)]).collect();
        let area = width[0] * width[1] / f64::from(fine * fine);
        let mut expected = vec![0.0; (bins * bins) as usize];
        for (j, lp) in log_p(&*data, &grid).into_iter().enumerate() {
            let bin = (j / side) / fine as usize * bins as usize + (j % side) / fine as usize;
            expected[bin] += area * lp.exp();
        }
        let total: f64 = expected.iter().sum();
        assert!((total - 1.0).abs() < 1e-5, "{name} integrates to {total}");

        let mut count = vec![0.0; expected.len()];
        let mut outside = 0;
        for x in &x {
            let bin = [0, 1].map(|i| ((x[i] - low[i]) / width[i]).floor());
            if bin.iter().all(|b| (0.0..f64::from(bins)).contains(b)) {
                count[bin[0] as usize * bins as usize + bin[1] as usize] += 1.0;
            } else {
                outside += 1;
            }
        }
        assert_eq!(outside, 0);
        // Cells that expect less than ten are pooled.
        let (mut chi2, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
        for (c, e) in count.iter().zip(&expected).map(|(c, e)| (c, e * n as f64)) {
            if e < 10.0 {
                rest = (rest.0 + c, rest.1 + e);
            } else {
                chi2 += (c - e) * (c - e) / e;
                cells += 1.0;
            }
        }
        if rest.1 > 0.5 {
            chi2 += (rest.0 - rest.1) * (rest.0 - rest.1) / rest.1;
            cells += 1.0;
        }
        let freedom: f64 = cells - 1.0;
        assert!(
            (chi2 - freedom) < 4.5 * (2.0 * freedom).sqrt(),
            "{name}: chi2 {chi2} for {freedom} degrees of freedom"
        );
    }
}

#[test]
fn densities_on_the_line_integrate_to_one() {
    for data in ["mixture1d", "two-modes{d=1,mass=0.9}"].map(opened) {
        let x: Vec<Vec<f64>> = (-4000..4000).map(|i| vec![f64::from(i) * 0.005]).collect();
        let total: f64 = log_p(&*data, &x).iter().map(|l| 0.005 * l.exp()).sum();
        assert!((total - 1.0).abs() < 1e-10, "{} integrates to {total}", data.name());
        // Kolmogorov–Smirnov against the summed density; 1.95/√n is the 0.1 % point.
        let mut rows: Vec<f64> = points(&*data, Split::Test, 10_000).concat();
        rows.sort_by(f64::total_cmp);
        let p: Vec<f64> = log_p(&*data, &x).iter().map(|l| 0.005 * l.exp()).collect();
        let mut worst: f64 = 0.0;
        let mut below = 0.0;
        for (x, p) in x.iter().zip(&p) {
            below += 0.5 * p;
            let share = rows.partition_point(|r| *r < x[0]) as f64 / rows.len() as f64;
            worst = worst.max((share - below).abs());
            below += 0.5 * p;
        }
        assert!(worst < 0.0195, "{}: {worst}", data.name());
    }
}

#[test]
fn the_funnel_is_normal_where_its_width_is_divided_out() {
    let data = opened("funnel{d=3,sd=2}");
    let x = points(&*data, Split::Train, 20_000);
    let z: Vec<[f64; 3]> =
        x.iter().map(|x| [x[0] / 2.0, x[1] * (-0.5 * x[0]).exp(), x[2] * (-0.5 * x[0]).exp()]).collect();
    for i in 0..3 {
        let mean = z.iter().map(|z| z[i]).sum::<f64>() / 2e4;
        let square = z.iter().map(|z| z[i] * z[i]).sum::<f64>() / 2e4;
        assert!(mean.abs() < 4.0 / 2e4f64.sqrt() && (square - 1.0).abs() < 4.0 * (2.0 / 2e4f64).sqrt());
    }
    // The change of variables x = (2z₁, e^{z₁} z₂, e^{z₁} z₃) has log-determinant log 2 + 2 z₁.
    for ((x, z), lp) in x.iter().zip(&z).zip(log_p(&*data, &x)).take(100) {
        let normal: f64 = z.iter().map(|z| -0.5 * z * z - 0.5 * std::f64::consts::TAU.ln()).sum();
        assert!((lp - (normal - 2f64.ln() - x[0])).abs() < 1e-4 * (1.0 + lp.abs()), "{x:?}");
    }
}

#[test]
fn scores_are_the_slopes_of_the_log_density() {
    for data in toys() {
        let mut x = points(&*data, Split::Validation, 60);
        // Points off the data as well: the same ones pushed outwards.
        x.extend(x.clone().into_iter().map(|x| x.into_iter().map(|v| 1.2 * v + 0.05).collect()));
        let Some(score) = truth(&*data).score(&tensor(&x)).unwrap() else {
            assert!(data.name().starts_with("checkerboard"));
            continue;
        };
        let score: Vec<Vec<f64>> = score.to_vec2().unwrap();
        for i in 0..x[0].len() {
            let moved = |h: f64| {
                let moved: Vec<Vec<f64>> = x
                    .iter()
                    .map(|x| {
                        let mut x = x.clone();
                        x[i] += h;
                        x
                    })
                    .collect();
                log_p(&*data, &moved)
            };
            let h = 1e-5;
            for (((up, down), s), x) in moved(h).iter().zip(moved(-h)).zip(&score).zip(&x) {
                let slope = (up - down) / (2.0 * h);
                let scale = 1.0 + s.iter().map(|v| v * v).sum::<f64>().sqrt();
                assert!(
                    (slope - s[i]).abs() < 1e-3 * scale,
                    "{} at {x:?}: {slope} against {s:?}",
                    data.name()
                );
            }
        }
    }
}

#[test]
fn entropies_are_the_mean_of_minus_log_p() {
    let n = 20_000;
    for data in toys() {
        let v: Vec<f64> = log_p(&*data, &points(&*data, Split::Test, n)).iter().map(|l| -l).collect();
        let mean = v.iter().sum::<f64>() / n as f64;
        let variance = v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        let entropy = truth(&*data).entropy();
        let (value, stderr) = (entropy.value.unwrap(), entropy.stderr.unwrap());
        assert!(stderr < 1e-4, "{}: {stderr}", data.name());
        assert!(
            (mean - value).abs() < 4.0 * (variance / n as f64).sqrt() + 1e-9,
            "{}: {mean} against {value}",
            data.name()
        );
    }
}

#[test]
fn entropies_agree_with_the_published_floors() {
    // Monte Carlo floors of FFJORD's generators and two others, known within 0.01.
    for (name, floor) in [
        ("gaussians8", 2.830),
        ("checkerboard", 32f64.ln()),
        ("moons", 2.399),
        ("circles", 3.265),
        ("rings", 2.624),
        ("swissroll", 2.665),
        ("spirals", 2.646),
        ("pinwheel", 2.316),
        ("gaussians8@torchcfm-notebook", 3.764),
        ("gaussians8@torchebm", -2.909),
        ("moons@sklearn", 1.015),
        ("moons@sklearn{noise=0.05}", 0.283),
    ] {
        let value = truth(&*opened(name)).entropy().value.unwrap();
        assert!((value - floor).abs() < 0.012, "{name}: {value} against {floor}");
    }
}

#[test]
fn modes_hold_their_masses() {
    let n = 20_000;
    for data in toys() {
        let Some(modes) = truth(&*data).modes() else {
            continue;
        };
        assert!((modes.masses.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(modes.masses.len(), modes.centers.len());
        let mut count = vec![0.0; modes.masses.len()];
        let mut lost = 0;
        for x in points(&*data, Split::Train, n) {
            let square = |c: &Vec<f64>| c.iter().zip(&x).map(|(c, x)| (c - x) * (c - x)).sum::<f64>();
            let distances: Vec<f64> = modes.centers.iter().map(square).collect();
            let nearest =
                (0..distances.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap();
            if distances[nearest].sqrt() <= modes.radius { count[nearest] += 1.0 } else { lost += 1 }
        }
        // A thousandth lies outside the radius.
        assert!(lost < 50, "{}: {lost} outside", data.name());
        if data.name().contains("mixture1d{distance=2") || data.name() == "mixture1d" {
            continue; // The modes touch: the nearest centre is not always the component.
        }
        for (c, m) in count.iter().zip(&modes.masses) {
            let sd = (n as f64 * m * (1.0 - m)).sqrt();
            assert!((c - n as f64 * m).abs() < 4.5 * sd + 50.0 * m, "{}: {c} for mass {m}", data.name());
        }
    }
    assert!(truth(&*opened("rings")).modes().is_none());
}

#[test]
fn a_row_is_a_function_of_its_address() {
    for data in toys() {
        let whole = points(&*data, Split::Train, 300);
        let mut pieces: Vec<Vec<f32>> = Vec::new();
        for (start, end) in [(0, 1), (1, 63), (63, 65), (65, 65), (65, 257), (257, 300)] {
            let batch = data.rows(Split::Train, start..end).unwrap();
            assert_eq!((batch.len() as u64, batch.rows.clone()), (end - start, start..end));
            pieces.extend(batch.x.to_vec2::<f32>().unwrap());
        }
        let pieces: Vec<Vec<f64>> =
            pieces.into_iter().map(|x| x.into_iter().map(f64::from).collect()).collect();
        assert_eq!(whole, pieces);
        assert_ne!(whole, points(&*data, Split::Test, 300));
        let again = open(data.name(), &OpenOptions { data_dir: None, seed: 12 }).unwrap();
        assert_ne!(whole, points(&*again, Split::Train, 300));
        assert_eq!(again.sha256(), data.sha256());
        assert_eq!(data.sha256().len(), 64);
    }
}

#[test]
fn the_sampler_draws_the_same_law() {
    for data in toys() {
        let n = 4000;
        let samples = truth(&*data).sample(&Draw::n(n), &mut Noise::new(5)).unwrap();
        assert_eq!((samples.evaluations, truth(&*data).info().name), (0, "exact"));
        let lp = truth(&*data).log_prob(&Batch::of(samples.x), &mut Noise::new(0)).unwrap();
        let v: Vec<f64> = lp.values.to_vec1().unwrap();
        let mean = -v.iter().sum::<f64>() / n as f64;
        let variance = v.iter().map(|v| (v + mean).powi(2)).sum::<f64>() / n as f64;
        let entropy = truth(&*data).entropy().value.unwrap();
        assert!((mean - entropy).abs() < 4.5 * (variance / n as f64).sqrt() + 1e-9, "{}", data.name());
    }
}

#[test]
fn bad_points_give_numbers_or_errors_but_no_panic() {
    for data in toys() {
        let d = data.spec().dims();
        let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e30, 1e8, 1e3, 0.0];
        let x: Vec<Vec<f64>> = bad.iter().map(|&v| vec![v; d]).collect();
        let lp = log_p(&*data, &x);
        assert!(lp[0].is_nan());
        assert_eq!(lp[1..4], [f64::NEG_INFINITY; 3]);
        assert!(lp[4..].iter().all(|l| !l.is_nan() && *l < 10.0), "{}: {lp:?}", data.name());
        truth(&*data).score(&tensor(&x)).unwrap();
        let wide = Tensor::zeros((3, d + 1), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(truth(&*data).log_prob(&Batch::of(wide), &mut Noise::new(0)).is_err());
    }
}
