//! `genzoo logz`: log Z and mean log-likelihood of a Boltzmann machine from any file, or of a trained energy.

mod file;

use genzoo_core::capability::Energy;
use genzoo_core::{Batch, DType, Dataset, Error, Noise, Split, Table, Tensor, config};
use genzoo_ebm::rbm::{Machine, Units, annealing_path};
use genzoo_lab::samples;
use genzoo_numerics::likelihood::ais::{Ais, AisEstimate, Ladder, ThermodynamicEstimate};
use genzoo_numerics::likelihood::importance::{ImportanceSampling, tail_shape};
use genzoo_numerics::special::Moments;
use genzoo_numerics::{Gaussian, rows};
use serde::Serialize;
use toml::toml;

use crate::EVAL_SEED;
use crate::args::Logz;
use crate::output::Output;
use crate::run::{self, Trained};
use crate::zoo::Registry;

/// Test rows of a run's data set that the mean log-likelihood rests on at most.
const ROWS: usize = 10_000;
/// A machine with more couplings is annealed in f32.
const LARGE: usize = 50_000;

/// What is printed.
#[derive(Serialize)]
struct Answer {
    log_z: f64,
    /// One standard error.
    stderr: f64,
    method: String,
    /// Over the rows; `None` without any.
    mean_log_likelihood: Option<f64>,
    rows: usize,
    /// `Σ_i log p(v_i | the others)`: no likelihood.
    mean_log_pseudo_likelihood: Option<f64>,
    /// Why not to trust the numbers.
    warning: Option<String>,
}

pub(crate) fn command(
    args: &Logz,
    registry: Registry,
    out: &Output,
    open: &crate::Opener,
) -> anyhow::Result<i32> {
    let spinner = out.spinner("logz");
    let is_run = args.run.is_dir() || file::is_checkpoint(&args.run);
    let answer = if is_run {
        let trained = run::load(registry, &args.run, args.weights.as_deref(), &open.device)?;
        let data = open.dataset(&trained.record.dataset, EVAL_SEED);
        of_run(args, &trained, data)?
    } else {
        let found = file::read(&args.run)?;
        let v = match (&args.data, found.rows) {
            (Some(path), _) => Some(file::bits(samples::read(path, None)?, &found.machine, path)?),
            (None, Some(v)) => match file::bits(v, &found.machine, &args.run) {
                Ok(v) => Some(v),
                Err(e) => {
                    out.note(&format!("note: the rows v of the file are left out: {e}"));
                    None
                }
            },
            (None, None) => None,
        };
        of_machine(args, &found.machine, v.as_ref())?
    };
    spinner.finish_and_clear();
    if out.json() {
        out.print_json(&answer)?;
    } else {
        out.print(&text(&answer))?;
    }
    Ok(0)
}

fn text(a: &Answer) -> String {
    let mut lines =
        vec![format!("log Z                {:>14.6} ± {:.6} nats, {}", a.log_z, a.stderr, a.method)];
    if let Some(mean) = a.mean_log_likelihood {
        lines.push(format!("mean log-likelihood  {mean:>14.6} nats per row, {} rows", a.rows));
    }
    if let Some(mean) = a.mean_log_pseudo_likelihood {
        lines.push(format!("pseudo-likelihood    {mean:>14.6} nats per row; no likelihood"));
    }
    lines.extend(a.warning.as_ref().map(|w| format!("warning: {w}")));
    lines.join("\n")
}

/// The options of a method, with `--set`.
fn options(mut defaults: Table, sets: &[String]) -> genzoo_core::Result<Table> {
    sets.iter().try_for_each(|set| config::set(&mut defaults, set))?;
    Ok(defaults)
}

const METHODS: [&str; 5] = ["enumeration", "ais", "reverse-ais", "importance", "ti"];

/// A binary machine, whatever it came from; `v` are rows of 0 and 1.
fn of_machine(args: &Logz, machine: &Machine, v: Option<&Tensor>) -> anyhow::Result<Answer> {
    let wide = machine.to_dtype(DType::F64)?;
    let default = if machine.is_enumerable() { "enumeration" } else { "ais" };
    let name = args.method.as_deref().unwrap_or(default);
    let (log_z, stderr, warning) = match name {
        "enumeration" => {
            options(Table::new(), &args.set)?;
            (wide.log_z()?, 0.0, None)
        }
        _ if METHODS.contains(&name) => annealed(args, name, machine, v)?,
        _ => return Err(Error::unknown("method", name, METHODS).into()),
    };
    let (mut mean, mut pseudo) = (None, None);
    if let Some(v) = v {
        let v = v.to_dtype(DType::F64)?;
        let (mut free, mut sites) = (Moments::default(), Moments::default());
        for (start, n) in rows::pieces(v.dim(0)?, 512) {
            let part = v.narrow(0, start, n)?;
            rows::host(&wide.free_energy(&part)?)?.into_iter().for_each(|f| free.push(f));
            // A row costs D evaluations: a few hundred rows tell enough of a large machine.
            if start == 0 || machine.weights().elem_count() < LARGE {
                rows::host(&wide.log_pseudo_likelihood(&part)?)?.into_iter().for_each(|l| sites.push(l));
            }
        }
        mean = Some(-free.mean() - log_z);
        pseudo = Some(sites.mean());
    }
    Ok(Answer {
        log_z,
        stderr,
        method: name.to_string(),
        mean_log_likelihood: mean,
        rows: v.map_or(Ok(0), |v| v.dim(0))?,
        mean_log_pseudo_likelihood: pseudo,
        warning,
    })
}

