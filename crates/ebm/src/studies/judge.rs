//! Many measurements against what theory expects of them, judged together.

use genzoo_core::study::Verdict;
use genzoo_numerics::special::simultaneous;

/// Probability that correct theory passes all comparisons of one claim.
const LEVEL: f64 = 0.99;

/// Deviations in standard errors.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparisons(Vec<f64>);

impl Comparisons {
    /// Takes a measurement with its standard error and what was expected.
    pub(super) fn push(&mut self, got: f64, error: f64, want: f64) {
        // An exact measurement of an exact expectation has no error; 0/0 is agreement.
        self.0.push(if got == want { 0.0 } else { (got - want) / error });
    }

    /// The largest deviation; NaN if one is no number or there are none.
    pub(super) fn largest(&self) -> f64 {
        self.0.iter().fold(if self.0.is_empty() { f64::NAN } else { 0.0 }, |top, z| {
            if z.is_nan() || top.is_nan() { f64::NAN } else { top.max(z.abs()) }
        })
    }

    /// `Holds` where every deviation stays within what this many comparisons allow.
    pub(super) fn verdict(&self) -> Verdict {
        match self.largest() {
            z if z.is_nan() => Verdict::Undecided,
            z => Verdict::of(z <= simultaneous(self.0.len(), LEVEL)),
        }
    }

    /// The verdict in words.
    pub(super) fn because(&self) -> String {
        format!(
            "The largest of {} deviations is {:.1} standard errors; {:.1} are allowed at {:.0} % over all.",
            self.0.len(),
            self.largest(),
            simultaneous(self.0.len(), LEVEL),
            100.0 * LEVEL
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_judged_over_all_comparisons_at_once() {
        let of = |zs: &[f64]| {
            let mut all = Comparisons::default();
            zs.iter().for_each(|z| all.push(*z, 1.0, 0.0));
            all
        };
        // One comparison allows 2.58 standard errors, twenty allow 3.48.
        assert_eq!(of(&[2.5]).verdict(), Verdict::Holds);
        assert_eq!(of(&[-2.7]).verdict(), Verdict::Fails);
        let mut many = vec![0.0; 19];
        many.push(-3.3);
        assert_eq!(of(&many).verdict(), Verdict::Holds);
        many[3] = 3.6;
        assert_eq!(of(&many).verdict(), Verdict::Fails);
        many[4] = f64::NAN;
        assert_eq!(of(&many).verdict(), Verdict::Undecided);
        assert_eq!(of(&[]).verdict(), Verdict::Undecided);
        let mut exact = Comparisons::default();
        exact.push(1.0, 0.0, 1.0);
        assert_eq!(exact.verdict(), Verdict::Holds);
    }
}
