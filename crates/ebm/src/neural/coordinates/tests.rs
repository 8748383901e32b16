use genzoo_core::{Dataset, RowStream, Split, Table, config};
use nalgebra::DVector;

use super::*;
use crate::neural::{NeuralEnergy, density, recipe};
use crate::support::{Check, shake};
use genzoo_core::capability::Energy;
use genzoo_core::{Batch, Density, ParamStore, Space};
use genzoo_testkit::{Tol, assert_close};

/// Rows `c + A ξ` of six pixels, with ξ uniform: neither Gaussian nor isotropic.
struct Mixed(DataSpec);

const D: usize = 6;

fn mixed() -> Mixed {
    Mixed(DataSpec { shape: vec![1, 2, 3], space: Space::U8, classes: None, range: Some((0.0, 1.0)) })
}

impl Dataset for Mixed {
    fn name(&self) -> &str {
        "test"
    }
    fn spec(&self) -> &DataSpec {
        &self.0
    }
    fn len(&self, _: Split) -> Option<u64> {
        Some(5000)
    }
    fn sha256(&self) -> String {
        String::new()
    }
    fn rows(&self, _: Split, rows: std::ops::Range<u64>) -> Result<Batch> {
        let a = Noise::new(3).normals(D * D);
        let row = |i: u64| {
            let xi = Noise::new(11).at(i).uniforms(D);
            let of = |j: usize| 0.2 * j as f64 + 0.05 * (0..D).map(|k| a[j * D + k] * xi[k]).sum::<f64>();
            (0..D).map(|j| of(j) as f32).collect::<Vec<_>>()
        };
        let n = (rows.end - rows.start) as usize;
        let x: Vec<f32> = rows.clone().flat_map(row).collect();
        let x = Tensor::from_vec(x, (n, 1, 2, 3), &Device::Cpu)?;
        Ok(Batch { x, label: None, source: None, rows })
    }
}

fn all(data: &Mixed) -> Result<Tensor> {
    Ok(data.rows(Split::Train, 0..5000)?.x.flatten_from(1)?)
}

fn fitted(kept: usize) -> Result<(Coordinates, Tensor)> {
    let data = mixed();
    let mut c = Coordinates::identity(&data.0, kept)?;
    c.fit(&mut RowStream::new(&data, Split::Train, 0), 0.0)?;
    Ok((c, all(&data)?))
}

/// Mean and covariance, by sums over rows.
fn moments_of(x: &Tensor) -> Result<(DVector<f64>, DMatrix<f64>)> {
    let (n, d) = x.dims2()?;
    let x = DMatrix::from_row_slice(n, d, &rows::host(x)?);
    let mean = DVector::from_fn(d, |j, _| x.column(j).mean());
    let about = |i: usize, j: usize| {
        x.column(i).iter().zip(x.column(j).iter()).map(|(a, b)| (a - mean[i]) * (b - mean[j])).sum::<f64>()
    };
    let covariance = DMatrix::from_fn(d, d, |i, j| about(i, j) / n as f64);
    Ok((mean, covariance))
}

#[test]
fn the_coordinates_are_white_and_fall_in_variance() -> Check {
    let (c, x) = fitted(D)?;
    let (mean, covariance) = moments_of(&c.forward(&x)?)?;
    assert!(mean.amax() < 1e-4 && (covariance - DMatrix::identity(D, D)).amax() < 1e-4);
    let sd = rows::host(&c.principal.as_ref().ok_or("principal")?.sd)?;
    assert!(sd.windows(2).all(|w| w[0] >= w[1]), "{sd:?}");
    Ok(())
}

