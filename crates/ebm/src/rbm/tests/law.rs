//! Energies, conditionals, log Z, and that chains keep their law.

use super::*;
use crate::rbm::tempering::Tempering;
use genzoo_core::capability::Energy;
use genzoo_testkit::assert_gradient;
use std::collections::BTreeMap;

fn cases() -> Vec<(Slow, Units)> {
    vec![
        (binary(6, 4, 1), Units::Binary),
        (binary(3, 7, 2), Units::Binary),
        (potts(3, 4, 3), Units::Potts(3)),
    ]
}

#[test]
fn energies_and_conditionals_are_those_of_the_joint_law() -> Check {
    for (slow, units) in cases() {
        let machine = slow.machine(units.clone())?;
        let v = rows_of(&slow.states)?;
        let hidden = slow.hidden_states();
        let free: Vec<f64> = slow.states.iter().map(|v| -slow.weight(v).ln()).collect();
        assert_close(&machine.free_energy(&v)?, &free, Tol::abs(1e-12));
        assert_close(&machine.energy(&v)?, &free, Tol::abs(1e-12));
        // P(h_j = 1 | v).
        let means: Vec<f64> = slow
            .states
            .iter()
            .flat_map(|v| {
                let total = slow.weight(v);
                let share = |j: usize| -> f64 {
                    hidden.iter().filter(|h| h[j] > 0.5).map(|h| (-slow.energy(v, h)).exp()).sum::<f64>()
                        / total
                };
                (0..slow.c.len()).map(share).collect::<Vec<_>>()
            })
            .collect();
        assert_close(list(&machine.hidden_means(&v)?), means, Tol::abs(1e-13));
        // P(v_i = 1 | h), and log Σ_v e^{−U(v, h)}.
        let h = rows_of(&hidden)?;
        let (mut means, mut logs) = (vec![], vec![]);
        for h in &hidden {
            let weights: Vec<f64> = slow.states.iter().map(|v| (-slow.energy(v, h)).exp()).collect();
            let total: f64 = weights.iter().sum();
            logs.push(total.ln());
            let share =
                |i: usize| slow.states.iter().zip(&weights).map(|(v, w)| v[i] * w).sum::<f64>() / total;
            means.extend((0..slow.b.len()).map(share));
        }
        assert_close(list(&machine.visible_means(&h)?), means, Tol::abs(1e-13));
        assert_close(&machine.hidden_log_weight(&h)?, &logs, Tol::abs(1e-12));
        let pairs = rows_of(&slow.states[..4])?;
        let joint: Vec<f64> = (0..4).map(|k| slow.energy(&slow.states[k], &hidden[k])).collect();
        assert_close(&machine.joint_energy(&pairs, &h.narrow(0, 0, 4)?)?, &joint, Tol::abs(1e-12));
    }
    Ok(())
}

#[test]
fn log_z_is_the_sum_over_all_states_of_either_layer() -> Check {
    for (slow, units) in cases() {
        assert_close(slow.machine(units)?.log_z()?, slow.z().ln(), Tol::abs(1e-12));
    }
    let wide = Tensor::zeros((30, 21), DType::F32, &Device::Cpu)?;
    let machine = Machine::new(Units::Binary, &wide, &wide.get_on_dim(1, 0)?.contiguous()?, &wide.get(0)?)?;
    assert!(!machine.is_enumerable() && machine.log_z().is_err());
    assert!((machine.base_log_z() - 51.0 * 2f64.ln()).abs() < 1e-12);
    Ok(())
}

/// `log Z + β⟨U⟩ − H = 0` for the law `e^{−βU}/Z` of both layers, with H summed state by state and log Z by the machine.
#[test]
fn free_energy_is_energy_minus_entropy_at_every_temperature() -> Check {
    let at = binary(5, 4, 4);
    for beta in [0.0, 0.3, 1.0, 2.5] {
        let scaled = Slow {
            w: at.w.iter().map(|row| row.iter().map(|w| beta * w).collect()).collect(),
            b: at.b.iter().map(|b| beta * b).collect(),
            c: at.c.iter().map(|c| beta * c).collect(),
            states: at.states.clone(),
        };
        let log_z = scaled.machine(Units::Binary)?.log_z()?;
        let (mut energy, mut entropy) = (0.0, 0.0);
        for v in &at.states {
            for h in at.hidden_states() {
                let u = at.energy(v, &h);
                let p = (-beta * u).exp() / scaled.z();
                energy += p * u;
                entropy -= p * p.ln();
            }
        }
        assert!((log_z + beta * energy - entropy).abs() < 1e-11, "{beta}: {log_z} {energy} {entropy}");
    }
    Ok(())
}

