//! Which likelihood, with what options, on how many rows: `iwae:k=5000`, `ais:temperatures=1000,chains=64,rows=100`.

use genzoo_core::{
    DataSpec, Dataset, Density, DensityInfo, Error, Model, Noise, Result, Space, Table, config,
};
use toml::Value;

use super::annealed::{self, Annealed};
use super::dequantised::Dequantised;

/// A likelihood by name with its complete, checked options.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Name, one of [`methods`].
    pub name: String,
    /// Every option of the method itself.
    pub options: Table,
    /// Test rows it is measured on at most; `None` for as many as the evaluation has.
    pub rows: Option<usize>,
    /// Dequantisations of each image of bytes, for densities of x̃.
    pub dequantisations: usize,
}

/// Ways to log p of a model: its own, the most trusted first, then those that follow from what it offers.
pub fn methods(model: &dyn Model) -> Vec<DensityInfo> {
    let mut all = model.densities().to_vec();
    if model.capabilities().decoder.is_some() && all.iter().all(|own| own.name != annealed::INFO.name) {
        all.push(annealed::INFO);
    }
    all
}

/// The options every method takes: 0 rows means all.
fn common() -> Table {
    Table::from_iter([("rows".into(), Value::Integer(0)), ("dequantisations".into(), Value::Integer(1))])
}

impl Choice {
    /// What a table `[eval]` of a recipe asks for: `likelihood` and its options; the first of `infos` if none is named.
    ///
    /// # Errors
    /// Unknown names and options name the nearest valid ones.
    pub fn of(table: &Table, infos: &[DensityInfo]) -> Result<Self> {
        let name = match table.get("likelihood") {
            None => None,
            Some(Value::String(name)) => Some(name.as_str()),
            Some(other) => return Err(Error::config("eval.likelihood", "a name", other)),
        };
        let options = table.iter().filter(|(k, _)| *k != "likelihood");
        Self::complete(name, &options.map(|(k, v)| (k.clone(), v.clone())).collect(), "eval", infos)
    }

    /// What `method` or `method:key=value,key=value` asks for. Options not given are those of `own`, the `[eval]` of the
    /// run's recipe, if it names the same method, else the defaults.
    ///
    /// # Errors
    /// As [`Choice::of`].
    pub fn parse(text: &str, own: &Table, infos: &[DensityInfo]) -> Result<Self> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let mut over = Table::new();
        let of_run = own.get("likelihood").and_then(Value::as_str).or(infos.first().map(|i| i.name));
        if of_run == Some(name) {
            over.extend(own.iter().filter(|(k, _)| *k != "likelihood").map(|(k, v)| (k.clone(), v.clone())));
        }
        for option in options.split(',').filter(|o| !o.trim().is_empty()) {
            let Some((key, value)) = option.split_once('=') else {
                let want = "options as key=value, e.g. k=5000";
                return Err(Error::config(format!("--likelihood {name}"), want, format!("'{option}'")));
            };
            over.insert(key.trim().to_string(), config::parse_value(value.trim()));
        }
        Self::complete(Some(name), &over, name, infos)
    }

    fn complete(name: Option<&str>, over: &Table, section: &str, infos: &[DensityInfo]) -> Result<Self> {
        let found = match name {
            None => infos.first(),
            Some(name) => infos.iter().find(|i| i.name == name),
        };
        let Some(info) = found else {
            return Err(match name {
                Some(name) if !infos.is_empty() => {
                    Error::unknown("likelihood", name, infos.iter().map(|i| i.name))
                }
                _ => Error::Unsupported("this model has no likelihood".into()),
            });
        };
        let mut options = common();
        options.extend((info.defaults)());
        config::merge(&mut options, over, section)?;
        let mut count = |key: &str, least: i64| match options.remove(key) {
            Some(Value::Integer(n)) if n >= least => Ok(n as usize),
            other => Err(Error::config(
                format!("{section}.{key}"),
                format!("an integer ≥ {least}"),
                other.unwrap_or(Value::Integer(0)),
            )),
        };
        let rows = Some(count("rows", 0)?).filter(|n| *n > 0);
        let dequantisations = count("dequantisations", 1)?;
        Ok(Self { name: info.name.to_string(), options, rows, dequantisations })
    }

    /// The density, with what all rows share paid for.
    ///
    /// # Errors
    /// If the model does not offer it, or an option cannot be used.
    pub fn open<'a>(
        &self,
        model: &'a dyn Model,
        data: &dyn Dataset,
        noise: &mut Noise,
    ) -> Result<Box<dyn Density + 'a>> {
        let own = model.densities().iter().any(|d| d.name == self.name);
        let density: Box<dyn Density + 'a> = match model.capabilities().decoder {
            Some(decoder) if !own && self.name == annealed::INFO.name => {
                Box::new(Annealed::new(decoder, data, &self.options, noise)?)
            }
            _ => model.density(&self.name, &self.options, noise)?,
        };
        self.dequantise(density, data.spec())
    }

    fn dequantise<'a>(
        &self,
        density: Box<dyn Density + 'a>,
        spec: &DataSpec,
    ) -> Result<Box<dyn Density + 'a>> {
        if self.dequantisations == 1 {
            return Ok(density);
        }
        let of_bytes = spec.space == Space::U8 && !density.evidence().discrete;
        if !of_bytes {
            let want = "1: only densities of dequantised bytes can be averaged";
            return Err(Error::config(format!("{}.dequantisations", self.name), want, self.dequantisations));
        }
        Ok(Box::new(Dequantised::new(density, self.dequantisations)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static INFOS: [DensityInfo; 2] = [
        DensityInfo { name: "iwae", summary: "", defaults: || table("k = 64") },
        DensityInfo { name: "ais", summary: "", defaults: || table("chains = 8\nrows = 200") },
    ];

    fn table(text: &str) -> Table {
        text.parse().expect("a table")
    }

    fn parse(text: &str) -> Result<Choice> {
        Choice::parse(text, &table("likelihood = 'iwae'\nk = 7"), &INFOS)
    }

    #[test]
    fn a_method_takes_its_options_and_those_of_all() -> Result<()> {
        let all = parse("iwae:k=5000, rows=100")?;
        assert_eq!((all.name.as_str(), all.rows, all.dequantisations), ("iwae", Some(100), 1));
        assert_eq!(all.options, table("k = 5000"));
        assert_eq!(parse("iwae")?.options, table("k = 7"), "the run's own option");
        let ais = parse("ais:dequantisations=3")?;
        assert_eq!((ais.rows, ais.dequantisations, ais.options), (Some(200), 3, table("chains = 8")));
        let own = Choice::of(&table("likelihood = 'ais'\nchains = 9"), &INFOS)?;
        assert_eq!(own.options, table("chains = 9"));
        assert_eq!(Choice::of(&Table::new(), &INFOS)?.name, "iwae");
        Ok(())
    }

    #[test]
    fn mistakes_are_named_with_the_nearest_name() {
        for (text, want) in [
            ("iwea", "unknown likelihood 'iwea', did you mean 'iwae'?"),
            ("ais:chain=3", "unknown key 'ais.chain', did you mean 'ais.chains'?"),
            ("ais:chains=few", "ais.chains: expected an integer like 8, got a string \"few\""),
            ("iwae:5000", "--likelihood iwae: expected options as key=value, e.g. k=5000, got '5000'"),
            ("ais:rows=-1", "ais.rows: expected an integer ≥ 0, got -1"),
        ] {
            assert_eq!(parse(text).map(|c| c.name).map_err(|e| e.to_string()), Err(want.to_string()));
        }
        assert!(Choice::of(&Table::new(), &[]).is_err());
    }
}