/// All directions kept: the way back is exact. Two kept: these come back, and what is drawn restores the covariance.
#[test]
fn the_way_back_is_the_way_there() -> Check {
    let (c, x) = fitted(D)?;
    let back = c.inverse(&c.forward(&x)?, &mut Noise::new(0))?;
    assert_close(&back, &x, Tol { abs: 1e-6, rel: 1e-5 });
    let (c, x) = fitted(2)?;
    let n = 40_000;
    let u = Noise::new(5).normal((n, 2), DType::F32, &Device::Cpu)?;
    let drawn = c.inverse(&u, &mut Noise::new(6))?;
    assert_close(&c.forward(&drawn)?, &u, Tol { abs: 1e-4, rel: 1e-4 });
    let ((mean, covariance), (m, s)) = (moments_of(&x)?, moments_of(&drawn)?);
    let error = |i: usize, j: usize| {
        let square = covariance[(i, i)] * covariance[(j, j)] + covariance[(i, j)].powi(2);
        (square / n as f64).sqrt()
    };
    for i in 0..D {
        assert!((mean[i] - m[i]).abs() < 4.5 * (covariance[(i, i)] / n as f64).sqrt() + 1e-5);
        for j in 0..=i {
            assert!((covariance[(i, j)] - s[(i, j)]).abs() < 4.5 * error(i, j) + 1e-6, "{i} {j}");
        }
    }
    Ok(())
}

fn energy(kept: usize, dtype: DType) -> Result<NeuralEnergy> {
    let data = mixed();
    let own = toml::toml! { smoothing = 0.0 hidden = 8 };
    let mut table: Table = config::get(&recipe::defaults(&data.0, own, Table::new()), "model", "recipe")?;
    table.insert("principal".into(), (kept as i64).into());
    let params = ParamStore::new(&Noise::new(5), dtype, &Device::Cpu);
    let mut energy = NeuralEnergy::new(&table, &data.0, params)?;
    energy.prepare(&mut RowStream::new(&data, Split::Train, 0))?;
    Ok(energy)
}

/// A network that is still zero leaves the Gaussian of the data's mean and covariance, however many directions are kept:
/// the density against Cholesky's.
#[test]
fn without_a_network_the_density_is_the_fitted_gaussian() -> Check {
    let x = all(&mixed())?.narrow(0, 0, 50)?;
    let (mean, covariance) = moments_of(&all(&mixed())?)?;
    let factor = covariance.cholesky().ok_or("positive definite")?;
    let log_det: f64 = factor.l().diagonal().iter().map(|v| 2.0 * v.ln()).sum();
    let batch = Batch::of(x.reshape((50, 1, 2, 3))?);
    for kept in [1, 2] {
        let energy = energy(kept, DType::F32)?;
        let mut noise = Noise::new(1);
        let options = (density::QUADRATURE.defaults)();
        let density = density::Normalised::new(&energy, "quadrature", &options, &mut noise)?;
        let got = rows::host(&density.log_prob(&batch, &mut noise)?.values)?;
        for (row, got) in rows::host(&x)?.chunks(D).zip(got) {
            let about = DVector::from_column_slice(row) - &mean;
            let square = about.dot(&factor.solve(&about));
            let want = -0.5 * (square + log_det + D as f64 * std::f64::consts::TAU.ln());
            assert!((got - want).abs() < 2e-3, "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn the_gradient_over_data_is_the_slope_of_the_energy() -> Check {
    let energy = energy(3, DType::F64)?;
    shake(energy.params(), 0.3)?;
    let x = Noise::new(1).normal((4, 1, 2, 3), DType::F64, &Device::Cpu)?;
    let (value, gradient) = energy.energy_and_gradient(&x)?;
    assert_close(&energy.energy(&x)?, &value, Tol::rel(1e-12));
    let (direction, h) = (Noise::new(2).normal_like(&x)?, 1e-6);
    let [up, down] = [h, -h].map(|h| energy.energy(&(&x + (&direction * h)?)?));
    let slope = ((up? - down?)? / (2.0 * h))?;
    assert_close(&slope, (gradient * direction)?.flatten_from(1)?.sum(1)?, Tol { abs: 1e-5, rel: 1e-6 });
    Ok(())
}

#[test]
fn a_loaded_map_is_the_one_that_was_saved() -> Check {
    let (c, x) = fitted(2)?;
    let other = Coordinates::identity(&mixed().0, 2)?.load(&c.state()?, &mixed().0)?;
    assert_close(&other.forward(&x)?, &c.forward(&x)?, Tol::EQUAL);
    assert_eq!(other.ladj(), c.ladj());
    let e = Coordinates::identity(&mixed().0, 2)?.load(&StateDict::new(), &mixed().0).err();
    assert!(e.is_some_and(|e| e.to_string().contains("principal.mean")));
    assert!(energy(7, DType::F32).err().is_some_and(|e| e.to_string().contains("model.principal")));
    Ok(())
}
