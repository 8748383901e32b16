//! The models of the registry: one implementation under different recipes.

use genzoo_core::{
    Build, DType, DataSpec, Entry, Family, Model, ModelInfo, ParamStore, Result, Space, Table,
};
use toml::{Value, toml};

use super::Rbm;

const BINARY: &[Space] = &[Space::BinaryStatic, Space::BinaryDynamic];

/// Contrastive divergence with one sweep.
pub const CD: Entry = Entry {
    info: ModelInfo {
        name: "rbm-cd",
        family: Family::Ebm,
        summary: "restricted Boltzmann machine, contrastive divergence with one sweep",
        citation: "Hinton (2002), doi:10.1162/089976602760128018",
    },
    spaces: BINARY,
    defaults: |_| binary("cd", 1, &[]),
    tiny,
    build: |table, build| make(&CD.info, table, build),
};

/// Contrastive divergence with 25 sweeps.
pub const CD25: Entry = Entry {
    info: ModelInfo {
        name: "rbm-cd25",
        family: Family::Ebm,
        summary: "restricted Boltzmann machine, contrastive divergence with 25 sweeps",
        citation: "Hinton (2002); Salakhutdinov & Murray (2008)",
    },
    spaces: BINARY,
    defaults: |_| binary("cd", 25, &[]),
    tiny,
    build: |table, build| make(&CD25.info, table, build),
};

/// Persistent contrastive divergence.
pub const PCD: Entry = Entry {
    info: ModelInfo {
        name: "rbm-pcd",
        family: Family::Ebm,
        summary: "restricted Boltzmann machine, persistent chains",
        citation: "Tieleman (2008); Montavon & Müller (2012)",
    },
    spaces: BINARY,
    defaults: |_| binary("pcd", 1, &[]),
    tiny,
    build: |table, build| make(&PCD.info, table, build),
};

/// Persistent contrastive divergence with fast weights.
pub const FAST: Entry = Entry {
    info: ModelInfo {
        name: "rbm-fpcd",
        family: Family::Ebm,
        summary: "restricted Boltzmann machine, persistent chains moved by fast weights",
        citation: "Tieleman & Hinton (2009)",
    },
    spaces: BINARY,
    defaults: |_| binary("fast-pcd", 1, &[]),
    tiny,
    build: |table, build| make(&FAST.info, table, build),
};

/// Parallel tempering: ten replicas of half as many chains cost five times as much as plain ones.
pub const TEMPERED: Entry = Entry {
    info: ModelInfo {
        name: "rbm-pt",
        family: Family::Ebm,
        summary: "restricted Boltzmann machine, persistent chains with parallel tempering",
        citation: "Desjardins, Courville, Bengio, Vincent & Delalleau (2010)",
    },
    spaces: BINARY,
    defaults: |_| binary("pt", 1, &[("chains", 64)]),
    tiny,
    build: |table, build| make(&TEMPERED.info, table, build),
};

/// Gaussian visible units.
pub const GAUSSIAN: Entry = Entry {
    info: ModelInfo {
        name: "rbm-gaussian",
        family: Family::Ebm,
        summary: "Gaussian–Bernoulli restricted Boltzmann machine: 2^H Gaussians that share their weights",
        citation: "Cho, Ilin & Raiko (2011), doi:10.1007/978-3-642-21735-7_2",
    },
    spaces: &[Space::Continuous],
    defaults: |_| {
        toml! {
            [model]
            hidden = 16
            init = 0.1
            centred = true
            estimator = "pt"
            k = 1
            chains = 256
            temperatures = 5
            fast_lr = 0.0
            fast_decay = 0.05
            weight_decay = 0.0
            sparsity = 0.0
            sparsity_target = 0.1
            [train]
            batch = 256
            lr = 1e-2
            schedule = "cosine"
        }
    },
    tiny,
    build: |table, build| make(&GAUSSIAN.info, table, build),
};

/// Softmax visible units.
pub const POTTS: Entry = Entry {
    info: ModelInfo {
        name: "rbm-potts",
        family: Family::Ebm,
        summary: "restricted Boltzmann machine with softmax visible units: bytes as levels",
        citation: "Salakhutdinov, Mnih & Hinton (2007), doi:10.1145/1273496.1273596",
    },
    spaces: &[Space::U8],
    defaults: |_| binary("pcd", 1, &[("levels", 8), ("hidden", 200)]),
    tiny,
    build: |table, build| make(&POTTS.info, table, build),
};

/// Two hidden layers.
pub const DEEP: Entry = Entry {
    info: ModelInfo {
        name: "dbm",
        family: Family::Ebm,
        summary: "deep Boltzmann machine of two hidden layers, mean field and persistent chains",
        citation: "Salakhutdinov & Hinton (2009); Montavon & Müller (2012)",
    },
    spaces: BINARY,
    defaults: |_| binary("pcd", 5, &[("second", 500), ("mean_field", 10)]),
    tiny: |spec| {
        let mut table = tiny(spec);
        set(&mut table, "second", Value::Integer(6));
        table
    },
    build: |table, build| make(&DEEP.info, table, build),
};

fn make(info: &'static ModelInfo, table: &Table, build: Build<'_>) -> Result<Box<dyn Model>> {
    let params = ParamStore::new(&build.noise, DType::F32, build.device);
    Ok(Box::new(Rbm::new(info, table, build.spec, params, &build.noise)?))
}

/// The recipe of all machines of binary units; `other` numbers go to the table `[model]`.
fn binary(estimator: &str, k: i64, other: &[(&str, i64)]) -> Table {
    let mut table = toml! {
        [model]
        hidden = 500
        init = 0.01
        centred = true
        estimator = "pcd"
        k = 1
        chains = 128
        temperatures = 10
        fast_lr = 0.01
        fast_decay = 0.05
        weight_decay = 5e-4
        sparsity = 0.0
        sparsity_target = 0.1
        [train]
        batch = 128
        optimizer = "sgd"
        lr = 0.05
        beta1 = 0.5
        schedule = "linear"
        checkpoint_every = 2000
    };
    set(&mut table, "estimator", Value::String(estimator.into()));
    set(&mut table, "k", Value::Integer(k));
    other.iter().for_each(|(key, value)| set(&mut table, key, Value::Integer(*value)));
    table
}

fn set(table: &mut Table, key: &str, value: Value) {
    if let Some(Value::Table(model)) = table.get_mut("model") {
        model.insert(key.into(), value);
    }
}

fn tiny(_: &DataSpec) -> Table {
    toml! {
        [model]
        hidden = 8
        chains = 16
        temperatures = 3
        [train]
        batch = 16
    }
}
