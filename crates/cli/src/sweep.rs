//! Quality against cost: the samples of every sampler at other numbers of steps.

use genzoo_core::{Dataset, Model};
use genzoo_lab::evaluate::{EvalOptions, evaluate};
use genzoo_lab::row::{Operating, Row};
use toml::Value;

/// The option that is swept, where a sampler has it.
const OPTION: &str = "steps";
/// Most settings of one sampler.
const SETTINGS: usize = 8;
/// A rough limit for one setting, in seconds.
const SECONDS: f64 = 1.0;

/// Judges the samplers of `model` by the first metric of `row`, each at twice its steps and at halves down to one.
pub(crate) fn sweep(
    model: &dyn Model,
    judge: &dyn Dataset,
    options: &EvalOptions,
    row: &Row,
    progress: &mut dyn FnMut(&str),
) -> genzoo_core::Result<Vec<Operating>> {
    let Some((metric, _)) = row.quality.first() else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for info in model.samplers() {
        let own =
            options.sampler.as_ref().filter(|(name, _)| name == info.name).map(|(_, table)| table.clone());
        let table = own.unwrap_or_else(info.defaults);
        let Some(steps) = table.get(OPTION).and_then(Value::as_integer) else { continue };
        for setting in settings(steps) {
            progress(&format!("{} with {setting} {OPTION}", info.name));
            let mut table = table.clone();
            table.insert(OPTION.into(), Value::Integer(setting));
            let options = EvalOptions {
                n_likelihood: 0,
                seconds: Some(SECONDS),
                metrics: Some(vec![metric.clone()]),
                sampler: Some((info.name.to_string(), table)),
                ..options.clone()
            };
            // A sampler may refuse a number of steps; the others still say something.
            let Ok(e) = evaluate(model, judge, &options, &mut |_| ()) else { continue };
            let Some(speed) = e.sampling.first() else { continue };
            out.push(Operating {
                sampler: info.name.to_string(),
                option: OPTION.into(),
                setting,
                evaluations: speed.evaluations,
                examples_per_second: speed.examples_per_second,
                quality: e.quality,
            });
        }
    }
    Ok(out)
}

/// Twice `steps`, `steps`, its half and so on, rising.
fn settings(steps: i64) -> Vec<i64> {
    let halves = std::iter::successors(Some(2 * steps.clamp(1, 1 << 30)), |s| Some(s / 2).filter(|s| *s > 0));
    let mut all: Vec<i64> = halves.take(SETTINGS).collect();
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::settings;

    #[test]
    fn settings_halve_down_to_one_and_rise() {
        assert_eq!(settings(10), [1, 2, 5, 10, 20]);
        assert_eq!(settings(1), [1, 2]);
        assert_eq!(settings(1000).len(), super::SETTINGS);
        assert!(settings(-5)[0] == 1 && settings(i64::MAX).last() == Some(&(2 << 30)));
    }
}
