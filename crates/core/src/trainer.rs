//! One short loop for every model: turns, optimisers, averages, position.
//!
//! A step is a function of (recipe, seed, data, step): batches are addressed by row, noise by step and turn,
//! so a run that stops at any step and resumes from its checkpoint gives the same bits as one that did not.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use toml::{Table, Value};

use crate::checkpoint::{Checkpoint, Position};
use crate::data::RowStream;
use crate::ema::Ema;
use crate::optim::{OptimConfig, Optimizer};
use crate::{Batch, Dataset, Error, Model, Need, Noise, Result, Scalars, Split, Stream, Update, config};

/// The trainer's settings, checked.
#[derive(Clone, Debug)]
pub struct TrainConfig {
    /// Steps to train; used when `seconds` is 0.
    pub steps: u64,
    /// Budget of pure training time, turned into steps once by timing; 0 to use `steps`.
    pub seconds: f64,
    /// Rows per mini-batch.
    pub batch: usize,
    /// Decay of the weight average; 0 keeps none.
    pub ema: f64,
    /// Steps between checkpoints; 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// Steps between lines of the log.
    pub log_every: u64,
    /// Optimiser of groups without a table of their own.
    pub optim: OptimConfig,
    groups: BTreeMap<String, OptimConfig>,
}

/// Every key of `[train]` with its default.
pub fn train_defaults() -> Table {
    toml::toml! {
        steps = 1000
        seconds = 0.0
        batch = 256
        ema = 0.0
        checkpoint_every = 500
        log_every = 10
        lr = 1e-3
        optimizer = "adam"
        beta1 = 0.9
        beta2 = 0.999
        eps = 1e-8
        weight_decay = 0.0
        clip = 0.0
        schedule = "constant"
        warmup = 0
    }
}

impl TrainConfig {
    /// Reads and checks a complete table `[train]`.
    ///
    /// # Errors
    /// Names the offending key, what was expected and what came.
    pub fn read(table: &Table) -> Result<Self> {
        #[derive(Deserialize)]
        struct Plain {
            steps: u64,
            seconds: f64,
            batch: usize,
            ema: f64,
            checkpoint_every: u64,
            log_every: u64,
            #[serde(flatten)]
            optim: OptimConfig,
        }
        for (key, value) in table {
            if let Value::Integer(i) = value
                && *i < 0
            {
                return Err(Error::config(format!("train.{key}"), "an integer ≥ 0", i));
            }
        }
        let (tables, plain): (Vec<_>, Vec<_>) = table.iter().partition(|(_, v)| v.is_table());
        let plain: Table = plain.into_iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let p: Plain = config::read(&plain, "train")?;
        p.optim.check("train")?;
        let mut groups = BTreeMap::new();
        for (group, over) in tables {
            let mut own = plain.clone();
            if let Value::Table(t) = over {
                own.extend(t.clone());
            }
            let optim: OptimConfig = config::read(&own, &format!("train.{group}"))?;
            optim.check(&format!("train.{group}"))?;
            groups.insert(group.clone(), optim);
        }
        let rule = |ok: bool, key: &str, want: &str, got: String| {
            if ok { Ok(()) } else { Err(Error::config(format!("train.{key}"), want, got)) }
        };
        rule((1..=1 << 20).contains(&p.batch), "batch", "an integer from 1 to 1048576", p.batch.to_string())?;
        rule((0.0..1.0).contains(&p.ema), "ema", "a number in [0, 1)", p.ema.to_string())?;
        rule(p.seconds >= 0.0 && p.seconds.is_finite(), "seconds", "a number ≥ 0", p.seconds.to_string())?;
        rule(p.log_every > 0, "log_every", "an integer ≥ 1", p.log_every.to_string())?;
        Ok(Self {
            steps: p.steps,
            seconds: p.seconds,
            batch: p.batch,
            ema: p.ema,
            checkpoint_every: p.checkpoint_every,
            log_every: p.log_every,
            optim: p.optim,
            groups,
        })
    }

    /// The optimiser settings of a group.
    pub fn group(&self, name: &str) -> &OptimConfig {
        self.groups.get(name).unwrap_or(&self.optim)
    }
}

/// What a step did.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps done, counting this one.
    pub step: u64,
    /// Loss of the last turn that had one.
    pub loss: Option<f64>,
    /// Global gradient norm of that turn, before clipping.
    pub grad_norm: Option<f64>,
    /// Learning rate of that turn.
    pub lr: f64,
    /// Parts worth logging.
    pub log: Scalars,
    /// Seconds of this step.
    pub seconds: f64,
}

