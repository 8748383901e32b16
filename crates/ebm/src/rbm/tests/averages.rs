//! The path through averages of moments.

use super::*;
use crate::rbm::averages::Averages;
use genzoo_numerics::likelihood::ais::{Ais, BipartitePath, Ladder};
use genzoo_numerics::special::log_sum_exp;

/// `E v` and `E v_i h_j`, summed over all states of both layers, of `q_β` as the weights of `path` have it.
fn moments(slow: &Slow, logs: &[f64], hidden_means: &[f64]) -> Vec<f64> {
    let total = log_sum_exp(logs);
    let (d, h) = (slow.b.len(), slow.c.len());
    let mut all = vec![0.0; d + d * h];
    for ((v, log), p) in slow.states.iter().zip(logs).zip(hidden_means.chunks(h)) {
        let weight = (log - total).exp();
        for i in 0..d {
            all[i] += weight * v[i];
            p.iter().enumerate().for_each(|(j, p)| all[d + i * h + j] += weight * v[i] * p);
        }
    }
    all
}

fn ais(temperatures: usize) -> Ais {
    Ais { chains: 2000, ladder: Ladder::Even(temperatures), pilot_chains: 0, ..Ais::default() }
}

#[test]
fn both_ends_are_the_given_ones_and_knots_have_averages_of_moments() -> Check {
    let slow = binary(6, 4, 51);
    let base = numbers(6, 52, 0.7);
    let machine = slow.machine(Units::Binary)?.with_base(&Tensor::new(&base[..], &Device::Cpu)?)?;
    let mut noise = Noise::new(53);
    let path = Averages::fit(&machine, &machine.draw_base(4000, &mut noise)?, &mut noise)?;
    let all = rows_of(&slow.states)?;
    let at = |beta: f64| -> Result<Vec<f64>> { Ok(list(&path.log_weight(&all, &all, beta)?)) };
    let want: Vec<f64> = slow.states.iter().map(|v| slow.weight(v).ln()).collect();
    assert_close(at(1.0)?, want, Tol::abs(1e-12));
    let linear = |v: &Vec<f64>| v.iter().zip(&base).map(|(v, a)| v * a).sum::<f64>() + 4.0 * 2f64.ln();
    assert_close(at(0.0)?, slow.states.iter().map(linear).collect::<Vec<_>>(), Tol::abs(1e-12));
    assert_close(path.base_log_z(), log_sum_exp(&at(0.0)?), Tol::abs(1e-12));
    let of = |beta: f64| -> Result<Vec<f64>> {
        Ok(moments(&slow, &at(beta)?, &list(&path.at(beta)?.hidden_means(&all)?)))
    };
    let (first, last) = (of(0.0)?, of(1.0)?);
    for k in [1, 4, 9] {
        let beta = f64::from(k) / 10.0;
        for ((got, a), b) in of(beta)?.iter().zip(&first).zip(&last) {
            let want = (1.0 - beta) * a + beta * b;
            // Moments of 4,000 chains, and updates that end before they are there.
            assert!((got - want).abs() < 0.03, "β = {beta}: {got} {want}");
        }
    }
    Ok(())
}

#[test]
fn sweeps_keep_the_law_between_knots() -> Check {
    let (slow, n) = (binary(5, 3, 61), 40_000);
    let machine = slow.machine(Units::Binary)?;
    let mut noise = Noise::new(62);
    let path = Averages::fit(&machine, &machine.draw_base(200, &mut noise)?, &mut noise)?;
    let all = rows_of(&slow.states)?;
    for beta in [0.0, 0.37, 1.0] {
        let logs = list(&path.log_weight(&all, &all, beta)?);
        let total = log_sum_exp(&logs);
        let p: Vec<f64> = logs.iter().map(|l| (l - total).exp()).collect();
        let v = rows_of(&law::exact(&slow.states, &p, n, &mut noise))?;
        let h = path.draw_hidden(&v, beta, &mut noise)?;
        law::has_law(&path.draw_visible(&h, beta, &mut noise)?, &slow.states, &p, "averages");
    }
    Ok(())
}

/// Both paths against enumeration, forward and in reverse, for a machine of two patterns.
#[test]
fn the_truth_is_that_of_enumeration_on_either_path() -> Check {
    let (d, strength) = (10, 1.6);
    let slow = Slow {
        w: vec![vec![strength, -strength]; d],
        b: vec![0.0; d],
        c: vec![-0.5 * strength * d as f64, 0.5 * strength * d as f64],
        states: (0..1 << d).map(|s| bits(s, d)).collect(),
    };
    let truth = slow.z().ln();
    let machine = slow.machine(Units::Binary)?;
    let mut noise = Noise::new(71);
    let v = rows_of(&law::exact(&slow.states, &slow.probabilities(), 2000, &mut noise))?;
    let averages = Averages::fit(&machine, &v.narrow(0, 0, 500)?, &mut noise)?;
    for path in [&machine as &dyn BipartitePath, &averages] {
        for z in
            [ais(50).estimate_bipartite(path, &mut noise)?, ais(50).reverse_bipartite(path, &v, &mut noise)?]
        {
            assert!((z.log_z - truth).abs() < 4.0 * z.standard_error + 1e-3, "{} {truth}", z.log_z);
            assert!(z.standard_error < 0.05, "{}", z.standard_error);
        }
    }
    Ok(())
}

#[test]
fn machines_of_other_units_are_refused() -> Check {
    let machine = potts(2, 3, 5).machine(Units::Potts(3))?;
    let v = machine.draw_base(10, &mut Noise::new(1))?;
    let message = Averages::fit(&machine, &v, &mut Noise::new(1))
        .map(|_| String::new())
        .unwrap_or_else(|e| e.to_string());
    assert!(message.contains("path: expected 'geometric'"), "{message}");
    Ok(())
}
