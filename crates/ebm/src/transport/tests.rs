use super::*;
use crate::support::{Check, Data, built, images, mean, recipe, refused, shake, trained, vectors};
use genzoo_core::{Dataset, Device, Draw, RowStream, Split};
use genzoo_testkit::{Tol, assert_close};

/// A model in f64 whose weights are all random and whose chart is fitted to vectors.
fn random(
    spec: &DataSpec,
    strength: f64,
) -> std::result::Result<NeuralTransport, Box<dyn std::error::Error>> {
    let params = ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu);
    let mut model = NeuralTransport::new(&recipe(&ENTRY, spec, &[])?.model, spec, params, &Noise::new(2))?;
    shake(&model.params, strength)?;
    if spec.image().is_none() {
        model.prepare(&mut RowStream::new(&Data(spec.clone()), Split::Train, 0), &mut Noise::new(1))?;
    }
    Ok(model)
}

/// Slopes of the latent's energy and of the data's against differences of their values.
#[test]
fn energies_have_the_gradients_of_their_slopes() -> Check {
    for spec in [vectors(3), images(6)] {
        let model = random(&spec, 0.2)?;
        let latent = model.latent();
        let check = |energy: &dyn Energy, x: Tensor, h: f64| -> Check {
            let v = Noise::new(4).normal_like(&x)?;
            let at = |by: f64| -> Result<Vec<f64>> { rows::host(&energy.energy(&(&x + (&v * by)?)?)?) };
            let (value, gradient) = energy.energy_and_gradient(&x)?;
            assert_close(&value, &at(0.0)?, Tol::rel(1e-12));
            let want: Vec<f64> = at(h)?.iter().zip(at(-h)?).map(|(a, b)| (a - b) / (2.0 * h)).collect();
            let got = (gradient * &v)?.flatten_from(1)?.sum(1)?;
            assert_close(&got, &want, Tol { abs: 1e-4, rel: 1e-4 });
            Ok(())
        };
        check(&latent, Noise::new(3).normal((4, spec.dims()), DType::F64, &Device::Cpu)?, 1e-5)?;
        // Pixels from .2 to .8: the chart's logit bends fast near black and white, where differences say little.
        let x = Noise::new(3).uniform(spec.batch_shape(4), DType::F64, &Device::Cpu)?;
        check(&model, (x.affine(0.6, 0.2))?, 1e-6)?;
    }
    Ok(())
}

/// The two ways to the same density: over the latent with the flow's Jacobian, and over the data.
/// `U_x(x) = U_z(z) − log|det ∂z/∂x|`, the determinant by differences of the whole map.
#[test]
fn the_density_of_the_data_is_that_of_the_latent_moved() -> Check {
    let spec = vectors(2);
    let model = random(&spec, 0.3)?;
    let latent = model.latent();
    let to_latent =
        |x: &Tensor| -> Result<Tensor> { Ok(model.flow.to_latent(&model.chart.forward(x)?.0)?.0) };
    let x = Noise::new(3).normal((5, 2), DType::F64, &Device::Cpu)?;
    let h = 1e-5;
    let mut columns = vec![];
    for j in 0..2 {
        let mut step = [0.0; 2];
        step[j] = h;
        let step = Tensor::new(&[step], &Device::Cpu)?;
        let rise = (to_latent(&x.broadcast_add(&step)?)? - to_latent(&x.broadcast_sub(&step)?)?)?;
        columns.push((rise / (2.0 * h))?.to_vec2::<f64>()?);
    }
    let in_latent = rows::host(&latent.energy(&to_latent(&x)?)?)?;
    let in_data = rows::host(&Energy::energy(&model, &x)?)?;
    for i in 0..5 {
        let (a, b) = (&columns[0][i], &columns[1][i]);
        let ladj = (a[0] * b[1] - a[1] * b[0]).abs().ln();
        assert_close(in_data[i], in_latent[i] - ladj, Tol { abs: 1e-6, rel: 1e-6 });
    }
    Ok(())
}

/// Any weights give a density of mass one on the plane: quadrature in the latent, summed over the data.
#[test]
fn any_weights_give_a_density_of_mass_one() -> Check {
    let model = random(&vectors(2), 0.3)?;
    let density = model.density("quadrature", &(density::QUADRATURE.defaults)(), &mut Noise::new(0))?;
    let (step, half) = (0.08, 160);
    let mut grid = vec![];
    for i in -half..=half {
        for j in -half..=half {
            grid.extend([f64::from(i) * step, f64::from(j) * step]);
        }
    }
    let x = Tensor::from_vec(grid.clone(), (grid.len() / 2, 2), &Device::Cpu)?;
    let log_p = rows::host(&density.log_prob(&Batch::of(x), &mut Noise::new(0))?.values)?;
    let mass: f64 = log_p.iter().map(|l| l.exp() * step * step).sum();
    assert_close(mass, 1.0, Tol::abs(3e-3));
    Ok(())
}