/// Whether to go on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop here, cleanly.
    Stop,
}

/// A model in training.
pub struct Trainer<'a> {
    model: Box<dyn Model>,
    stream: RowStream<'a>,
    config: TrainConfig,
    optimizers: Vec<(String, Optimizer)>,
    ema: Option<Ema>,
    position: Position,
    noise: Noise,
}

impl<'a> Trainer<'a> {
    /// Prepares a fresh model to train on `data` from its first row.
    ///
    /// # Errors
    /// If the data cannot be read or the model cannot be prepared.
    pub fn new(
        mut model: Box<dyn Model>,
        data: &'a dyn Dataset,
        config: TrainConfig,
        noise: &Noise,
    ) -> Result<Self> {
        let mut look = RowStream::new(data, Split::Train, 0);
        model.prepare(&mut look, &mut noise.fork("prepare"))?;
        let params = model.params();
        let groups = params.groups();
        if let Some(stranger) = config.groups.keys().find(|g| !groups.contains(g)) {
            return Err(Error::unknown("parameter group", stranger, groups.iter().map(String::as_str)));
        }
        let optimizers = groups
            .into_iter()
            .map(|g| Ok((g.clone(), Optimizer::new(config.group(&g).clone(), params.of_group(&g))?)))
            .collect::<Result<_>>()?;
        let ema = if config.ema > 0.0 { Some(Ema::new(params, config.ema)?) } else { None };
        let stream = RowStream::new(data, Split::Train, 0);
        let noise = noise.fork("train");
        Ok(Self { model, stream, config, optimizers, ema, position: Position::default(), noise })
    }

    /// The model as it stands.
    pub fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    /// The averaged weights, if any are kept.
    pub fn ema(&self) -> Option<&Ema> {
        self.ema.as_ref()
    }

    /// Where training stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Changes the length of the run (the schedules follow).
    pub fn set_steps(&mut self, steps: u64) {
        self.config.steps = steps;
    }

    /// Gives the trained model back.
    pub fn into_model(self) -> Box<dyn Model> {
        self.model
    }

    /// One step: all turns, then the averages.
    ///
    /// # Errors
    /// [`Error::Diverged`] as soon as a loss or gradient is not finite, when the weights are those of the step before,
    /// or the model says that it is unstable.
    pub fn step(&mut self) -> Result<StepReport> {
        let start = Instant::now();
        let k = self.position.step;
        let noise = self.noise.at(k);
        let mut report = StepReport {
            step: k + 1,
            loss: None,
            grad_norm: None,
            lr: 0.0,
            log: Scalars::new(),
            seconds: 0.0,
        };
        for (i, turn) in self.model.turns(k).iter().enumerate() {
            let batch = self.batch(turn.need)?;
            let mut noise = noise.at(i as u64).fork(turn.group);
            let update = self.model.update(turn, &batch, &mut noise);
            match update.map_err(|e| self.explained(e))? {
                Update::Minimise { loss, log } => {
                    let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                    report.log.extend(log);
                    report.loss = Some(value);
                    if !value.is_finite() {
                        return Err(self.diverged("the loss", turn.group, value, f64::NAN));
                    }
                    let grads = genzoo_kernels::gradients(&loss, self.optimizer(turn.group)?.vars())?;
                    self.apply(turn.group, &grads, value, &mut report)?;
                }
                Update::Gradients { grads, log } => {
                    report.log.extend(log);
                    self.apply(turn.group, &grads, f64::NAN, &mut report)?;
                }
                Update::Done { log } => report.log.extend(log),
            }
            let after = self.model.after(turn, &mut noise.fork("after"));
            report.log.extend(after.map_err(|e| self.explained(e))?);
        }
        if let Some((name, value)) = report.log.iter().find(|(_, v)| !v.is_finite()) {
            let (name, value) = (*name, *value);
            return Err(self.diverged(name, "all", value, f64::NAN));
        }
        if let Some(ema) = &mut self.ema {
            ema.update(self.model.params())?;
        }
        self.position.step += 1;
        self.position.row = self.stream.position();
        report.seconds = start.elapsed().as_secs_f64();
        self.position.seconds += report.seconds;
        Ok(report)
    }

    /// Steps until the configured number is reached or `observe` says stop.
    ///
    /// # Errors
    /// Those of [`Trainer::step`] and of the observer.
    pub fn run(&mut self, mut observe: impl FnMut(&Self, &StepReport) -> Result<Control>) -> Result<Control> {
        while self.position.step < self.config.steps {
            let report = self.step()?;
            if observe(self, &report)? == Control::Stop {
                return Ok(Control::Stop);
            }
        }
        Ok(Control::Continue)
    }

