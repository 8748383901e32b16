//! Every registered model, in its tiny configuration, keeps every law of the contract.

use genzoo_core::{Entry, Space};
use genzoo_lab::check;
use toml::Value;

fn pcd() -> &'static Entry {
    genzoo::models().find(|e| e.info.name == "pcd").expect("pcd is registered")
}

#[test]
fn every_model_keeps_the_contract() {
    genzoo_kernels::runtime::configure(None);
    // What no default asks for: residual energies of whole images, under a limit of their norms.
    let residual = Entry {
        spaces: &[Space::U8],
        tiny: |spec| {
            let mut table = (pcd().tiny)(spec);
            if let Some(Value::Table(model)) = table.get_mut("model") {
                model.insert("network".into(), "residual".into());
                model.insert("norm_limit".into(), 2.0.into());
            }
            table
        },
        ..*pcd()
    };
    let failed: Vec<String> = genzoo_kernels::runtime::run(|| {
        genzoo::models()
            .copied()
            .chain([residual])
            .flat_map(|entry| {
                let verdicts = check::run(&entry, &mut |_| ());
                verdicts
                    .into_iter()
                    .filter(|v| !v.passed)
                    .map(move |v| format!("{}: {} on {}: {}", entry.info.name, v.law, v.data, v.detail))
            })
            .collect()
    })
    .expect("the worker threads start");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(genzoo::models().count() >= 6);
}
