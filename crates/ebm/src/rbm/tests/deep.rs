//! Two hidden layers, with every state of all three layers visited.

use super::*;
use crate::rbm::deep::{entropy, mean_field};

/// Four visible, three first and three second hidden units; the machine's visible states are (v, h₂).
const SIZES: (usize, usize) = (4, 3);

fn bound(slow: &Slow, machine: &Machine, v: &Tensor, turns: usize) -> Result<Vec<f64>> {
    let means = mean_field(machine, v, SIZES.1, turns)?;
    let free = list(&machine.free_energy(&Tensor::cat(&[v, &means], 1)?)?);
    let h = list(&entropy(&means)?);
    Ok(free.into_iter().zip(h).map(|(f, h)| h - f - slow.z().ln()).collect())
}

#[test]
fn mean_field_bounds_the_likelihood_and_every_turn_raises_it() -> Check {
    let (d, second) = SIZES;
    let slow = binary(d + second, 3, 61);
    let machine = slow.machine(Units::Binary)?;
    let v: Vec<Vec<f64>> = (0..1 << d).map(|s| bits(s, d)).collect();
    let rows = rows_of(&v)?;
    let exact: Vec<f64> = v
        .iter()
        .map(|v| {
            let all = (0..1 << second).map(|s| slow.weight(&[v.clone(), bits(s, second)].concat()));
            (all.sum::<f64>() / slow.z()).ln()
        })
        .collect();
    let mut last = vec![f64::NEG_INFINITY; v.len()];
    for turns in [1, 2, 3, 5, 10, 100] {
        let now = bound(&slow, &machine, &rows, turns)?;
        for ((now, last), exact) in now.iter().zip(&last).zip(&exact) {
            assert!(now >= &(last - 1e-12) && now <= &(exact + 1e-12), "{turns}: {last} {now} {exact}");
        }
        last = now;
    }
    // At the end the bound is E_q[−U] + H(q) − log Z of the law q of independent units, summed over all its states.
    let means = mean_field(&machine, &rows, second, 100)?.to_vec2::<f64>()?;
    for (k, v) in v.iter().enumerate() {
        let state = [v.clone(), means[k].clone()].concat();
        let first: Vec<f64> = (0..3)
            .map(|j| {
                let field: f64 = slow.c[j] + (0..d + second).map(|i| state[i] * slow.w[i][j]).sum::<f64>();
                1.0 / (1.0 + (-field).exp())
            })
            .collect();
        let mut got = -slow.z().ln();
        let q = |means: &[f64], s: &[f64]| -> f64 {
            means.iter().zip(s).map(|(p, s)| if *s > 0.5 { *p } else { 1.0 - p }).product()
        };
        for above in (0..1 << second).map(|s| bits(s, second)) {
            for h in slow.hidden_states() {
                let p = q(&means[k], &above) * q(&first, &h);
                got += p * (-slow.energy(&[v.clone(), above.clone()].concat(), &h) - p.ln());
            }
        }
        assert_close(last[k], got, Tol::abs(1e-9));
    }
    Ok(())
}

#[test]
fn certain_means_have_no_entropy() -> Check {
    let means = Tensor::new(&[[0.0, 1.0], [0.5, 0.5], [1e-20, 0.25]], &Device::Cpu)?;
    let want = [0.0, 2.0 * 2f64.ln(), 0.25 * 4f64.ln() + 0.75 * (4.0f64 / 3.0).ln()];
    assert_close(list(&entropy(&means)?), want, Tol::abs(1e-12));
    Ok(())
}
