//! Estimators of log p, log Z and entropy. Each result says how sure it is.
//!
//! | module          | answers                                        | what it says of log p                        |
//! |-----------------|------------------------------------------------|----------------------------------------------|
//! | [`ode`]         | log p along a velocity field                   | an estimate, up to the solver's tolerance     |
//! | [`ode_density`] | the same behind the contract's `Density`       | with the discretisation error it measured    |
//! | [`quadrature`]  | log Z and entropy in one to three dimensions   | exact up to a stated error                   |
//! | [`enumeration`] | the same over small discrete spaces            | exact                                        |
//! | [`ais`]         | log Z of an energy in any dimension            | an upper bound in mean: E log Ẑ ≤ log Z      |
//! |                 | log p(x) of a decoder, row by row              | a lower bound in mean                        |
//! | [`importance`]  | log Z of an energy near a Gaussian             | an upper bound in mean, with a warning       |
//! | [`iwae`]        | log p of a latent-variable model               | a lower bound in mean, rising with k         |
//! | [`observation`] | a generator as a latent-variable model          |                                              |
//! | [`parzen`]      | a kernel density, as a baseline of its own     | exact, of that baseline                      |
//! | [`bits`]        | nats and bits per dimension; dequantisation    | a lower bound, rising with the draws         |

pub mod ais;
pub mod bits;
pub mod enumeration;
pub mod importance;
pub mod iwae;
pub mod observation;
pub mod ode;
pub mod ode_density;
pub mod parzen;
pub mod quadrature;
