use super::*;
use genzoo_core::{Device, Recipe};

type Check = std::result::Result<(), Box<dyn std::error::Error>>;

fn spec(shape: &[usize], space: Space) -> DataSpec {
    DataSpec { shape: shape.to_vec(), space, classes: None, range: None }
}

fn build(spec: &DataSpec, settings: &[&str], dtype: DType) -> Result<NsGan> {
    let mut recipe = Recipe::defaults(&ENTRY, spec)?;
    recipe.overlay(&tiny(spec))?;
    for s in settings {
        recipe.set(s)?;
    }
    let params = ParamStore::new(&Noise::new(3), dtype, &Device::Cpu);
    NsGan::new(&recipe.model, spec, params)
}

fn loss(model: &mut NsGan, turn: &Turn, x: &Tensor) -> Result<Tensor> {
    match model.update(turn, &Batch::of(x.clone()), &mut Noise::new(1))? {
        Update::Minimise { loss, .. } => Ok(loss),
        _ => Err(Error::Unsupported("a turn without a loss".into())),
    }
}

#[test]
fn each_turn_moves_its_own_group_and_no_other() -> Check {
    for (spec, r1) in [
        (spec(&[2], Space::Continuous), "model.r1=0"),
        (spec(&[2], Space::Continuous), "model.r1=1"),
        (spec(&[1, 14, 14], Space::U8), "model.r1=1"),
    ] {
        let mut model = build(&spec, &[r1, "model.critic_steps=2"], DType::F32)?;
        let x = Noise::new(0).uniform(spec.batch_shape(8), DType::F32, &Device::Cpu)?;
        let turns = model.turns(0);
        let groups: Vec<_> = turns.iter().map(|t| t.group).collect();
        assert_eq!(groups, ["critic", "critic", "generator"]);
        for turn in &turns[1..] {
            let grads = loss(&mut model, turn, &x)?.backward()?;
            for (name, var) in model.params.entries() {
                let own = name.starts_with(&format!("{}/", turn.group));
                let reached = match grads.get(var.as_tensor()) {
                    None => false,
                    Some(g) => g.sqr()?.sum_all()?.to_scalar::<f32>()? > 0.0,
                };
                assert_eq!(reached, own, "{name} in the turn of {}", turn.group);
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_of_both_turns_are_slopes_of_their_losses() -> Check {
    let mut model = build(&spec(&[2], Space::Continuous), &["model.r1=2"], DType::F64)?;
    let x = Noise::new(0).normal((16, 2), DType::F64, &Device::Cpu)?;
    for turn in [Turn::mini("critic"), Turn::mini("generator")] {
        let grads = loss(&mut model, &turn, &x)?.backward()?;
        for (i, (name, var)) in model.params.of_group(turn.group).into_iter().enumerate() {
            let g = grads.get(var.as_tensor()).ok_or("no gradient")?;
            let direction = Noise::new(7).at(i as u64).normal_like(g)?;
            let slope = (g * &direction)?.sum_all()?.to_scalar::<f64>()?;
            let start = var.as_detached_tensor().copy()?;
            let h = 1e-7;
            var.set(&(&start + (&direction * h)?)?)?;
            let up = loss(&mut model, &turn, &x)?.to_scalar::<f64>()?;
            var.set(&(&start - (&direction * h)?)?)?;
            let down = loss(&mut model, &turn, &x)?.to_scalar::<f64>()?;
            var.set(&start)?;
            let want = (up - down) / (2.0 * h);
            assert!((slope - want).abs() < 1e-3 * (1.0 + want.abs()), "{name}: {slope} {want}");
        }
    }
    Ok(())
}

#[test]
fn samples_lie_where_data_lie() -> Check {
    for (spec, draw) in [
        (spec(&[1, 14, 14], Space::U8), "likelihood"),
        (spec(&[1, 28, 28], Space::BinaryStatic), "likelihood"),
        (spec(&[1, 14, 14], Space::BinaryDynamic), "mean"),
    ] {
        let model = build(&spec, &[], DType::F32)?;
        let options = Table::from_iter([("draw".to_string(), draw.into())]);
        let sampler = model.sampler("generator", &options)?;
        let x = sampler.sample(&Draw::n(6), &mut Noise::new(0))?.x;
        assert_eq!(x.dims(), spec.batch_shape(6));
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
        let sharp = values.iter().all(|v| *v == 0.0 || *v == 1.0);
        assert_eq!(sharp, spec.space.is_binary() && draw == "likelihood");
    }
    Ok(())
}

#[test]
fn vectors_are_scaled_back() -> Check {
    let spec = spec(&[2], Space::Continuous);
    let mut model = build(&spec, &[], DType::F64)?;
    let sample = |m: &NsGan| -> Result<Vec<Vec<f64>>> {
        let sampler = m.sampler("generator", &toml! { draw = "mean" })?;
        Ok(sampler.sample(&Draw::n(5), &mut Noise::new(0))?.x.to_vec2()?)
    };
    let before = sample(&model)?;
    model.set_state(Standardizer::new(vec![5.0, -2.0], vec![3.0, 0.5], &spec)?.state()?)?;
    for (a, b) in before.iter().zip(sample(&model)?) {
        assert!((5.0 + 3.0 * a[0] - b[0]).abs() < 1e-6);
        assert!((-2.0 + 0.5 * a[1] - b[1]).abs() < 1e-6);
    }
    Ok(())
}

#[test]
fn there_is_no_density() -> Check {
    let model = build(&spec(&[2], Space::Continuous), &[], DType::F32)?;
    assert!(model.densities().is_empty());
    assert!(model.density("exact", &Table::new(), &mut Noise::new(0)).is_err());
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let vectors = spec(&[2], Space::Continuous);
    for (set, word) in [
        ("model.latent=0", "model.latent"),
        ("model.critic_steps=0", "model.critic_steps"),
        ("model.r1=-1.0", "model.r1"),
        ("model.layers=0", "model.layers"),
    ] {
        let e = build(&vectors, &[set], DType::F32).err().ok_or("accepted")?.to_string();
        assert!(e.contains(word), "{set}: {e}");
    }
    let images = spec(&[1, 14, 14], Space::U8);
    let e = build(&images, &["model.levels=9"], DType::F32).err().ok_or("accepted")?;
    assert!(e.to_string().contains("model.levels"));
    assert!(build(&spec(&[1, 14, 12], Space::U8), &[], DType::F32).is_err());
    Ok(())
}

/// log p(x|z) is the formula applied to what `decode` shows, and its gradient the slope of it.
#[test]
fn the_generator_is_a_decoder() -> Check {
    use genzoo_core::capability::Decoder;
    for (spec, generator) in [
        (spec(&[3], Space::Continuous), true),
        (spec(&[1, 14, 14], Space::U8), true),
        (spec(&[1, 14, 14], Space::BinaryStatic), false),
    ] {
        let model = build(&spec, &[], DType::F64)?;
        assert_eq!(model.is_generator(), generator);
        let mut noise = Noise::new(4);
        let z = noise.normal((3, model.latent_dim()), DType::F64, &Device::Cpu)?;
        let x = noise.uniform(spec.batch_shape(3), DType::F64, &Device::Cpu)?;
        let x = if spec.space.is_binary() { x.round()? } else { x };
        let (value, gradient) = model.log_likelihood_and_gradient(&x, &z)?;
        let (value, d) = (value.to_vec1::<f64>()?, spec.dims());
        let rows = |t: &Tensor| t.flatten_from(1)?.to_vec2::<f64>();
        for ((x, g), value) in rows(&x)?.iter().zip(rows(&model.decode(&z)?)?).zip(&value) {
            let pairs = x.iter().zip(&g);
            let want: f64 = if generator {
                pairs.map(|(x, g)| -0.5 * (x - g) * (x - g)).sum::<f64>()
                    - 0.5 * d as f64 * std::f64::consts::TAU.ln()
            } else {
                pairs.map(|(x, g)| x * g.ln() + (1.0 - x) * (1.0 - g).ln()).sum()
            };
            assert!((value - want).abs() < 1e-8 * want.abs(), "{value} {want}");
        }
        let sum =
            |z: &Tensor| model.log_likelihood(&x, z)?.sum_all()?.to_scalar::<f64>().map_err(Error::from);
        let step = noise.normal_like(&z)?;
        let slope = (sum(&(&z + (&step * 1e-6)?)?)? - sum(&(&z - (&step * 1e-6)?)?)?) / 2e-6;
        let want = (gradient * step)?.sum_all()?.to_scalar::<f64>()?;
        assert!((slope - want).abs() < 1e-5 * want.abs().max(1.0), "{slope} {want}");
    }
    Ok(())
}
