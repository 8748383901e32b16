use super::*;
use genzoo_core::Device;

type Check = std::result::Result<(), Box<dyn std::error::Error>>;

fn vectors(d: usize) -> DataSpec {
    DataSpec { shape: vec![d], space: Space::Continuous, classes: None, range: None }
}

/// A flow in f64 whose weights are all random, so that no coupling is the identity.
fn random(spec: &DataSpec) -> Result<RealNvp> {
    random_with(spec, "mlp")
}

fn random_with(spec: &DataSpec, network: &str) -> Result<RealNvp> {
    let mut recipe = genzoo_core::Recipe::defaults(&ENTRY, spec)?;
    recipe.overlay(&tiny(spec))?;
    if spec.image().is_some() {
        recipe.set(&format!("model.network={network}"))?;
    }
    let noise = Noise::new(5);
    let params = ParamStore::new(&noise, DType::F64, &Device::Cpu);
    let model = RealNvp::new(&recipe.model, spec, params)?;
    for (i, (_, var)) in model.params.entries().into_iter().enumerate() {
        // Of the order of the initial values, so that rounding is not amplified from coupling to coupling.
        let size = 0.4 / (var.dims()[1..].iter().product::<usize>() as f64).sqrt();
        let step = noise.at(i as u64).normal_like(var.as_tensor())?;
        var.set(&(var.as_detached_tensor() + (step * size)?)?)?;
    }
    Ok(model)
}

fn values(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    let pairs = values(a)?.into_iter().zip(values(b)?);
    Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
}

#[test]
fn inverse_undoes_forward() -> Check {
    for d in [2, 3, 8] {
        let model = random(&vectors(d))?;
        let x = Noise::new(1).normal((50, d), DType::F64, &Device::Cpu)?;
        let (z, there) = model.inverse_and_ladj(&x)?;
        assert!(largest_difference(&z, &x)? > 0.1, "the flow does something");
        let (back, home) = model.forward_and_ladj(&z)?;
        assert!(largest_difference(&back, &x)? < 1e-10);
        assert!(largest_difference(&there, &home.neg()?)? < 1e-10);
    }
    Ok(())
}

#[test]
fn log_determinant_is_that_of_the_jacobian() -> Check {
    let mut model = random(&vectors(2))?;
    model.set_state(Standardizer::new(vec![0.5, -1.0], vec![2.0, 0.3], &vectors(2))?.state()?)?;
    let h = 1e-6;
    let x = Noise::new(2).normal((20, 2), DType::F64, &Device::Cpu)?;
    let ladj = values(&model.inverse_and_ladj(&x)?.1)?;
    let column = |i: usize| -> Result<Vec<Vec<f64>>> {
        let mut e = [0.0; 2];
        e[i] = h;
        let e = Tensor::new(&[e], &Device::Cpu)?;
        let up = model.inverse_and_ladj(&x.broadcast_add(&e)?)?.0;
        let down = model.inverse_and_ladj(&x.broadcast_sub(&e)?)?.0;
        Ok(((up - down)? / (2.0 * h))?.to_vec2::<f64>()?)
    };
    let (a, b) = (column(0)?, column(1)?);
    for i in 0..20 {
        let det = a[i][0] * b[i][1] - a[i][1] * b[i][0];
        assert!((det.abs().ln() - ladj[i]).abs() < 1e-4, "{det} {}", ladj[i]);
    }
    Ok(())
}

#[test]
fn density_sums_to_one() -> Check {
    let model = random(&vectors(2))?;
    let (n, edge) = (360usize, 12.0);
    let cell = 2.0 * edge / n as f64;
    let grid: Vec<f64> =
        (0..n * n).flat_map(|i| [i / n, i % n]).map(|k| -edge + (k as f64 + 0.5) * cell).collect();
    let x = Tensor::from_vec(grid, (n * n, 2), &Device::Cpu)?;
    let mut noise = Noise::new(0);
    let density = model.density("change_of_variables", &Table::new(), &mut noise)?;
    let log_p = values(&density.log_prob(&Batch::of(x), &mut noise)?.values)?;
    let mass: f64 = log_p.iter().map(|l| l.exp() * cell * cell).sum();
    assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    Ok(())
}

#[test]
fn gradient_of_the_loss_is_that_of_its_values() -> Check {
    let mut model = random(&vectors(3))?;
    let x = Noise::new(2).normal((16, 3), DType::F64, &Device::Cpu)?;
    let loss =
        |m: &mut RealNvp| match m.update(&Turn::mini("main"), &Batch::of(x.clone()), &mut Noise::new(0)) {
            Ok(Update::Minimise { loss, .. }) => Ok(loss),
            Ok(_) => Err(Error::Unsupported("a loss".into())),
            Err(e) => Err(e),
        };
    let grads = loss(&mut model)?.backward()?;
    for (i, (name, var)) in model.params.entries().into_iter().enumerate() {
        let g = grads.get(var.as_tensor()).ok_or("no gradient")?.clone();
        let direction = Noise::new(9).at(i as u64).normal_like(&g)?;
        let slope = (&g * &direction)?.sum_all()?.to_scalar::<f64>()?;
        let start = var.as_detached_tensor().copy()?;
        let h = 1e-6;
        var.set(&(&start + (&direction * h)?)?)?;
        let up = loss(&mut model)?.to_scalar::<f64>()?;
        var.set(&(&start - (&direction * h)?)?)?;
        let down = loss(&mut model)?.to_scalar::<f64>()?;
        var.set(&start)?;
        let want = (up - down) / (2.0 * h);
        assert!((slope - want).abs() < 1e-3 * (1.0 + want.abs()), "{name}: {slope} {want}");
    }
    Ok(())
}

