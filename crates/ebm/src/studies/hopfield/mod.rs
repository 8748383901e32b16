//! How many patterns an associative memory holds.
//!
//! ```text
//! N spins, K = αN random patterns; from a pattern, or from a part of it, the state flows downhill; how much of the pattern is left?
//! ```
//!
//! Source: Carbone, "Hitchhiker's guide on energy-based models", §A.1, Eqs. 109–110, with zero diagonal and one site at
//! a time, the rule that α_c ≈ 0.138 belongs to; theory in this folder's `theory`, memories in `crate::hopfield`.

mod dense;
mod load;
mod rules;
mod theory;

use genzoo_core::Result;
use genzoo_core::study::{Desk, Page, Study};

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "hopfield",
    summary: "retrieval against load: Hebb's rule towards its critical load, better rules, and dense memories beyond",
    citation: "Amit, Gutfreund & Sompolinsky (1985); Krotov & Hopfield (2016), arXiv:1606.01164",
    run,
};

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let load = desk.choose(load::SMALL, load::FULL);
    let rules = desk.choose(rules::SMALL, rules::FULL);
    let dense = desk.choose(dense::SMALL, dense::FULL);
    work(desk, &load, &rules, &dense)
}

fn work(desk: &mut Desk<'_>, load: &load::Plan, rules: &rules::Plan, dense: &dense::Plan) -> Result<Page> {
    let mut page = Page {
        about: "Random patterns are stored, and states that start at one of them, or at a part of it, are let down the energy one spin at a time. \
                Lines are mean-field theory and errors of single bits in closed form; bars are 95 % intervals over networks."
            .into(),
        ..Page::default()
    };
    load::add(&mut page, desk, load)?;
    rules::add(&mut page, desk, rules)?;
    dense::add(&mut page, desk, dense)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::study::{Effort, Forgetful, Verdict};
    use genzoo_core::{Device, Noise};

    #[test]
    fn every_claim_holds_in_small_networks() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(2), &mut memory);
        let load = load::Plan { sizes: &[(250, 24), (500, 16), (1_000, 8)], patterns: 10 };
        let rules = rules::Plan { sites: 150, networks: 3, patterns: 10 };
        let dense = dense::Plan { patterns: 200, sites: &[12, 16, 20], masked: 8 };
        let page = work(&mut desk, &load, &rules, &dense)?;
        assert!(page.findings.iter().all(|f| f.verdict == Verdict::Holds), "{:#?}", page.findings);
        Ok(())
    }
}
