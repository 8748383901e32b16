//! Laws of every metric at once: what is zero on equal samples, what order, exchange and threads may not change, and
//! whether 95 % intervals cover.

use genzoo_core::{Device, Error, Modes, Noise, Result, Tensor};
use genzoo_lab::metrics::points::Pairing;
use genzoo_lab::metrics::two_sample::two_sample;
use genzoo_lab::metrics::{Comparison, Estimate, Points, Settings, compare, kid, mmd, modes};

/// `n` normal points of dimension `d`, moved by `shift` along the first axis.
fn normal(n: usize, d: usize, shift: f64, seed: u64) -> Result<Points> {
    let mut values = Noise::new(seed).fork("laws").normals(n * d);
    values.iter_mut().step_by(d).for_each(|v| *v += shift);
    Points::new(&Tensor::from_vec(values, (n, d), &Device::Cpu)?)
}

fn all(x: &Points, y: &Points, train: Option<&Points>) -> Result<Comparison> {
    let settings = Settings { bandwidth: Some(2.0), eps: Some(1.0), ..Settings::default() };
    compare(&x.clone().into(), &y.clone().into(), train, None, &settings, &Noise::new(0))
}

fn value(c: &Comparison, name: &str) -> f64 {
    let found = c.metrics.iter().find(|c| c.name == name);
    found.and_then(|c| c.measurement.value).unwrap_or(f64::NAN)
}

/// Random subsets, splits or starts are drawn by position, so these change a little with the order of the rows.
const BY_POSITION: [&str; 6] =
    ["kid_subsets", "frechet_infinity", "classifier_accuracy", "classifier_p", "ndb", "c_t"];

#[test]
fn the_order_of_the_rows_does_not_matter() -> Result<()> {
    for d in [2, 12] {
        let (x, y, t) = (normal(140, d, 0.0, 1)?, normal(120, d, 0.7, 2)?, normal(150, d, 0.0, 3)?);
        let mixed = |p: &Points, seed: u64| p.select(&Noise::new(seed).permutation(p.len()));
        let (a, b) = (all(&x, &y, Some(&t))?, all(&mixed(&x, 4), &mixed(&y, 5), Some(&mixed(&t, 6)))?);
        for c in a.metrics.iter().filter(|c| !BY_POSITION.contains(&c.name)) {
            let (p, q) = (value(&a, c.name), value(&b, c.name));
            assert!((p - q).abs() < 1e-8 * (1.0 + p.abs()), "{}: {p} {q}", c.name);
        }
    }
    Ok(())
}

#[test]
fn equal_samples_are_at_distance_zero_and_distances_are_symmetric() -> Result<()> {
    const DISTANCES: [&str; 13] = [
        "mmd2_biased",
        "energy_distance_v",
        "energy_distance_root",
        "w1",
        "w2",
        "sliced_w1",
        "sliced_w2",
        "max_sliced_w2",
        "sinkhorn_divergence",
        "sinkhorn_divergence_cost",
        "frechet",
        "cf_distance",
        "ndb",
    ];
    for d in [2, 12] {
        let (x, y) = (normal(100, d, 0.0, 1)?, normal(100, d, 0.7, 2)?);
        let itself = all(&x, &x.select(&Noise::new(3).permutation(100)), None)?;
        let (a, b) = (all(&x, &y, None)?, all(&y, &x, None)?);
        for name in DISTANCES {
            let zero = value(&itself, name);
            // The root of rounding at 1e-16 is 1e-8.
            assert!(zero.abs() < 1e-7, "{name} of a sample and itself is {zero}");
            assert!(value(&a, name) > 1e-3 || name == "ndb", "{name}");
        }
        for name in
            ["mmd2_unbiased", "mmd2_mixture", "mmd2_imq", "energy_distance_u", "kid", "one_nn_accuracy"]
                .iter()
                .chain(&DISTANCES[..12])
        {
            let (p, q) = (value(&a, name), value(&b, name));
            assert!((p - q).abs() < 1e-8 * (1.0 + p.abs()), "{name}: {p} {q}");
        }
        // An unbiased estimate of nought on a sample and itself leaves out the diagonal, so it is below nought.
        assert!(value(&itself, "mmd2_unbiased") < 0.0 && value(&itself, "kid") < 0.0);
        for name in ["precision", "recall", "coverage"] {
            assert_eq!(value(&itself, name), 1.0, "{name}");
        }
        // Exchanging the samples exchanges what looks at one through the other.
        assert_eq!(value(&a, "precision"), value(&b, "recall"));
    }
    Ok(())
}

