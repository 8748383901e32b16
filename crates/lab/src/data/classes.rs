//! Some classes of labelled images, and in which shares: `mnist{digits=[2,3,6],masses=[4,2,1]}`.
//!
//! ```text
//! n_c = ⌊w_c · min_k a_k/w_k⌋        rows of class c, of a_c available ones, with weight w_c
//! ```
//! Without masses every row of the chosen classes is served. With masses as many as fit are, in each split on its own;
//! which ones is drawn once, the same for every seed. Labels stay those of the whole set.
//!
//! Unequal modes of images are how Carbone, Hua, Coste & Vanden-Eijnden (2023), arXiv:2305.19414, §4.2, judge whether
//! training finds the masses: digits 2, 3 and 6 as 4 : 2 : 1.

use genzoo_core::{Error, Noise, Result, Split};

use super::registry::{Accepts, Arguments, Parameter};
use super::split_name;

/// `digits=[2,3,6]`.
pub(super) const DIGITS: Parameter = Parameter {
    name: "digits",
    default: "[0,1,2,3,4,5,6,7,8,9]",
    accepts: Accepts::Digits,
    meaning: "the classes that are served",
};

/// `masses=[4,2,1]`.
pub(super) const MASSES: Parameter = Parameter {
    name: "masses",
    default: "[]",
    accepts: Accepts::Masses,
    meaning: "their weights, in the order of the digits; none for all rows there are",
};

/// The numbers of `[a,b,…]`.
pub(super) fn list(text: &str) -> Option<Vec<f64>> {
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    if inside.is_empty() {
        return Some(Vec::new());
    }
    inside.split(',').map(|v| v.trim().parse().ok().filter(|v: &f64| v.is_finite())).collect()
}

/// Which classes, and how heavy each is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    digits: Vec<u32>,
    /// One per digit, or none.
    masses: Vec<f64>,
    /// As in the name of the data set.
    words: String,
}

impl Choice {
    /// The choice that arguments make; `None` if they leave everything as it is.
    ///
    /// # Errors
    /// If there are masses, but not one for each digit.
    pub(super) fn read(arguments: &Arguments) -> Result<Option<Self>> {
        let (digits, masses) = (arguments.word(DIGITS.name)?, arguments.word(MASSES.name)?);
        if (digits, masses) == (DIGITS.default, MASSES.default) {
            return Ok(None);
        }
        let numbers = |text: &str| list(text).unwrap_or_default();
        let (d, m) = (numbers(digits), numbers(masses));
        if !m.is_empty() && m.len() != d.len() {
            let want = format!("one mass for each of the digits {digits}");
            return Err(Error::config(format!("{}{{masses}}", arguments.entry_name()), want, masses));
        }
        let words = [(DIGITS, digits), (MASSES, masses)].into_iter().filter(|(p, v)| p.default != *v);
        let words: Vec<String> = words.map(|(p, v)| format!("{}={v}", p.name)).collect();
        let digits = d.into_iter().map(|v| v as u32).collect();
        Ok(Some(Self { digits, masses: m, words: words.join(",") }))
    }

    /// As in the name of the data set: `digits=[2,3,6],masses=[4,2,1]`.
    pub(super) fn words(&self) -> &str {
        &self.words
    }

    /// Those of `rows`, in their order, that a split of the set called `name` serves; `label` gives the class of each.
    ///
    /// # Errors
    /// If a class would get no row.
    pub(super) fn of(
        &self,
        rows: &[u32],
        label: impl Fn(u32) -> u32,
        (name, split): (&str, Split),
    ) -> Result<Vec<u32>> {
        let mut classes: Vec<Vec<u32>> =
            self.digits.iter().map(|d| rows.iter().copied().filter(|r| label(*r) == *d).collect()).collect();
        let sizes = classes.iter().map(|c| c.len() as f64);
        let scale = sizes.zip(&self.masses).map(|(n, m)| n / m).fold(f64::INFINITY, f64::min);
        let noise = Noise::new(0).fork("classes").fork(name).fork(split_name(split));
        for ((class, digit), mass) in classes.iter_mut().zip(&self.digits).zip(&self.masses) {
            let order = noise.at(u64::from(*digit)).permutation(class.len());
            // A hair more than the product, which need not be the whole number that it stands for.
            let n = (scale * mass + 1e-9) as usize;
            *class = order.into_iter().take(n).map(|i| class[i]).collect();
        }
        if let Some(i) = classes.iter().position(Vec::is_empty) {
            let want = format!("rows of digit {} in the {} split", self.digits[i], split_name(split));
            return Err(Error::data(name, want, "none for these digits and masses"));
        }
        let mut all = classes.concat();
        all.sort_unstable();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(digits: &[u32], masses: &[f64]) -> Choice {
        Choice { digits: digits.to_vec(), masses: masses.to_vec(), words: String::new() }
    }

    #[test]
    fn shares_are_exact_and_as_many_rows_as_fit_are_kept() -> Result<()> {
        // Row r is of class r mod 10: a hundred of each.
        let rows: Vec<u32> = (0..1000).collect();
        let of = |c: &Choice| c.of(&rows, |r| r % 10, ("test", Split::Train));
        let kept = of(&choice(&[2, 3, 6], &[4.0, 2.0, 1.0]))?;
        let count = |d: u32| kept.iter().filter(|r| *r % 10 == d).count();
        assert_eq!((count(2), count(3), count(6), kept.len()), (100, 50, 25, 175));
        assert!(kept.windows(2).all(|w| w[0] < w[1]), "in their order, none twice");
        assert_eq!(kept, of(&choice(&[2, 3, 6], &[4.0, 2.0, 1.0]))?);
        // Weights are relative; thirds of a hundred are whole rows.
        let thirds = of(&choice(&[6, 3], &[0.1, 0.3]))?;
        assert_eq!(thirds.iter().filter(|r| *r % 10 == 6).count(), 33);
        assert_eq!(of(&choice(&[7], &[]))?.len(), 100);
        let other = choice(&[2, 3, 6], &[4.0, 2.0, 1.0]).of(&rows, |r| r % 10, ("test", Split::Test))?;
        assert_ne!(kept, other, "every split draws its own");
        let none = of(&choice(&[2, 3], &[1000.0, 1.0])).expect_err("a class of no rows").to_string();
        assert!(none.contains("digit 3"), "{none}");
        Ok(())
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(list(" [2, 3,6.5] "), Some(vec![2.0, 3.0, 6.5]));
        assert_eq!(list("[]"), Some(Vec::new()));
        for bad in ["2,3", "[2,3", "[a]", "[1,,2]", "[nan]", ""] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }
}
