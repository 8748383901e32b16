//! The command line: one definition from which parsing, help and completions follow.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use genzoo_core::study::Effort;

/// A comparative zoo of generative models: six families, one contract, one honest row each.
#[derive(Parser, Debug)]
#[command(
    name = "genzoo",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  genzoo bench                                    six families on embedded data, under five minutes
  genzoo train realnvp --data moons --seconds 10  one model, ten seconds
  genzoo sample runs/realnvp-moons -n 1000 --out samples.png
  genzoo list models                              what is in the zoo

Exit codes: 0 done, 1 failed, 2 usage or bad input, 3 some rows failed or diverged, 4 disk,
5 locked by another process, 75 stopped with a checkpoint (GENZOO_REQUEUE=1), 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options every command takes.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Folder with data files (MNIST as idx or idx.gz)
    #[arg(long, global = true, env = "GENZOO_DATA", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Worker threads; all cores if not given
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Where tensors live: cpu, cuda, cuda:1, metal
    #[arg(long, global = true, default_value = "cpu", value_name = "DEVICE")]
    pub(crate) device: String,
    /// Never open a network connection
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// No progress, only results
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Results as JSON on stdout, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// What is in the zoo
    List(List),
    /// Train one model into a run folder
    Train(Train),
    /// Draw samples from a run
    Sample(Sample),
    /// Measure likelihood, quality and speed of a run
    Eval(Eval),
    /// log Z and mean log-likelihood of a Boltzmann machine from any file, or of a trained energy
    Logz(Logz),
    /// Judge two sample files from any software
    Compare(Compare),
    /// Train and judge a suite: one row per model, data set and seed
    Bench(Bench),
    /// Rows of a bench folder as terminal table, report.html and table.md
    Report(Report),
    /// Data sets: list, fetch, verify, show
    #[command(subcommand)]
    Data(Data),
    /// The classifiers whose features judge images: train, eval
    #[command(subcommand)]
    Judge(Judge),
    /// The self-test kit for the author of a model
    Check(Check),
    /// Completions for a shell
    Completions {
        /// bash, zsh, fish, elvish, powershell
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    Models,
    Datasets,
    Metrics,
    Samplers,
    Densities,
    Suites,
    /// The keys of every JSON output
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// What to list
    #[arg(value_enum, default_value = "models")]
    pub(crate) what: Listing,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  genzoo train realnvp --data moons --seconds 10
  genzoo train vae/vae --data mnist --data-dir ~/mnist --seconds 120 --out runs/vae
  genzoo train ddpm --data 'gaussians8{radius=5,sd=1}' --steps 5000 --set train.lr=3e-4
  genzoo train vae --data mnist --out runs/vae --resume")]
pub(crate) struct Train {
    /// Model: realnvp, or flow/realnvp
    pub(crate) model: String,
    /// Data set, with parameters if wanted: 'gaussians8{radius=5}'
    #[arg(long, value_name = "DATASET")]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) how: How,
    /// Seed of everything random
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Run folder [default: runs/MODEL-DATASET]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Go on from the last checkpoint in the run folder
    #[arg(long)]
    pub(crate) resume: bool,
}

/// How long and with what settings.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct How {
    /// A recipe file laid over the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<PathBuf>,
    /// Set any key of the recipe: train.lr=3e-4, model.width=128 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Train this many steps
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub(crate) steps: Option<u64>,
    /// Train about this many seconds: turned into steps once, by timing
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub(crate) seconds: Option<f64>,
    /// Train on this many examples: turned into whole steps, the last one begun counts
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["seconds", "steps"],
        value_parser = clap::value_parser!(u64).range(1..=10_000_000_000)
    )]
    pub(crate) examples: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  genzoo sample runs/ddpm-moons -n 2000 --out moons.png
  genzoo sample runs/ddpm-mnist --sampler ddim --set steps=50 --out digits.png
  genzoo sample runs/ddpm-mnist -n 10000 --out digits.npy")]