/// log Z by chains from independent units that have the rates of the rows, or the machine's own biases without rows.
fn annealed(
    args: &Logz,
    name: &str,
    machine: &Machine,
    v: Option<&Tensor>,
) -> anyhow::Result<(f64, f64, Option<String>)> {
    let base = match v {
        Some(v) => rates(v)?,
        None => machine.visible_bias().clone(),
    };
    // Slopes are differences of nearly equal numbers.
    let narrow = machine.weights().elem_count() > LARGE && name != "ti";
    let dtype = if narrow { DType::F32 } else { DType::F64 };
    let machine = machine.clone().with_base(&base)?.to_dtype(dtype)?;
    let mut noise = Noise::new(args.seed).fork("logz");
    if name == "importance" {
        let o = options(toml! { draws = 100_000 }, &args.set)?;
        let chains = config::get(&o, "draws", "--set")?;
        let once = Ais { chains, ladder: Ladder::Given(vec![0.0, 1.0]), pilot_chains: 0, ..Ais::default() };
        let z = once.estimate_bipartite(&machine, &mut noise)?;
        return Ok((z.log_z, z.standard_error, simple_warning(&z)));
    }
    if name == "ti" {
        let o = options(AREA(), &args.set)?;
        let z = area(&o)?.integrate_bipartite(&machine, &mut noise)?;
        return Ok(of_area(&z));
    }
    let o = options(toml! { chains = 200 temperatures = 2000 path = "geometric" burn = 1000 }, &args.set)?;
    let count = |key: &str| config::get::<usize>(&o, key, "--set");
    let ladder = Ladder::Balanced(count("temperatures")?);
    let ais = Ais { chains: count("chains")?, ladder, ..Ais::default() };
    let path: String = config::get(&o, "path", "--set")?;
    let path = annealing_path(&path, &machine, None, ais.chains, &mut noise.fork("path"))?;
    let forward = ais.estimate_bipartite(path.as_ref(), &mut noise)?;
    if name == "ais" {
        return Ok((forward.log_z, forward.standard_error, warning(&forward)));
    }
    let mut x = forward.x;
    for _ in 0..count("burn")? {
        x = machine.sweep(&x, genzoo_ebm::rbm::Beta::TARGET, &mut noise)?;
    }
    let reverse = ais.reverse_bipartite(path.as_ref(), &x, &mut noise)?;
    Ok((reverse.log_z, reverse.standard_error, warning(&reverse)))
}

/// How thermodynamic integration is done.
const AREA: fn() -> Table = || toml! { chains = 100 temperatures = 100 sweeps = 20 };

fn area(o: &Table) -> genzoo_core::Result<Ais> {
    let count = |key: &str| config::get::<usize>(o, key, "--set");
    let ladder = Ladder::Balanced(count("temperatures")?);
    Ok(Ais { chains: count("chains")?, ladder, transitions: count("sweeps")?, ..Ais::default() })
}

fn of_area(z: &ThermodynamicEstimate) -> (f64, f64, Option<String>) {
    let rough = z.discretisation > 2.0 * z.standard_error && z.discretisation > 0.01;
    let text = || {
        format!(
            "the trapezoids may be off by {:.3} nats, beyond the standard error; --set temperatures=…",
            z.discretisation
        )
    };
    (z.log_z, z.standard_error, rough.then(text))
}

/// Log-odds of each unit over the rows, with one more 0 and 1.
fn rates(v: &Tensor) -> genzoo_core::Result<Tensor> {
    let n = v.dim(0)? as f64;
    let ones = rows::host(&v.to_dtype(DType::F64)?.sum(0)?)?;
    rows::tensor(ones.into_iter().map(|k| ((k + 1.0) / (n - k + 1.0)).ln()).collect(), v.device())
}

fn warning(z: &AisEstimate) -> Option<String> {
    z.is_degenerate().then(|| {
        format!(
            "the chains are worth {:.1} independent ones, and 10 are needed; --set temperatures=…",
            z.effective_sample_size
        )
    })
}

