use super::*;
use genzoo_core::{Device, Recipe};

type Check = std::result::Result<(), Box<dyn std::error::Error>>;

const SLOPES: [f64; 2] = [1.3, -0.7];
const OFFSETS: [f64; 2] = [0.4, 2.0];
const DEVIATION: f64 = 0.6;

fn vectors(d: usize) -> DataSpec {
    DataSpec { shape: vec![d], space: Space::Continuous, classes: None, range: None }
}

fn images(space: Space) -> DataSpec {
    DataSpec { shape: vec![1, 4, 4], space, classes: None, range: Some((0.0, 1.0)) }
}

fn build(spec: &DataSpec, settings: &[&str], dtype: DType) -> Result<Vae> {
    let mut recipe = Recipe::defaults(&ENTRY, spec)?;
    recipe.overlay(&tiny(spec))?;
    for s in settings {
        recipe.set(s)?;
    }
    let params = ParamStore::new(&Noise::new(3), dtype, &Device::Cpu);
    Vae::new(&recipe.model, spec, params)
}

/// `x = OFFSETS + SLOPES z + DEVIATION ε` with its true posterior as encoder: everything is a closed form.
fn linear_gaussian() -> std::result::Result<Vae, Box<dyn std::error::Error>> {
    let model = build(&vectors(2), &["model.layers=0", "model.latent=1", "model.gain=2"], DType::F64)?;
    let squares = DEVIATION * DEVIATION;
    let precision = 1.0 + (SLOPES[0].powi(2) + SLOPES[1].powi(2)) / squares;
    let gain = SLOPES.map(|w| w / squares / precision);
    let shift = -(gain[0] * OFFSETS[0] + gain[1] * OFFSETS[1]);
    // The scale output starts at −5 and passes a soft floor of −10, whose inverse is −10 + log(e^{v + 10} − 1).
    let raw = 5.0 - 10.0 + ((2.0 * DEVIATION.ln() + 10.0).exp() - 1.0).ln();
    let matrix = |v: &[f64], rows: usize| Tensor::from_slice(v, (rows, v.len() / rows), &Device::Cpu);
    let vector = |v: &[f64]| Tensor::from_slice(v, v.len(), &Device::Cpu);
    // The variance of q starts at e^−4 of its output; x and z enter the networks doubled.
    for (name, var) in model.params.entries() {
        let value = match (name.contains("posterior"), name.ends_with("weight")) {
            (true, true) => (matrix(&[gain[0], gain[1], 0.0, 0.0], 2)? / 2.0)?,
            (true, false) => vector(&[shift, 4.0 - precision.ln()])?,
            (false, true) => (matrix(&[SLOPES[0], SLOPES[1], 0.0, 0.0], 4)? / 2.0)?,
            (false, false) => vector(&[OFFSETS[0], OFFSETS[1], raw, raw])?,
        };
        assert_eq!(value.dims(), var.dims(), "{name}");
        var.set(&value)?;
    }
    Ok(model)
}

/// `log N(x; OFFSETS, SLOPES SLOPESᵀ + DEVIATION² I)` written out for two dimensions.
fn evidence(x: &[f64]) -> f64 {
    let s = DEVIATION * DEVIATION;
    let (a, b, c) = (SLOPES[0].powi(2) + s, SLOPES[0] * SLOPES[1], SLOPES[1].powi(2) + s);
    let det = a * c - b * b;
    let (u, v) = (x[0] - OFFSETS[0], x[1] - OFFSETS[1]);
    let quadratic = (c * u * u - 2.0 * b * u * v + a * v * v) / det;
    -0.5 * quadratic - 0.5 * det.ln() - std::f64::consts::TAU.ln()
}

#[test]
fn bounds_are_exact_when_q_is_the_posterior() -> Check {
    let model = linear_gaussian()?;
    let x = (Noise::new(1).normal((10, 2), DType::F64, &Device::Cpu)? * 2.0)?;
    let want: Vec<f64> = x.to_vec2::<f64>()?.iter().map(|r| evidence(r)).collect();
    for (name, k) in [("elbo", 1), ("elbo", 3), ("iwae", 1), ("iwae", 20)] {
        let options = Table::from_iter([("k".to_string(), k.into())]);
        let density = model.density(name, &options, &mut Noise::new(0))?;
        assert_eq!(density.evidence().kind, Kind::LowerBound);
        let got = density.log_prob(&Batch::of(x.clone()), &mut Noise::new(7))?.values;
        for (g, w) in numbers(&got)?.iter().zip(&want) {
            assert!((g - w).abs() < 1e-9, "{name}(k={k}): {g} {w}");
        }
    }
    Ok(())
}

#[test]
fn the_loss_is_the_expected_negative_bound() -> Check {
    // With q the posterior each draw of log p(x, z)/q(z|x) is log p(x), but the loss integrates the divergence
    // in closed form, so it meets the evidence only on average over codes.
    let mut model = linear_gaussian()?;
    let n = 40_000;
    let x = Tensor::new(&[[1.0f64, 0.5]], &Device::Cpu)?.broadcast_as((n, 2))?.contiguous()?;
    let Update::Minimise { loss, log } =
        model.update(&Turn::mini("main"), &Batch::of(x), &mut Noise::new(0))?
    else {
        return Err("a loss".into());
    };
    let loss = number(&loss)?;
    assert!((loss - log.iter().map(|(_, v)| v).sum::<f64>()).abs() < 1e-9);
    // log p(x|z) under the posterior is quadratic in one normal: its deviation stays below 1.5 here.
    assert!((loss + evidence(&[1.0, 0.5])).abs() < 4.0 * 1.5 / (n as f64).sqrt(), "{loss}");
    Ok(())
}