#[test]
fn the_same_bits_on_one_and_two_threads() -> Result<()> {
    let (x, y, t) = (normal(300, 12, 0.0, 1)?, normal(260, 12, 0.5, 2)?, normal(200, 12, 0.0, 3)?);
    let on = |threads: usize| -> Result<Comparison> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(|e| Error::Unsupported(e.to_string()))?.install(|| all(&x, &y, Some(&t)))
    };
    for (a, b) in on(1)?.metrics.iter().zip(&on(2)?.metrics) {
        let bits = |v: Option<f64>| v.map(f64::to_bits);
        let (p, q) = (&a.measurement, &b.measurement);
        assert_eq!(bits(p.value), bits(q.value), "{}", a.name);
        assert_eq!(bits(p.stderr), bits(q.stderr), "{}", a.name);
        assert_eq!(bits(p.floor), bits(q.floor), "{}", a.name);
    }
    Ok(())
}

/// The share of 1,000 repeats in which value ± 1.96 standard errors holds the truth.
fn coverage(truth: f64, one: impl Fn(u64) -> Result<Estimate>) -> Result<f64> {
    let mut covered = 0;
    for run in 0..1000 {
        let e = one(run)?;
        covered += u32::from((e.value - truth).abs() <= 1.96 * e.stderr);
    }
    Ok(f64::from(covered) / 1000.0)
}

/// 95 % intervals cover in 95 % of 1,000 repeats, to four binomial standard errors: 92.2 to 97.8 %.
#[test]
fn intervals_of_95_percent_cover() -> Result<()> {
    let draw = |n: usize, d: usize, shift: f64, run: u64| normal(n, d, shift, 10_000 + run);
    // X ~ N(s e₁, I), Y ~ N(0, I) on the plane, k = exp(−r²/2): E k = exp(−s²/6)/3 across, 1/3 within.
    let s = 1.0f64;
    let gaussian = coverage(2.0 / 3.0 * (1.0 - (-s * s / 6.0).exp()), |run| {
        let (x, y) = (draw(120, 2, s, 2 * run)?, draw(100, 2, 0.0, 2 * run + 1)?);
        Ok(two_sample(&x, &y, Pairing::SquaredDistance, mmd::kernel(1.0), 1.0)?.unbiased)
    })?;
    // (⟨x, y⟩/d + 1)³ compares moments: 3/d ‖m₁ − m₁'‖² + 3/d² ‖m₂ − m₂'‖² + 1/d³ ‖m₃ − m₃'‖². For N(a e₁, I) against
    // N(0, I) the differences are a e₁, a² e₁e₁ᵀ, and a³ + 3a at (1, 1, 1) and a at the 3(d − 1) places like (1, j, j).
    let (a, d) = (1.0f64, 8);
    let c = d as f64;
    let third = (a.powi(3) + 3.0 * a).powi(2) + 3.0 * (c - 1.0) * a * a;
    let truth = 3.0 * a * a / c + 3.0 * a.powi(4) / (c * c) + third / c.powi(3);
    let cubic =
        coverage(truth, |run| kid::kid(&draw(150, d, a, 2 * run)?, &draw(150, d, 0.0, 2 * run + 1)?))?;
    // Two modes of equal mass, of which the sample gives one Φ(0.2533) = 0.6: the error of the masses is 0.1.
    let truth = Modes { centers: vec![vec![-3.0], vec![3.0]], masses: vec![0.5, 0.5], radius: 9.0 };
    let mass = coverage(0.1, |run| {
        let x = draw(800, 1, 0.253_347_103, run)?;
        let signs: Vec<f64> = x.values().iter().map(|v| v.signum()).collect();
        let x = Points::new(&Tensor::from_vec(signs, (800, 1), &Device::Cpu)?)?;
        Ok(modes::mass_error(&modes::shares(&x, &truth), &truth, 800))
    })?;
    for (what, covered) in [("mmd2_unbiased", gaussian), ("kid", cubic), ("mode_error", mass)] {
        assert!((0.922..=0.978).contains(&covered), "{what}: {covered}");
    }
    Ok(())
}
