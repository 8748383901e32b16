use super::*;
use crate::likelihood::quadrature::Quadrature;
use crate::targets::{LinearGaussian, Mixture};
use candle_core::{DType, Device};

fn standard(d: usize) -> Result<Gaussian> {
    Gaussian::standard(d, DType::F64, &Device::Cpu)
}

fn even(rungs: usize) -> Ais {
    Ais { ladder: Ladder::Even(rungs), ..Ais::default() }
}

/// A double well that is no mixture: U = (x² − 1)² + ½ y² + x y / 4.
struct DoubleWell;

impl Energy for DoubleWell {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_gradient(x)?.0)
    }
    fn energy_and_gradient(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (u, v) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?);
        let well = (u.sqr()? - 1.0)?;
        let energy = ((well.sqr()? + (v.sqr()? * 0.5)?)? + ((&u * &v)? * 0.25)?)?;
        let gradient = Tensor::cat(&[((&u * well)? * 4.0 + (&v * 0.25)?)?, (&v + (&u * 0.25)?)?], 1)?;
        Ok((energy.squeeze(1)?, gradient))
    }
}

#[test]
fn annealing_agrees_with_quadrature_by_every_transition_and_ladder() -> Result<()> {
    let judge = Quadrature { dtype: DType::F64, ..Quadrature::around(&[(-5.0, 5.0), (-5.0, 5.0)]) };
    let truth = judge.of_energy(&DoubleWell)?.log_z;
    let base = Gaussian::full(&[0.2, -0.1], &[1.5, 0.3, 0.3, 1.2], DType::F64, &Device::Cpu)?;
    let adaptive = Ladder::Adaptive { share: 0.998, at_most: 200 };
    let hmc = Transition::Hmc { leapfrogs: 3 };
    for (i, (ladder, transition)) in [
        (Ladder::Balanced(60), Transition::Mala),
        (Ladder::Even(60), Transition::Mala),
        (Ladder::Balanced(60), Transition::Metropolis),
        (Ladder::Even(30), hmc),
        (adaptive, hmc),
    ]
    .into_iter()
    .enumerate()
    {
        let ais = Ais { chains: 1000, ladder, transition, ..Ais::default() };
        let got = ais.estimate(&DoubleWell, &base, &[2], &mut Noise::new(i as u64))?;
        assert!((got.log_z - truth).abs() < 4.0 * got.standard_error, "{ais:?} {} {truth}", got.log_z);
        assert!(got.standard_error < 0.02 && got.effective_sample_size > 700.0, "{ais:?} {got:?}");
        assert!((got.acceptance - transition.target_acceptance()).abs() < 0.12, "{}", got.acceptance);
        assert!((5..=200).contains(&(got.temperatures.len() - 1)) && got.temperatures[0] == 0.0);
        let bootstrap = got.bootstrap_error(200, &mut Noise::new(7))?;
        assert!((bootstrap / got.standard_error - 1.0).abs() < 0.3, "{bootstrap}");
    }
    Ok(())
}

#[test]
fn the_area_under_the_mean_slope_agrees_with_quadrature() -> Result<()> {
    let judge = Quadrature { dtype: DType::F64, ..Quadrature::around(&[(-5.0, 5.0), (-5.0, 5.0)]) };
    let truth = judge.of_energy(&DoubleWell)?.log_z;
    let base = Gaussian::full(&[0.2, -0.1], &[1.5, 0.3, 0.3, 1.2], DType::F64, &Device::Cpu)?;
    // Far out a Langevin step into a quartic well is never taken, and a chain that stays there spoils a mean.
    let walk = Transition::Metropolis;
    let ladder = Ladder::Balanced(30);
    let ais = Ais { chains: 1000, ladder, transitions: 8, transition: walk, ..Ais::default() };
    let got = ais.integrate(&DoubleWell, &base, &[2], &mut Noise::new(1))?;
    assert!((got.log_z - truth).abs() < 4.0 * got.standard_error + got.discretisation, "{got:?} {truth}");
    assert!(got.standard_error < 0.02 && got.discretisation < 0.02, "{got:?}");
    assert!(ais.integrate(&DoubleWell, &base, &[3], &mut Noise::new(1)).is_err());
    Ok(())
}

