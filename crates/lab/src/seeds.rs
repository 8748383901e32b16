//! Rows of one model under several seeds as one row: the mean, and its two errors by name.
//!
//! ```text
//! K seeds with values v_k and errors s_k:   v = Σ v_k / K     seeds = sd(v_k) / √K     data = Σ s_k / K
//! stderr = √(seeds² + data²)                interval = v ± √((t·seeds)² + (2·data)²)
//! ```
//! All seeds are judged on the same test rows against the same real samples, so their errors `s_k` may be fully
//! correlated; their mean bounds the error of `v` that comes from the data (Cauchy–Schwarz) and does not shrink with
//! K. `t` is the quantile of Student's distribution with K − 1 degrees of freedom at the level of two standard errors
//! of a normal, 95.45 %: 13.97 for two seeds, 2.87 for five (Student, 1908). One seed says nothing of others.
//!
//! Only rows of one model with one budget and one recipe are averaged, and only numbers that mean the same thing. If a
//! seed failed, the row says so: the mean of the survivors is not the mean of the model.

use genzoo_core::Measurement;
use genzoo_numerics::special::{Moments, student_quantile};

use crate::row::{Likelihood, Row, Sampling, Status, TrainStats};

/// The errors of a mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Number of seeds.
    pub count: usize,
    /// Standard error over seeds; `None` for one seed.
    pub seeds: Option<f64>,
    /// Standard error from the data.
    pub data: Option<f64>,
}

/// P(|Z| ≤ 2) of a normal Z: the level of two standard errors, erf(√2).
const TWO_ERRORS: f64 = 0.954_499_736_103_642;

impl Spread {
    /// The spread of `values` with standard errors `errors` (one each, or `None` if one of them is unknown).
    fn of(values: &[f64], errors: Option<Vec<f64>>) -> Self {
        let count = values.len();
        let seeds = (count > 1).then(|| Moments::of(values).standard_error());
        Self { count, seeds, data: errors.map(|e| e.iter().sum::<f64>() / count as f64) }
    }

    /// The standard error of the mean; `None` if nothing is known.
    pub fn standard_error(&self) -> Option<f64> {
        match (self.seeds, self.data) {
            (None, data) => data,
            (Some(seeds), data) => Some(seeds.hypot(data.unwrap_or(0.0))),
        }
    }

    /// Half the interval that covers 95.45 % if errors are normal.
    pub fn half(&self) -> Option<f64> {
        let seeds = self.seeds.map(|s| s * student_quantile(TWO_ERRORS, self.count - 1));
        match (seeds, self.data.map(|d| 2.0 * d)) {
            (None, data) => data,
            (Some(seeds), data) => Some(seeds.hypot(data.unwrap_or(0.0))),
        }
    }
}

/// One model on one data set with one budget.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    /// The mean over the seeds; the row itself if there is one seed. Errors are [`Spread::standard_error`].
    pub row: Row,
    /// The rows of the seeds.
    pub members: Vec<&'a Row>,
    /// For the likelihood of `row` and then for each of its `likelihoods`.
    likelihoods: Vec<Spread>,
    /// For each metric of `row`.
    quality: Vec<Spread>,
}

impl Summary<'_> {
    /// The likelihoods with their errors, the one that ranks first.
    pub fn likelihoods(&self) -> impl Iterator<Item = (&Likelihood, Spread)> {
        let all = self.row.likelihood.iter().chain(&self.row.likelihoods);
        all.zip(self.likelihoods.iter().copied())
    }

    /// A metric with its errors.
    pub fn metric(&self, name: &str) -> Option<(&Measurement, Spread)> {
        let at = self.row.quality.iter().position(|(n, _)| n == name)?;
        Some((&self.row.quality[at].1, self.quality[at]))
    }

    /// Whether this is the mean of several seeds.
    pub fn is_mean(&self) -> bool {
        self.members.len() > 1
    }
}

