//! The contract, as laws every model must keep, in its `tiny` configuration.
//!
//! Nothing here calls a helper of what it judges: the quadrature below is a plain sum over a grid, gradients
//! and bits are compared directly.

mod rays;

use std::collections::BTreeMap;

use genzoo_core::capability::Energy;
use genzoo_core::data::RowStream;
use genzoo_core::recipe::sampler_choice;
use genzoo_core::{
    Batch, Build, Dataset, Device, Draw, Entry, Error, Kind, Model, Need, NoZoo, Noise, Recipe, Result,
    Space, Split, Stream, Tensor, TrainConfig, Trainer, Update,
};

use crate::data::{OpenOptions, open};
use crate::likelihood::Choice;

/// The outcome of one law on one kind of data.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The data the model was tried on.
    pub data: String,
    /// The law, as a sentence.
    pub law: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// What was measured.
    pub detail: String,
}

const STEPS: u64 = 20;

/// Tries every law that applies to `entry` on the smallest data of each space it can learn.
pub fn run(entry: &Entry, progress: &mut dyn FnMut(&str)) -> Vec<Verdict> {
    let mut out = Vec::new();
    for &space in entry.spaces {
        let name = match space {
            Space::Continuous => "moons",
            Space::U8 => "glyphs{size=14}",
            Space::BinaryStatic => "glyphs{size=14,space=binary_static}",
            Space::BinaryDynamic => "glyphs{size=14,space=binary_dynamic}",
        };
        progress(name);
        let mut bench = Bench { name, out: &mut out };
        match Subject::new(entry, name) {
            Ok(subject) => bench.all(&subject),
            Err(e) => bench.say("it can be built in its tiny configuration", Err(e)),
        }
    }
    out
}

/// A model kind together with its data and tiny recipe.
struct Subject<'a> {
    entry: &'a Entry,
    data: Box<dyn Dataset>,
    recipe: Recipe,
}

impl<'a> Subject<'a> {
    fn new(entry: &'a Entry, name: &str) -> Result<Self> {
        let data = open(name, &OpenOptions { data_dir: None, seed: 0 })?;
        let mut recipe = Recipe::defaults(entry, data.spec())?;
        recipe.overlay(&(entry.tiny)(data.spec()))?;
        recipe.set(&format!("train.steps={STEPS}"))?;
        recipe.set("train.seconds=0")?;
        // A warm-up longer than the run would leave the weights where they started.
        recipe.set("train.warmup=0")?;
        Ok(Self { entry, data, recipe })
    }

    fn fresh(&self) -> Result<Box<dyn Model>> {
        let noise = Noise::new(0).fork("init");
        let build = Build { spec: self.data.spec(), device: &Device::Cpu, zoo: &NoZoo, noise };
        (self.entry.build)(&self.recipe.model, build)
    }

    fn trainer(&self) -> Result<Trainer<'_>> {
        Trainer::new(
            self.fresh()?,
            self.data.as_ref(),
            TrainConfig::read(&self.recipe.train)?,
            &Noise::new(0),
        )
    }

    fn trained(&self, steps: u64) -> Result<Trainer<'_>> {
        let mut t = self.trainer()?;
        for _ in 0..steps {
            t.step()?;
        }
        Ok(t)
    }

    fn samples(&self, model: &dyn Model, n: usize) -> Result<(Tensor, u64)> {
        let (name, options) = sampler_choice(&self.recipe.sample, model.samplers())?;
        let s = model.sampler(name, &options)?.sample(&Draw::n(n), &mut Noise::new(1))?;
        Ok((s.x, s.evaluations))
    }
}

struct Bench<'a> {
    name: &'static str,
    out: &'a mut Vec<Verdict>,
}

impl Bench<'_> {
    fn say(&mut self, law: &'static str, outcome: Result<(bool, String)>) {
        let (passed, detail) = outcome.unwrap_or_else(|e| (false, e.to_string()));
        self.out.push(Verdict { data: self.name.to_string(), law, passed, detail });
    }

    fn all(&mut self, s: &Subject<'_>) {
        let trained = match s.trained(STEPS) {
            Ok(t) => t,
            Err(e) => return self.say("it trains twenty steps", Err(e)),
        };
        self.say(
            "it trains twenty steps",
            Ok((true, format!("{} parameters", trained.model().params().count()))),
        );
        self.say("the gradient of every group reaches every parameter", gradients_reach(s));
        self.say("one seed gives the same bits on one and on two threads", same_bits(s));
        self.say("saved and loaded, it draws the same samples", save_load(s, &trained));
        self.say(
            "samples have the shape and range of the data, from every sampler",
            shapes(s, trained.model()),
        );
        self.say(
            "log-probabilities are finite, one per row, from every density",
            densities(s, trained.model()),
        );
        if let Some(energy) = trained.model().capabilities().energy
            && !s.data.spec().space.is_binary()
        {
            self.say("its energy grows along every ray, fast enough for a finite Z", grows(s, energy));
        }
        if s.data.spec().shape == [2] && !trained.model().densities().is_empty() {
            self.say("its density integrates to one", normalised(s, trained.model()));
        }
    }
}

