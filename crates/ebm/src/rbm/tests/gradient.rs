//! Gradients by hand against finite differences of sums that know nothing of them.

use super::*;
use crate::rbm::gradient::{Centre, Gradient, Penalties, gradient};
use genzoo_testkit::finite_difference_gradient;

const NONE: Penalties = Penalties { weight_decay: 0.0, sparsity: 0.0, sparsity_target: 0.1 };

/// All parameters in one list: W, b, c, and z where there is one.
fn flat(g: &Gradient) -> Vec<f64> {
    let all = [Some(&g.weights), Some(&g.visible), Some(&g.hidden), g.log_variance.as_ref()];
    all.into_iter().flatten().flat_map(list).collect()
}

fn parameters(machine: &Machine) -> Vec<f64> {
    let mut all = list(machine.weights());
    all.extend(list(machine.visible_bias()));
    all.extend(list(machine.hidden_bias()));
    if let Units::Gaussian { log_variance } = machine.units() {
        all.extend(list(log_variance));
    }
    all
}

/// `F(v)` of a row in plain loops, with parameters as listed.
fn free_energy(theta: &[f64], (d, h): (usize, usize), v: &[f64]) -> f64 {
    let (w, rest) = theta.split_at(d * h);
    let (b, rest) = rest.split_at(d);
    let (c, z) = rest.split_at(h);
    let mut f = 0.0;
    let mut phi = v.to_vec();
    if z.is_empty() {
        v.iter().zip(b).for_each(|(v, b)| f -= v * b);
    } else {
        for i in 0..d {
            phi[i] = v[i] / z[i].exp();
            f += (v[i] - b[i]).powi(2) / (2.0 * z[i].exp());
        }
    }
    for j in 0..h {
        let field: f64 = c[j] + (0..d).map(|i| phi[i] * w[i * h + j]).sum::<f64>();
        f -= (1.0 + field.exp()).ln();
    }
    f
}

fn mean_free_energy(theta: &[f64], sizes: (usize, usize), rows: &[Vec<f64>]) -> f64 {
    rows.iter().map(|v| free_energy(theta, sizes, v)).sum::<f64>() / rows.len() as f64
}

/// `s Σ_j KL(t ‖ q_j)`, q the mean over rows of σ(field).
fn sparsity(theta: &[f64], (d, h): (usize, usize), rows: &[Vec<f64>], p: &Penalties) -> f64 {
    let z = &theta[d * h + d + h..];
    let unit = |j: usize| {
        let q = rows.iter().map(|v| {
            let pull = |i: usize| {
                let phi = if z.is_empty() { v[i] } else { v[i] / z[i].exp() };
                phi * theta[i * h + j]
            };
            let field: f64 = theta[d * h + d + j] + (0..d).map(pull).sum::<f64>();
            1.0 / (1.0 + (-field).exp())
        });
        let (q, t) = (q.sum::<f64>() / rows.len() as f64, p.sparsity_target);
        t * (t / q).ln() + (1.0 - t) * ((1.0 - t) / (1.0 - q)).ln()
    };
    p.sparsity * (0..h).map(unit).sum::<f64>()
}

/// A machine, rows of data, and rows of its own.
type Case = (Machine, Vec<Vec<f64>>, Vec<Vec<f64>>);

fn machines() -> Result<Vec<Case>> {
    let points = |n: usize, seed: u64| -> Vec<Vec<f64>> {
        numbers(2 * n, seed, 1.3).chunks(2).map(<[f64]>::to_vec).collect()
    };
    let (b, p) = (binary(5, 4, 1), potts(2, 3, 2));
    Ok(vec![
        (b.machine(Units::Binary)?, b.states[3..10].to_vec(), b.states[12..31].to_vec()),
        (p.machine(Units::Potts(3))?, p.states[..4].to_vec(), p.states[3..].to_vec()),
        (gaussian(3, 3)?, points(6, 4), points(9, 5)),
    ])
}

