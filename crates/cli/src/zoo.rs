//! The registry as the command line sees it: names, recipes, data, devices.

use std::path::Path;

use genzoo_core::{DataSpec, Device, Entry, Error, Recipe, Result};

/// Recipes of the repository: (model, data set, text).
pub(crate) const RECIPES: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// The models a binary offers.
#[derive(Clone, Copy)]
pub(crate) struct Registry {
    entries: &'static [&'static [Entry]],
    own: &'static [Entry],
}

/// The families of this repository, after the reference models.
pub(crate) const FAMILIES: &[&[Entry]] = &[
    genzoo_lab::baseline::MODELS,
    genzoo_ebm::MODELS,
    genzoo_vae::MODELS,
    genzoo_gan::MODELS,
    genzoo_flow::MODELS,
    genzoo_diffusion::MODELS,
    genzoo_interpolant::MODELS,
];

impl Registry {
    /// The zoo and, after it, a user's own models.
    pub(crate) fn new(own: &'static [Entry]) -> Self {
        Self { entries: FAMILIES, own }
    }

    /// A registry that surely holds `entry`: for a model whose entry is at hand.
    pub(crate) fn with(self, entry: &'static Entry) -> Self {
        Self { own: std::slice::from_ref(entry), ..self }
    }

    /// Every model, in the order of the families.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Entry> + use<> {
        self.entries.iter().flat_map(|f| f.iter()).chain(self.own.iter())
    }

    /// The model named `realnvp` or `flow/realnvp`. A user's own model shadows one of the zoo's.
    pub(crate) fn find(&self, name: &str) -> Result<&'static Entry> {
        let all: Vec<&'static Entry> = self.all().collect();
        let full = |e: &Entry| format!("{}/{}", e.info.family.name(), e.info.name);
        all.iter().rev().find(|e| e.info.name == name || full(e) == name).copied().ok_or_else(|| {
            let bare = name.rsplit('/').next().unwrap_or(name);
            Error::unknown("model", bare, all.iter().map(|e| e.info.name))
        })
    }
}

/// `flow/realnvp`.
pub(crate) fn full_name(entry: &Entry) -> String {
    format!("{}/{}", entry.info.family.name(), entry.info.name)
}

/// The recipe of the repository for a model on a data set: that of its parameters, `mnist-digits-2-3-6.toml`, else that of
/// all sets of its name, `mnist.toml`.
fn own_recipe(model: &str, dataset: &str) -> Option<&'static str> {
    let base = dataset.split(['{', '@']).next().unwrap_or(dataset);
    let of =
        |name: &str| RECIPES.iter().find(|(m, d, _)| *m == model && *d == name).map(|(_, _, text)| *text);
    of(&genzoo_lab::row::folder_name(dataset)).or_else(|| of(base))
}

/// The resolved recipe: the entry's defaults, then the repository's or the user's recipe, then `--set`.
pub(crate) fn recipe(
    entry: &Entry,
    spec: &DataSpec,
    dataset: &str,
    file: Option<&Path>,
    sets: &[String],
) -> Result<Recipe> {
    if !entry.spaces.contains(&spec.space) {
        let of = |s: &genzoo_core::Space| serde_json::to_string(s).unwrap_or_default().replace('"', "");
        let spaces: Vec<String> = entry.spaces.iter().map(of).collect();
        return Err(Error::config(
            format!("--data {dataset}"),
            format!("data of a space that {} can learn ({})", full_name(entry), spaces.join(", ")),
            of(&spec.space),
        ));
    }
    let mut recipe = Recipe::defaults(entry, spec)?;
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        overlay(&mut recipe, &text).map_err(|e| Error::file(path, e.to_string()))?;
    } else if let Some(text) = own_recipe(entry.info.name, dataset) {
        overlay(&mut recipe, text)?;
    }
    for assignment in sets {
        recipe.set(assignment)?;
    }
    Ok(recipe)
}

fn overlay(recipe: &mut Recipe, text: &str) -> Result<()> {
    let table = text
        .parse()
        .map_err(|e: toml::de::Error| Error::config("recipe", "valid TOML", e.to_string().trim()))?;
    recipe.overlay(&table)
}

/// `cpu`, `cuda`, `cuda:1` or `metal`.
pub(crate) fn device(name: &str) -> Result<Device> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: usize =
        index.parse().map_err(|_| Error::config("--device", "cpu, cuda, cuda:N or metal", name))?;
    let built = |e: candle_core::Error| Error::Unsupported(format!("--device {name}: {e}"));
    match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Device::new_cuda(index).map_err(built),
        "metal" => Device::new_metal(index).map_err(built),
        _ => Err(Error::config("--device", "cpu, cuda, cuda:N or metal", name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_that_of_the_parameters_or_none() {
        let digits = own_recipe("jarzynski", "mnist{digits=[2,3,6],masses=[4,2,1]}");
        assert!(digits.is_some_and(|text| text.contains("principal = 48")));
        assert_eq!(own_recipe("jarzynski", "mnist"), None);
    }
}
