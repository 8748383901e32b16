//! Estimators of log p, log Z and entropy. Each result says how sure it is.
//!
//! | module         | answers                                    | what it says of log p                            |
//! |----------------|--------------------------------------------|--------------------------------------------------|
//! | [`ode`]        | log p along a velocity field               | an estimate, up to the solver's tolerance         |
//! | [`ode_density`] | the same behind the contract's `Density`       | with the discretisation error it measured         |
//! | [`quadrature`] | log Z and entropy in one or two dimensions | exact up to a stated error                        |
//! | [`ais`]        | log Z of an energy in any dimension        | an upper bound in mean: E log Ẑ ≤ log Z            |
//! | [`iwae`]       | log p of a latent-variable model           | a lower bound in mean, rising with k              |
//! | [`parzen`]     | a kernel density, as a baseline of its own | exact, of that baseline                           |
//! | [`bits`]       | nats to bits per dimension                 |                                                  |

pub mod ais;
pub mod bits;
pub mod iwae;
pub mod ode;
pub mod ode_density;
pub mod parzen;
pub mod quadrature;
