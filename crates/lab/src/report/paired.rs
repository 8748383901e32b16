//! The difference of two models on the same test rows: a bootstrap over rows and seeds.
//!
//! ```text
//! d_i = mean over seeds of A of −log p_A(x_i)  −  mean over seeds of B of −log p_B(x_i),   D = mean_i d_i
//! D* = mean of d over rows drawn with replacement + s_A T_A − s_B T_B + τ Z
//! ```
//! What makes a row hard is hard for both, so D is far more certain than the two means. The rows come in random order;
//! batches of them are drawn, so that ten thousand rows cost no more than a few hundred. Seeds are few, and drawing them
//! with replacement would make their spread too small: `s = sd over seeds / √K`, and T is Student's with K − 1 degrees
//! of freedom, as for the mean itself. One seed says nothing of others (s = 0); then τ is the error that all rows of
//! the model share (of log Z). The interval goes from the 2.3 % to the 97.7 % point of D*, like two standard errors.
//!
//! Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, §8 and 13.3.

use genzoo_core::{Kind, Noise};
use genzoo_numerics::special::Moments;

use super::rank::Interval;
use crate::row::{Likelihood, Row, Status};
use crate::seeds::Summary;

/// Batches of rows that are drawn.
const BATCHES: usize = 250;
/// How often.
const RESAMPLES: usize = 2_000;
/// The part beyond two standard errors on one side.
const TAIL: f64 = 0.022_750_131_948_179;

/// Whether A's true negative log-likelihood is surely below B's, by the rows that both were judged on.
pub(super) fn beats(a: &Summary<'_>, b: &Summary<'_>) -> bool {
    let (Some(of_a), Some(of_b)) = (&a.row.likelihood, &b.row.likelihood) else { return false };
    match (most(of_a), least(of_b)) {
        (Some(above), Some(below)) => difference(a, b).is_some_and(|d| d.high + above + below < 0.0),
        _ => false,
    }
}

/// How far the truth may lie above the value; `None` if nobody knows.
fn most(l: &Likelihood) -> Option<f64> {
    match l.kind {
        Kind::Exact | Kind::LowerBound => Some(0.0),
        Kind::Estimate => l.tolerance,
        Kind::UpperBound => None,
    }
}

/// How far it may lie below.
fn least(l: &Likelihood) -> Option<f64> {
    match l.kind {
        Kind::Exact | Kind::UpperBound => Some(0.0),
        Kind::Estimate => l.tolerance,
        Kind::LowerBound => None,
    }
}

/// Where the difference of the means of A and B lies; `None` unless every seed of both was judged on the same rows.
pub(super) fn difference(a: &Summary<'_>, b: &Summary<'_>) -> Option<Interval> {
    let (of_a, of_b) = (seeds(a)?, seeds(b)?);
    let all = || of_a.iter().chain(&of_b);
    let rows = &of_a.first()?.test_rows;
    let n = all().map(|r| r.nll.len()).min()?;
    if n < 2 || rows.is_none() || all().any(|r| r.test_rows != *rows) {
        return None;
    }
    let mean = |of: &[&Row], i: usize| of.iter().map(|r| r.nll[i]).sum::<f64>() / of.len() as f64;
    let batches = BATCHES.min(n);
    let sums: Vec<(f64, f64)> = (0..batches)
        .map(|k| {
            let rows = k * n / batches..(k + 1) * n / batches;
            (rows.len() as f64, rows.map(|i| mean(&of_a, i) - mean(&of_b, i)).sum())
        })
        .collect();
    let noise = Noise::new(0).fork("paired");
    let drawn = noise.fork("rows").below(batches, batches * RESAMPLES);
    let mut draws: Vec<f64> = drawn
        .chunks(batches)
        .map(|chosen| {
            let add = |(n, sum): (f64, f64), &k: &usize| (n + sums[k].0, sum + sums[k].1);
            let (n, sum) = chosen.iter().fold((0.0, 0.0), add);
            sum / n
        })
        .collect();
    for (of, noise) in [(&of_a, noise.fork("a")), (&of_b, noise.fork("b"))] {
        let moves = shared(of, n, noise);
        draws.iter_mut().zip(moves).for_each(|(d, m)| *d += m);
    }
    draws.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| draws[((share * RESAMPLES as f64) as usize).min(RESAMPLES - 1)];
    Some(Interval { low: at(TAIL), high: at(1.0 - TAIL) })
}

/// The seeds of a model, if all of them ended well and kept their values.
fn seeds<'s>(s: &'s Summary<'_>) -> Option<Vec<&'s Row>> {
    let all: Vec<&Row> = s.members.clone();
    let whole = |r: &&Row| r.status == Status::Ok && !r.nll.is_empty();
    all.iter().all(whole).then_some(all)
}