#[test]
fn impossible_settings_are_named() -> Check {
    let build = |d: usize, set: &str| -> Result<()> {
        let mut recipe = genzoo_core::Recipe::defaults(&ENTRY, &vectors(d))?;
        recipe.set(set)?;
        let params = ParamStore::new(&Noise::new(0), DType::F32, &Device::Cpu);
        RealNvp::new(&recipe.model, &vectors(d), params).map(|_| ())
    };
    for (set, word) in [
        ("model.couplings=1", "model.couplings"),
        ("model.hidden=0", "model.hidden"),
        ("model.bound=0", "model.bound"),
        ("model.coupling=4", "couplings"),
    ] {
        let e = build(2, set).err().ok_or("accepted")?.to_string();
        assert!(e.contains(word), "{set}: {e}");
    }
    assert!(build(1, "model.hidden=8").is_err());
    build(2, "model.hidden=8")?;
    Ok(())
}

fn images(size: usize) -> DataSpec {
    DataSpec { shape: vec![1, size, size], space: Space::U8, classes: None, range: Some((0.0, 1.0)) }
}

#[test]
fn image_flow_is_undone() -> Check {
    for (size, network) in [(14, "mlp"), (14, "conv"), (28, "mlp"), (8, "conv")] {
        let model = random_with(&images(size), network)?;
        let x = Noise::new(1).uniform((5, 1, size, size), DType::F64, &Device::Cpu)?;
        let (z, there) = model.inverse_and_ladj(&x)?;
        assert_eq!(z.dims(), [5, size * size]);
        let (back, home) = model.forward_and_ladj(&z)?;
        assert!(largest_difference(&back, &x)? < 1e-6, "{size} {network}");
        assert!(largest_difference(&there, &home.neg()?)? < 1e-6);
    }
    Ok(())
}

#[test]
fn image_log_determinant_is_that_of_the_jacobian() -> Check {
    for network in ["mlp", "conv"] {
        let (d, h) = (16, 1e-6);
        let model = random_with(&images(4), network)?;
        let x = Noise::new(2).uniform((1, d), DType::F64, &Device::Cpu)?.affine(0.8, 0.1)?;
        let step = (Tensor::eye(d, DType::F64, &Device::Cpu)? * h)?;
        let f = |x: Tensor| -> Result<Tensor> { Ok(model.inverse_and_ladj(&x.reshape((d, 1, 4, 4))?)?.0) };
        let up = f(x.broadcast_add(&step)?)?;
        let down = f(x.broadcast_sub(&step)?)?;
        let jacobian = ((up - down)? / (2.0 * h))?.to_vec2::<f64>()?;
        let ladj = values(&model.inverse_and_ladj(&x.reshape((1, 1, 4, 4))?)?.1)?[0];
        let want = log_determinant(jacobian);
        assert!((ladj - want).abs() < 1e-3, "{network}: {ladj} {want}");
    }
    Ok(())
}

/// `log|det|` by elimination with pivots.
fn log_determinant(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut total = 0.0;
    for i in 0..n {
        let pivot = (i..n).max_by(|p, q| a[*p][i].abs().total_cmp(&a[*q][i].abs()));
        a.swap(i, pivot.unwrap_or(i));
        total += a[i][i].abs().ln();
        for r in i + 1..n {
            let factor = a[r][i] / a[i][i];
            let (above, below) = a.split_at_mut(r);
            for (x, p) in below[0][i..].iter_mut().zip(&above[i][i..]) {
                *x -= factor * p;
            }
        }
    }
    total
}

#[test]
fn pixels_start_standardised() -> Check {
    struct Rows(Tensor, DataSpec);
    impl Stream for Rows {
        fn spec(&self) -> &DataSpec {
            &self.1
        }
        fn next(&mut self, _: usize) -> Result<Batch> {
            Ok(Batch::of(self.0.clone()))
        }
        fn epoch(&self) -> Option<u64> {
            None
        }
    }
    let spec = images(4);
    let mut recipe = genzoo_core::Recipe::defaults(&ENTRY, &spec)?;
    recipe.overlay(&tiny(&spec))?;
    let params = ParamStore::new(&Noise::new(0), DType::F64, &Device::Cpu);
    let mut model = RealNvp::new(&recipe.model, &spec, params)?;
    let x = Noise::new(1).uniform((300, 1, 4, 4), DType::F64, &Device::Cpu)?;
    model.prepare(&mut Rows(x.clone(), spec), &mut Noise::new(0))?;
    let (z, _) = model.inverse_and_ladj(&x)?; // couplings start as the identity
    let worst = |t: &Tensor, want: f64| -> Result<f64> {
        Ok(values(t)?.iter().map(|v| (v - want).abs()).fold(0.0, f64::max))
    };
    assert!(worst(&z.mean(0)?, 0.0)? < 1e-9);
    assert!(worst(&z.sqr()?.mean(0)?, 1.0)? < 1e-9);
    Ok(())
}

#[test]
fn bytes_have_a_bound_and_vectors_the_truth() -> Check {
    let mut noise = Noise::new(0);
    let kind = |m: &RealNvp, noise: &mut Noise| -> Result<(Kind, bool)> {
        let d = m.density("change_of_variables", &Table::new(), noise)?;
        Ok((d.evidence().kind, d.evidence().discrete))
    };
    assert_eq!(kind(&random(&vectors(2))?, &mut noise)?, (Kind::Exact, false));
    assert_eq!(kind(&random(&images(4))?, &mut noise)?, (Kind::LowerBound, false));
    Ok(())
}
