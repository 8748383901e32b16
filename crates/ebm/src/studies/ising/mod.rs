//! The Ising model from its law, from chains that slow down, and from samples.
//!
//! ```text
//! E(s) = −Σ_⟨ij⟩ s_i s_j on an L × L torus,   p(s) ∝ e^{−E(s)/T},   T_c = 2/log(1 + √2) = 2.269
//! energy E/N,   specific heat c = (⟨E²⟩ − ⟨E⟩²)/(N T²),   magnetisation ⟨|m|⟩,   Binder cumulant 1 − ⟨m⁴⟩/(3 ⟨m²⟩²)
//! slowing down at T_c   τ ∝ L^z          inverse Ising   couplings from M samples with errors ∝ M^{−1/2}
//! ```
//!
//! Energy and specific heat are judged by Kaufman's closed form of each torus, magnetisation and cumulant by enumeration
//! on L = 4, by Yang's limit and by the universal value of the cumulant at T_c.
//!
//! Source: Carbone, "Hitchhiker's guide on energy-based models", Eq. 107–108 and §A.1; Kaufman (1949); Onsager (1944);
//! Yang (1952); Binder (1981); Salas & Sokal (2000), arXiv:cond-mat/9904038, for the cumulant, 1 − 1.16793/3.

mod inverse;
mod slowing;
mod thermodynamics;

use genzoo_core::Result;
use genzoo_core::study::{Desk, Page, Study};

/// The study in the registry.
pub(super) const STUDY: Study = Study {
    name: "ising",
    summary: "the Ising model against its exact lines, critical slowing down, and couplings learnt from samples",
    citation: "Onsager (1944); Swendsen & Wang (1987); Ackley, Hinton & Sejnowski (1985)",
    run,
};

fn run(desk: &mut Desk<'_>) -> Result<Page> {
    let thermodynamics = desk.choose(thermodynamics::SMALL, thermodynamics::FULL);
    let slowing = desk.choose(slowing::SMALL, slowing::FULL);
    let inverse = desk.choose(inverse::SMALL, inverse::FULL);
    work(desk, &thermodynamics, &slowing, &inverse)
}

fn work(
    desk: &mut Desk<'_>,
    warm: &thermodynamics::Plan,
    slow: &slowing::Plan,
    back: &inverse::Plan,
) -> Result<Page> {
    let mut page = Page {
        about: "Ising models on square tori. Chains of Swendsen and Wang against exact lines; the time that local and cluster moves need at the \
                critical point; and Boltzmann machines that learn couplings from samples. Bars are 95 % intervals."
            .into(),
        ..Page::default()
    };
    thermodynamics::add(&mut page, desk, warm)?;
    slowing::add(&mut page, desk, slow)?;
    inverse::add(&mut page, desk, back)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use genzoo_core::study::{Effort, Finding, Forgetful, Verdict};
    use genzoo_core::{Device, Noise};

    #[test]
    fn no_claim_fails_on_small_lattices() -> Result<()> {
        let mut memory = Forgetful;
        let mut desk = Desk::new(Effort::Small, Device::Cpu, Noise::new(1), &mut memory);
        let warm = thermodynamics::Plan { sides: &[4, 8, 16], chains: 4, sweeps: 1_500 };
        let slow = slowing::Plan {
            local: &[8, 12, 16],
            cluster: &[8, 16, 32],
            chains: 6,
            times: 60.0,
            sweeps: 1_000,
        };
        let back = inverse::Plan { repeats: 16, largest: 30_000, side: 6, chains: 200, rounds: 300 };
        let page = work(&mut desk, &warm, &slow, &back)?;
        // Exponents of lattices this small are not those of large ones; everything beside a closed form holds.
        let of_large_lattices = |f: &&Finding| !f.claim.contains("τ ∝ L^z");
        let failed = page.findings.iter().filter(of_large_lattices).any(|f| f.verdict == Verdict::Fails);
        assert!(!failed, "{:#?}", page.findings);
        assert!(
            page.findings.iter().filter(|f| f.verdict == Verdict::Holds).count() >= 8,
            "{:#?}",
            page.findings
        );
        Ok(())
    }
}
