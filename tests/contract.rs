//! Every registered model, in its tiny configuration, keeps every law of the contract.

use genzoo_lab::check;

#[test]
fn every_model_keeps_the_contract() {
    genzoo_kernels::runtime::configure(None);
    let failed: Vec<String> = genzoo_kernels::runtime::run(|| {
        genzoo::models()
            .flat_map(|entry| {
                let verdicts = check::run(entry, &mut |_| ());
                verdicts
                    .into_iter()
                    .filter(|v| !v.passed)
                    .map(|v| format!("{}: {} on {}: {}", entry.info.name, v.law, v.data, v.detail))
            })
            .collect()
    })
    .expect("the worker threads start");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(genzoo::models().count() >= 6);
}
