use super::*;
use crate::support::{Check, Data, excess, refused, trained, vectors};

/// One mode has no masses to get wrong: there CD reaches the entropy, with either kernel.
#[test]
fn one_mode_is_learned_to_its_entropy() -> Check {
    for kernel in ["ula", "mala"] {
        let data = Data(vectors(1));
        let kernel = format!("model.kernel={kernel}");
        let sets = ["train.batch=256", "model.moves=4", "model.step=0.05", &kernel];
        let trainer = trained(&ENTRY, &data, &sets, 300)?;
        let (excess, error) = excess(trainer.model(), &data, "quadrature")?;
        assert!(excess < 0.05 && excess > -4.0 * error, "{kernel}: {excess} ± {error}");
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let settings = [
        ("model.moves=0", "model.moves"),
        ("model.step=0", "model.step"),
        ("model.regularisation=-1", "model.regularisation"),
        ("model.kernel=gibbs", "mala"),
        ("model.confinement=0", "model.confinement"),
    ];
    refused(&ENTRY, &vectors(2), &settings)
}

/// A learning rate that throws the energy about is noticed, and the message says what to do.
#[test]
fn a_wild_run_ends_with_a_remedy() -> Check {
    let data = Data(vectors(2));
    let sets = ["train.lr=300", "train.clip=0", "model.kernel=ula", "model.step=0.5"];
    let e = trained(&ENTRY, &data, &sets, 200).err().ok_or("it trained")?.to_string();
    assert!(e.contains("cd diverged at step"), "{e}");
    assert!(e.contains("lower train.lr") || e.contains("lower model.step"), "{e}");
    Ok(())
}
