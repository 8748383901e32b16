//! Configuration as TOML tables: defaults, then a recipe, then `--set`, checked against the defaults.
//!
//! The defaults table is the schema: a key that is not in it is an error that names the nearest one, and a
//! value must have the type of its default (an integer is accepted for a float).

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{Error, Result};

/// Overlays `over` on `base`. `prefix` is the dotted path of both, for messages.
///
/// # Errors
/// On unknown keys and on values of another type than the default's.
pub fn merge(base: &mut Table, over: &Table, prefix: &str) -> Result<()> {
    for (key, value) in over {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(slot) = base.get_mut(key) else {
            return Err(unknown_key(&path, key, base, prefix));
        };
        match (&mut *slot, value) {
            (Value::Table(b), Value::Table(o)) => merge(b, o, &path)?,
            _ => *slot = coerce(&path, slot, value)?,
        }
    }
    Ok(())
}

/// Sets one dotted key, `train.lr`, from the text of a `--set key=value`.
///
/// # Errors
/// On unknown keys and unusable values.
pub fn set(table: &mut Table, assignment: &str) -> Result<()> {
    let (key, text) = assignment
        .split_once('=')
        .ok_or_else(|| Error::config("--set", "key=value, e.g. train.lr=3e-4", format!("'{assignment}'")))?;
    let (key, text) = (key.trim(), text.trim());
    let value = parse_value(text);
    let mut over = Table::new();
    let mut parts = key.split('.').rev();
    let last = parts.next().unwrap_or_default();
    over.insert(last.to_string(), value);
    for part in parts {
        over = Table::from_iter([(part.to_string(), Value::Table(over))]);
    }
    merge(table, &over, "")
}

/// Reads a checked table into a struct; `what` names it in messages.
///
/// # Errors
/// If a value does not fit its field.
pub fn read<T: DeserializeOwned>(table: &Table, what: &str) -> Result<T> {
    table.clone().try_into().map_err(|e: toml::de::Error| Error::config(what, "valid values", e.message()))
}

/// One value of a checked table; `section` is its dotted path, for messages.
///
/// # Errors
/// If the key is absent or its value does not fit.
pub fn get<T: DeserializeOwned>(table: &Table, key: &str, section: &str) -> Result<T> {
    let path = format!("{section}.{key}");
    let value = table.get(key).ok_or_else(|| Error::config(&path, "a value", "none"))?;
    value.clone().try_into().map_err(|e: toml::de::Error| Error::config(path, e.message().trim(), value))
}

/// A TOML value if it parses as one, else the text itself as a string.
pub fn parse_value(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| if t.len() == 1 { t.remove("v") } else { None })
        .unwrap_or_else(|| Value::String(text.to_string()))
}

fn unknown_key(path: &str, key: &str, base: &Table, prefix: &str) -> Error {
    match Error::unknown("key", key, base.keys().map(String::as_str)) {
        Error::Unknown { kind, nearest, .. } => {
            let dotted = |n: String| {
                if prefix.is_empty() { n } else { format!("{prefix}.{n}") }
            };
            Error::Unknown { kind, name: path.to_string(), nearest: nearest.map(dotted) }
        }
        e => e,
    }
}

fn coerce(path: &str, default: &Value, value: &Value) -> Result<Value> {
    match (default, value) {
        (Value::Float(_), Value::Integer(i)) => Ok(Value::Float(*i as f64)),
        (Value::Float(_), Value::Float(f)) if !f.is_finite() => {
            Err(Error::config(path, "a finite number", f))
        }
        // `1e3` is how people write a thousand steps.
        (Value::Integer(_), Value::Float(f)) if f.fract() == 0.0 && f.abs() < 9e15 => {
            Ok(Value::Integer(*f as i64))
        }
        (Value::Array(_), Value::Array(a)) => Ok(Value::Array(a.clone())),
        (d, v) if std::mem::discriminant(d) == std::mem::discriminant(v) => Ok(v.clone()),
        (d, v) => Err(Error::config(path, format!("{} like {d}", kind(d)), format!("{} {v}", kind(v)))),
    }
}

fn kind(v: &Value) -> &'static str {
    match v {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Table {
        toml::toml! {
            [train]
            lr = 1e-3
            steps = 100
            optimizer = "adam"
        }
    }

    #[test]
    fn set_addresses_any_key() -> Result<()> {
        let mut t = base();
        set(&mut t, "train.lr=3e-4")?;
        set(&mut t, "train.steps=1e3")?;
        set(&mut t, "train.optimizer=sgd")?;
        assert_eq!(t["train"]["lr"].as_float(), Some(3e-4));
        assert_eq!(t["train"]["steps"].as_integer(), Some(1000));
        assert_eq!(t["train"]["optimizer"].as_str(), Some("sgd"));
        Ok(())
    }

    #[test]
    fn mistakes_are_named() {
        let e = |s: &str| set(&mut base(), s).unwrap_err().to_string();
        assert_eq!(e("train.lrr=1"), "unknown key 'train.lrr', did you mean 'train.lr'?");
        assert_eq!(e("train.lr=fast"), "train.lr: expected a number like 0.001, got a string \"fast\"");
        assert!(e("train.lr").starts_with("--set: expected key=value"));
        assert!(e("train.lr=inf").contains("finite"));
        assert!(e("=").contains("unknown key"));
    }
}