#[test]
fn the_pseudo_likelihood_is_made_of_conditionals() -> Check {
    for (slow, units) in cases() {
        let levels = if let Units::Potts(levels) = units { levels } else { 1 };
        let machine = slow.machine(units)?;
        let want: Vec<f64> = slow
            .states
            .iter()
            .map(|v| {
                let site = |first: usize| {
                    let same = |o: &&Vec<f64>| {
                        (0..v.len()).all(|i| (first..first + levels).contains(&i) || o[i] == v[i])
                    };
                    slow.weight(v) / slow.states.iter().filter(same).map(|o| slow.weight(o)).sum::<f64>()
                };
                (0..v.len()).step_by(levels).map(|first| site(first).ln()).sum()
            })
            .collect();
        assert_close(&machine.log_pseudo_likelihood(&rows_of(&slow.states)?)?, &want, Tol::abs(1e-11));
    }
    assert!(
        gaussian(3, 1)?.log_pseudo_likelihood(&Tensor::zeros((1, 2), DType::F64, &Device::Cpu)?).is_err()
    );
    Ok(())
}

#[test]
fn gaussian_units_agree_with_a_grid() -> Check {
    let machine = gaussian(5, 7)?;
    let (log_z, mean, square) = grid(|v| Ok(machine.free_energy(v)?.neg()?))?;
    assert_close(machine.log_z()?, log_z, Tol::abs(1e-9));
    // Each hidden state by itself: the law of v given h is N(a, σ²), and its weight the integral.
    let h = rows_of(&[bits(0b10110, 5)])?;
    let joint =
        |v: &Tensor| Ok(machine.joint_energy(v, &h.broadcast_as((v.dim(0)?, 5))?.contiguous()?)?.neg()?);
    let (log_weight, given, squares) = grid(joint)?;
    assert_close(list(&machine.hidden_log_weight(&h)?), [log_weight], Tol::abs(1e-9));
    assert_close(list(&machine.visible_means(&h)?), given, Tol::abs(1e-9));
    let variance: Vec<f64> = (0..2).map(|k| squares[k] - given[k] * given[k]).collect();
    assert_close(variance, [(-0.7f64).exp(), 0.4f64.exp()], Tol::abs(1e-9));
    // Long chains have the means of the grid.
    let mut noise = Noise::new(3);
    let mut v = machine.draw_base(4000, &mut noise)?;
    for _ in 0..60 {
        v = machine.sweep(&v, Beta::TARGET, &mut noise)?;
    }
    for (k, column) in [0, 1].into_iter().zip([v.narrow(1, 0, 1)?, v.narrow(1, 1, 1)?]) {
        let error = ((square[k] - mean[k] * mean[k]) / 4000.0).sqrt();
        let got = list(&column).iter().sum::<f64>() / 4000.0;
        assert!((got - mean[k]).abs() < 4.0 * error, "{k}: {got} {} ± {error}", mean[k]);
    }
    Ok(())
}

#[test]
fn the_slope_of_the_free_energy_is_its_gradient() -> Check {
    let x = Tensor::from_vec(numbers(6, 9, 0.7), (3, 2), &Device::Cpu)?;
    let smooth = binary(2, 3, 5).machine(Units::Binary)?;
    for machine in [gaussian(4, 2)?, smooth] {
        let differences =
            genzoo_testkit::finite_difference_tensor(|x| machine.energy(x).map_err(boxed)?.sum_all(), &x)?;
        let (energy, gradient) = machine.energy_and_gradient(&x)?;
        assert_close(&gradient, &differences, Tol::GRADIENT);
        assert_close(&energy, &machine.energy(&x)?, Tol::EQUAL);
    }
    // The testkit's own check of its finite differences, on a known slope.
    assert_gradient(|x| x.sqr()?.sum_all(), candle_core::Var::from_tensor(&x)?.as_tensor());
    Ok(())
}

fn boxed(e: genzoo_core::Error) -> candle_core::Error {
    candle_core::Error::Msg(e.to_string())
}