/// Sixteen dimensions, log Z known; forward and reverse runs close in on it from both sides.
#[test]
fn forward_and_reverse_enclose_a_known_constant() -> Result<()> {
    let d = 16;
    let side = |s: f64| (0..d).map(|j| s * if j % 2 == 0 { 0.5 } else { -0.3 }).collect::<Vec<_>>();
    let target = Mixture {
        weights: vec![0.4, 0.6],
        means: vec![side(1.0), side(-1.0)],
        variances: vec![0.3, 0.5],
        log_z: -12.3,
    };
    let ais = Ais { chains: 300, ladder: Ladder::Balanced(150), ..Ais::default() };
    let mut noise = Noise::new(3);
    let exact = target.sample(300, &mut noise)?;
    let both = ais.bracket(&target, &standard(d)?, &exact, &mut noise)?;
    for got in [&both.forward, &both.reverse] {
        assert!((got.log_z - target.log_z).abs() < 4.0 * got.standard_error, "{}", got.log_z);
        assert!(got.standard_error < 0.15, "{}", got.standard_error);
    }
    assert!(both.gap() > -4.0 * both.gap_error());
    let (low, high) = both.interval(4.0);
    let certain = both.certain_interval(0.999);
    assert!(
        low < target.log_z && target.log_z < high && certain.0 < target.log_z && target.log_z < certain.1
    );
    assert_eq!((both.forward.x.dims(), both.forward.log_weights.len()), (&[300, d][..], 300));
    Ok(())
}

/// One chain says E log w ≤ log Z ≤ −E log w of the reverse. Quadrature knows log Z; the gap falls as 1/K.
#[test]
fn the_gap_of_single_chains_closes_as_temperatures_are_added() -> Result<()> {
    let target = Mixture::pair();
    let judge = Quadrature { dtype: DType::F64, ..Quadrature::around(&[(-5.0, 5.0), (-5.0, 5.0)]) };
    let truth = judge.of_energy(&target)?.log_z;
    let base = Gaussian::diagonal(&[0.0; 2], &[3.0; 2], DType::F64, &Device::Cpu)?;
    let mut noise = Noise::new(4);
    let exact = target.sample(4000, &mut noise)?;
    let mut gaps = Vec::new();
    for rungs in [2, 8, 32, 128] {
        let ais = Ais { chains: 4000, step: Some(0.12), pilot_chains: 0, ..even(rungs) };
        let both = ais.bracket(&target, &base, &exact, &mut noise)?;
        let lower = Moments::of(&both.forward.log_weights);
        let upper = Moments::of(&both.reverse.log_weights.iter().map(|w| -w).collect::<Vec<_>>());
        assert!(lower.mean() < truth + 4.0 * lower.standard_error(), "{rungs}: {} {truth}", lower.mean());
        assert!(upper.mean() > truth - 4.0 * upper.standard_error(), "{rungs}: {} {truth}", upper.mean());
        assert!(both.forward.log_z < truth + 4.0 * both.forward.standard_error);
        assert!(both.reverse.log_z > truth - 4.0 * both.reverse.standard_error);
        if rungs == 128 {
            // Thousands of chains together leave nothing of it.
            assert!(both.gap().abs() < 4.0 * both.gap_error() && both.gap_error() < 0.02, "{}", both.gap());
        }
        gaps.push((upper.mean() - lower.mean(), upper.standard_error().hypot(lower.standard_error())));
    }
    // The bounds are apart where temperatures are few, and four times as many leave less than half of the gap.
    assert!(gaps[0].0 > 1.0, "{gaps:?}");
    for pair in gaps.windows(2) {
        assert!(pair[1].0 < 0.5 * pair[0].0 + 4.0 * pair[1].1, "{gaps:?}");
    }
    assert!(gaps[3].0 < 0.06 * gaps[0].0 + 4.0 * gaps[3].1, "{gaps:?}");
    Ok(())
}

