//! Errors for people: what was expected, what came, where, and what to do.

use std::path::{Path, PathBuf};

/// The result of everything in the libraries.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, grouped by cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor operation failed (shape, dtype, device).
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),

    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "write", "create".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// A key of a recipe, a flag or a parameter has a value that cannot be used.
    #[error("{key}: expected {expected}, got {got}")]
    Config {
        /// Dotted key or flag, e.g. `train.lr`.
        key: String,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },

    /// A name that nothing answers to.
    #[error("unknown {kind} '{name}'{}", hint(nearest.as_deref()))]
    Unknown {
        /// What the name should have been: "model", "key", "metric".
        kind: &'static str,
        /// The name as given.
        name: String,
        /// The most similar valid name.
        nearest: Option<String>,
    },

    /// A file whose contents cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Expected and found, and the remedy where there is one.
        problem: String,
    },

    /// Data that does not fit where it was sent.
    #[error("{what}: expected {expected}, got {got}")]
    Data {
        /// Which data.
        what: String,
        /// What would have fitted.
        expected: String,
        /// What came.
        got: String,
    },

    /// Training cannot go on: a loss, gradient or weight stopped being finite, or the model said [`Error::Unstable`].
    #[error("{model} diverged at step {step} ({problem})")]
    Diverged {
        /// The model's name.
        model: String,
        /// The step at which it was seen.
        step: u64,
        /// What was seen, and the remedy where there is one.
        problem: String,
    },

    /// What a model says when its training cannot go on: what it saw, and the remedy. The trainer adds who and when.
    #[error("{0}")]
    Unstable(String),

    /// Another process works on the same folder.
    #[error("{} is locked by another process ({holder}); wait for it or choose another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },

    /// A server that did not deliver.
    #[error("{url}: {problem}")]
    Network {
        /// What was asked for.
        url: String,
        /// Expected and found.
        problem: String,
    },

    /// Something this model, data set or build does not offer.
    #[error("{0}")]
    Unsupported(String),
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |n| format!(", did you mean '{n}'?"))
}

impl Error {
    /// Wraps an I/O error with the action and the path it concerns.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A file whose contents cannot be used.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// A bad value for a key or flag.
    pub fn config(key: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Error {
        Error::Config { key: key.into(), expected: expected.into(), got: got.to_string() }
    }

    /// Data that does not fit.
    pub fn data(what: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Error {
        Error::Data { what: what.into(), expected: expected.into(), got: got.to_string() }
    }

    /// An unknown name, with the nearest of the valid ones.
    pub fn unknown<'a>(kind: &'static str, name: &str, valid: impl IntoIterator<Item = &'a str>) -> Error {
        let nearest = valid
            .into_iter()
            .map(|v| (strsim::damerau_levenshtein(name, v), v))
            .min()
            .filter(|(d, v)| *d <= 2.max(v.len() / 3))
            .map(|(_, v)| v.to_string());
        Error::Unknown { kind, name: name.to_string(), nearest }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let e = Error::unknown("model", "realnpv", ["realnvp", "vae"]);
        assert_eq!(e.to_string(), "unknown model 'realnpv', did you mean 'realnvp'?");
        let e = Error::unknown("model", "zzzzzz", ["realnvp", "vae"]);
        assert_eq!(e.to_string(), "unknown model 'zzzzzz'");
    }
}