    /// How many steps fit into `seconds`, by timing some. Spends this trainer: use one made for the purpose.
    ///
    /// # Errors
    /// Those of [`Trainer::step`].
    pub fn steps_in(mut self, seconds: f64) -> Result<u64> {
        let budget = (0.08 * seconds).clamp(0.05, 3.0);
        let start = Instant::now();
        let mut times = Vec::new();
        // The first steps warm caches and allocators; they are run and not counted.
        while times.len() < 5 || start.elapsed().as_secs_f64() < budget {
            times.push(self.step()?.seconds);
            if times.len() >= 5 && start.elapsed().as_secs_f64() > 2.0 * budget {
                break;
            }
        }
        let warm = &times[2..];
        let mean = warm.iter().sum::<f64>() / warm.len() as f64;
        Ok(((seconds / mean).floor() as u64).max(1))
    }

    /// Everything needed to go on from here.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn checkpoint(&self, identity: &str) -> Result<Checkpoint> {
        let mut position = self.position.clone();
        let mut c = Checkpoint {
            position: Position::default(),
            identity: identity.to_string(),
            tensors: BTreeMap::new(),
        };
        c.add_section("param", self.model.params().snapshot()?);
        c.add_section("state", self.model.state()?);
        for (group, opt) in &self.optimizers {
            c.add_section(&format!("optim/{group}"), opt.state()?);
            position.moves.insert(group.clone(), opt.moves());
        }
        if let Some(ema) = &self.ema {
            c.add_section("ema", ema.snapshot()?);
            position.ema_updates = ema.updates();
        }
        c.position = position;
        Ok(c)
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// If it belongs to another run or lacks something.
    pub fn restore(&mut self, c: &Checkpoint) -> Result<()> {
        self.model.params().load(&c.section("param"))?;
        self.model.set_state(c.section("state"))?;
        for (group, opt) in &mut self.optimizers {
            let moves = c.position.moves.get(group).copied().unwrap_or(0);
            opt.restore(&c.section(&format!("optim/{group}")), moves)?;
        }
        if let Some(ema) = &mut self.ema {
            ema.restore(&c.section("ema"), c.position.ema_updates)?;
        }
        self.stream.seek(c.position.row);
        self.position = c.position.clone();
        Ok(())
    }

    fn batch(&mut self, need: Need) -> Result<Batch> {
        match need {
            Need::Mini => self.stream.next(self.config.batch),
            Need::Full => match self.stream.epoch() {
                Some(n) => self.stream.next(n as usize),
                None => Err(Error::Unsupported(
                    "this model needs a whole epoch, but these data never repeat".into(),
                )),
            },
            Need::Nothing => {
                let shape = self.stream.spec().batch_shape(0);
                let mut batch = Batch::of(Tensor::zeros(shape, DType::F32, &Device::Cpu)?);
                batch.rows = self.stream.position()..self.stream.position();
                Ok(batch)
            }
        }
    }

    fn optimizer(&self, group: &str) -> Result<&Optimizer> {
        self.optimizers.iter().find(|(g, _)| g == group).map(|(_, o)| o).ok_or_else(|| {
            Error::unknown("parameter group", group, self.optimizers.iter().map(|(g, _)| g.as_str()))
        })
    }

    fn apply(&mut self, group: &str, grads: &[Tensor], loss: f64, report: &mut StepReport) -> Result<()> {
        let lr = self.optimizer(group)?.config().rate(self.position.step, self.config.steps);
        let norm = match self.optimizers.iter_mut().find(|(g, _)| g == group) {
            Some((_, opt)) => opt.step(grads, lr)?,
            None => return Ok(()),
        };
        report.lr = lr;
        report.grad_norm = Some(norm);
        if norm.is_finite() { Ok(()) } else { Err(self.diverged("the gradient", group, loss, norm)) }
    }

    fn diverged(&self, what: &str, group: &str, loss: f64, grad_norm: f64) -> Error {
        self.explained(Error::Unstable(format!(
            "{what} of group '{group}' is not finite; loss {loss}, gradient norm {grad_norm}"
        )))
    }

    /// An error with the name and the step of a training that cannot go on.
    fn explained(&self, e: Error) -> Error {
        match e {
            Error::Unstable(problem) => Error::Diverged {
                model: self.model.info().name.to_string(),
                step: self.position.step,
                problem,
            },
            e => e,
        }
    }
}