/// Probabilities of `q_β` over the states: `e^{(1 − β) ℓ_0 + β ℓ} Σ_h e^{β (c + Wᵀ v)·h}`.
fn tempered(slow: &Slow, base: &[f64], beta: f64) -> Vec<f64> {
    let scale = |x: &[f64]| x.iter().map(|x| beta * x).collect::<Vec<f64>>();
    let at = Slow {
        w: slow.w.iter().map(|r| scale(r)).collect(),
        b: slow.b.iter().zip(base).map(|(b, a)| beta * b + (1.0 - beta) * a).collect(),
        c: scale(&slow.c),
        states: slow.states.clone(),
    };
    at.probabilities()
}

/// `n` states drawn with these probabilities.
pub(super) fn exact(states: &[Vec<f64>], p: &[f64], n: usize, noise: &mut Noise) -> Vec<Vec<f64>> {
    let draw = |u: f64| {
        let mut rest = u;
        let found = p.iter().position(|p| {
            rest -= p;
            rest < 0.0
        });
        states[found.unwrap_or(p.len() - 1)].clone()
    };
    noise.uniforms(n).into_iter().map(draw).collect()
}

/// Every state's frequency within four and a half standard errors of its probability, and three counts for rare ones.
pub(super) fn has_law(v: &Tensor, states: &[Vec<f64>], p: &[f64], what: &str) {
    let mut counts: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
    let rows = v.to_dtype(DType::F64).and_then(|v| v.to_vec2::<f64>()).expect("rows");
    let key = |row: &[f64]| row.iter().map(|v| *v as u8).collect::<Vec<u8>>();
    rows.iter().for_each(|row| *counts.entry(key(row)).or_default() += 1.0);
    let n = rows.len() as f64;
    for (state, p) in states.iter().zip(p) {
        let got = counts.remove(&key(state)).unwrap_or(0.0) / n;
        assert!((got - p).abs() < 4.5 * (p * (1.0 - p) / n).sqrt() + 3.0 / n, "{what} {state:?}: {got} {p}");
    }
    assert!(counts.is_empty(), "{what}: states that cannot be: {counts:?}");
}

#[test]
fn a_sweep_keeps_every_law_of_the_path() -> Check {
    let n = 40_000;
    for (slow, units) in [(binary(5, 4, 11), Units::Binary), (potts(2, 3, 12), Units::Potts(3))] {
        let base = numbers(slow.b.len(), 13, 0.8);
        let machine = slow.machine(units)?.with_base(&Tensor::new(&base[..], &Device::Cpu)?)?;
        let mut noise = Noise::new(14);
        has_law(&machine.draw_base(n, &mut noise)?, &slow.states, &tempered(&slow, &base, 0.0), "base");
        for beta in [0.0, 0.4, 1.0] {
            let p = tempered(&slow, &base, beta);
            let v = rows_of(&exact(&slow.states, &p, n, &mut noise))?;
            let column = Tensor::full(beta, (n, 1), &Device::Cpu)?;
            has_law(&machine.sweep(&v, Beta::All(beta), &mut noise)?, &slow.states, &p, "all");
            has_law(&machine.sweep(&v, Beta::Rows(&column), &mut noise)?, &slow.states, &p, "rows");
            // Weights are those of the law, up to one constant.
            let all = rows_of(&slow.states)?;
            let logs = list(&machine.log_weight(&all, &machine.fields(&all)?, Beta::All(beta))?);
            let total = genzoo_numerics::special::log_sum_exp(&logs);
            let got: Vec<f64> = logs.iter().map(|l| (l - total).exp()).collect();
            assert_close(got, p, Tol::abs(1e-12));
            if beta == 0.0 {
                assert_close(machine.base_log_z(), total, Tol::abs(1e-12));
            }
        }
    }
    Ok(())
}