/// How all values of a model may be moved together, as often as it is asked: by the choice of seeds, or by what the rows
/// of a single one share.
fn shared(of: &[&Row], n: usize, mut noise: Noise) -> Vec<f64> {
    let freedom = of.len() - 1;
    if freedom == 0 {
        let own = of[0].likelihood.as_ref().map_or(0.0, |l| l.stderr);
        let within = Moments::of(&of[0].nll).standard_error();
        let spread = (own * own - within * within).max(0.0).sqrt();
        return noise.normals(RESAMPLES).into_iter().map(|z| spread * z).collect();
    }
    let means: Vec<f64> = of.iter().map(|r| r.nll[..n].iter().sum::<f64>() / n as f64).collect();
    let spread = Moments::of(&means).standard_error();
    let normals = noise.normals(RESAMPLES * (freedom + 1));
    let student = |z: &[f64]| {
        let square: f64 = z[1..].iter().map(|z| z * z).sum();
        spread * z[0] / (square / freedom as f64).sqrt()
    };
    normals.chunks(freedom + 1).map(student).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::specimen;
    use crate::seeds::summaries;

    /// One seed of a model whose rows cost `nll`.
    fn row(model: &str, seed: u64, nll: Vec<f64>) -> Row {
        let moments = Moments::of(&nll);
        let mut row = Row { model: model.into(), seed, test_rows: Some("rows".into()), ..specimen() };
        row.likelihood = row.likelihood.map(|l| Likelihood {
            value: moments.mean(),
            stderr: moments.standard_error(),
            n: nll.len() as u64,
            ..l
        });
        row.quality.clear();
        row.nll = nll;
        row
    }

    fn interval(rows: &[Row]) -> Option<Interval> {
        let all = summaries(&rows.iter().collect::<Vec<_>>());
        difference(&all[0], &all[1])
    }

    /// Hard rows that two models share, and what tells the models apart.
    fn pair(n: usize, shift: f64, seed: u64) -> [Row; 2] {
        let noise = Noise::new(seed);
        let (hard, own) = (noise.fork("hard").normals(n), noise.fork("own").normals(n));
        let a = hard.iter().map(|h| 3.0 * h).collect();
        let b = hard.iter().zip(own).map(|(h, e)| 3.0 * h + shift + 0.1 * e).collect();
        [row("a", 0, a), row("b", 0, b)]
    }

    #[test]
    fn rows_decide_what_means_cannot() {
        let rows = pair(2_000, 0.05, 1);
        let all = summaries(&rows.iter().collect::<Vec<_>>());
        let alone = |s: &Summary<'_>| Interval::of_summary(s).expect("known");
        assert!(!alone(&all[0]).beats(&alone(&all[1])));
        assert!(beats(&all[0], &all[1]) && !beats(&all[1], &all[0]));
        // Two standard errors of the mean difference: 2 · 0.1/√2000 on either side of −0.05.
        let d = difference(&all[0], &all[1]).expect("the same rows");
        let half = 2.0 * 0.1 / 2_000f64.sqrt();
        assert!((0.5 * (d.high - d.low) / half - 1.0).abs() < 0.15, "{d:?}");
        // Bounds are open on one side, and other rows or none cannot be paired.
        let mut bound = pair(2_000, 0.05, 1);
        bound[1].likelihood = bound[1].likelihood.take().map(|l| Likelihood { kind: Kind::LowerBound, ..l });
        let all = summaries(&bound.iter().collect::<Vec<_>>());
        assert!(!beats(&all[0], &all[1]));
        let mut other = pair(2_000, 0.05, 1);
        other[1].test_rows = Some("others".into());
        assert!(interval(&other).is_none());
        other[1].test_rows = Some("rows".into());
        other[1].nll.clear();
        assert!(interval(&other).is_none());
    }

    /// Of 1,000 intervals between 92.9 % and 97.9 % hold the true difference: 95.45 % within 4 binomial errors, here of the
    /// difference between two models with three seeds each whose seeds and rows both vary.
    #[test]
    fn intervals_cover_as_they_say() {
        let (n, repeats) = (120, 1_000);
        let mut covered = 0;
        for repeat in 0..repeats {
            let noise = Noise::new(77).at(repeat);
            let hard = noise.fork("hard").normals(n);
            let model = |name: &str, mean: f64| -> Vec<Row> {
                let shifts = noise.fork(name).normals(3);
                let seed = |s: usize| {
                    let own = noise.fork(name).at(s as u64).normals(n);
                    let nll = hard.iter().zip(own).map(|(h, e)| 2.0 * h + mean + 0.1 * shifts[s] + 0.5 * e);
                    row(name, s as u64, nll.collect())
                };
                (0..3).map(seed).collect()
            };
            let rows = [model("a", 1.0), model("b", 1.3)].concat();
            let d = interval(&rows).expect("the same rows");
            covered += usize::from(d.low < -0.3 && -0.3 < d.high);
        }
        assert!((929..=990).contains(&covered), "{covered} of {repeats}");
    }

    /// What all rows of a model share, such as the error of log Z, is not paired away.
    #[test]
    fn errors_of_log_z_stay() {
        let mut rows = pair(2_000, 0.05, 3);
        rows[0].likelihood =
            rows[0].likelihood.take().map(|l| Likelihood { stderr: l.stderr.hypot(0.1), ..l });
        let d = interval(&rows).expect("the same rows");
        assert!((0.5 * (d.high - d.low) / 0.2 - 1.0).abs() < 0.1, "{d:?}");
    }
}
