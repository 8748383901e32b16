use super::*;
use crate::support::{Check, derivatives_agree, images, mean, shake, vectors};
use genzoo_core::{Density, Device, Standardizer};
use genzoo_numerics::mcmc::Chains;
use genzoo_numerics::rows;
use genzoo_testkit::{Tol, assert_close};
use toml::toml;

/// An energy in f64 as it starts, with some settings of its own.
fn energy(spec: &DataSpec, sets: Table) -> Result<NeuralEnergy> {
    let mut table: Table =
        config::get(&recipe::defaults(spec, Table::new(), Table::new()), "model", "recipe")?;
    table.extend(sets);
    NeuralEnergy::new(&table, spec, ParamStore::new(&Noise::new(5), DType::F64, &Device::Cpu))
}

/// An energy in f64 whose weights are all random: a landscape with some relief.
fn random(spec: &DataSpec, strength: f64) -> Result<NeuralEnergy> {
    let mut energy = energy(spec, toml! { channels = [4, 8] hidden = 16 })?;
    shake(&energy.params, strength)?;
    let d = spec.dims();
    let (mean, sd) = ((0..d).map(|i| 0.3 * i as f64), (0..d).map(|i| 0.5 + 0.2 * i as f64));
    energy.coordinates =
        Coordinates::standardised(Standardizer::new(mean.collect(), sd.collect(), &flat(d, spec))?);
    Ok(energy)
}

#[test]
fn energy_gradient_is_the_slope_of_the_energy() -> Check {
    for spec in [vectors(3), images(6)] {
        let model = random(&spec, 0.3)?;
        let x = Noise::new(1).normal(spec.batch_shape(4), DType::F64, &Device::Cpu)?;
        let (energy, gradient) = model.energy_and_gradient(&x)?;
        assert_close(&model.energy(&x)?, &energy, Tol::rel(1e-12));
        let direction = Noise::new(2).normal_like(&x)?;
        let h = 1e-5;
        let up = model.energy(&(&x + (&direction * h)?)?)?;
        let down = model.energy(&(&x - (&direction * h)?)?)?;
        let slope = ((up - down)? / (2.0 * h))?;
        let want = (gradient * direction)?.flatten_from(1)?.sum(1)?;
        assert_close(&slope, &want, Tol { abs: 1e-7, rel: 1e-6 });
    }
    Ok(())
}

#[test]
fn energy_is_the_network_plus_the_confinement() -> Check {
    let model = random(&vectors(2), 0.3)?;
    let x = Noise::new(1).normal((5, 2), DType::F64, &Device::Cpu)?;
    let Network::Vector(net, gain) = &model.network else {
        return Err("a perceptron".into());
    };
    // The scaling is kept in f32.
    for (i, row) in x.to_vec2::<f64>()?.into_iter().enumerate() {
        let u = [row[0] / 0.5, (row[1] - 0.3) / 0.7];
        let f = net.graph().forward(&(Tensor::new(&[u], &Device::Cpu)? * *gain)?)?;
        let want =
            f.flatten_all()?.to_vec1::<f64>()?[0] + 0.5 * model.confinement * (u[0] * u[0] + u[1] * u[1]);
        assert_close(model.energy(&x)?.get(i)?.to_scalar::<f64>()?, want, Tol::rel(1e-6));
    }
    Ok(())
}

#[test]
fn restarts_leave_the_model_invariant_and_connect_its_modes() -> Check {
    let model = random(&vectors(2), 0.4)?;
    let landscape = model.landscape();
    let n = 4000;
    let long = |start: f64, seed: u64, steps: usize| -> Result<Vec<f64>> {
        let mut noise = Noise::new(seed);
        let mut chains = Chains::at(&landscape, &(Tensor::ones((n, 2), DType::F64, &Device::Cpu)? * start)?)?;
        for _ in 0..steps {
            restart::restart(&landscape, model.confinement, &mut chains, 1.0, &mut noise)?;
        }
        rows::host(&chains.energy)
    };
    // What the grid says of E U, against chains that only ever restart, from either side.
    let (mut z, mut first) = (0.0, 0.0);
    let axis: Vec<f64> = (0..400).map(|i| -10.0 + 0.05 * (f64::from(i) + 0.5)).collect();
    for a in &axis {
        let row: Vec<f64> = axis.iter().flat_map(|b| [*a, *b]).collect();
        for e in rows::host(&landscape.energy(&Tensor::from_vec(row, (400, 2), &Device::Cpu)?)?)? {
            z += (-e).exp();
            first += e * (-e).exp();
        }
    }
    for start in [-3.0, 3.0] {
        let (got, error) = mean(&long(start, 8, 200)?);
        assert_close(got, first / z, Tol::monte_carlo(error));
    }
    Ok(())
}