#[test]
fn gaussian_sweeps_keep_the_path() -> Check {
    let (machine, n) = (gaussian(3, 21)?, 40_000);
    for beta in [0.0, 0.5, 1.0] {
        let at = |v: &Tensor| machine.log_weight(v, &machine.fields(v)?, Beta::All(beta));
        let (log_z, mean, square) = grid(at)?;
        if beta == 0.0 {
            assert_close(machine.base_log_z(), log_z, Tol::abs(1e-9));
        }
        let mut noise = Noise::new(22);
        let column = Tensor::full(beta, (n, 1), &Device::Cpu)?;
        for rows in [false, true] {
            let mut v = machine.draw_base(n, &mut noise)?;
            for _ in 0..40 {
                let beta = if rows { Beta::Rows(&column) } else { Beta::All(beta) };
                v = machine.sweep(&v, beta, &mut noise)?;
            }
            for k in 0..2 {
                let values = list(&v.narrow(1, k, 1)?);
                let got = values.iter().sum::<f64>() / n as f64;
                let squares = values.iter().map(|v| v * v).sum::<f64>() / n as f64;
                let sd = (square[k] - mean[k] * mean[k]).sqrt();
                assert!(
                    (got - mean[k]).abs() < 4.5 * sd / (n as f64).sqrt(),
                    "{beta} {k}: {got} {}",
                    mean[k]
                );
                let fourth = values.iter().map(|v| (v * v - squares).powi(2)).sum::<f64>() / n as f64;
                assert!(
                    (squares - square[k]).abs() < 4.5 * (fourth / n as f64).sqrt(),
                    "{beta} {k}: {squares}"
                );
            }
        }
    }
    Ok(())
}

/// Swaps keep the law of every replica; checked on exact draws of all of them.
#[test]
fn tempered_replicas_keep_their_laws() -> Check {
    let (slow, n) = (binary(5, 4, 31), 20_000);
    let base = numbers(5, 32, 0.5);
    let machine = slow.machine(Units::Binary)?.with_base(&Tensor::new(&base[..], &Device::Cpu)?)?;
    let mut noise = Noise::new(33);
    let mut tempering = Tempering::new(4);
    let betas = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0];
    let laws: Vec<Vec<f64>> = betas.iter().map(|b| tempered(&slow, &base, *b)).collect();
    let starts: Vec<Vec<f64>> = laws.iter().flat_map(|p| exact(&slow.states, p, n, &mut noise)).collect();
    let mut v = rows_of(&starts)?;
    for turn in 0..3 {
        v = tempering.step(&machine, &v, &mut noise)?;
        for (k, p) in laws.iter().enumerate() {
            has_law(&v.narrow(0, k * n, n)?, &slow.states, p, &format!("turn {turn}, replica {k}"));
        }
    }
    assert!(tempering.mean_rate() > 0.5);
    Ok(())
}

/// Two patterns, 14 nats deep: Gibbs chains stay where they started, replicas cross.
#[test]
fn tempering_connects_what_sweeps_cannot() -> Check {
    let (d, strength) = (12, 6.0);
    // One hidden unit per pattern: all ones, all zeros, with masses e^{…} made equal by the biases.
    let w: Vec<Vec<f64>> = (0..d).map(|_| vec![strength, -strength]).collect();
    let slow = Slow {
        w,
        b: vec![0.0; d],
        c: vec![-strength * d as f64 + 14.0, 14.0],
        states: (0..1 << d).map(|s| bits(s, d)).collect(),
    };
    let machine = slow.machine(Units::Binary)?;
    let p = slow.probabilities();
    let ones: f64 =
        slow.states.iter().zip(&p).filter(|(v, _)| v.iter().sum::<f64>() > 6.0).map(|(_, p)| p).sum();
    assert!((ones - 0.5).abs() < 0.01, "{ones}");
    let n = 200;
    let mut noise = Noise::new(41);
    let start = Tensor::ones((n, d), DType::F64, &Device::Cpu)?;
    let mut stuck = start.clone();
    let mut tempering = Tempering::new(8);
    let mut all = Tensor::cat(&[&start; 8], 0)?;
    for _ in 0..600 {
        stuck = machine.sweep(&stuck, Beta::TARGET, &mut noise)?;
        all = tempering.step(&machine, &all, &mut noise)?;
    }
    let share = |v: &Tensor| -> Result<f64> { Ok(list(&v.mean_all()?)[0]) };
    assert!(share(&stuck)? > 0.95, "{}", share(&stuck)?);
    let crossed = share(&all.narrow(0, 7 * n, n)?)?;
    assert!(
        (crossed - 0.5).abs() < 4.0 * 0.5 / (n as f64).sqrt(),
        "{crossed} after {:?}",
        tempering.mean_rate()
    );
    Ok(())
}