/// Simple importance sampling is wrong in silence: the tail of its weights speaks for it.
fn simple_warning(z: &AisEstimate) -> Option<String> {
    let tail = tail_shape(&z.log_weights);
    warning(z)
        .map(|_| format!("the draws are worth {:.1} independent ones; use ais", z.effective_sample_size))
        .or_else(|| {
            (tail > 0.7).then(|| {
                format!("the weights have a heavy tail (k = {tail:.2}, at most 0.7 can be trusted); use ais")
            })
        })
}

/// A run of any model with an energy.
fn of_run(
    args: &Logz,
    trained: &Trained,
    data: genzoo_core::Result<Box<dyn Dataset>>,
) -> anyhow::Result<Answer> {
    let spec = &trained.record.data;
    let x = match (&args.data, &data) {
        (Some(path), _) => {
            let x = samples::read(path, None)?;
            let want = spec.dims();
            let got = x.elem_count() / x.dim(0)?.max(1);
            if got != want {
                return Err(Error::file(path, format!("expected rows of {want} numbers, found {got}")).into());
            }
            Some(x.reshape(spec.batch_shape(x.dim(0)?))?)
        }
        (None, Ok(data)) => {
            let n = data.len(Split::Test).map_or(ROWS, |n| ROWS.min(n as usize));
            Some(data.rows(Split::Test, 0..n as u64)?.x)
        }
        (None, Err(_)) => None,
    };
    if let Some(machine) = machine_of(trained)? {
        let v = x.map(|x| x.flatten_from(1)).transpose()?;
        return of_machine(args, &machine, v.as_ref());
    }
    let capabilities = trained.model.capabilities();
    let Some(energy) = capabilities.energy else {
        let text = format!("{} has no energy, so there is no Z to know", trained.record.model);
        return Err(Error::Unsupported(text).into());
    };
    let Some(x) = x else {
        let data = data.err().map_or_else(String::new, |e| e.to_string());
        let text = format!("rows are needed to place the search for Z: give --data FILE:NAME ({data})");
        return Err(Error::Unsupported(text).into());
    };
    of_energy(args, trained, energy, &x.to_dtype(DType::F32)?)
}

/// The machine of binary units behind a run, if it is one.
fn machine_of(trained: &Trained) -> genzoo_core::Result<Option<Machine>> {
    let all = trained.model.params().snapshot()?;
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    if names != ["main/W", "main/b_h", "main/b_v"] || !trained.record.data.space.is_binary() {
        return Ok(None);
    }
    Machine::new(Units::Binary, &all["main/W"], &all["main/b_v"], &all["main/b_h"]).map(Some)
}

/// By the densities of the model, or by simple importance sampling from a Gaussian fitted to the rows.
fn of_energy(args: &Logz, trained: &Trained, energy: &dyn Energy, x: &Tensor) -> anyhow::Result<Answer> {
    let infos = trained.model.densities();
    let name = args.method.as_deref().or(infos.first().map(|i| i.name)).unwrap_or("importance");
    let mut noise = Noise::new(args.seed).fork("logz");
    let energies = |x: &Tensor| -> genzoo_core::Result<Vec<f64>> {
        let mut all = vec![];
        for (start, n) in rows::pieces(x.dim(0)?, 1000) {
            all.extend(rows::host(&energy.energy(&x.narrow(0, start, n)?)?)?);
        }
        Ok(all)
    };
    let u = Moments::of(&energies(x)?).mean();
    let (log_z, stderr, warning) = if let Some(info) = infos.iter().find(|i| i.name == name) {
        let table = options((info.defaults)(), &args.set)?;
        let density = trained.model.density(name, &table, &mut noise)?;
        // log p = −U − log Z on every row alike, up to the rounding of the network.
        let p = density.log_prob(&Batch::of(x.clone()), &mut noise)?;
        (-u - Moments::of(&rows::host(&p.values)?).mean(), p.shared_error, None)
    } else if name == "importance" {
        let o = options(toml! { draws = 100_000 widen = 1.5 }, &args.set)?;
        let base = Gaussian::fit(x, config::get(&o, "widen", "--set")?)?;
        let sampling = ImportanceSampling::new(config::get(&o, "draws", "--set")?);
        let z = sampling.estimate(energy, &base, &trained.record.data.shape, &mut noise)?;
        (z.log_z, z.standard_error, z.warning())
    } else if name == "ti" {
        let o = options(AREA(), &args.set)?;
        let base = Gaussian::fit(x, 1.0)?;
        of_area(&area(&o)?.integrate(energy, &base, &trained.record.data.shape, &mut noise)?)
    } else {
        let names = infos.iter().map(|i| i.name).chain(["importance", "ti"]);
        return Err(Error::unknown("method", name, names).into());
    };
    Ok(Answer {
        log_z,
        stderr,
        method: name.to_string(),
        mean_log_likelihood: Some(-u - log_z),
        rows: x.dim(0)?,
        mean_log_pseudo_likelihood: None,
        warning,
    })
}