pub(crate) struct Sample {
    /// Run folder or checkpoint
    pub(crate) run: PathBuf,
    /// How many
    #[arg(short, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) n: u32,
    /// Sampler; the model's default if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) sampler: Option<String>,
    /// Set an option of the sampler: steps=50 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seed of the draw
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Weights: raw or ema [default: ema where kept]
    #[arg(long, value_name = "WHICH")]
    pub(crate) weights: Option<String>,
    /// Output: .png (grid or scatter), .npy or .safetensors
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  genzoo eval runs/realnvp-moons
  genzoo eval runs/vae-mnist --likelihood iwae:k=5000,rows=1000
  genzoo eval runs/vae-moons --likelihood ais:temperatures=1000,chains=64 --likelihood iwae:k=500
  genzoo eval runs/ddpm-moons --likelihood ode:solver=dopri5,rtol=1e-6
  genzoo eval runs/pcd-glyphs --ood mnist           told apart by energy or log p: AUROC, nothing else
  genzoo list densities                           what each model offers

Keys of the JSON, a row: 'genzoo list json'.")]
pub(crate) struct Eval {
    /// Run folder or checkpoint
    pub(crate) run: PathBuf,
    /// Metrics, comma-separated; all that apply if not given
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub(crate) metrics: Option<Vec<String>>,
    /// Likelihood with its options, e.g. iwae:k=5000 (repeatable: the first ranks the row, the others stand beside it);
    /// the model's most trusted if not given. Every method also takes rows=N, the test rows it is measured on
    #[arg(long, value_name = "METHOD[:KEY=VALUE,…]")]
    pub(crate) likelihood: Vec<String>,
    /// Set an option of the first likelihood: eval.steps=80, or of the sampler: sample.steps=50 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Weights: raw or ema [default: ema where kept]
    #[arg(long, value_name = "WHICH")]
    pub(crate) weights: Option<String>,
    /// Tell the model's own test rows from those of another data set by its energy or its likelihood, and from uniform and
    /// shuffled ones: area under the ROC curve (repeatable; 'uniform' and 'marginals' need no data set)
    #[arg(long, value_name = "DATASET", conflicts_with_all = ["metrics", "likelihood", "set"])]
    pub(crate) ood: Vec<String>,
    /// Test rows for the likelihood
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) n_likelihood: Option<u32>,
    /// Samples for the quality metrics
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    pub(crate) n_quality: Option<u32>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  genzoo logz rbm.safetensors                      W, b_v, b_h, or scikit-learn's components_, …
  genzoo logz rbm.safetensors --data test.npz:x --method ais --set temperatures=10000
  genzoo logz runs/rbm-pcd-glyphs --json
  genzoo logz runs/pcd-moons --method quadrature

Methods of machines: enumeration (default where a layer has at most 20 units), ais (default elsewhere), reverse-ais,
importance, ti. Of other energies: the densities of the model ('genzoo list densities'), importance, ti.
Options of ais and reverse-ais: chains, temperatures, burn, path (geometric; moments anneals through averages of moments).

Keys of the JSON: 'genzoo list json'.")]
pub(crate) struct Logz {
    /// A .safetensors file of a machine of binary units, or a run folder or checkpoint
    pub(crate) run: PathBuf,
    /// How log Z is found
    #[arg(long, value_name = "NAME")]
    pub(crate) method: Option<String>,
    /// Rows for the mean log-likelihood: .npy, .npz or .safetensors; the tensor v of the file, or the run's test rows, if
    /// not given
    #[arg(long, value_name = "FILE:NAME")]
    pub(crate) data: Option<PathBuf>,
    /// Set an option of the method: temperatures=10000, chains=500, draws=1000000 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seed of the chains
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Weights of a run: raw or ema [default: ema where kept]
    #[arg(long, value_name = "WHICH")]
    pub(crate) weights: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  genzoo compare real.npy fake.npy
  genzoo compare data.npz:test samples.safetensors:x --metrics frechet,kid,precision,recall
  genzoo compare real/ fake/ --train train/ --metrics authenticity,c_t
  genzoo compare real.npy fake.npy --metrics mmd2_unbiased --bandwidth 1.5 --json

An interval is value ± 1.96 standard errors, for the expectation at these sizes; the floor is the same metric between two
random halves of REAL. Keys of the JSON: 'genzoo list json'; names of the metrics: 'genzoo list metrics'.")]
pub(crate) struct Compare {
    /// Real samples: .npy, .npz, .safetensors (FILE:NAME picks an array), or a folder of PNGs
    pub(crate) real: PathBuf,
    /// Samples to judge
    pub(crate) fake: PathBuf,
    /// Metrics, comma-separated; all that apply if not given
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub(crate) metrics: Option<Vec<String>>,
    /// Name of the array in files that hold several
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Bandwidth of the kernels: a number, or the median distance of both files' points together
    #[arg(long, value_name = "S|median", default_value = "median", allow_negative_numbers = true)]
    pub(crate) bandwidth: String,
    /// Neighbours of precision, recall, density and coverage
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) k: u32,
    /// Regularisation of entropic transport, in squared units [default: a twentieth of the mean squared distance
    /// between real points]
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    pub(crate) eps: Option<f64>,
    /// Directions of the sliced distances: unit vectors in a file, or how many random ones
    #[arg(long, value_name = "FILE|N", default_value = "128")]
    pub(crate) projections: String,
    /// Space to compare in: raw, or a judge's features
    #[arg(long, value_name = "NAME", default_value = "raw")]
    pub(crate) features: String,
    /// Rows the model was trained on, for the metrics of memorisation
    #[arg(long, value_name = "FILE")]
    pub(crate) train: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  genzoo bench                                          the suite quick
  genzoo bench toys --seeds 3 --out runs/toys
  genzoo bench --models realnvp,ddpm --data moons --seconds 10
  genzoo bench mnist --data-dir ~/mnist --out runs/mnist --resume
  genzoo bench mnist --ood glyphs                       and who tells digits from other rows
  genzoo bench kl-vs-fisher --budget small              a study: a claim of the literature, tried again")]
pub(crate) struct Bench {
    /// Suite or study, see `genzoo list suites`
    #[arg(default_value = "quick")]
    pub(crate) suite: String,
    /// Only these models, comma-separated
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub(crate) models: Option<Vec<String>>,
    /// These data sets instead of the suite's, comma-separated
    #[arg(long, value_name = "X,Y")]
    pub(crate) data: Option<String>,
    /// Seeds 0 … K−1
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    #[command(flatten)]
    pub(crate) how: How,
    /// Columns that say how well each model tells its test rows from those of another data set, by energy or likelihood
    /// (repeatable; 'uniform' and 'marginals' need no data set and always stand beside)
    #[arg(long, value_name = "DATASET")]
    pub(crate) ood: Vec<String>,
    /// Bench folder [default: the first free of runs/SUITE, runs/SUITE-2, …]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Skip finished rows and go on with unfinished runs
    #[arg(long)]
    pub(crate) resume: bool,
    /// small: less than five minutes for a study, a fraction of the seconds for a suite
    #[arg(long, value_name = "small|full", default_value = "full", hide_default_value = true)]
    pub(crate) budget: Effort,
    /// Also judge the samples of every sampler at other numbers of steps: quality against cost
    #[arg(long)]
    pub(crate) sweep: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Bench folder
    pub(crate) dir: PathBuf,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Data {
    /// All data sets
    List,
    /// Download a data set, verified before use
    Fetch {
        /// Data set
        dataset: String,
    },
    /// Check the files of a data set against their manifest
    Verify {
        /// Data set
        dataset: String,
    },
    /// Describe a data set and draw some of its rows
    Show {
        /// Data set, with parameters if wanted
        dataset: String,
        /// Picture of rows
        #[arg(long, short, value_name = "FILE.png")]
        out: Option<PathBuf>,
        /// How many rows the picture shows
        #[arg(short, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        n: u32,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Judge {
    /// Train a judge anew and examine it on the validation split
    Train(JudgeTrain),
    /// How often a judge is right
    Eval(JudgeEval),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  genzoo judge train mnist --data-dir ~/mnist --out mnist.safetensors")]
pub(crate) struct JudgeTrain {
    /// Judge: mnist or glyphs
    pub(crate) judge: String,
    /// Seed of everything random
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Train this many steps instead of the recipe's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) steps: Option<u64>,
    /// Weights to write
    #[arg(long, short, value_name = "FILE.safetensors")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct JudgeEval {
    /// Judge: mnist or glyphs
    pub(crate) judge: String,
    /// Weights that `judge train` wrote; those of the binary if not given
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) weights: Option<PathBuf>,
    /// On the test split, which chose nothing, instead of the validation split
    #[arg(long)]
    pub(crate) test: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Model: realnvp, or flow/realnvp; all if not given
    pub(crate) model: Option<String>,
}
