//! Associative memories: states that flow downhill to stored patterns.
//!
//! ```text
//! E(s) = −½ Σ_{i≠j} J_ij s_i s_j              s_i ← sgn(Σ_j J_ij s_j), one site at a time; sgn(0) keeps the state
//! E(s) = −Σ_μ F(ξ^μ·s),   F(x) = xⁿ, e^x      s_i flips where that lowers E
//! E(x) = −β⁻¹ log Σ_μ e^{β ξ^μ·x} + ½|x|²     x ← Σ_μ softmax_μ(β ξ^μ·x) ξ^μ
//! ```
//!
//! | memory                                                     | patterns it holds                                     |
//! |------------------------------------------------------------|-------------------------------------------------------|
//! | [`Network::hebb`]: J = 1/N Σ_μ ξ_i ξ_j                     | α_c N, α_c ≈ 0.138, with a few wrong bits             |
//! | [`Network::storkey`]: local and incremental too            | more, nearly without errors                           |
//! | [`Network::pseudo_inverse`]: J projects onto the patterns  | fewer than N linearly independent ones, exactly       |
//! | [`Dense`] with xⁿ                                          | N^{n−1}/(2 (2n−3)!! log N) without errors             |
//! | [`Dense`] with e^x                                         | at least 2^{N/2}                                      |
//! | [`Continuous`]                                             | exponentially many on a sphere                        |
//!
//! Energies never rise. There is no temperature here: no state is drawn from e^{−E}.
//!
//! Source: Hopfield (1982); Carbone, "Hitchhiker's guide on energy-based models", Eqs. 109–110 (which divides by the number
//! of patterns, keeps the diagonal and updates all sites at once, so that it can end in cycles of two); Amit, Gutfreund &
//! Sompolinsky (1985) for α_c; Storkey (1997); Personnaz, Guyon & Dreyfus (1985); Krotov & Hopfield (2016),
//! arXiv:1606.01164; Demircigil et al. (2017), arXiv:1702.01929; Ramsauer et al. (2020), arXiv:2008.02217.

mod continuous;
mod dense;
mod network;
mod patterns;

pub use continuous::Continuous;
pub use dense::{Dense, Interaction};
pub use network::Network;
pub use patterns::Patterns;

/// How a state came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Sweeps over all sites, the last one without a flip if `stable`.
    pub sweeps: usize,
    /// Spins flipped on the way.
    pub flips: usize,
    /// Whether no single flip lowers the energy any more.
    pub stable: bool,
}

#[cfg(test)]
mod tests;