/// The path of averaged moments, with the target's own moments and with those of another law, changes no answer.
#[test]
fn averaged_moments_lead_to_the_same_constant() -> Result<()> {
    let (d, n) = (3, 600);
    let target = Mixture { weights: vec![1.0], means: vec![vec![1.5; 3]], variances: vec![0.36], log_z: 0.7 };
    let moments = Gaussian::diagonal(&[1.5; 3], &[0.6; 3], DType::F64, &Device::Cpu)?;
    let hmc = Transition::Hmc { leapfrogs: 5 };
    let ais = Ais { chains: n, transition: hmc, ladder: Ladder::Balanced(60), ..Ais::default() };
    let bent = Ais { moments: Some(moments), ..ais };
    let (mut noise, exact) = (Noise::new(12), target.sample(n, &mut Noise::new(13))?);
    let both = bent.bracket(&target, &standard(d)?, &exact, &mut noise)?;
    for got in [&both.forward, &both.reverse] {
        assert!((got.log_z - 0.7).abs() < 4.0 * got.standard_error, "{} {}", got.log_z, got.standard_error);
        assert!(got.effective_sample_size > 200.0, "{}", got.effective_sample_size);
    }
    // Moments of another law, few temperatures, every transition.
    let wrong = Gaussian::full(&[0.3, -0.4], &[1.5, 0.4, 0.4, 0.6], DType::F64, &Device::Cpu)?;
    let (pair, base) = (Mixture::pair(), standard(2)?);
    let exact = pair.sample(20_000, &mut noise)?;
    for transition in [Transition::Metropolis, Transition::Mala, Transition::Hmc { leapfrogs: 2 }] {
        let ais = Ais {
            chains: 20_000,
            transition,
            ladder: Ladder::Given(vec![0.0, 0.2, 0.6, 1.0]),
            step: Some(0.5),
            pilot_chains: 0,
            moments: Some(wrong.clone()),
            ..Ais::default()
        };
        let both = ais.bracket(&pair, &base, &exact, &mut noise)?;
        for got in [&both.forward, &both.reverse] {
            let error = 4.0 * got.standard_error;
            assert!((got.log_z - pair.log_z).abs() < error && error < 0.2, "{transition} {}", got.log_z);
        }
    }
    let model = LinearGaussian::ppca();
    let (x, _) = model.sample(2, &mut noise)?;
    assert!(bent.evidence(&model, &x, &mut noise).is_err());
    Ok(())
}

/// Where base and target agree every weight is exactly Z, whatever the chains do.
#[test]
fn no_distance_no_error() -> Result<()> {
    let target = Mixture { weights: vec![1.0], means: vec![vec![0.0; 3]], variances: vec![1.0], log_z: 2.5 };
    for ladder in [Ladder::Balanced(5), Ladder::Adaptive { share: 0.9, at_most: 3 }] {
        let ais = Ais { chains: 20, ladder, ..Ais::default() };
        let got = ais.estimate(&target, &standard(3)?, &[3], &mut Noise::new(0))?;
        assert!((got.log_z - 2.5).abs() < 1e-12 && got.standard_error < 1e-12);
        assert!((got.effective_sample_size - 20.0).abs() < 1e-9 && !got.is_degenerate());
    }
    Ok(())
}

/// E Ẑ = Z forward, and E 1/Ẑ = 1/Z in reverse, hold for any number of temperatures, even a single one.
#[test]
fn the_mean_weight_is_unbiased_for_short_ladders() -> Result<()> {
    let target = Mixture { weights: vec![1.0], means: vec![vec![0.5]], variances: vec![0.7], log_z: 0.4 };
    let mut noise = Noise::new(5);
    let exact = target.sample(20_000, &mut noise)?;
    for betas in [vec![0.0, 1.0], vec![0.0, 0.3, 1.0], vec![0.0, 0.1, 0.7, 1.0]] {
        for transition in [Transition::Metropolis, Transition::Mala, Transition::Hmc { leapfrogs: 2 }] {
            let ladder = Ladder::Given(betas.clone());
            let ais = Ais {
                chains: 20_000,
                ladder,
                transition,
                step: Some(0.5),
                pilot_chains: 0,
                ..Ais::default()
            };
            for got in [
                ais.estimate(&target, &standard(1)?, &[1], &mut noise)?,
                ais.reverse(&target, &standard(1)?, &exact, &mut noise)?,
            ] {
                assert!((got.log_z - 0.4).abs() < 4.0 * got.standard_error, "{got:?}");
            }
        }
    }
    Ok(())
}

/// Of 1,000 intervals log Ẑ ± 1.96 s.e., between 92.2 % and 97.8 % hold log Z: 95 % within four binomial errors.
#[test]
fn ninety_five_percent_intervals_cover_as_they_say() -> Result<()> {
    let target = Mixture { weights: vec![1.0], means: vec![vec![0.4]], variances: vec![0.8], log_z: -3.0 };
    let (base, noise) = (standard(1)?, Noise::new(11));
    let ais = Ais { chains: 200, step: Some(0.6), pilot_chains: 0, ..even(4) };
    let mut covered = 0;
    for repeat in 0..1000 {
        let got = ais.estimate(&target, &base, &[1], &mut noise.at(repeat))?;
        covered += usize::from((got.log_z + 3.0).abs() < 1.96 * got.standard_error);
    }
    assert!((922..=978).contains(&covered), "{covered} of 1000");
    Ok(())
}