/// Rows of the same model, data, budget and recipe, in the order of their first rows. A seed that comes twice begins
/// a summary of its own, so that no row is lost or counted twice.
pub fn summaries<'a>(rows: &[&'a Row]) -> Vec<Summary<'a>> {
    let same = |a: &Row, b: &Row| {
        a.family == b.family
            && a.model == b.model
            && a.dataset == b.dataset
            && a.budget == b.budget
            && a.recipe_sha256 == b.recipe_sha256
            && a.seed != b.seed
    };
    let mut groups: Vec<Vec<&'a Row>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|g| g.iter().all(|r| same(r, row))) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups.into_iter().map(summary).collect()
}

fn summary(members: Vec<&Row>) -> Summary<'_> {
    let first = members[0];
    let well: Vec<&Row> = match members.len() {
        1 => members.clone(),
        _ => members.iter().copied().filter(|r| r.status == Status::Ok).collect(),
    };
    let main = mean_likelihood(&well.iter().map(|r| r.likelihood.as_ref()).collect::<Vec<_>>());
    let of_first = well.first().copied().unwrap_or(first);
    // Without the main one the others stand only in the rows of the seeds.
    let others = of_first.likelihoods.iter().filter(|_| main.is_some()).filter_map(|l| {
        let same = |o: &&Likelihood| o.kind == l.kind && o.method == l.method;
        mean_likelihood(&well.iter().map(|r| r.likelihoods.iter().find(same)).collect::<Vec<_>>())
    });
    let others: Vec<(Likelihood, Spread)> = others.collect();
    let quality = of_first.quality.iter().filter_map(|(name, _)| {
        let mean = mean_measurement(&well.iter().map(|r| r.metric(name)).collect::<Vec<_>>())?;
        Some((name.clone(), mean))
    });
    let quality: Vec<(String, (Measurement, Spread))> = quality.collect();
    let mut row = first.clone();
    if members.len() > 1 {
        (row.status, row.reason) = outcome(&members, main.is_some());
        row.train = mean_train(&members);
        row.sampling = mean_sampling(&well);
        row.command = None;
    }
    let likelihoods = main.iter().chain(&others).map(|(_, s)| *s).collect();
    row.likelihood = main.map(|(l, _)| l);
    row.likelihoods = others.into_iter().map(|(l, _)| l).collect();
    let spreads = quality.iter().map(|(_, (_, s))| *s).collect();
    row.quality = quality.into_iter().map(|(name, (m, _))| (name, m)).collect();
    Summary { row, members, likelihoods, quality: spreads }
}

/// The mean of likelihoods that say the same thing; `None` if one is missing or says another.
fn mean_likelihood(all: &[Option<&Likelihood>]) -> Option<(Likelihood, Spread)> {
    let all: Vec<&Likelihood> = all.iter().copied().collect::<Option<_>>()?;
    let first = *all.first()?;
    let same = |l: &&Likelihood| (l.kind, l.space, &l.unit) == (first.kind, first.space, &first.unit);
    if !all.iter().all(same) {
        return None;
    }
    let values: Vec<f64> = all.iter().map(|l| l.value).collect();
    let spread = Spread::of(&values, Some(all.iter().map(|l| l.stderr).collect()));
    let mut mean = first.clone();
    mean.value = values.iter().sum::<f64>() / values.len() as f64;
    mean.stderr = spread.standard_error()?;
    mean.n = all.iter().map(|l| l.n).min()?;
    // An estimate without a stated tolerance makes the mean one without.
    mean.tolerance = all.iter().map(|l| l.tolerance).collect::<Option<Vec<f64>>>().map(|t| largest(&t));
    Some((mean, spread))
}

fn mean_measurement(all: &[Option<&Measurement>]) -> Option<(Measurement, Spread)> {
    let all: Vec<&Measurement> = all.iter().copied().collect::<Option<_>>()?;
    let first = *all.first()?;
    if !all.iter().all(|m| (m.better, &m.unit) == (first.better, &first.unit)) {
        return None;
    }
    let average = |v: Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
    let values: Option<Vec<f64>> = all.iter().map(|m| m.value).collect();
    let spread = Spread::of(values.as_deref().unwrap_or_default(), all.iter().map(|m| m.stderr).collect());
    let mut mean = first.clone();
    mean.stderr = values.as_ref().and_then(|_| spread.standard_error());
    mean.value = values.map(average);
    mean.floor = all.iter().map(|m| m.floor).collect::<Option<Vec<f64>>>().map(average);
    mean.n = all.iter().map(|m| m.n).min()?;
    Some((mean, spread))
}

