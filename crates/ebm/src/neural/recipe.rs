//! What the recipes of all neural energies share.

use genzoo_core::{DataSpec, Table};
use toml::{Value, toml};

/// The defaults of a method: its `own` keys of `[model]` beside those of the energy, and those of `[train]` that differ
/// from the other methods'.
pub(crate) fn defaults(spec: &DataSpec, own: Table, train: Table) -> Table {
    let (mut energy, mut training) = if spec.image().is_some() {
        (
            toml! {
                channels = [16, 32]
                principal = 0
                network = "mlp"
                hidden = 128
                layers = 3
                gain = 1.0
                activation = "silu"
                confinement = 1.0
                smoothing = 0.03
                norm_limit = 0.0
            },
            toml! { batch = 64 lr = 1e-3 },
        )
    } else {
        (
            toml! {
                network = "mlp"
                hidden = 128
                layers = 3
                gain = 3.0
                activation = "silu"
                confinement = 0.5
                smoothing = 0.0
                norm_limit = 0.0
            },
            toml! { batch = 512 lr = 1e-2 },
        )
    };
    training.extend(toml! { schedule = "cosine" clip = 10.0 ema = 0.99 });
    energy.extend(own);
    training.extend(train);
    sections(energy, training)
}

/// The tiny instance of a method: the smallest network worth testing, and the method's `own` keys of `[model]`.
pub(crate) fn tiny(spec: &DataSpec, own: Table) -> Table {
    let (mut energy, train) = if spec.image().is_some() {
        (toml! { channels = [4, 8] }, toml! { batch = 8 })
    } else {
        (toml! { hidden = 16 }, toml! { batch = 64 })
    };
    energy.extend(own);
    sections(energy, train)
}

fn sections(model: Table, train: Table) -> Table {
    Table::from_iter([("model", model), ("train", train)].map(|(k, v)| (k.to_string(), Value::Table(v))))
}
