//! A recipe: everything that decides what is trained and how, resolved from defaults, a file and `--set`.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::trainer::train_defaults;
use crate::{DataSpec, Entry, Error, Result, SamplerInfo, config};

/// The resolved recipe of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model's own settings, complete.
    #[serde(default)]
    pub model: Table,
    /// The trainer's settings, complete, with a table per parameter group that overrides them.
    #[serde(default)]
    pub train: Table,
    /// The sampler: `sampler` and its options; empty for the model's default.
    #[serde(default)]
    pub sample: Table,
    /// The likelihood: `likelihood` and its options; empty for the model's most trusted.
    #[serde(default)]
    pub eval: Table,
}

impl Recipe {
    /// The entry's defaults for this kind of data.
    ///
    /// # Errors
    /// If the entry's own defaults are inconsistent.
    pub fn defaults(entry: &Entry, spec: &DataSpec) -> Result<Self> {
        let mut own = (entry.defaults)(spec);
        let mut take = |k: &str| match own.remove(k) {
            Some(Value::Table(t)) => t,
            _ => Table::new(),
        };
        let mut recipe = Self {
            model: take("model"),
            train: train_defaults(),
            sample: take("sample"),
            eval: take("eval"),
        };
        let train = take("train");
        for (group, table) in train.iter().filter(|(_, v)| v.is_table()) {
            recipe.train.insert(group.clone(), table.clone());
        }
        recipe.overlay_train(&train)?;
        Ok(recipe)
    }

    /// Lays a partial recipe over this one: a file, or one `--set`.
    ///
    /// # Errors
    /// Unknown keys name the nearest valid one; values must have the type of the default.
    pub fn overlay(&mut self, over: &Table) -> Result<()> {
        for (section, value) in over {
            let Value::Table(t) = value else {
                return Err(Error::config(section, "a table: [model], [train], [sample] or [eval]", value));
            };
            match section.as_str() {
                "model" => config::merge(&mut self.model, t, "model")?,
                "train" => self.overlay_train(t)?,
                // Which keys are valid depends on the sampler chosen: see `options`.
                "sample" => self.sample.extend(t.clone()),
                "eval" => self.eval.extend(t.clone()),
                other => return Err(Error::unknown("key", other, ["model", "train", "sample", "eval"])),
            }
        }
        Ok(())
    }

    /// Applies one `key=value`.
    ///
    /// # Errors
    /// As [`Recipe::overlay`].
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let (key, text) = assignment.split_once('=').ok_or_else(|| {
            Error::config("--set", "key=value, e.g. train.lr=3e-4", format!("'{assignment}'"))
        })?;
        let mut value = config::parse_value(text.trim());
        for part in key.trim().split('.').rev() {
            value = Value::Table(Table::from_iter([(part.to_string(), value)]));
        }
        match value {
            Value::Table(t) => self.overlay(&t),
            _ => Ok(()),
        }
    }

    fn overlay_train(&mut self, over: &Table) -> Result<()> {
        let mut schema = train_defaults();
        let mut plain = Table::new();
        for (key, value) in over {
            match (value, self.train.get_mut(key)) {
                (Value::Table(group), Some(Value::Table(own))) => {
                    for (k, v) in group {
                        let path = format!("train.{key}");
                        let one = Table::from_iter([(k.clone(), v.clone())]);
                        config::merge(&mut schema, &one, &path)?;
                        own.insert(k.clone(), schema[k].clone());
                    }
                }
                _ => drop(plain.insert(key.clone(), value.clone())),
            }
        }
        config::merge(&mut self.train, &plain, "train")
    }

    /// The recipe as TOML text.
    ///
    /// # Errors
    /// If it cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Unsupported(format!("recipe: {e}")))
    }
}

/// A named choice with its complete, checked options.
pub type Choice = (&'static str, Table);

/// The sampler a table `[sample]` asks for, and its options; the first one if none is named.
///
/// # Errors
/// Unknown samplers and options name the nearest valid ones.
pub fn sampler_choice(table: &Table, infos: &[SamplerInfo]) -> Result<Choice> {
    let named = match table.get("sampler") {
        None => None,
        Some(Value::String(s)) => Some(s.as_str()),
        Some(v) => return Err(Error::config("sample.sampler", "a name", v)),
    };
    let found = match named {
        Some(n) => infos.iter().find(|i| i.name == n),
        None => infos.first(),
    };
    let Some(SamplerInfo { name, defaults, .. }) = found else {
        return Err(match named {
            Some(n) => Error::unknown("sampler", n, infos.iter().map(|i| i.name)),
            None => Error::Unsupported("this model has no sampler".to_string()),
        });
    };
    let mut options = defaults();
    let over: Table =
        table.iter().filter(|(k, _)| *k != "sampler").map(|(k, v)| (k.clone(), v.clone())).collect();
    config::merge(&mut options, &over, "sample")?;
    Ok((name, options))
}