/// How several seeds ended: as all of them did, or as the first that did not end well.
fn outcome(members: &[&Row], has_likelihood: bool) -> (Status, Option<String>) {
    let of = |n: usize| format!("{n} of {} seeds", members.len());
    let why = |r: &Row| r.reason.clone().unwrap_or_else(|| "no reason given".into());
    let failed: Vec<&&Row> = members.iter().filter(|r| r.status != Status::Ok).collect();
    if let Some(first) = failed.first() {
        return (first.status, Some(format!("{}: seed {}: {}", of(failed.len()), first.seed, why(first))));
    }
    let without: Vec<&&Row> = members.iter().filter(|r| r.likelihood.is_none()).collect();
    let some_have = without.len() < members.len();
    match without.first() {
        Some(first) if some_have => {
            (Status::Ok, Some(format!("no likelihood for {}: {}", of(without.len()), why(first))))
        }
        None if !has_likelihood => {
            (Status::Ok, Some("the seeds have different kinds of likelihood, which have no mean".into()))
        }
        _ => (Status::Ok, members.iter().find_map(|r| r.reason.clone())),
    }
}

fn mean_train(members: &[&Row]) -> Option<TrainStats> {
    let all: Vec<&TrainStats> = members.iter().map(|r| r.train.as_ref()).collect::<Option<_>>()?;
    let mean = |v: fn(&TrainStats) -> f64| all.iter().map(|t| v(t)).sum::<f64>() / all.len() as f64;
    let (seconds, examples) = (mean(|t| t.seconds), mean(|t| t.examples as f64));
    Some(TrainStats {
        steps: mean(|t| t.steps as f64).round() as u64,
        examples: examples.round() as u64,
        seconds,
        examples_per_second: if seconds > 0.0 { examples / seconds } else { 0.0 },
        peak_rss_bytes: all.iter().map(|t| t.peak_rss_bytes).max().flatten(),
        final_loss: all.iter().map(|t| t.final_loss).collect::<Option<Vec<f64>>>().map(|v| {
            let n = v.len() as f64;
            v.into_iter().sum::<f64>() / n
        }),
    })
}

