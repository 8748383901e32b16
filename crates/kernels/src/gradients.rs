//! The gradients of parameters, without the zeros that candle's `backward` adds each of them to.
//!
//! candle begins every gradient as a tensor of zeros and adds each contribution into a new tensor. For weights, which
//! mostly have one contribution, that is three passes too many: in a wide network, a fifth of the step. Here the
//! operations of this crate hand a parameter's gradient over directly; what reaches it through other operations comes
//! from candle, and both are added.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{Result, Tensor, TensorId, Var};

use crate::support::keeps_gradient_graphs;

thread_local! {
    /// What was handed over since [`gradients`] began on this thread.
    static DIRECT: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// `∂loss/∂v` of each variable, in order; zeros where the loss does not depend on it. The loss is a scalar.
///
/// # Errors
/// As candle's `backward`.
pub fn gradients<'a>(loss: &Tensor, vars: impl IntoIterator<Item = &'a Var>) -> Result<Vec<Tensor>> {
    /// Also when an operation fails, later backward passes are candle's again.
    struct Open;
    impl Drop for Open {
        fn drop(&mut self) {
            DIRECT.with_borrow_mut(Option::take);
        }
    }
    let open = Open;
    if !keeps_gradient_graphs() {
        DIRECT.replace(Some(HashMap::new()));
    }
    let mut store = loss.backward()?;
    let mut direct = DIRECT.with_borrow_mut(Option::take).unwrap_or_default();
    drop(open);
    let gradient = |v: &'a Var| match (store.remove(v.as_tensor()), direct.remove(&v.as_tensor().id())) {
        (Some(a), Some(b)) => a + b,
        (Some(g), None) | (None, Some(g)) => Ok(g),
        (None, None) => v.zeros_like(),
    };
    vars.into_iter().map(gradient).collect()
}

/// What an operation's `bwd` returns as the gradient of `argument`: none where it is in no graph, or where it is a
/// parameter and [`gradients`] takes it at once.
pub(crate) fn hand_over(
    argument: &Tensor,
    gradient: impl FnOnce() -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    if !argument.track_op() {
        return Ok(None);
    }
    let gradient = gradient()?;
    if !argument.is_variable() {
        return Ok(Some(gradient));
    }
    DIRECT.with_borrow_mut(|direct| match direct {
        None => Ok(Some(gradient)),
        Some(direct) => {
            match direct.entry(argument.id()) {
                Entry::Vacant(entry) => {
                    entry.insert(gradient);
                }
                Entry::Occupied(mut entry) => {
                    let sum = (entry.get() + gradient)?;
                    entry.insert(sum);
                }
            }
            Ok(None)
        }
    })
}
