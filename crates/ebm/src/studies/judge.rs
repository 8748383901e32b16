//! Many measurements against what theory expects of them, judged together.

use genzoo_core::study::Verdict;
use genzoo_numerics::special::{simultaneous, student_quantile};

/// Probability that correct theory passes all comparisons of one claim.
const LEVEL: f64 = 0.99;

/// Deviations in standard errors, and the degrees of freedom of errors that few values tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparisons(Vec<(f64, Option<usize>)>);

impl Comparisons {
    /// Takes a measurement with its standard error and what was expected.
    pub(super) fn push(&mut self, got: f64, error: f64, want: f64) {
        // An exact measurement of an exact expectation has no error; 0/0 is agreement.
        self.0.push((if got == want { 0.0 } else { (got - want) / error }, None));
    }

    /// Takes a deviation that Student's law with so many degrees of freedom judges.
    pub(super) fn push_student(&mut self, deviation: f64, freedom: usize) {
        self.0.push((deviation, Some(freedom.max(1))));
    }

    /// What a deviation with this freedom may be, so that correct theory passes all at once (Bonferroni).
    fn allowed(&self, freedom: Option<usize>) -> f64 {
        match freedom {
            None => simultaneous(self.0.len(), LEVEL),
            Some(freedom) => student_quantile(1.0 - (1.0 - LEVEL) / self.0.len() as f64, freedom),
        }
    }

    /// The deviation that is largest beside what is allowed it, and that; NaN if one is no number or there are none.
    fn largest(&self) -> (f64, f64) {
        let mut top = (f64::NAN, f64::NAN);
        for (z, freedom) in &self.0 {
            if z.is_nan() {
                return (f64::NAN, f64::NAN);
            }
            let allowed = self.allowed(*freedom);
            if top.0.is_nan() || z.abs() / allowed > top.0 / top.1 {
                top = (z.abs(), allowed);
            }
        }
        top
    }

    /// `Holds` where every deviation stays within what this many comparisons allow.
    pub(super) fn verdict(&self) -> Verdict {
        match self.largest() {
            (z, _) if z.is_nan() => Verdict::Undecided,
            (z, allowed) => Verdict::of(z <= allowed),
        }
    }

    /// The verdict in words.
    pub(super) fn because(&self) -> String {
        let (largest, allowed) = self.largest();
        format!(
            "The largest of {} deviations is {largest:.1} standard errors; {allowed:.1} are allowed at {:.0} % over all.",
            self.0.len(),
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
        // Two degrees of freedom allow 9.92.
        for (z, verdict) in [(9.8, Verdict::Holds), (10.0, Verdict::Fails)] {
            let mut few = Comparisons::default();
            few.push_student(z, 2);
            assert_eq!(few.verdict(), verdict);
        }
    }
}
