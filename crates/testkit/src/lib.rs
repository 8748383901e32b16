//! What every test of the zoo compares with: one closeness check, finite differences, order of convergence.
//!
//! ```
//! use genzoo_testkit::{assert_close, Tol};
//! assert_close([1.0, 2.0], [1.0 + 1e-9, 2.0], Tol::abs(1e-8));
//! ```

mod close;
mod differences;
mod order;

pub use close::{Difference, Tol, Values, assert_close, worst_difference};
pub use differences::{
    assert_gradient, check_gradient, finite_difference_derivative, finite_difference_gradient,
    finite_difference_tensor,
};
pub use order::order_of_convergence;
