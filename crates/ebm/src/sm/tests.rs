use super::*;
use crate::sampling_free::tests::{Quartic, TwoModes, random};
use crate::support::{Check, mean, vectors};
use candle_core::Device;
use genzoo_core::capability::Energy;
use genzoo_testkit::{Tol, assert_close, order_of_convergence};

const DATA: TwoModes = TwoModes { variance: 0.4 };

fn matching(trace: Trace, slices: usize, difference: f64) -> ScoreMatching {
    ScoreMatching { trace, slices, difference, activation: "silu".into() }
}

/// `E[½U'² − U''] = ½E(U' + s)² − ½E s²` with the score s of the data: the loss on a grid, weighted by the data's
/// density, against both sides' other form in plain numbers.
#[test]
fn the_loss_is_the_fisher_divergence_up_to_a_constant() -> Check {
    let theta = [0.7, 0.3, -0.2];
    let energy = Quartic::new(theta)?;
    let slope = |x: f64| theta[0] * x + theta[1] * x.powi(3) + theta[2];
    let want = 0.5 * DATA.expect(|x| (slope(x) + DATA.score(x)).powi(2))
        - 0.5 * DATA.expect(|x| DATA.score(x).powi(2));
    let grid: Vec<f64> = TwoModes::grid().collect();
    let n = grid.len();
    let u = Tensor::from_vec(grid.clone(), (n, 1), &Device::Cpu)?;
    // In one dimension v² = 1: every trace is the exact one, row by row.
    for (trace, tol) in
        [(Trace::Exact, 1e-7), (Trace::Hutchinson, 1e-7), (Trace::Sliced, 1e-7), (Trace::Difference, 1e-4)]
    {
        let rows = matching(trace, 2, 1e-2).rows(&energy, &u, &mut Noise::new(1))?;
        let values = rows::host(&rows)?;
        let got: f64 =
            grid.iter().zip(values).map(|(x, j)| DATA.density(*x) * j).sum::<f64>() * TwoModes::STEP;
        assert_close(got, want, Tol::abs(tol));
    }
    Ok(())
}

/// The Laplacian and the squared gradient of a network, by differences of its energy alone.
#[test]
fn the_exact_trace_is_the_laplacian() -> Check {
    let model = random::<ScoreMatching>(&ENTRY, &vectors(3), &[], 0.3)?;
    let energy = model.energy.tracked();
    let u = Noise::new(2).normal((4, 3), candle_core::DType::F64, &Device::Cpu)?;
    let at = |i: usize, h: f64| -> Result<Vec<f64>> {
        let axis: Vec<f64> = (0..3).map(|j| if i == j { h } else { 0.0 }).collect();
        rows::host(&energy.energy(&u.broadcast_add(&Tensor::new(axis, &Device::Cpu)?)?)?)
    };
    let (here, h) = (at(0, 0.0)?, 1e-4);
    let mut want = vec![0.0; 4];
    for i in 0..3 {
        for (row, (up, down)) in at(i, h)?.into_iter().zip(at(i, -h)?).enumerate() {
            want[row] += 0.5 * ((up - down) / (2.0 * h)).powi(2) - (up - 2.0 * here[row] + down) / (h * h);
        }
    }
    let got = matching(Trace::Exact, 1, 0.1).rows(&energy, &u, &mut Noise::new(0))?;
    assert_close(&got, &want, Tol { abs: 1e-4, rel: 1e-4 });
    Ok(())
}

/// Random directions give the exact loss in mean, and differences the sliced one at order 2.
#[test]
fn random_directions_are_unbiased() -> Check {
    let model = random::<ScoreMatching>(&ENTRY, &vectors(3), &[], 0.3)?;
    let energy = model.energy.landscape();
    let one = Noise::new(2).normal((1, 3), candle_core::DType::F64, &Device::Cpu)?;
    let exact = rows::host(&matching(Trace::Exact, 1, 0.1).rows(&energy, &one, &mut Noise::new(0))?)?[0];
    let many = rows::tile(&one, 4000)?;
    for trace in [Trace::Hutchinson, Trace::Sliced] {
        let rows = matching(trace, 1, 0.1).rows(&energy, &many, &mut Noise::new(4))?;
        let (got, error) = mean(&rows::host(&rows)?);
        assert!(error > 0.0);
        assert_close(got, exact, Tol::monte_carlo(error));
    }
    let at = |trace, difference| -> Result<f64> {
        let rows = matching(trace, 2, difference).rows(&energy, &many, &mut Noise::new(5))?;
        Ok(mean(&rows::host(&rows)?).0)
    };
    let steps = [0.08, 0.04, 0.02, 0.01];
    let sliced = at(Trace::Sliced, 1.0)?;
    let errors = steps.map(|e| at(Trace::Difference, e).map(|j| (j - sliced).abs()).unwrap_or(f64::NAN));
    let order = order_of_convergence(&errors, &steps);
    assert!((order - 2.0).abs() < 0.15, "{order} from {errors:?}");
    Ok(())
}
