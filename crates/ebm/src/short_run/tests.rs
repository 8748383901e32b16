use super::*;
use crate::support::{Check, Data, built, mean, refused, trained, vectors};

/// With f = 0 the chain is linear and its law known: after K moves the variance is ρ^{2K}/κ + 2hT (1 − ρ^{2K})/(1 − ρ²),
/// ρ = 1 − hκ.
#[test]
fn without_a_network_a_run_is_a_linear_recursion() -> Check {
    let sets = ["model.moves=7", "model.step=0.3", "model.temperature=0.4", "model.confinement=0.5"];
    let model = built(&ENTRY, &vectors(2), &sets)?;
    let drawn = model.sampler("short-run", &Table::new())?.sample(&Draw::n(20_000), &mut Noise::new(3))?;
    assert_eq!(drawn.evaluations, 7);
    let rho: f64 = 1.0 - 0.3 * 0.5;
    let power = rho.powi(14);
    let want = power / 0.5 + 2.0 * 0.3 * 0.4 * (1.0 - power) / (1.0 - rho * rho);
    let squares: Vec<f64> = rows::host(&drawn.x)?.iter().map(|x| x * x).collect();
    let (got, error) = mean(&squares);
    assert!((got - want).abs() < 4.0 * error, "{got} ± {error}, not {want}");
    Ok(())
}

/// The chains learn to end where the data are: halves at ±2, deviation 0.7 each.
#[test]
fn short_runs_become_a_generator() -> Check {
    let data = Data(vectors(2));
    let sets = ["model.hidden=32", "train.batch=128", "model.moves=20"];
    let trainer = trained(&ENTRY, &data, &sets, 200)?;
    let model = trainer.model();
    assert!(model.densities().is_empty() && model.density("ais", &Table::new(), &mut Noise::new(0)).is_err());
    let x = model.sampler("short-run", &Table::new())?.sample(&Draw::n(4000), &mut Noise::new(3))?.x;
    let rows = rows::host(&x)?;
    let near = |side: f64| rows.chunks(2).filter(|r| (r[0] - side).hypot(r[1]) < 2.0).count() as f64 / 4000.0;
    let (left, right) = (near(-2.0), near(2.0));
    assert!(left > 0.3 && right > 0.3 && left + right > 0.85, "{left} {right}");
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let settings = [
        ("model.moves=0", "model.moves"),
        ("model.step=0", "model.step"),
        ("model.temperature=-1", "model.temperature"),
    ];
    refused(&ENTRY, &vectors(2), &settings)
}
