//! The models of the registry: one implementation under different recipes.

use genzoo_core::{
    Build, DType, DataSpec, Entry, Family, Model, ModelInfo, ParamStore, Result, Space, Table,
};
use toml::{Value, toml};

use super::Rbm;

const BINARY: &[Space] = &[Space::BinaryStatic, Space::BinaryDynamic];

/// Contrastive divergence with one sweep.
pub const CD: Entry = Entry {
    info: CD_INFO,
    spaces: BINARY,
    defaults: |_| binary("cd", 1),
    tiny,
    build: |table, build| make(&CD_INFO, table, build),
};

const CD_INFO: ModelInfo = ModelInfo {
    name: "rbm-cd",
    family: Family::Ebm,
    summary: "restricted Boltzmann machine, contrastive divergence with one sweep",
    citation: "Hinton (2002), doi:10.1162/089976602760128018",
};

/// Contrastive divergence with 25 sweeps.
pub const CD25: Entry = Entry {
    info: CD25_INFO,
    spaces: BINARY,
    defaults: |_| binary("cd", 25),
    tiny,
    build: |table, build| make(&CD25_INFO, table, build),
};

const CD25_INFO: ModelInfo = ModelInfo {
    name: "rbm-cd25",
    family: Family::Ebm,
    summary: "restricted Boltzmann machine, contrastive divergence with 25 sweeps",
    citation: "Hinton (2002); Salakhutdinov & Murray (2008)",
};

/// Persistent contrastive divergence.
pub const PCD: Entry = Entry {
    info: PCD_INFO,
    spaces: BINARY,
    defaults: |_| binary("pcd", 1),
    tiny,
    build: |table, build| make(&PCD_INFO, table, build),
};

const PCD_INFO: ModelInfo = ModelInfo {
    name: "rbm-pcd",
    family: Family::Ebm,
    summary: "restricted Boltzmann machine, persistent chains",
    citation: "Tieleman (2008); Montavon & Müller (2012)",
};

/// Persistent contrastive divergence with fast weights.
pub const FAST: Entry = Entry {
    info: FAST_INFO,
    spaces: BINARY,
    defaults: |_| binary("fast-pcd", 1),
    tiny,
    build: |table, build| make(&FAST_INFO, table, build),
};

const FAST_INFO: ModelInfo = ModelInfo {
    name: "rbm-fpcd",
    family: Family::Ebm,
    summary: "restricted Boltzmann machine, persistent chains moved by fast weights",
    citation: "Tieleman & Hinton (2009)",
};

/// Parallel tempering.
pub const TEMPERED: Entry = Entry {
    info: TEMPERED_INFO,
    spaces: BINARY,
    // Ten replicas of half as many chains cost five times as much as plain ones.
    defaults: |_| {
        let mut table = binary("pt", 1);
        set(&mut table, "chains", Value::Integer(64));
        table
    },
    tiny,
    build: |table, build| make(&TEMPERED_INFO, table, build),
};

const TEMPERED_INFO: ModelInfo = ModelInfo {
    name: "rbm-pt",
    family: Family::Ebm,
    summary: "restricted Boltzmann machine, persistent chains with parallel tempering",
    citation: "Desjardins, Courville, Bengio, Vincent & Delalleau (2010)",
};

/// Gaussian visible units.
pub const GAUSSIAN: Entry = Entry {
    info: GAUSSIAN_INFO,
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
    build: |table, build| make(&GAUSSIAN_INFO, table, build),
};

const GAUSSIAN_INFO: ModelInfo = ModelInfo {
    name: "rbm-gaussian",
    family: Family::Ebm,
    summary: "Gaussian–Bernoulli restricted Boltzmann machine: 2^H Gaussians that share their weights",
    citation: "Cho, Ilin & Raiko (2011), doi:10.1007/978-3-642-21735-7_2",
};

/// Softmax visible units.
pub const POTTS: Entry = Entry {
    info: POTTS_INFO,
    spaces: &[Space::U8],
    defaults: |_| {
        let mut table = binary("pcd", 1);
        set(&mut table, "levels", Value::Integer(8));
        set(&mut table, "hidden", Value::Integer(200));
        table
    },
    tiny,
    build: |table, build| make(&POTTS_INFO, table, build),
};

const POTTS_INFO: ModelInfo = ModelInfo {
    name: "rbm-potts",
    family: Family::Ebm,
    summary: "restricted Boltzmann machine with softmax visible units: bytes as levels",
    citation: "Salakhutdinov, Mnih & Hinton (2007), doi:10.1145/1273496.1273596",
};

/// Two hidden layers.
pub const DEEP: Entry = Entry {
    info: DEEP_INFO,
    spaces: BINARY,
    defaults: |_| {
        let mut table = binary("pcd", 5);
        set(&mut table, "second", Value::Integer(500));
        set(&mut table, "mean_field", Value::Integer(10));
        table
    },
    tiny: |spec| {
        let mut table = tiny(spec);
        set(&mut table, "second", Value::Integer(6));
        table
    },
    build: |table, build| make(&DEEP_INFO, table, build),
};

const DEEP_INFO: ModelInfo = ModelInfo {
    name: "dbm",
    family: Family::Ebm,
    summary: "deep Boltzmann machine of two hidden layers, mean field and persistent chains",
    citation: "Salakhutdinov & Hinton (2009); Montavon & Müller (2012)",
};

fn make(info: &'static ModelInfo, table: &Table, build: Build<'_>) -> Result<Box<dyn Model>> {
    let params = ParamStore::new(&build.noise, DType::F32, build.device);
    Ok(Box::new(Rbm::new(info, table, build.spec, params, &build.noise)?))
}

/// The recipe of all machines of binary units.
fn binary(estimator: &str, k: i64) -> Table {
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
        weight_decay = 0.0
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