/// Chains in the latent leave the model invariant: moments of what the sampler draws against the grid's.
#[test]
fn samples_have_the_moments_of_the_density() -> Check {
    let model = random(&vectors(2), 0.3)?;
    let density = model.density("quadrature", &(density::QUADRATURE.defaults)(), &mut Noise::new(0))?;
    let (step, half) = (0.08, 160);
    let mut want = [0.0; 3];
    for i in -half..=half {
        let rows_of: Vec<f64> =
            (-half..=half).flat_map(|j| [f64::from(i) * step, f64::from(j) * step]).collect();
        let x = Tensor::from_vec(rows_of.clone(), (rows_of.len() / 2, 2), &Device::Cpu)?;
        let p = rows::host(&density.log_prob(&Batch::of(x), &mut Noise::new(0))?.values)?;
        for (row, l) in rows_of.chunks(2).zip(p) {
            let weight = l.exp() * step * step;
            want[0] += weight * row[0];
            want[1] += weight * row[1];
            want[2] += weight * row[0] * row[0];
        }
    }
    let mut options = (SAMPLERS[0].defaults)();
    options.insert("steps".into(), toml::Value::Integer(40));
    let drawn = model.sampler("latent-langevin", &options)?.sample(&Draw::n(4000), &mut Noise::new(6))?;
    assert_eq!(drawn.evaluations, 41);
    let x = drawn.x.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let of = |f: &dyn Fn(&[f64]) -> f64| mean(&x.iter().map(|r| f(r)).collect::<Vec<_>>());
    for (got, want) in [of(&|r| r[0]), of(&|r| r[1]), of(&|r| r[0] * r[0])].into_iter().zip(want) {
        assert_close(got.0, want, Tol::monte_carlo(got.1));
    }
    Ok(())
}

/// Two far modes after a short training: above the entropy by little, and both annealing and the grid find one log Z.
#[test]
fn two_modes_are_learned() -> Check {
    let data = Data(vectors(2));
    let sets = ["train.batch=256", "train.lr=1e-2", "model.hidden=32", "model.couplings=4"];
    let mut trainer = trained(&ENTRY, &data, &sets, 300)?;
    let batch = data.rows(Split::Test, 1_000_000..1_004_000)?;
    let x = batch.x.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let truth = |row: &[f64]| {
        let one = |m: f64| -0.5 * ((row[0] - m).powi(2) + row[1].powi(2)) / 0.49;
        let (a, b) = (one(2.0), one(-2.0));
        a.max(b) + (0.5 + 0.5 * (-(a - b).abs()).exp()).ln() - (std::f64::consts::TAU * 0.49).ln()
    };
    let mut means = vec![];
    for info in trainer.model().densities() {
        let density = trainer.model().density(info.name, &(info.defaults)(), &mut Noise::new(0))?;
        let p = density.log_prob(&batch, &mut Noise::new(0))?;
        let gaps: Vec<f64> = x.iter().zip(rows::host(&p.values)?).map(|(x, l)| truth(x) - l).collect();
        means.push((mean(&gaps), p.shared_error));
    }
    let ((gap, error), _) = means[0];
    assert!(gap < 0.05 && gap > -4.0 * error, "{gap} ± {error}");
    assert_close(means[1].0.0, gap, Tol::monte_carlo(means[1].1));
    // What was saved is found again.
    let saved = trainer.checkpoint("id")?;
    let mut again = trained(&ENTRY, &data, &sets, 0)?;
    again.set_steps(300);
    again.restore(&saved)?;
    assert_eq!(again.step()?.loss, trainer.step()?.loss);
    Ok(())
}

/// Bytes end at black and white, a margin beyond: there the density is zero, and its row alone is concerned.
#[test]
fn the_density_ends_where_the_chart_does() -> Check {
    let model = random(&images(6), 0.2)?;
    let inside = Noise::new(3).uniform((3, 1, 6, 6), DType::F64, &Device::Cpu)?;
    let x = Tensor::cat(
        &[&inside.narrow(0, 0, 1)?, &(inside.narrow(0, 1, 1)? + 1.0)?, &inside.narrow(0, 2, 1)?],
        0,
    )?;
    let (energy, gradient) = model.energy_and_gradient(&x)?;
    let (energy, alone) = (rows::host(&energy)?, rows::host(&Energy::energy(&model, &inside)?)?);
    assert!(energy[1] == f64::INFINITY && rows::host(&gradient)?.iter().all(|g| g.is_finite()));
    assert_close([energy[0], energy[2]], [alone[0], alone[2]], Tol::rel(1e-12));
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    for (spec, set, word) in [
        (vectors(2), "model.couplings=0", "model.couplings"),
        (vectors(2), "model.bound=-1.0", "model.bound"),
        (vectors(2), "model.walkers=63", "model.walkers"),
        (images(6), "model.alpha=0.7", "model.alpha"),
    ] {
        refused(&ENTRY, &spec, &[(set, word)])?;
    }
    assert!(built(&ENTRY, &vectors(1), &[]).is_err());
    Ok(())
}