#[test]
fn the_gradient_is_the_slope_of_the_contrast_and_its_penalties() -> Check {
    for (machine, data, model) in machines()? {
        let sizes = machine.sizes();
        let theta = parameters(&machine);
        for penalties in [NONE, Penalties { weight_decay: 0.3, sparsity: 0.7, sparsity_target: 0.2 }] {
            let loss = |t: &[f64]| {
                let decay: f64 =
                    t[..sizes.0 * sizes.1].iter().map(|w| 0.5 * penalties.weight_decay * w * w).sum();
                mean_free_energy(t, sizes, &data) - mean_free_energy(t, sizes, &model)
                    + sparsity(t, sizes, &data, &penalties)
                    + decay
            };
            let want = finite_difference_gradient(loss, &theta);
            let g = gradient(&machine, &rows_of(&data)?, &rows_of(&model)?, None, &penalties)?;
            assert_close(flat(&g), want, Tol::GRADIENT);
            let gap = mean_free_energy(&theta, sizes, &data) - mean_free_energy(&theta, sizes, &model);
            assert_close(g.gap, gap, Tol::abs(1e-12));
        }
    }
    Ok(())
}

/// The slope in the coordinates (W, b̃, c̃) with b = b̃ − W λ and c = c̃ − Wᵀ μ, carried back to (W, b, c).
#[test]
fn the_centred_gradient_is_the_gradient_in_centred_coordinates() -> Check {
    for (machine, data, model) in machines()? {
        let (d, h) = machine.sizes();
        let (mu, lambda) = (numbers(d, 6, 0.4), numbers(h, 7, 0.4));
        let theta = parameters(&machine);
        let plain = |t: &[f64]| {
            let mut theta = t.to_vec();
            for i in 0..d {
                for j in 0..h {
                    theta[d * h + i] -= t[i * h + j] * lambda[j];
                    theta[d * h + d + j] -= t[i * h + j] * mu[i];
                }
            }
            theta
        };
        let mut centred = theta.clone();
        for i in 0..d {
            for j in 0..h {
                centred[d * h + i] += theta[i * h + j] * lambda[j];
                centred[d * h + d + j] += theta[i * h + j] * mu[i];
            }
        }
        assert_close(plain(&centred), &theta[..], Tol::abs(1e-14));
        let loss = |t: &[f64]| {
            let t = plain(t);
            mean_free_energy(&t, (d, h), &data) - mean_free_energy(&t, (d, h), &model)
        };
        // A step along the slope in centred coordinates, seen in the plain ones.
        let slope = finite_difference_gradient(loss, &centred);
        let want = plain(&slope);
        let cpu = Device::Cpu;
        let mut centre =
            Centre { visible: Tensor::new(&mu[..], &cpu)?, hidden: Tensor::new(&lambda[..], &cpu)? };
        let g = gradient(&machine, &rows_of(&data)?, &rows_of(&model)?, Some(&mut centre), &NONE)?;
        assert_close(flat(&g), want, Tol::GRADIENT);
        // The running means have moved a hundredth of the way to those of the data.
        let phi = machine.units().features(&rows_of(&data)?)?.mean(0)?;
        let p = machine.hidden_means(&rows_of(&data)?)?.mean(0)?;
        let moved = |old: &[f64], new: &Tensor| -> Vec<f64> {
            old.iter().zip(list(new)).map(|(o, n)| 0.99 * o + 0.01 * n).collect()
        };
        assert_close(list(&centre.visible), moved(&mu, &phi), Tol::abs(1e-14));
        assert_close(list(&centre.hidden), moved(&lambda, &p), Tol::abs(1e-14));
    }
    Ok(())
}

/// The slope of the exact mean log-likelihood: contrasts with single states, weighted by the model's probabilities.
fn exact(machine: &Machine, slow: &Slow, data: &Tensor) -> Result<Vec<f64>> {
    let mut total = vec![0.0; parameters(machine).len()];
    for (state, p) in slow.states.iter().zip(slow.probabilities()) {
        let one = rows_of(std::slice::from_ref(state))?;
        let g = flat(&gradient(machine, data, &one, None, &NONE)?);
        total.iter_mut().zip(g).for_each(|(t, g)| *t += p * g);
    }
    Ok(total)
}