#[test]
fn standardisation_enters_the_density() -> Check {
    let mut model = linear_gaussian()?;
    let (m, s) = ([3.0, -1.0], [0.5, 4.0]);
    model.set_state(Standardizer::new(m.to_vec(), s.to_vec(), &vectors(2))?.state()?)?;
    let (x, options) = ([3.2, 1.0], Table::from_iter([("k".to_string(), 5.into())]));
    let density = model.density("iwae", &options, &mut Noise::new(0))?;
    let batch = Batch::of(Tensor::new(&[x], &Device::Cpu)?);
    let got = numbers(&density.log_prob(&batch, &mut Noise::new(0))?.values)?[0];
    let y = [(x[0] - m[0]) / s[0], (x[1] - m[1]) / s[1]];
    let want = evidence(&y) - s[0].ln() - s[1].ln();
    assert!((got - want).abs() < 1e-5, "{got} {want}"); // the statistics are held in f32
    Ok(())
}

#[test]
fn samples_of_the_prior_have_the_marginal_moments() -> Check {
    let model = linear_gaussian()?;
    let n = 50_000;
    let options = toml! { draw = "likelihood" };
    let x = model.sampler("prior", &options)?.sample(&Draw::n(n), &mut Noise::new(0))?.x;
    let centred = x.broadcast_sub(&Tensor::new(&OFFSETS, &Device::Cpu)?)?;
    let moments = (centred.t()?.matmul(&centred)? / n as f64)?.to_vec2::<f64>()?;
    for (i, row) in moments.iter().enumerate() {
        for (j, got) in row.iter().enumerate() {
            let own = |k: usize| SLOPES[k].powi(2) + DEVIATION.powi(2);
            let want = SLOPES[i] * SLOPES[j] + if i == j { DEVIATION.powi(2) } else { 0.0 };
            let error = ((own(i) * own(j) + want * want) / n as f64).sqrt(); // Isserlis
            assert!((got - want).abs() < 4.0 * error, "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn samples_and_bounds_fit_every_space() -> Check {
    for space in [Space::U8, Space::BinaryStatic, Space::BinaryDynamic] {
        let model = build(&images(space), &[], DType::F32)?;
        for draw in ["likelihood", "mean"] {
            let options = Table::from_iter([("draw".to_string(), draw.into())]);
            let x = model.sampler("prior", &options)?.sample(&Draw::n(5), &mut Noise::new(0))?.x;
            assert_eq!(x.dims(), [5, 1, 4, 4]);
            let values = numbers(&x)?;
            assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
            if space.is_binary() && draw == "likelihood" {
                assert!(values.iter().all(|v| *v == 0.0 || *v == 1.0));
            }
        }
        let density = model.density("iwae", &toml! { k = 8 }, &mut Noise::new(0))?;
        assert_eq!(density.evidence().discrete, space == Space::U8);
        let x = Tensor::zeros((3, 1, 4, 4), DType::F32, &Device::Cpu)?;
        let values = density.log_prob(&Batch::of(x), &mut Noise::new(0))?.values;
        assert!(numbers(&values)?.iter().all(|v| v.is_finite() && *v < 0.0));
    }
    Ok(())
}

#[test]
fn the_gradient_of_the_likelihood_is_its_slope() -> Check {
    for (spec, x) in [
        (vectors(3), Tensor::new(&[[0.3f64, -1.0, 0.2]], &Device::Cpu)?),
        (images(Space::U8), Tensor::full(0.3f64, (1, 1, 4, 4), &Device::Cpu)?),
        (images(Space::BinaryStatic), Tensor::ones((1, 1, 4, 4), DType::F64, &Device::Cpu)?),
    ] {
        let model = build(&spec, &[], DType::F64)?;
        let caps = model.capabilities();
        let (decoder, encoder) = (caps.decoder.ok_or("decoder")?, caps.encoder.ok_or("encoder")?);
        let (z, _) = encoder.sample_and_log_q(&x, &mut Noise::new(0))?;
        let (_, gradient) = decoder.log_likelihood_and_gradient(&x, &z)?;
        for (i, got) in numbers(&gradient)?.into_iter().enumerate() {
            let mut e = vec![0.0; decoder.latent_dim()];
            e[i] = 1e-6;
            let e = Tensor::new(&e[..], &Device::Cpu)?.unsqueeze(0)?;
            let up = numbers(&decoder.log_likelihood(&x, &(&z + &e)?)?)?[0];
            let down = numbers(&decoder.log_likelihood(&x, &(&z - &e)?)?)?[0];
            let want = (up - down) / 2e-6;
            assert!((got - want).abs() < 1e-3 * (1.0 + want.abs()), "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    for (set, word) in [("model.latent=0", "model.latent"), ("model.hidden=0", "model.hidden")] {
        let e = build(&vectors(2), &[set], DType::F32).err().ok_or("accepted")?.to_string();
        assert!(e.contains(word), "{e}");
    }
    let model = build(&vectors(2), &[], DType::F32)?;
    let mut noise = Noise::new(0);
    let e = |r: Result<()>| r.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(e(model.sampler("prior", &toml! { draw = "mode" }).map(|_| ())).contains("sample.draw"));
    assert!(e(model.density("iwae", &toml! { k = 0 }, &mut noise).map(|_| ())).contains("eval.k"));
    assert!(e(model.density("iwea", &toml! { k = 1 }, &mut noise).map(|_| ())).contains("iwae"));
    Ok(())
}

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}