/// Mean seconds per example and evaluations, for the samplers that every row has.
fn mean_sampling(rows: &[&Row]) -> Vec<Sampling> {
    let Some(first) = rows.first() else { return Vec::new() };
    let mean = |s: &Sampling| {
        let all: Vec<&Sampling> =
            rows.iter().map(|r| r.sampling.iter().find(|o| o.sampler == s.sampler)).collect::<Option<_>>()?;
        let n = all.len() as f64;
        let seconds: Option<f64> = all.iter().map(|s| s.examples_per_second.map(f64::recip)).sum();
        let first: Option<f64> = all.iter().map(|s| s.seconds_to_first).sum();
        Some(Sampling {
            sampler: s.sampler.clone(),
            evaluations: (all.iter().map(|s| s.evaluations as f64).sum::<f64>() / n).round() as u64,
            examples_per_second: seconds.map(|s| n / s),
            seconds_to_first: first.map(|s| s / n),
        })
    };
    first.sampling.iter().filter_map(mean).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Budget;
    use crate::row::tests::specimen;
    use genzoo_core::Kind;

    /// A row of this seed with one likelihood and one metric.
    fn seed(seed: u64, nll: f64, stderr: f64, mmd2: f64) -> Row {
        let mut row = Row { seed, ..specimen() };
        row.likelihood = row.likelihood.map(|l| Likelihood { value: nll, stderr, ..l });
        row.quality.truncate(1);
        row.quality[0].1.value = Some(mmd2);
        row
    }

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-12 * (1.0 + b.abs()))
    }

    #[test]
    fn means_and_errors_are_those_of_a_pocket_calculator() {
        let rows = [seed(0, 2.0, 0.03, 0.001), seed(1, 2.3, 0.06, 0.003), seed(2, 2.9, 0.03, 0.002)];
        let all = summaries(&rows.iter().collect::<Vec<_>>());
        assert_eq!((all.len(), all[0].members.len(), all[0].is_mean()), (1, 3, true));
        let (l, spread) = all[0].likelihoods().next().expect("a likelihood");
        // Mean 2.4; deviations −0.4, −0.1, 0.5: variance 0.42/2 = 0.21, over three seeds 0.07.
        assert!(close(Some(l.value), 2.4) && close(spread.seeds, 0.07f64.sqrt()));
        assert!(close(spread.data, 0.04) && close(Some(l.stderr), (0.07f64 + 0.0016).sqrt()));
        let (m, spread) = all[0].metric("mmd2_unbiased").expect("the metric");
        assert!(
            close(m.value, 0.002) && close(spread.seeds, 0.001 / 3f64.sqrt()) && close(spread.data, 1e-4)
        );
        assert_eq!(m.n, 2000);
        // t for two degrees of freedom at 95.45 %: √(2 p²/(1 − p²)), here 4.5266.
        let p = TWO_ERRORS;
        let t = (2.0 * p * p / (1.0 - p * p)).sqrt();
        let half = ((t * 0.001).powi(2) / 3.0 + (2e-4f64).powi(2)).sqrt();
        assert!((t - 4.5266).abs() < 1e-4 && (spread.half().expect("known") - half).abs() < 1e-12);
    }

    #[test]
    fn one_seed_is_itself_and_its_interval_is_two_standard_errors() {
        let row = specimen();
        let all = summaries(&[&row]);
        assert_eq!(all[0].row, row);
        let (_, spread) = all[0].likelihoods().next().expect("a likelihood");
        assert_eq!((spread.seeds, spread.standard_error(), spread.half()), (None, Some(0.01), Some(0.02)));
    }

    #[test]
    fn what_means_different_things_has_no_mean() {
        let (a, b) = (seed(0, 2.0, 0.1, 0.1), seed(1, 2.2, 0.1, 0.1));
        let mut bound = b.clone();
        bound.likelihood = bound.likelihood.map(|l| Likelihood { kind: Kind::LowerBound, ..l });
        let s = &summaries(&[&a, &bound])[0];
        assert!(s.row.likelihood.is_none() && s.row.reason.is_some() && s.metric("mmd2_unbiased").is_some());
        for other in [
            Row { budget: Budget { seconds: Some(20.0), ..Budget::default() }, ..b.clone() },
            Row { recipe_sha256: None, ..b.clone() },
            Row { dataset: "circles".into(), ..b.clone() },
            Row { seed: 0, ..b.clone() },
        ] {
            assert_eq!(summaries(&[&a, &other]).len(), 2, "never averaged");
        }
        assert_eq!(summaries(&[&a, &b]).len(), 1);
    }

    #[test]
    fn a_failed_seed_is_not_averaged_away() {
        let (a, b) = (seed(0, 2.0, 0.1, 0.1), seed(1, 2.2, 0.1, 0.1));
        let bad = Row {
            status: Status::Diverged,
            reason: Some("at step 3".into()),
            likelihood: None,
            quality: vec![],
            ..seed(2, 0.0, 0.0, 0.0)
        };
        let s = &summaries(&[&a, &bad, &b])[0];
        assert_eq!(s.row.status, Status::Diverged);
        assert_eq!(s.row.reason.as_deref(), Some("1 of 3 seeds: seed 2: at step 3"));
        assert!(close(s.row.likelihood.as_ref().map(|l| l.value), 2.1));
        let silent = Row { likelihood: None, reason: Some("ais_degenerate".into()), ..b.clone() };
        let s = &summaries(&[&a, &silent])[0];
        assert_eq!((s.row.status, s.row.likelihood.is_none()), (Status::Ok, true));
        assert!(s.row.reason.as_deref().is_some_and(|r| r.contains("1 of 2 seeds: ais_degenerate")));
    }

    #[test]
    fn speeds_are_means_of_time() {
        let with = |seed: u64, rate: f64| {
            let mut row = Row { seed, ..specimen() };
            row.sampling[0].examples_per_second = Some(rate);
            row
        };
        let (a, b) = (with(0, 100.0), with(1, 300.0));
        let s = &summaries(&[&a, &b])[0];
        assert!(close(s.row.sampling[0].examples_per_second, 150.0), "2 / (1/100 + 1/300)");
    }
}