#[test]
fn any_weights_give_a_density_of_mass_one() -> Check {
    // The network grows linearly at most, the confinement as a square: Z is finite however wild the weights.
    let model = random(&vectors(2), 1.0)?;
    let mut noise = Noise::new(0);
    let defaults = (density::infos(model.dims())[0].defaults)();
    let density = density::Normalised::new(&model, "quadrature", &defaults, &mut noise)?;
    let (n, half) = (400usize, 12.0);
    let cell = 2.0 * half / n as f64;
    let mut mass = 0.0;
    for i in 0..n {
        let at = |k: usize| -half + (k as f64 + 0.5) * cell;
        let row: Vec<f64> = (0..n).flat_map(|j| [at(i), at(j)]).collect();
        let batch = Batch::of(Tensor::from_vec(row, (n, 2), &Device::Cpu)?);
        mass += rows::host(&density.log_prob(&batch, &mut noise)?.values)?
            .iter()
            .map(|l| l.exp() * cell * cell)
            .sum::<f64>();
    }
    assert!((mass - 1.0).abs() < 5e-3, "{mass}");
    Ok(())
}

/// With a limit of the norms, no pair of points is separated by more energy than the layers together allow: gain · λ^layers
/// times the steepest slope of the activation (1.1 for SiLU) times the distance. For images λ bounds the convolution
/// itself, which is applied to pairs of images here; a residual block is m(λ + mλ²) steep at most.
#[test]
fn limited_norms_limit_the_slope() -> Check {
    let (limit, steepest) = (0.8f64, 1.0999f64);
    let block = steepest * (limit + steepest * limit * limit);
    for (spec, sets, allowed) in [
        (vectors(3), toml! { norm_limit = 0.8 }, 3.0 * limit.powi(4) * steepest.powi(3)),
        // Images enter as 2x − 1.
        (images(6), toml! { norm_limit = 0.8 }, 2.0 * limit.powi(3) * steepest.powi(2)),
        (
            images(6),
            toml! { norm_limit = 0.8 network = "residual" channels = [4, 8] },
            2.0 * steepest * limit.powi(2) * block * block,
        ),
    ] {
        let energy = energy(&spec, sets)?;
        shake(&energy.params, 2.0)?;
        let pairs = |seed: u64| -> Result<(Tensor, Tensor)> {
            let u = Noise::new(seed).normal((200, spec.dims()), DType::F64, &Device::Cpu)?;
            Ok((u.clone(), (&u + (Noise::new(seed + 1).normal_like(&u)? * 1e-2)?)?))
        };
        let steepest_seen = || -> Result<f64> {
            let (a, b) = pairs(3)?;
            let rise = rows::host(&(energy.learned(&a)? - energy.learned(&b)?)?.abs()?)?;
            let way = rows::host(&(a - b)?.sqr()?.sum(1)?.sqrt()?)?;
            Ok(rise.iter().zip(&way).map(|(r, w)| r / w).fold(0.0, f64::max))
        };
        assert!(steepest_seen()? > allowed, "the weights are wild before");
        energy.constrain(&Turn::mini("noise"))?;
        assert!(steepest_seen()? > allowed, "another group's turn changes nothing");
        energy.constrain(&Turn::mini("main"))?;
        let seen = steepest_seen()?;
        assert!(seen <= allowed && seen > 0.0, "{seen} of {allowed}");
    }
    Ok(())
}

/// A residual energy has the derivatives of its values, and starts as the base.
#[test]
fn residual_energies_are_energies() -> Check {
    let spec = vectors(3);
    let energy = energy(&spec, toml! { network = "residual" hidden = 8 layers = 2 })?;
    let u = Noise::new(1).normal((5, 3), DType::F64, &Device::Cpu)?;
    assert_close(&energy.learned(&u)?, [0.0; 5], Tol::EQUAL);
    shake(&energy.params, 0.3)?;
    derivatives_agree(&energy.tracked(), &u)?;
    Ok(())
}