#[test]
fn against_all_states_it_is_the_slope_of_the_likelihood() -> Check {
    let slow = binary(4, 3, 8);
    let data: Vec<Vec<f64>> = [1, 2, 2, 7, 12].iter().map(|s| bits(*s, 4)).collect();
    let machine = slow.machine(Units::Binary)?;
    let loss = |t: &[f64]| {
        let z: f64 = slow.states.iter().map(|v| (-free_energy(t, (4, 3), v)).exp()).sum();
        mean_free_energy(t, (4, 3), &data) + z.ln()
    };
    let want = finite_difference_gradient(loss, &parameters(&machine));
    assert_close(exact(&machine, &slow, &rows_of(&data)?)?, want, Tol::GRADIENT);
    Ok(())
}

/// Weights, energies, conditionals and slopes of a machine that numpy and scikit-learn computed by enumeration in float64
/// (`tests/fixtures/rbm.py`).
#[test]
fn numpys_machine_has_the_same_numbers() -> Check {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rbm_random.safetensors");
    let t = candle_core::safetensors::load(file, &Device::Cpu)?;
    let machine = Machine::new(Units::Binary, &t["W"], &t["b_v"], &t["b_h"])?;
    let v = &t["v"];
    assert_close(machine.log_z()?, 20.023_044_189_437_208, Tol::abs(1e-10));
    assert_close(&machine.free_energy(v)?, &t["free_energy"], Tol::abs(1e-11));
    assert_close(&machine.hidden_means(v)?, &t["p_h_given_v"], Tol::abs(1e-12));
    assert_close(&machine.visible_means(&t["h"])?, &t["p_v_given_h"], Tol::abs(1e-12));
    assert_close(&machine.joint_energy(v, &t["h"])?, &t["energy_vh"], Tol::abs(1e-11));
    // Their slopes are those of the mean log-likelihood; ours are downhill of its negative.
    let all: Vec<Vec<f64>> = (0..1 << 12).map(|s| bits(s, 12)).collect();
    let p: Vec<f64> = list(&t["all_log_p"]).iter().map(|l| l.exp()).collect();
    let everything = rows_of(&all)?;
    let log_p = (machine.free_energy(&everything)?.neg()? - machine.log_z()?)?;
    assert_close(&log_p, &t["all_log_p"], Tol::abs(1e-10));
    let mut total = vec![0.0; 12 * 8 + 12 + 8];
    for (state, p) in all.iter().zip(p) {
        let g = flat(&gradient(&machine, v, &rows_of(std::slice::from_ref(state))?, None, &NONE)?);
        total.iter_mut().zip(g).for_each(|(t, g)| *t -= p * g);
    }
    let want: Vec<f64> = ["grad_W", "grad_b_v", "grad_b_h"].iter().flat_map(|n| list(&t[*n])).collect();
    assert_close(total, want, Tol::abs(1e-10));
    Ok(())
}

#[test]
fn scikit_learns_machine_has_the_same_numbers() -> Check {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rbm_sklearn.safetensors");
    let t = candle_core::safetensors::load(file, &Device::Cpu)?;
    let w = t["components_"].t()?;
    let machine = Machine::new(Units::Binary, &w, &t["intercept_visible_"], &t["intercept_hidden_"])?;
    assert_close(machine.log_z()?, 17.377_634_718_078_166, Tol::abs(1e-10));
    assert_close(&machine.free_energy(&t["v"])?, &t["free_energy"], Tol::abs(1e-11));
    assert_close(&machine.hidden_means(&t["v"])?, &t["transform"], Tol::abs(1e-12));
    let log_p = (machine.free_energy(&t["v"])?.neg()? - machine.log_z()?)?;
    assert_close(&log_p, &t["log_p"], Tol::abs(1e-10));
    Ok(())
}
