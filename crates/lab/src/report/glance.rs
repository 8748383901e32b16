//! The first questions about a section, answered in words and from its rows alone: who fits best and how sure, who
//! draws best, who is fastest, and what each costs.
//!
//! Nothing is claimed that intervals do not show: a single name means that its interval lies apart from all others, or
//! that of its difference from each of them on the same test rows lies below zero.

use serde::Serialize;

use super::format::{bytes, printable, seconds, short};
use super::paired;
use super::rank::{Interval, unbeaten};
use super::section::{Section, excess, is_reference, likelihood};
use crate::metrics::{Needs, find};
use crate::row::Row;
use crate::seeds::Summary;

/// Speeds closer than this factor are one speed: timings carry no error.
const SAME_SPEED: f64 = 1.1;

/// More names than these are no answer.
const NAMES: usize = 3;

/// A question, its answer in a few words, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Answer {
    pub(super) question: &'static str,
    pub(super) answer: String,
    pub(super) because: String,
}

/// The answers for a section with at least two models.
pub(super) fn glance(section: &Section<'_>) -> Vec<Answer> {
    if section.models().count() < 2 {
        return Vec::new();
    }
    let drawn = Drawn::of(section);
    [fit(section), draw(section, &drawn), fast(section, &drawn), cost(section)]
        .into_iter()
        .flatten()
        .collect()
}

/// `realnvp (flow)`.
fn who(row: &Row) -> String {
    format!("{} ({})", printable(&row.model), printable(&row.family))
}

/// `a`, `a or b`, `a, b or c`.
fn list(words: &[String], and: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} {and} {last}", most.join(", ")),
    }
}

/// `realnvp (flow) or linear (interpolant)`, or that there are too many to choose from.
fn choice(all: &[&Summary<'_>]) -> String {
    let names: Vec<String> = all.iter().map(|s| who(&s.row)).collect();
    if names.len() > NAMES { format!("undecided between {}", names.len()) } else { list(&names, "or") }
}

fn names<'s>(all: impl Iterator<Item = &'s Summary<'s>>) -> Vec<String> {
    all.map(|s| printable(&s.row.model)).collect()
}

