//! The loop: batches to losses to gradients to weights, with everything that makes a long run safe.

use super::checkpoint::{self, Progress};
use super::config::LoopConfig;
use super::gradients::{self, Average};
use super::journal::{Figures, Journal};
use super::method::{At, Batch, Method};
use super::pace::{self, Pace, Watch};
use super::ranks::Ranks;
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::pretext::ema::Ema;
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Batches of one epoch.
pub type Batches = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// Where batches come from.
pub trait Feed {
    /// Micro-batches of every epoch.
    fn batches(&self) -> usize;

    /// Those of `epoch`; they depend on the feed's seed and the epoch alone.
    ///
    /// # Errors
    /// If the data cannot be read.
    fn epoch(&self, epoch: usize) -> Result<Batches>;
}

/// What an epoch came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Higher is better; without one the last epoch is the best.
    pub score: Option<f64>,
    pub figures: Figures,
}

/// Looks at the network after every epoch.
pub trait Judge<M: Method> {
    /// `net` is in inference mode.
    ///
    /// # Errors
    /// If the data cannot be read.
    fn judge(&mut self, method: &M, net: &M::Net) -> Result<Verdict>;
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    pub epochs: usize,
    pub best_epoch: usize,
    pub best_score: Option<f64>,
}

/// All that a run needs beside its network.
pub struct Training<'a, M: Method> {
    pub config: &'a LoopConfig,
    /// Every setting of the run, as it is kept beside the checkpoint.
    pub settings: serde_json::Value,
    /// Folder of the run: `checkpoint/`, `best.bpk`, `metrics.jsonl`, event files.
    pub folder: &'a Path,
    pub method: M,
    pub feed: &'a dyn Feed,
    pub judge: &'a mut dyn Judge<M>,
    pub ranks: &'a dyn Ranks,
    pub stop: &'a AtomicBool,
    /// Whether a person watches: progress is drawn, and `stop` in a step of many seconds ends the process.
    pub show: bool,
}

struct State<M: Method> {
    net: M::Net,
    optimizer: ModuleOptimizer,
    average: Option<Ema<M::Net>>,
    progress: Progress,
}

/// What times the loop.
struct Clock<'w> {
    watch: &'w Watch<'w>,
    pace: Pace,
    /// Whether the time that all will take has been told, or nobody asks.
    told: bool,
}

/// What a step came to, over all processes.
struct Step {
    loss: f64,
    norm: f64,
    terms: Figures,
    stop: bool,
}