fn gradients_reach(s: &Subject<'_>) -> Result<(bool, String)> {
    // A few steps first: layers that start at zero let nothing through at step 0.
    let trainer = s.trained(STEPS)?;
    let mut model = trainer.into_model();
    let mut stream = RowStream::new(s.data.as_ref(), Split::Train, 0);
    let batch_size = TrainConfig::read(&s.recipe.train)?.batch;
    let (mut worst, mut seen) = ((f64::INFINITY, String::new()), 0);
    for turn in model.turns(STEPS) {
        let batch = match turn.need {
            Need::Nothing => {
                Batch::of(Tensor::zeros(s.data.spec().batch_shape(0), genzoo_core::DType::F32, &Device::Cpu)?)
            }
            _ => stream.next(batch_size)?,
        };
        let vars = model.params().of_group(turn.group);
        let grads: Vec<(String, Option<Tensor>)> = match model.update(&turn, &batch, &mut Noise::new(2))? {
            Update::Minimise { loss, .. } => {
                let g = loss.backward()?;
                vars.iter().map(|(n, v)| (n.clone(), g.get(v.as_tensor()).cloned())).collect()
            }
            Update::Gradients { grads, .. } => {
                vars.iter().map(|(n, _)| n.clone()).zip(grads.into_iter().map(Some)).collect()
            }
            Update::Done { .. } => continue,
        };
        let mut norms = Vec::new();
        for (name, g) in grads {
            let norm = match g {
                Some(g) => g.to_dtype(genzoo_core::DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt(),
                None => 0.0,
            };
            norms.push((norm, name));
        }
        let largest = norms.iter().map(|(n, _)| *n).fold(0.0, f64::max);
        for (norm, name) in norms {
            seen += 1;
            let relative = if largest > 0.0 { norm / largest } else { 0.0 };
            if relative < worst.0 {
                worst = (relative, name);
            }
        }
    }
    if seen == 0 {
        return Ok((true, "no gradient is used".into()));
    }
    Ok((worst.0 > 1e-6, format!("smallest relative norm {:.1e} at {}", worst.0, worst.1)))
}

fn bits(t: &Tensor) -> Result<Vec<u32>> {
    let v = t.to_dtype(genzoo_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(v.into_iter().map(f32::to_bits).collect())
}

fn same_bits(s: &Subject<'_>) -> Result<(bool, String)> {
    let on = |threads: usize| -> Result<BTreeMap<String, Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(64 << 20).build();
        let pool = pool.map_err(|e| Error::Unsupported(format!("{threads} threads: {e}")))?;
        pool.install(|| {
            let trainer = s.trained(STEPS)?;
            let all = trainer.checkpoint("check")?.tensors;
            all.iter().map(|(n, t)| Ok((n.clone(), bits(t)?))).collect()
        })
    };
    let (one, two) = (on(1)?, on(2)?);
    let differs = one.iter().find(|(n, b)| two.get(*n) != Some(b));
    Ok(match differs {
        Some((n, _)) => (false, format!("{n} differs")),
        None => (one.len() == two.len(), format!("{} tensors after {STEPS} steps", one.len())),
    })
}

fn save_load(s: &Subject<'_>, trained: &Trainer<'_>) -> Result<(bool, String)> {
    let checkpoint = trained.checkpoint("check")?;
    let mut again = s.trainer()?;
    again.restore(&checkpoint)?;
    let (a, _) = s.samples(trained.model(), 16)?;
    let (b, _) = s.samples(again.model(), 16)?;
    let same = bits(&a)? == bits(&b)?;
    // And it goes on as if nothing had happened.
    let (x, y) = (s.trained(STEPS)?, again);
    let (mut x, mut y) = (x, y);
    x.step()?;
    y.step()?;
    let (p, q) = (x.checkpoint("check")?.tensors, y.checkpoint("check")?.tensors);
    for (name, t) in &p {
        if q.get(name).map(bits).transpose()? != Some(bits(t)?) {
            return Ok((false, format!("{name} differs one step later")));
        }
    }
    Ok((same, format!("16 samples, {} tensors one step later", p.len())))
}

fn shapes(s: &Subject<'_>, model: &dyn Model) -> Result<(bool, String)> {
    let mut detail = Vec::new();
    let spec = s.data.spec();
    for info in model.samplers() {
        let sampler = model.sampler(info.name, &(info.defaults)())?;
        let n = 6;
        let drawn = sampler.sample(&Draw::n(n), &mut Noise::new(3))?;
        if drawn.x.dims() != spec.batch_shape(n) {
            return Ok((
                false,
                format!("{}: {:?} instead of {:?}", info.name, drawn.x.dims(), spec.batch_shape(n)),
            ));
        }
        let v = drawn.x.to_dtype(genzoo_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        if v.iter().any(|x| !x.is_finite()) {
            return Ok((false, format!("{}: values that are not finite", info.name)));
        }
        if let Some((lo, hi)) = spec.range
            && let Some(x) = v.iter().find(|x| **x < lo || **x > hi)
        {
            return Ok((false, format!("{}: {x} lies outside [{lo}, {hi}]", info.name)));
        }
        if spec.space.is_binary() && v.iter().any(|x| *x != 0.0 && *x != 1.0) {
            return Ok((false, format!("{}: values other than 0 and 1", info.name)));
        }
        detail.push(format!("{} with {} evaluations", info.name, drawn.evaluations));
    }
    Ok((!detail.is_empty(), detail.join(", ")))
}

fn densities(s: &Subject<'_>, model: &dyn Model) -> Result<(bool, String)> {
    let batch = s.data.rows(Split::Test, 0..4)?;
    let mut detail = Vec::new();
    for info in model.densities() {
        let density = match model.density(info.name, &(info.defaults)(), &mut Noise::new(4)) {
            Ok(d) => d,
            Err(e) if e.to_string().contains("ais_degenerate") => {
                detail.push(format!("{} says it is degenerate", info.name));
                continue;
            }
            Err(e) => return Err(e),
        };
        let lp = density.log_prob(&batch, &mut Noise::new(5))?;
        let v = lp.values.to_dtype(genzoo_core::DType::F64)?.to_vec1::<f64>()?;
        if v.len() != 4 || v.iter().any(|x| !x.is_finite()) || !lp.shared_error.is_finite() {
            return Ok((false, format!("{}: {v:?}", info.name)));
        }
        if density.evidence().space != s.data.spec().space {
            return Ok((false, format!("{}: speaks of another space", info.name)));
        }
        detail.push(info.name.to_string());
    }
    Ok((true, if detail.is_empty() { "none is an answer".into() } else { detail.join(", ") }))
}

fn grows(s: &Subject<'_>, energy: &dyn Energy) -> Result<(bool, String)> {
    let x = s.data.rows(Split::Test, 0..256)?.x;
    let mean = x.mean_keepdim(0)?;
    let spread = x.broadcast_sub(&mean)?.sqr()?.flatten_from(1)?.sum(1)?.mean_all()?;
    let spread = f64::from(spread.to_scalar::<f32>()?).sqrt();
    let rise = rays::least_rise(energy, &mean, spread, &mut Noise::new(8))?;
    // Where e^{−U} falls as r^{−D} or slower, its integral over r^{D−1} dr is infinite.
    let needed = s.data.spec().dims() as f64 * 2f64.ln();
    Ok((rise > needed, format!("a doubled distance adds {rise:.3e} nats at least, {needed:.1} are needed")))
}

/// Sums the density over a grid that is wide enough, and the entropy with it.
fn normalised(s: &Subject<'_>, model: &dyn Model) -> Result<(bool, String)> {
    let choice = Choice::of(&s.recipe.eval, model.densities())?;
    let (name, density) = (&choice.name, choice.open(model, s.data.as_ref(), &mut Noise::new(6))?);
    let tolerance = match density.evidence().kind {
        Kind::Exact => 1e-3,
        Kind::Estimate => 1e-2,
        Kind::LowerBound => 0.0,
        Kind::UpperBound => return Ok((true, "an upper bound need not".into())),
    };
    let (half, n) = (12.0f64, 241usize);
    let h = 2.0 * half / (n - 1) as f64;
    let at = |i: usize| -half + i as f64 * h;
    let (mut mass, mut entropy) = (0.0, 0.0);
    let mut noise = Noise::new(7);
    for i in 0..n {
        let row: Vec<f32> = (0..n).flat_map(|j| [at(i) as f32, at(j) as f32]).collect();
        let x = Tensor::from_vec(row, (n, 2), &Device::Cpu)?;
        let lp = density.log_prob(&Batch::of(x), &mut noise)?.values.to_vec1::<f64>()?;
        for l in lp {
            mass += l.exp() * h * h;
            entropy -= if l > -700.0 { l.exp() * l * h * h } else { 0.0 };
        }
    }
    if tolerance == 0.0 {
        // A lower bound of log p has at most mass one (up to the noise of its own draws).
        return Ok((mass < 1.02 && mass > 0.0, format!("a lower bound has mass {mass:.4}")));
    }
    if (mass - 1.0).abs() > tolerance {
        return Ok((false, format!("{name} has mass {mass:.5}, allowed error {tolerance}")));
    }
    let (x, _) = s.samples(model, 1000)?;
    let lp = density.log_prob(&Batch::of(x), &mut noise)?.values.to_vec1::<f64>()?;
    let mean = lp.iter().sum::<f64>() / lp.len() as f64;
    let var = lp.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (lp.len() - 1) as f64;
    let error = 4.0 * (var / lp.len() as f64).sqrt() + 3.0 * tolerance;
    let agrees = (mean + entropy).abs() < error;
    Ok((
        agrees,
        format!(
            "{name} has mass {mass:.5}; own samples score {:.3} against entropy {entropy:.3} ± {error:.3}",
            -mean
        ),
    ))
}