fn fit(section: &Section<'_>) -> Option<Answer> {
    let question = "Which fits best?";
    let ranked: Vec<(usize, &Summary<'_>)> =
        section.all.iter().enumerate().filter(|(i, _)| section.ranks[*i].is_some()).collect();
    let without = names(section.models().filter(|s| s.row.likelihood.is_none()));
    let silent = match without.len() {
        0 => String::new(),
        1 => format!(" {} has no likelihood.", without[0]),
        _ => format!(" {} have no likelihood.", list(&without, "and")),
    };
    let unit = if section.unit() == Some("bits_per_dim") { "bits/dim" } else { "nats" };
    let measured = |s: &Summary<'_>| match excess(s) {
        Some(text) => format!("{text} {unit} above the entropy"),
        None => s.row.likelihood.as_ref().map_or(String::new(), |l| format!("{} {unit}", likelihood(l))),
    };
    let answer =
        |answer: String, because: String| Some(Answer { question, answer, because: because + &silent });
    match ranked[..] {
        [] if section.models().all(|s| s.row.likelihood.is_none()) => {
            return Some(Answer {
                question,
                answer: "unknown".into(),
                because: "No model here has a likelihood.".into(),
            });
        }
        [] => return None,
        [(_, only)] => {
            return answer(who(&only.row), format!("{}; nothing to compare it with.", measured(only)));
        }
        _ => {}
    }
    let first = |i: usize| section.ranks[i].is_some_and(|r| r.best == 1);
    let leaders: Vec<&Summary<'_>> = ranked.iter().filter(|(i, _)| first(*i)).map(|(_, s)| *s).collect();
    let spaces: Vec<_> = leaders.iter().filter_map(|s| s.row.likelihood.as_ref()).map(|l| l.space).collect();
    if spaces.windows(2).any(|w| w[0] != w[1]) {
        let because = "Likelihoods of different spaces are not compared.".to_string();
        return answer("not comparable".into(), because);
    }
    if let [only] = leaders[..] {
        let next = ranked.iter().find(|(i, _)| !first(*i)).map(|(_, s)| *s);
        let next =
            next.map_or(String::new(), |s| format!(" Next: {}, {}.", printable(&s.row.model), measured(s)));
        let own = Interval::of_summary(only);
        let others = ranked.iter().filter(|(i, _)| !first(*i)).filter_map(|(_, s)| Interval::of_summary(s));
        let apart = own.is_some_and(|own| others.clone().all(|o| own.beats(&o)));
        let why = match apart {
            true => "no other interval reaches it",
            false => "row by row on the same test rows no other reaches it",
        };
        let because = format!("Surely: {}, and {why}.{next}", measured(only));
        return answer(who(&only.row), because);
    }
    let bounded = |s: &&&Summary<'_>| Interval::of_summary(s).is_some_and(|i| i.low.is_finite());
    let (known, open): (Vec<&Summary<'_>>, Vec<&Summary<'_>>) = leaders.iter().partition(|s| bounded(s));
    let values = |all: &[&Summary<'_>]| {
        all.iter()
            .map(|s| format!("{} {}", printable(&s.row.model), measured(s)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let hidden = match open.len() {
        0 => String::new(),
        _ => format!(" Known from one side only, so perhaps better: {}.", values(&open)),
    };
    match known[..] {
        [one] => answer(
            who(&one.row),
            format!("The best of those known from both sides: {}.{hidden}", measured(one)),
        ),
        // Bounds alone rank nobody, but the lowest is the best that is guaranteed.
        [] => {
            let bound = |s: &&Summary<'_>| s.row.likelihood.as_ref().map_or(f64::MAX, |l| l.value);
            let mut open = open;
            open.sort_by(|a, b| bound(a).total_cmp(&bound(b)));
            let because = format!(
                "The lowest bound: {}. Then {}. Bounds may be loose, so the order of the truths is undecided.",
                measured(open[0]),
                values(&open[1..])
            );
            answer(format!("{}, as far as bounds tell", who(&open[0].row)), because)
        }
        _ => {
            let rows = known
                .iter()
                .enumerate()
                .all(|(i, a)| known[i + 1..].iter().all(|b| paired::difference(a, b).is_some()));
            let also = if rows { ", also row by row" } else { "" };
            let because = format!("Undecided, their intervals overlap{also}: {}.{hidden}", values(&known));
            answer(choice(&known), because)
        }
    }
}

/// By how many metrics of its samples each model is beaten by no other.
struct Drawn {
    /// The metrics by which models can be compared, and the models that lead by each.
    metrics: Vec<(String, Vec<usize>)>,
    /// The models that lead most often.
    leaders: Vec<usize>,
    /// How often that is.
    most: usize,
}

impl Drawn {
    fn of(section: &Section<'_>) -> Self {
        // Distances from the training rows tell copies from new samples, not good ones from bad.
        let of_copies = |m: &str| find(m).is_ok_and(|m| m.needs() == Needs::Train);
        let names = section.metrics().into_iter().filter(|m| !of_copies(m));
        let metrics = names.map(|m| (m.clone(), unbeaten(&section.all, &m)));
        let metrics: Vec<(String, Vec<usize>)> = metrics.filter(|(_, u)| !u.is_empty()).collect();
        let count = |i: usize| metrics.iter().filter(|(_, u)| u.contains(&i)).count();
        let most = (0..section.all.len()).map(count).max().unwrap_or(0);
        let leaders = (0..section.all.len()).filter(|&i| most > 0 && count(i) == most).collect();
        Self { metrics, leaders, most }
    }
}

fn draw(section: &Section<'_>, drawn: &Drawn) -> Option<Answer> {
    let question = "Which draws best?";
    let of = drawn.metrics.len();
    if drawn.most == 0 {
        return None;
    }
    let leaders: Vec<&Summary<'_>> = drawn.leaders.iter().map(|&i| &section.all[i]).collect();
    let part =
        if of == 1 { "the one measure".to_string() } else { format!("{} of {of} measures", drawn.most) };
    let words = |all: Vec<&str>| {
        let words: Vec<String> = all.iter().map(|m| printable(&m.replace('_', " "))).collect();
        list(&words, "and")
    };
    let because = match (drawn.leaders[..].first(), leaders.len(), drawn.most == of) {
        (Some(only), 1, true) => {
            let alone = drawn.metrics.iter().filter(|(_, u)| u[..] == [*only]).map(|(m, _)| m.as_str());
            let alone = Some(words(alone.collect())).filter(|w| !w.is_empty());
            let alone = alone.map_or(String::new(), |w| format!(" It alone leads in {w}."));
            format!("No other surely beats its samples in any of {of} measures.{alone}")
        }
        (Some(only), 1, false) => {
            let lost = drawn.metrics.iter().filter(|(_, u)| !u.contains(only)).map(|(m, _)| m.as_str());
            format!("Unbeaten in {part}, more than any other; surely beaten in {}.", words(lost.collect()))
        }
        (_, _, true) => {
            let all = list(&names(leaders.iter().copied()), "and");
            format!("Undecided: none of {of} measures tells {all} from the best.")
        }
        _ => {
            let all = list(&names(leaders.iter().copied()), "and");
            format!("{all} are each unbeaten in {part}; none leads in all.")
        }
    };
    let answer = choice(&leaders);
    Some(Answer { question, answer, because })
}

/// Samples per second and evaluations of the judged sampler.
fn speed(s: &Summary<'_>) -> Option<(f64, u64)> {
    let judged = s.row.sampling.first().filter(|_| !is_reference(&s.row))?;
    Some((judged.examples_per_second.filter(|v| *v > 0.0)?, judged.evaluations))
}

fn fast(section: &Section<'_>, drawn: &Drawn) -> Option<Answer> {
    let mut all: Vec<(&Summary<'_>, f64, u64)> =
        section.all.iter().filter_map(|s| speed(s).map(|(v, e)| (s, v, e))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = all.first()?.1;
    let (first, rest) = all.split_at(all.iter().take_while(|(_, v, _)| v * SAME_SPEED >= top).count());
    let words = |(s, v, e): &(&Summary<'_>, f64, u64)| {
        let plural = if *e == 1 { "" } else { "s" };
        format!("{} {} samples/s at {e} evaluation{plural} each", printable(&s.row.model), short(*v))
    };
    let mut because = first.iter().map(words).collect::<Vec<_>>().join(", ") + ".";
    if let Some(next) = rest.first() {
        because += &format!(" Next: {}.", words(next));
    }
    let mut good =
        drawn.leaders.iter().filter_map(|&i| speed(&section.all[i]).map(|(v, e)| (&section.all[i], v, e)));
    let best = good.by_ref().max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some(best) = best.filter(|b| !first.iter().any(|f| f.0.row == b.0.row)) {
        because += &format!(" Of those that draw best: {}.", words(&best));
    }
    let answer = list(&first.iter().map(|(s, ..)| who(&s.row)).collect::<Vec<_>>(), "and");
    Some(Answer { question: "Which is fastest?", answer, because })
}

/// The smallest and the largest with their models.
fn ends<'s>(all: impl Iterator<Item = (&'s Summary<'s>, f64)>) -> Option<[(&'s Summary<'s>, f64); 2]> {
    let mut all: Vec<(&Summary<'_>, f64)> = all.filter(|(_, v)| v.is_finite()).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some([*all.first()?, *all.last()?])
}

/// `6.0 s`, or `4.9 s (ddpm) to 6.1 s (pcd)` if the ends read differently.
fn range<'s>(
    all: impl Iterator<Item = (&'s Summary<'s>, f64)>,
    text: impl Fn(f64) -> String,
) -> Option<String> {
    let [(least, low), (most, high)] = ends(all)?;
    let (a, b) = (text(low), text(high));
    let end = |s: &Summary<'_>, text: &str| format!("{text} ({})", printable(&s.row.model));
    Some(if a == b { a } else { format!("{} to {}", end(least, &a), end(most, &b)) })
}

fn cost(section: &Section<'_>) -> Option<Answer> {
    let models = || section.models().map(|s| s as &Summary<'_>);
    let of = |value: fn(&Row) -> Option<f64>| models().filter_map(move |s| Some((s, value(&s.row)?)));
    let train = range(of(|r| Some(r.train.as_ref()?.seconds)), seconds)?;
    let answer = section.budget().map_or_else(|| format!("{train} of training"), |b| format!("{b} each"));
    let mut parts = vec![format!("Trained for {train}")];
    parts.extend(
        range(of(|r| Some(1e3 / r.sampling.first()?.examples_per_second?)), seconds)
            .map(|t| format!("1,000 samples take {t}")),
    );
    parts.extend(range(of(|r| Some(r.parameters? as f64)), short).map(|t| format!("parameters: {t}")));
    parts.extend(
        range(of(|r| Some(r.train.as_ref()?.peak_rss_bytes? as f64)), |b| bytes(b as u64))
            .map(|t| format!("memory: {t}")),
    );
    Some(Answer { question: "What does each cost?", answer, because: parts.join(". ") + "." })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::section::{sections, tests::zoo};
    use crate::row::Likelihood;

    fn answers(rows: &[Row]) -> Vec<Answer> {
        glance(&sections(rows)[0])
    }

    #[test]
    fn the_zoo_is_answered_in_words() {
        let all = answers(&zoo());
        assert_eq!(all.iter().map(|a| a.question).collect::<Vec<_>>().len(), 4);
        // 2.8581 ± .0168 widened by .001 and 2.8712 ± .0166 overlap; the bound of the VAE ends at 3.03 and is open below.
        assert_eq!(all[0].answer, "linear (interpolant) or realnvp (flow)");
        for piece in ["Undecided", "Known from one side only", "vae ≤0.1823 nats", "ns-gan has no likelihood"]
        {
            assert!(all[0].because.contains(piece), "{piece}: {}", all[0].because);
        }
        assert_eq!(all[1].answer, "linear (interpolant) or realnvp (flow)");
        assert!(all[2].answer == "ns-gan (gan) and vae (vae)", "{}", all[2].answer);
        assert!(
            all[2].because.contains("Of those that draw best: realnvp 212k samples/s at 1 evaluation each"),
            "{}",
            all[2].because
        );
        assert!(
            all[3].answer == "10 s of training each" && all[3].because.contains("1,000 samples take"),
            "{all:?}"
        );
    }

    #[test]
    fn one_name_means_that_it_is_sure() {
        let mut rows = zoo();
        rows.retain(|r| ["real", "linear", "ns-gan", "pcd"].contains(&r.model.as_str()));
        let all = answers(&rows);
        assert_eq!(all[0].answer, "linear (interpolant)");
        assert!(all[0].because.starts_with("Surely: ≈0.0280 nats above the entropy"), "{}", all[0].because);
        for row in &mut rows {
            row.likelihood = row.likelihood.take().map(|l| Likelihood { stderr: 10.0, ..l });
        }
        assert!(answers(&rows)[0].because.starts_with("Undecided"), "{:?}", answers(&rows)[0]);
        rows.iter_mut().for_each(|r| r.likelihood = None);
        assert_eq!(answers(&rows)[0].because, "No model here has a likelihood.");
    }

    #[test]
    fn copies_do_not_draw_best() {
        let mut rows = zoo();
        let before = answers(&rows)[1].answer.clone();
        for row in &mut rows {
            let Some((_, mut far)) = row.quality.first().cloned() else { continue };
            far.value = Some(if row.model == "vae" { 1e9 } else { 0.0 });
            (far.stderr, far.better) = (Some(1e-9), genzoo_core::Better::Higher);
            row.quality.extend(["c_t", "train_distance"].map(|name| (name.to_string(), far.clone())));
        }
        assert_eq!(answers(&rows)[1].answer, before);
    }

    #[test]
    fn bounds_alone_name_the_best_guarantee_and_stay_undecided() {
        let mut rows = zoo();
        rows.retain(|r| ["real", "vae", "realnvp"].contains(&r.model.as_str()));
        for row in rows.iter_mut().filter(|r| r.family != "baseline") {
            if let Some(l) = &mut row.likelihood {
                l.kind = genzoo_core::Kind::LowerBound;
            }
        }
        let fit = &answers(&rows)[0];
        assert_eq!(fit.answer, "realnvp (flow), as far as bounds tell");
        assert!(
            fit.because.contains("Then vae ≤0.1823 nats") && fit.because.contains("undecided"),
            "{fit:?}"
        );
    }

    #[test]
    fn nothing_is_said_of_one_model() {
        assert!(answers(&zoo()[..2]).is_empty());
    }
}
