use super::*;
use crate::support::{
    Check, Data, built, excess, images, mean, recipe, refused, resumes_exactly, trained, vectors,
};
use genzoo_core::capability::Energy;
use genzoo_core::{Dataset, Device, Draw, Space, Split};
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};

/// `U = ½(κ + θ)u²` with one parameter θ: the gap of `∂U/∂θ = ½u²` must carry `1/(κ + θ)` to the data's variance.
#[test]
fn one_parameter_moves_to_the_variance_of_the_data() -> Check {
    struct Spring(f64);
    impl Energy for Spring {
        fn energy(&self, u: &Tensor) -> Result<Tensor> {
            Ok((rows::squared_norm(u)? * (0.5 * self.0))?)
        }
        fn energy_and_gradient(&self, u: &Tensor) -> Result<(Tensor, Tensor)> {
            Ok((self.energy(u)?, (u * self.0)?))
        }
    }
    for rule in ["plain", "metropolis"] {
        let sets = ["model.walkers=2000", "model.chains=1000", "model.moves=4", "model.restart=0"];
        let recipe = recipe(&ENTRY, &vectors(1), &sets)?;
        let mut config: Config = config::read(&recipe.model, "model")?;
        let confinement = 0.5;
        if rule == "metropolis" {
            config.restart = 1.0;
        }
        let noise = Noise::new(3);
        let params = ParamStore::new(&noise, DType::F64, &Device::Cpu);
        let mut walkers = Walkers::new(1, confinement, &config, &params, &noise)?;
        let variance = 0.36;
        let (mut theta, mut late) = (0.0, vec![]);
        for k in 0..400 {
            let target = Spring(confinement + theta);
            walkers.advance(&target, &config, &mut noise.at(k))?;
            let square = rows::host(&walkers.active(config.chains)?.sqr()?.mean_all()?)?[0];
            walkers.next_window(config.chains);
            theta -= 0.5 * (0.5 * variance - 0.5 * square);
            if k >= 200 {
                late.push(confinement + theta);
            }
        }
        // 200 correlated steps of 1000 walkers: the mean of ½u² has an error of 1 % per step at worst.
        let (precision, _) = mean(&late);
        assert_close(1.0 / precision, variance, Tol::rel(0.03));
    }
    Ok(())
}

#[test]
fn training_reaches_the_entropy_of_a_gaussian() -> Check {
    let data = Data(vectors(1));
    let sets = ["train.lr=1e-2", "train.batch=256", "model.walkers=256", "model.chains=256"];
    let trainer = trained(&ENTRY, &data, &sets, 300)?;
    let (excess, error) = excess(trainer.model(), &data, "quadrature")?;
    assert!(excess < 0.03 && excess > -4.0 * error, "{excess} ± {error}");
    Ok(())
}

#[test]
fn annealing_agrees_with_the_grid_and_refuses_when_degenerate() -> Check {
    let data = Data(vectors(2));
    let trainer = trained(&ENTRY, &data, &["train.lr=1e-2"], 100)?;
    let model = trainer.model();
    let batch = data.rows(Split::Test, 0..8)?;
    let log_p = |name: &str, options: Table| -> Result<(Vec<f64>, f64)> {
        let mut noise = Noise::new(4);
        let p = model.density(name, &options, &mut noise)?.log_prob(&batch, &mut noise)?;
        Ok((rows::host(&p.values)?, p.shared_error))
    };
    let (grid, _) = log_p("quadrature", toml! { max_points = 300_000 })?;
    let (annealed, error) = log_p("ais", toml! { chains = 256 temperatures = 100 })?;
    assert!(error > 0.0 && error < 0.2, "{error}");
    assert_close(&annealed, &grid, Tol::abs(4.0 * error + 1e-3));
    let refused = log_p("ais", toml! { chains = 4 temperatures = 4 }).err().ok_or("accepted")?;
    assert!(refused.to_string().contains("ais_degenerate"), "{refused}");
    Ok(())
}

#[test]
fn evaluations_are_counted() -> Check {
    for spec in [vectors(2), images(8)] {
        let model = built(&ENTRY, &spec, &[])?;
        for (steps, n) in [(0i64, 3usize), (7, 5)] {
            let mut options = (model.samplers()[0].defaults)();
            options.insert("steps".into(), steps.into());
            let drawn = model.sampler("langevin", &options)?.sample(&Draw::n(n), &mut Noise::new(0))?;
            // One where the chain starts, one for each proposal.
            assert_eq!(drawn.evaluations, steps as u64 + 1);
            assert_eq!(drawn.x.dims(), spec.batch_shape(n));
            if let Some((low, high)) = spec.range {
                assert!(rows::host(&drawn.x)?.iter().all(|v| (low..=high).contains(v)));
            }
        }
    }
    Ok(())
}

#[test]
fn walkers_resume_exactly() -> Check {
    for spec in [vectors(2), images(8)] {
        let sets = ["model.chains=8", "model.walkers=24"];
        resumes_exactly(&ENTRY, &Data(spec), &sets, &["walkers.u"])?;
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let settings = [
        ("model.confinement=0", "model.confinement"),
        ("model.hidden=0", "model.hidden"),
        ("model.step=0", "model.step"),
        ("model.restart=1.5", "model.restart"),
        ("model.moves=0", "model.moves"),
        ("model.chains=48", "model.walkers"),
        ("model.restart_rule=never", "metropolis"),
        ("model.smoothing=-1", "model.smoothing"),
        ("model.walker=4", "walkers"),
    ];
    refused(&ENTRY, &vectors(2), &settings)?;
    let binary = DataSpec { space: Space::BinaryStatic, ..images(8) };
    assert!(built(&ENTRY, &binary, &[]).is_err());
    let model = built(&ENTRY, &vectors(3), &[])?;
    assert!(model.density("quadrature", &Table::new(), &mut Noise::new(0)).is_err());
    assert!(model.sampler("gibbs", &Table::new()).is_err());
    Ok(())
}
