//! `genzoo list`: the registry, seen from outside.

use genzoo_core::{DataSpec, Device, Entry, Space};
use serde_json::{Value, json};

use crate::args::{List, Listing};
use crate::output::Output;
use crate::run;
use crate::zoo::{Registry, full_name};

pub(crate) fn command(args: &List, registry: Registry, out: &Output) -> anyhow::Result<i32> {
    let rows = match args.what {
        Listing::Models => registry.all().map(model).collect(),
        Listing::Datasets => datasets(),
        Listing::Metrics => metrics(),
        Listing::Samplers => ways(registry, true)?,
        Listing::Densities => ways(registry, false)?,
        Listing::Suites => suites(),
        Listing::Json => {
            let page = include_str!("../JSON.md").trim_end();
            if out.json() {
                out.print_json(&page)?
            } else {
                out.print(page)?
            }
            return Ok(0);
        }
    };
    if out.json() {
        out.print_json(&rows)?;
        return Ok(0);
    }
    let text = |v: &Value, k: &str| v.get(k).and_then(Value::as_str).unwrap_or_default().to_string();
    let wide = rows.iter().map(|r| text(r, "name").chars().count()).max().unwrap_or(0);
    let lines: Vec<String> =
        rows.iter().map(|r| format!("{:wide$}  {}", text(r, "name"), text(r, "summary"))).collect();
    out.print(&lines.join("\n"))?;
    Ok(0)
}

fn model(e: &'static Entry) -> Value {
    json!({"name": full_name(e), "family": e.info.family, "summary": e.info.summary, "citation": e.info.citation, "spaces": e.spaces})
}

fn datasets() -> Vec<Value> {
    genzoo_lab::data::DATASETS
        .iter()
        .map(|d| {
            let parameters: Vec<Value> =
                d.parameters.iter().map(|p| json!({"name": p.name, "default": p.default})).collect();
            json!({"name": d.name, "kind": d.kind.name(), "summary": d.summary, "parameters": parameters})
        })
        .collect()
}

fn metrics() -> Vec<Value> {
    let row = |m: &genzoo_lab::metrics::MetricInfo| json!({"name": m.name, "summary": m.summary, "unit": m.unit, "better": m.better, "needs": m.needs().name()});
    genzoo_lab::metrics::metrics().map(row).collect()
}

fn suites() -> Vec<Value> {
    let suites = genzoo_lab::suite::SUITES.iter().map(|s| (s.name, s.summary));
    let alone = crate::study::studies().filter(|s| genzoo_lab::suite::find(s.name).is_err());
    let row = |(name, summary): (&str, &str)| json!({"name": name, "summary": summary});
    suites.chain(alone.map(|s| (s.name, s.summary))).map(row).collect()
}

/// Samplers or densities of every model, from its smallest instance on a plane (or on small images).
fn ways(registry: Registry, samplers: bool) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for entry in registry.all() {
        let spec = small_spec(entry);
        let mut recipe = genzoo_core::Recipe::defaults(entry, &spec)?;
        recipe.overlay(&(entry.tiny)(&spec))?;
        let model = run::build(entry, &recipe, &spec, 0, &Device::Cpu)?;
        let all: Vec<(&str, &str, genzoo_core::Table)> = if samplers {
            model.samplers().iter().map(|s| (s.name, s.summary, (s.defaults)())).collect()
        } else {
            let methods = genzoo_lab::likelihood::methods(model.as_ref());
            methods.iter().map(|d| (d.name, d.summary, (d.defaults)())).collect()
        };
        for (name, summary, defaults) in all {
            rows.push(json!({"name": format!("{} {name}", full_name(entry)), "summary": summary, "options": defaults}));
        }
    }
    Ok(rows)
}

/// The smallest data a model can learn.
pub(crate) fn small_spec(entry: &Entry) -> DataSpec {
    if entry.spaces.contains(&Space::Continuous) {
        return DataSpec { shape: vec![2], space: Space::Continuous, classes: None, range: None };
    }
    let space = entry.spaces.first().copied().unwrap_or(Space::U8);
    DataSpec { shape: vec![1, 14, 14], space, classes: Some(10), range: Some((0.0, 1.0)) }
}