/// `Σ W x` over the windows of a convolution in plain loops, `(o, c, k, k)` over `(c, n, n)`, and its bias.
fn convolve(
    x: &[Vec<Vec<f64>>],
    w: &[Vec<Vec<Vec<f64>>>],
    bias: &[f64],
    stride: usize,
    pad: usize,
) -> Vec<Vec<Vec<f64>>> {
    let (n, k) = (x[0].len(), w[0][0].len());
    let side = (n + 2 * pad - k) / stride + 1;
    let pixel = |c: usize, i: usize, j: usize| match (i.checked_sub(pad), j.checked_sub(pad)) {
        (Some(i), Some(j)) if i < n && j < n => x[c][i][j],
        _ => 0.0,
    };
    let at = |o: usize, i: usize, j: usize| {
        let mut sum = bias[o];
        for (c, window) in w[o].iter().enumerate() {
            for (a, row) in window.iter().enumerate() {
                sum += row
                    .iter()
                    .enumerate()
                    .map(|(b, w)| w * pixel(c, stride * i + a, stride * j + b))
                    .sum::<f64>();
            }
        }
        sum
    };
    (0..w.len()).map(|o| (0..side).map(|i| (0..side).map(|j| at(o, i, j)).collect()).collect()).collect()
}

/// Residual energies of images start at zero, are what plain loops make of their weights, and have the derivatives of their
/// values; images of odd sizes too.
#[test]
fn residual_energies_of_images_are_energies() -> Check {
    for size in [6, 7] {
        let spec = images(size);
        let energy = energy(&spec, toml! { network = "residual" channels = [2, 3] })?;
        let u = Noise::new(1).normal((3, spec.dims()), DType::F64, &Device::Cpu)?;
        assert_close(&energy.learned(&u)?, [0.0; 3], Tol::EQUAL);
        shake(&energy.params, 0.3)?;
        derivatives_agree(&energy.tracked(), &u)?;
        let weights: std::collections::HashMap<String, Tensor> =
            energy.params.entries().into_iter().map(|(n, v)| (n, v.as_detached_tensor())).collect();
        let conv = |name: &str, x: &[Vec<Vec<f64>>], stride, pad| -> Result<Vec<Vec<Vec<f64>>>> {
            let of = |what: &str| &weights[&format!("main/{name}.{what}")];
            let w = of("weight").to_dtype(DType::F64)?;
            let w = (0..w.dim(0)?).map(|o| Ok(w.get(o)?.to_vec3::<f64>()?)).collect::<Result<Vec<_>>>()?;
            Ok(convolve(x, &w, &of("bias").to_vec1::<f64>()?, stride, pad))
        };
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let bend = |x: Vec<Vec<Vec<f64>>>| -> Vec<Vec<Vec<f64>>> {
            x.into_iter()
                .map(|c| c.into_iter().map(|r| r.into_iter().map(silu).collect()).collect())
                .collect()
        };
        for (row, got) in u.to_vec2::<f64>()?.iter().zip(rows::host(&energy.learned(&u)?)?) {
            // Before training m = 0 and s = 1: the image is u itself, and enters as 2u − 1.
            let x = vec![row.chunks(size).map(|r| r.iter().map(|v| 2.0 * v - 1.0).collect()).collect()];
            let mut h = bend(conv("stem", &x, 1, 1)?);
            for i in 0..2 {
                let inner = bend(conv(&format!("blocks.{i}.halving"), &h, 2, 1)?);
                let (change, past) = (
                    conv(&format!("blocks.{i}.second"), &inner, 1, 1)?,
                    conv(&format!("blocks.{i}.past"), &h, 2, h[0].len() % 2)?,
                );
                let sum = past.iter().flatten().flatten().zip(change.iter().flatten().flatten());
                let sum: Vec<f64> = sum.map(|(a, b)| a + b).collect();
                let side = change[0].len();
                h = sum.chunks(side * side).map(|c| c.chunks(side).map(<[f64]>::to_vec).collect()).collect();
                h = bend(h);
            }
            let head = rows::host(&weights["main/head.weight"])?;
            let want: f64 = h.iter().flatten().flatten().zip(&head).map(|(h, w)| h * w).sum();
            assert_close(got, want, Tol { abs: 1e-9, rel: 1e-9 });
        }
    }
    Ok(())
}

/// The networks that there are, and none that there are not.
#[test]
fn unknown_networks_are_refused() -> Check {
    let residual = toml! { network = "residual" channels = [4, 8, 8] };
    for (spec, sets, want) in [
        (vectors(3), toml! { network = "conv" }, "residual"),
        (images(6), toml! { network = "conv" }, "residual"),
        (images(6), residual, "model.channels"),
    ] {
        let error = energy(&spec, sets).err().ok_or("accepted")?;
        assert!(error.to_string().contains(want), "{error}");
    }
    Ok(())
}