impl<M: Method> Training<'_, M> {
    /// Trains `net`, or with `resume` goes on from the run's checkpoint. Stopped at any moment, it resumes to end bit for
    /// bit as a run never stopped (on the CPU, with as many processes). A step of many seconds is not waited for where a person
    /// watches and there is one process, but a checkpoint is written after every one, or as often as disks spare the time.
    ///
    /// # Errors
    /// Bad data, a full disk, a loss that is not finite (the batch is kept), or `stop`, with
    /// [`crate::ErrorKind::Interrupted`] after a checkpoint.
    pub fn train(mut self, net: M::Net, resume: bool) -> Result<Done> {
        self.config.validate()?;
        std::fs::create_dir_all(self.folder)
            .map_err(|e| Error::io("cannot make the run's folder").at(self.folder.display()).caused_by(e))?;
        let mut state = self.start(net, resume)?;
        let first = self.ranks.rank() == 0;
        let mut journal =
            if first { Some(Journal::open(self.folder, state.progress.step, state.progress.epoch)?) } else { None };
        let bar = self.bar(first, &state.progress);
        let told = !(first && self.show);
        if !told {
            let (millions, steps) = (state.net.num_params() as f64 / 1e6, self.steps_per_epoch());
            log::info!("{millions:.2} M parameters, {} epochs of {steps} steps; timing the first", self.config.epochs);
        }
        let (watch, attended) = (Watch::new(self.stop, state.progress.step), self.show && self.ranks.size() == 1);
        let mut work = || -> Result<()> {
            let mut clock = Clock { watch: &watch, pace: Pace::start(), told };
            while state.progress.epoch < self.config.epochs && !self.out_of_patience(&state.progress) {
                self.epoch(&mut state, journal.as_mut(), &bar, &mut clock)?;
                self.close_epoch(&mut state, journal.as_mut(), &mut clock)?;
            }
            Ok(())
        };
        if attended { watch.over(work) } else { work() }?;
        bar.finish();
        let p = state.progress;
        Ok(Done { epochs: p.epoch, best_epoch: p.best_epoch, best_score: p.best_score })
    }

    fn steps_per_epoch(&self) -> usize {
        self.feed.batches() / self.micro_batches()
    }

    /// Micro-batches of a step, over all processes. They are dealt out in turn, so that several processes see what one
    /// with as many more micro-batches sees.
    fn micro_batches(&self) -> usize {
        self.config.accumulate * self.ranks.size()
    }

    fn at(&self, progress: &Progress) -> At {
        At { epoch: progress.epoch, step: progress.step, steps: self.steps_per_epoch() * self.config.epochs }
    }

    fn out_of_patience(&self, p: &Progress) -> bool {
        self.config.patience > 0 && p.best_epoch > 0 && p.epoch - p.best_epoch >= self.config.patience
    }

    fn start(&mut self, net: M::Net, resume: bool) -> Result<State<M>> {
        if self.steps_per_epoch() == 0 {
            let (have, want) = (self.feed.batches(), self.micro_batches());
            return Err(Error::input(format!("{have} batches an epoch, fewer than the {want} of one step"))
                .remedy("give more data, or lower run.batch or run.accumulate"));
        }
        let mut state = State {
            average: (self.config.average_decay > 0.0).then(|| Ema::of(&net)),
            net,
            optimizer: AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(self.config.weight_decay).init(),
            progress: Progress::new(self.settings.clone()),
        };
        let found = checkpoint::find(self.folder);
        match (resume, found) {
            (false, Some(_)) => Err(Error::usage("holds a run already")
                .at(self.folder.display())
                .remedy("continue it with --resume, or choose another folder")),
            (false, None) => Ok(state),
            (true, None) => {
                log::info!("{}: no checkpoint yet, the run begins", self.folder.display());
                Ok(state)
            }
            (true, Some(checkpoint)) => {
                self.load(&mut state, &checkpoint)?;
                Ok(state)
            }
        }
    }

    fn load(&mut self, state: &mut State<M>, checkpoint: &Path) -> Result<()> {
        let progress = checkpoint::read_progress(checkpoint)?;
        if progress.settings != self.settings {
            let changed = differing(&progress.settings, &self.settings);
            return Err(Error::usage(format!("the run was started with other settings: {changed}"))
                .at(self.folder.display())
                .remedy("give the same, or choose another folder"));
        }
        state.progress = progress;
        state.net = checkpoint::load_net(state.net.clone(), &checkpoint.join("net.bpk"))?;
        if state.progress.step > 0 {
            let fresh = std::mem::replace(&mut state.optimizer, AdamWConfig::new().init());
            state.optimizer = checkpoint::load_optimizer(fresh, &checkpoint.join("optimizer.bpk"))?;
        }
        if let Some(average) = &mut state.average {
            average.load(&checkpoint.join("average.bpk"))?;
        }
        self.method.load(checkpoint)
    }

    fn save(&self, state: &State<M>, clock: &mut Clock) -> Result<()> {
        if self.ranks.rank() != 0 {
            return Ok(());
        }
        let write = |folder: &Path| {
            checkpoint::save_net(&state.net, &folder.join("net.bpk"))?;
            checkpoint::save_optimizer(&state.optimizer, &folder.join("optimizer.bpk"))?;
            if let Some(average) = &state.average {
                average.save(&folder.join("average.bpk"))?;
            }
            self.method.save(folder)?;
            checkpoint::write_progress(folder, &state.progress)
        };
        let replace = || checkpoint::replace(self.folder, write);
        clock.pace.wrote(|| clock.watch.writing(state.progress.step, replace))
    }

    fn bar(&self, first: bool, progress: &Progress) -> ProgressBar {
        if !(first && self.show) {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new((self.steps_per_epoch() * self.config.epochs) as u64);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {per_sec}, {eta} left, {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(progress.step as u64);
        bar.reset_eta();
        bar
    }

    fn epoch(
        &mut self,
        state: &mut State<M>,
        mut journal: Option<&mut Journal>,
        bar: &ProgressBar,
        clock: &mut Clock,
    ) -> Result<()> {
        let (whole, own) = (self.micro_batches(), self.ranks.rank());
        let done = state.progress.steps_in_epoch;
        let mut batches = self.feed.epoch(state.progress.epoch)?.skip(done * whole);
        for _ in done..self.steps_per_epoch() {
            clock.pace.begins();
            let micro = batches.by_ref().take(whole).skip(own).step_by(self.ranks.size());
            let micro: Vec<Batch> = micro.collect::<Result<_>>()?;
            if micro.len() < self.config.accumulate {
                return Err(Error::input(format!("the epoch ended after {} steps", state.progress.steps_in_epoch)));
            }
            let step = self.step(state, &micro)?;
            self.tell(clock, &state.progress, bar);
            state.progress.loss_sum += step.loss;
            bar.inc(1);
            let mean = state.progress.loss_sum / state.progress.steps_in_epoch as f64;
            bar.set_message(format!("epoch {}, loss {mean:.4}", state.progress.epoch + 1));
            if let Some(journal) = journal.as_deref_mut() {
                let rate = self.config.rate(state.progress.step - 1, self.at(&state.progress).steps);
                let mut figures = vec![("train/loss".into(), step.loss), ("train/gradient_norm".into(), step.norm)];
                figures.push(("train/learning_rate".into(), rate));
                figures.extend(step.terms);
                journal.write(state.progress.step, state.progress.epoch, &figures)?;
            }
            let every = self.config.checkpoint_steps;
            if step.stop || (every > 0 && state.progress.step.is_multiple_of(every)) || (self.show && clock.pace.due())
            {
                self.save(state, clock)?;
            }
            if step.stop {
                let place = format!("stopped after step {} in epoch {}", state.progress.step, state.progress.epoch + 1);
                return Err(Error::interrupted(place).remedy("continue with --resume"));
            }
        }
        Ok(())
    }

    /// After the first step of this process: how long all will take.
    fn tell(&self, clock: &mut Clock, progress: &Progress, bar: &ProgressBar) {
        let step = clock.pace.ends();
        if std::mem::replace(&mut clock.told, true) {
            return;
        }
        let of_epoch = self.steps_per_epoch();
        let left = (of_epoch * self.config.epochs).saturating_sub(progress.step);
        bar.suspend(|| log::info!("{}; Ctrl-C stops, --resume goes on", pace::forecast(step, of_epoch, left)));
    }

    fn step(&mut self, state: &mut State<M>, micro: &[Batch]) -> Result<Step> {
        let at = self.at(&state.progress);
        let mut average = Average::default();
        let (mut loss_sum, mut terms) = (0.0, Figures::new());
        for (i, batch) in micro.iter().enumerate() {
            let number = at.step * self.micro_batches() + i * self.ranks.size() + self.ranks.rank();
            let mut rng = Rng::new(self.config.seed, 1 << 44 | number as u64);
            let loss = self.method.loss(&state.net, batch, at, &mut rng)?;
            let value = f64::from(loss.total.clone().into_scalar::<f32>());
            if !value.is_finite() {
                self.keep_evidence(state, micro)?;
                return Err(self.not_finite(&format!("the loss is {value}"), at));
            }
            loss_sum += value;
            average.add(&state.net, GradientsParams::from_grads(loss.total.backward(), &state.net));
            add_terms(&mut terms, &loss.terms, micro.len());
        }
        let mut gradients = average.take(&state.net);
        let (loss, stop) = self.share(state, &mut gradients, loss_sum / micro.len() as f64)?;
        let norm = gradients::limit(&state.net, &mut gradients, self.config.clip_norm);
        if !norm.is_finite() {
            self.keep_evidence(state, micro)?;
            return Err(self.not_finite(&format!("the gradient's norm is {norm}"), at));
        }
        let rate = self.config.rate(at.step, at.steps);
        state.net = state.optimizer.step(rate, state.net.clone(), gradients);
        state.progress.step += 1;
        state.progress.steps_in_epoch += 1;
        self.method.after_step(&state.net, at);
        if let Some(average) = &mut state.average {
            average.update(&state.net, self.config.average_decay);
        }
        Ok(Step { loss, norm, terms, stop })
    }

    /// Averages gradients and loss over all processes; says whether any of them was asked to stop.
    fn share(&self, state: &State<M>, gradients: &mut GradientsParams, loss: f64) -> Result<(f64, bool)> {
        let stop = self.stop.load(Ordering::Relaxed);
        if self.ranks.size() == 1 {
            return Ok((loss, stop));
        }
        let mut flat = gradients::flatten(&state.net, gradients);
        flat.extend([loss as f32, f32::from(u8::from(stop))]);
        self.ranks.mean(&mut flat)?;
        let (values, rest) = flat.split_at(flat.len() - 2);
        gradients::restore(&state.net, gradients, values);
        Ok((f64::from(rest[0]), rest[1] > 0.0))
    }

    fn not_finite(&self, what: &str, at: At) -> Error {
        Error::input(format!("{what} at step {}", at.step + 1)).at(self.folder.join(EVIDENCE).display()).remedy(
            "its batch and network are kept there; lower run.learning_rate or run.clip_norm, or look at the batch",
        )
    }

    /// Keeps what led to a loss that is not finite.
    fn keep_evidence(&self, state: &State<M>, micro: &[Batch]) -> Result<()> {
        let folder = self.folder.join(EVIDENCE);
        std::fs::create_dir_all(&folder)?;
        let rank = self.ranks.rank();
        for (i, batch) in micro.iter().enumerate() {
            batch.write(&folder.join(format!("batch-{rank}-{i}.npz")))?;
        }
        checkpoint::save_net(&state.net, &folder.join(format!("net-{rank}.bpk")))
    }

    /// Ends the epoch: judges it if its turn has come, and writes the checkpoint.
    fn close_epoch(&mut self, state: &mut State<M>, journal: Option<&mut Journal>, clock: &mut Clock) -> Result<()> {
        if self.ranks.size() > 1 {
            state.net = super::statistics::mean(state.net.clone(), self.ranks)?;
        }
        // To judge takes long; a run that ends in it judges again.
        if self.show && clock.pace.spares() {
            self.save(state, clock)?;
        }
        let p = &mut state.progress;
        let mean = p.loss_sum / p.steps_in_epoch.max(1) as f64;
        (p.epoch, p.steps_in_epoch, p.loss_sum) = (p.epoch + 1, 0, 0.0);
        let (epoch, step) = (p.epoch, p.step);
        let due = epoch.is_multiple_of(self.config.judge_every) || epoch == self.config.epochs;
        let found = if due { self.judge(state)? } else { Figures::new() };
        let told: String = found.iter().map(|(k, v)| format!(", {k} {v:.4}")).collect();
        log::info!("epoch {epoch}: loss {mean:.4}{told}");
        if let Some(journal) = journal {
            let mut figures = vec![("epoch/loss".to_owned(), mean)];
            figures.extend(found.into_iter().map(|(k, v)| (format!("epoch/{k}"), v)));
            journal.write(step, epoch, &figures)?;
        }
        self.save(state, clock)
    }

    /// Judges the network of the epoch just done and keeps it if it is the best.
    fn judge(&mut self, state: &mut State<M>) -> Result<Figures> {
        let judged = match &state.average {
            Some(average) => average.module().valid(),
            None => state.net.valid(),
        };
        let first = self.ranks.rank() == 0;
        let verdict = if first { self.judge.judge(&self.method, &judged)? } else { Verdict::default() };
        let score = self.ranks.of_first(verdict.score.unwrap_or(f64::NAN))?;
        let p = &mut state.progress;
        if score.is_nan() || p.best_score.is_none_or(|best| score > best) {
            p.best_epoch = p.epoch;
            p.best_score = (!score.is_nan()).then_some(score);
            if first {
                checkpoint::replace_file(&self.folder.join(BEST), |path| checkpoint::save_net(&judged, path))?;
                if let Some(backbone) = self.method.backbone(&judged) {
                    checkpoint::replace_file(&self.folder.join(BACKBONE), |path| checkpoint::save_net(backbone, path))?;
                }
            }
        }
        Ok(verdict.figures)
    }
}

/// File of the best network, in the run's folder.
pub const BEST: &str = "best.bpk";

/// File of its backbone, which other trainings start from.
pub const BACKBONE: &str = "backbone.bpk";

/// Folder of what led to a loss that is not finite.
const EVIDENCE: &str = "not-finite";

fn add_terms(sum: &mut Figures, terms: &[(&'static str, f64)], count: usize) {
    for (name, value) in terms {
        let name = format!("train/{name}");
        let share = value / count as f64;
        match sum.iter_mut().find(|(n, _)| *n == name) {
            Some((_, v)) => *v += share,
            None => sum.push((name, share)),
        }
    }
}

/// The settings in which two runs differ, as `a.b: 1 -> 2`.
fn differing(old: &serde_json::Value, new: &serde_json::Value) -> String {
    fn walk(path: &str, a: &serde_json::Value, b: &serde_json::Value, out: &mut Vec<String>) {
        match (a.as_object(), b.as_object()) {
            (Some(x), Some(y)) => {
                let keys: std::collections::BTreeSet<_> = x.keys().chain(y.keys()).collect();
                for key in keys {
                    let [a, b] = [x, y].map(|o| o.get(key).unwrap_or(&serde_json::Value::Null));
                    walk(&format!("{path}.{key}"), a, b, out);
                }
            }
            _ if a != b => out.push(format!("{}: {a} -> {b}", path.trim_start_matches('.'))),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk("", old, new, &mut out);
    out.join(", ")
}