/// Probabilistic PCA has its evidence in closed form: annealing of each row agrees, from below and from above.
#[test]
fn annealed_evidence_of_a_linear_decoder_is_the_closed_form() -> Result<()> {
    let model = LinearGaussian::ppca();
    let mut noise = Noise::new(6);
    let (x, z) = model.sample(12, &mut noise)?;
    let truth = model.log_evidence(&x)?;
    for (transition, rungs) in [(Transition::Hmc { leapfrogs: 4 }, 60), (Transition::Mala, 150)] {
        let ais = Ais { chains: 200, transition, ladder: Ladder::Balanced(rungs), ..Ais::default() };
        let lower = ais.evidence(&model, &x, &mut noise)?;
        let upper = ais.reverse_evidence(&model, &x, &z, &mut noise)?;
        for got in [&lower, &upper] {
            for ((value, error), want) in got.values.iter().zip(&got.standard_errors).zip(&truth) {
                assert!((value - want).abs() < 4.5 * error && *error < 0.15, "{value} ± {error}, {want}");
            }
            assert!(!got.is_degenerate() && got.lowest_acceptance > 0.2 && got.values.len() == 12, "{got:?}");
        }
    }
    Ok(())
}

/// Rows split over pieces keep their own chains, and few temperatures bound from the right side.
#[test]
fn rows_in_pieces_are_bounded_from_both_sides() -> Result<()> {
    let model = LinearGaussian::ppca();
    let mut noise = Noise::new(8);
    let (x, z) = model.sample(40, &mut noise)?;
    let truth = model.log_evidence(&x)?;
    for rows_at_once in [7, 64, 10_000] {
        let ais =
            Ais { chains: 15, rows_at_once, pilot_chains: 40, ladder: Ladder::Even(4), ..Ais::default() };
        let gap =
            |values: &[f64]| Moments::of(&values.iter().zip(&truth).map(|(v, t)| v - t).collect::<Vec<_>>());
        let lower = gap(&ais.evidence(&model, &x, &mut noise)?.values);
        let upper = gap(&ais.reverse_evidence(&model, &x, &z, &mut noise)?.values);
        assert!(lower.mean() < 4.0 * lower.standard_error() && lower.mean() > -6.0, "{lower:?}");
        assert!(upper.mean() > -4.0 * upper.standard_error() && upper.mean() < 6.0, "{upper:?}");
    }
    assert!(Ais::default().reverse_evidence(&model, &x, &x, &mut noise).is_err());
    Ok(())
}

#[test]
fn settings_without_sense_are_errors_and_hopeless_weights_are_named() -> Result<()> {
    let target = Mixture::pair();
    let base = standard(2)?;
    let fails = |ais: Ais, event: &[usize]| ais.estimate(&target, &base, event, &mut Noise::new(0)).is_err();
    assert!(fails(Ais { chains: 0, ..Ais::default() }, &[2]));
    assert!(fails(Ais { transitions: 0, ..Ais::default() }, &[2]));
    assert!(fails(Ais { transition: Transition::Hmc { leapfrogs: 0 }, ..Ais::default() }, &[2]));
    assert!(fails(even(0), &[2]));
    assert!(fails(Ais { ladder: Ladder::Given(vec![0.0, 0.5]), ..Ais::default() }, &[2]));
    assert!(fails(Ais { ladder: Ladder::Adaptive { share: 1.0, at_most: 9 }, ..Ais::default() }, &[2]));
    assert!(fails(Ais { ladder: Ladder::Adaptive { share: 0.999, at_most: 2 }, ..Ais::default() }, &[2]));
    assert!(fails(Ais { step: Some(-1.0), ..Ais::default() }, &[2]));
    assert!(fails(Ais::default(), &[3]));
    let unknown = Transition::parse("hcm", 3).map_err(|e| e.to_string());
    assert!(unknown.is_err_and(|e| e.contains("did you mean 'hmc'")));
    // Plain importance sampling of a far, narrow target.
    let far = Mixture { weights: vec![1.0], means: vec![vec![6.0; 2]], variances: vec![0.01], log_z: 0.0 };
    let hopeless = Ais { ladder: Ladder::Given(vec![0.0, 1.0]), ..Ais::default() };
    assert!(hopeless.estimate(&far, &base, &[2], &mut Noise::new(0))?.is_degenerate());
    Ok(())
}
