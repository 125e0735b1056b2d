//! Supervised training of the student from scratch: FER+ stills and rendered clips, loss 6.

use super::data::augment::Augment;
use super::data::ferplus::{self, Still};
use super::data::rendered::{self, Clip};
use super::loss::{Bins, Recipe, Targets};
use super::net::StudentNet;
use super::run::checkpoint::{self, replace_file};
use super::run::pace;
use crate::error::{Error, Result};
use crate::face::{CropRuleFit, crop_rule_from};
use crate::metrics::Agreement;
use crate::preprocess::Cropper;
use crate::render::Rng;
use crate::session::Finder;
use crate::spec::{CropRule, Head, Range, StudentSpec};
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Everything that decides the outcome of a run, besides the pictures themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// pico, nano or small.
    pub size: String,
    pub seed: u64,
    pub epochs: usize,
    /// Stills a step.
    pub batch: usize,
    /// Rendered clips a step.
    pub clips: usize,
    /// Frames of a clip.
    pub clip_frames: usize,
    /// Rendered clips in all.
    pub clip_pool: usize,
    /// Steps that the GRU sees a still for; the loss counts each.
    pub still_steps: usize,
    /// Peak learning rate, reached after `warmup` of the run and lowered to a thousandth by half a cosine.
    pub learning_rate: f64,
    pub warmup: f64,
    pub weight_decay: f32,
    /// Share of the training pictures held out to choose the epoch and the temperatures.
    pub held_out: f64,
    /// At most this many training pictures, 0 for all (for tests).
    pub limit: usize,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            size: "nano".into(),
            seed: 1,
            epochs: 16,
            batch: 64,
            clips: 2,
            clip_frames: 8,
            clip_pool: 400,
            still_steps: 3,
            learning_rate: 2e-3,
            warmup: 0.05,
            weight_decay: 2e-2,
            held_out: 0.05,
            limit: 0,
        }
    }
}

impl FitConfig {
    /// The student's shape.
    ///
    /// # Errors
    /// If there is no such size.
    pub fn spec(&self) -> Result<StudentSpec> {
        StudentSpec::named(&self.size)
    }
}

/// What is kept between epochs; beside it lie `last.bpk`, `best.bpk` and `optimizer.bpk`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub config: FitConfig,
    /// Epochs done.
    pub epochs: usize,
    pub best_epoch: usize,
    /// Mean of the two CCC on the held-out pictures at the best epoch.
    pub best_ccc: f64,
    /// Epochs that the network had been trained for when this run took it over; 0 from scratch.
    #[serde(default)]
    pub epochs_before: usize,
}

/// Where a run reads and writes.
pub struct FitPaths {
    /// FER+ training split, folder or zip.
    pub train: PathBuf,
    /// Folder of checkpoints and `metrics.jsonl`.
    pub run: PathBuf,
    /// A finished run whose best network to start from, instead of from scratch: a warm restart (Loshchilov and Hutter
    /// 2017, arXiv 1608.03983). Its size must be this run's, and its seed and share held out, or pictures held out would
    /// leak in.
    pub start_from: Option<PathBuf>,
}

/// Splits off the pictures held out from training: a fixed share, chosen by seed.
pub fn hold_out(stills: Vec<Still>, config: &FitConfig) -> (Vec<Still>, Vec<Still>) {
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for (i, still) in stills.into_iter().enumerate() {
        let out = f64::from(Rng::new(config.seed ^ 0x51, i as u64).unit()) < config.held_out;
        if out { held.push(still) } else { train.push(still) }
    }
    if config.limit > 0 {
        train.truncate(config.limit);
        held.truncate(config.limit.div_ceil(4));
    }
    (train, held)
}

/// The whole picture as FER+ gives it: its box is the crop.
pub fn whole(still: &Still) -> [f32; 3] {
    [0.0, 0.0, still.image.width as f32]
}

/// Measures the crop rule on `pictures` of a split, drawn at random by `seed`.
///
/// # Errors
/// A split that cannot be read, or too few faces found in it.
pub fn crop_rule(train: &Path, pictures: usize, seed: u64) -> Result<CropRuleFit> {
    let stills = ferplus::load(train)?.stills;
    let drawn = shuffled(stills.len(), seed, 0).into_iter().take(pictures).map(|i| stills[i].image.clone());
    crop_rule_from(&mut Finder::shipped(Range::default())?, drawn, CropRule::FERPLUS)
}

struct Fitter<'a> {
    config: &'a FitConfig,
    spec: StudentSpec,
    rule: CropRule,
    augment: Augment,
    device: Device,
    clips: Vec<Clip>,
}

impl Fitter<'_> {
    /// `n` rows of `channels` crops each, in real units.
    fn crops(&self, bytes: &[u8], n: usize, channels: usize, device: &Device) -> Tensor<4> {
        let s = &self.spec;
        let zero = f32::from(s.input_zero_point);
        let real: Vec<f32> = bytes.iter().map(|&b| (f32::from(b) - zero) * s.input_scale).collect();
        Tensor::from_data(TensorData::new(real, [n, channels, s.size_px, s.size_px]), device)
    }

    /// Loss of one step; everything random comes from `rng`.
    fn loss(&self, net: &StudentNet, stills: &[&Still], rng: &mut Rng) -> Result<Tensor<1>> {
        let (config, spec) = (self.config, &self.spec);
        let area = spec.size_px * spec.size_px;
        let (n, frames) = (stills.len(), config.clip_frames);
        let mut crops = vec![0; n * area];
        for (still, crop) in stills.iter().zip(crops.chunks_exact_mut(area)) {
            let view = self.augment.draw(spec.size_px, rng);
            view.apply(&still.image, whole(still), spec.size_px, rng, crop);
        }
        let labels: Vec<[f32; 2]> = stills.iter().map(|s| [s.arousal, s.valence]).collect();
        let chosen: Vec<&Clip> = (0..config.clips).map(|_| &self.clips[rng.below(self.clips.len())]).collect();
        let mut bytes = Vec::new();
        let mut clip_labels: Vec<Vec<[f32; 2]>> = Vec::new();
        for clip in &chosen {
            let rings = clip.rings(&self.augment, &self.rule, spec.ring, rng);
            bytes.extend_from_slice(&rings.bytes);
            clip_labels.push(rings.labels);
        }
        let rings = (!chosen.is_empty()).then(|| self.crops(&bytes, chosen.len() * frames, spec.ring, &self.device));
        let features = net.features_of_stills(self.crops(&crops, n, 1, &self.device), rings);
        let projected = net.gru.project(features);
        let mut logits = Vec::new();
        let mut targets = Vec::new();
        let still = projected.clone().narrow(0, 0, n);
        let mut h = Tensor::zeros([n, spec.hidden], &self.device);
        for _ in 0..config.still_steps {
            h = net.gru.step(still.clone(), h);
            logits.push(net.logits(h.clone()));
            targets.extend_from_slice(&labels);
        }
        if !chosen.is_empty() {
            let clips = projected.narrow(0, n, chosen.len() * frames).reshape([chosen.len(), frames, 3 * spec.hidden]);
            let mut h = Tensor::zeros([chosen.len(), spec.hidden], &self.device);
            for t in 0..frames {
                h = net.gru.step(clips.clone().narrow(1, t, 1).squeeze_dim(1), h);
                logits.push(net.logits(h.clone()));
                targets.extend(clip_labels.iter().map(|l| l[t]));
            }
        }
        let targets = Targets::new(&targets, &[Bins::Equal, Bins::Equal], &self.device)?;
        Ok(Recipe::numbered(6)?.loss(&Tensor::cat(logits, 0), &targets)?.total)
    }

    /// CCC of (arousal, valence) on stills seen for six steps, with the runtime's own crop.
    fn evaluate(&self, net: &StudentNet, stills: &[Still]) -> [Agreement; 2] {
        let net = net.valid();
        let device = Device::flex();
        let spec = &self.spec;
        let area = spec.size_px * spec.size_px;
        let mut cropper = Cropper::for_rule(&self.rule);
        let mut predicted = [Vec::new(), Vec::new()];
        for batch in stills.chunks(128) {
            let mut crops = vec![0; batch.len() * area];
            for (still, crop) in batch.iter().zip(crops.chunks_exact_mut(area)) {
                cropper.crop_into(&still.image, whole(still), crop);
            }
            let crops = self.crops(&crops, batch.len(), 1, &device);
            let projected = net.gru.project(net.features_of_stills(crops, None));
            let mut h = Tensor::zeros([batch.len(), spec.hidden], &device);
            for _ in 0..6 {
                h = net.gru.step(projected.clone(), h);
            }
            let logits = net.logits(h);
            for (head, out) in Head::ALL.iter().zip(&mut predicted) {
                let raw = logits.clone().narrow(1, head.value(), 1).into_data();
                out.extend(raw.iter::<f64>().map(|v| (v / 2.0).tanh()));
            }
        }
        let label = |d: usize| -> Vec<f64> {
            stills.iter().map(|s| f64::from(if d == 0 { s.arousal } else { s.valence })).collect()
        };
        [0, 1].map(|d| Agreement::of(&predicted[d], &label(d)))
    }
}

/// Learning rate at `step` of `steps`: linear warm-up, then half a cosine down to a thousandth of the peak.
pub fn learning_rate(config: &FitConfig, step: usize, steps: usize) -> f64 {
    let at = (step as f64 + 0.5) / steps as f64;
    if at < config.warmup {
        return config.learning_rate * at / config.warmup;
    }
    let rest = (at - config.warmup) / (1.0 - config.warmup);
    let floor = 1e-3;
    config.learning_rate * (floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * rest).cos()))
}

/// The order of training pictures in `epoch`; depends on nothing else, so that a resumed run repeats it.
pub(super) fn shuffled(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut rng = Rng::new(seed, 1 << 32 | epoch as u64);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, rng.below(i + 1));
    }
    order
}

fn optimizer(config: &FitConfig) -> ModuleOptimizer {
    AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(config.weight_decay).init()
}

/// Writes a file beside `path` and puts it in its place, so that `path` is never half written.
fn save_net(net: &StudentNet, path: &Path) -> Result<()> {
    replace_file(path, |p| checkpoint::save_net(net, p))
}

/// Reads a network from `last.bpk` or `best.bpk` of a run.
///
/// # Errors
/// If the file is missing, damaged, or of another shape.
pub fn load_net(path: &Path, spec: &StudentSpec, device: &Device) -> Result<StudentNet> {
    checkpoint::load_net(StudentNet::new(spec, 0, device), path)
}

/// What a run keeps between epochs.
///
/// # Errors
/// If no epoch was finished in the folder, or its record is damaged.
pub fn read_progress(run: &Path) -> Result<Progress> {
    let path = run.join("progress.json");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Error::input("holds no run with a finished epoch")
            .at(path.display())
            .remedy("make one with `vaerr-train fit`, without --resume")
            .caused_by(e)
    })?;
    serde_json::from_str(&text).map_err(|e| Error::input("is not a run's progress").at(path.display()).caused_by(e))
}

/// Trains or resumes; a run stopped at any moment resumes from its last whole epoch and ends bit for bit as one never
/// stopped (tested on the CPU).
///
/// # Errors
/// Bad data, a full disk, a loss that is not finite, or `stop` (then [`crate::ErrorKind::Interrupted`]).
pub fn fit(config: &FitConfig, paths: &FitPaths, resume: bool, stop: &AtomicBool) -> Result<Progress> {
    let spec = config.spec()?;
    std::fs::create_dir_all(&paths.run)
        .map_err(|e| Error::io("cannot make the run's folder").at(paths.run.display()).caused_by(e))?;
    let split = ferplus::load(&paths.train)?;
    log::info!("{}: {} pictures, {} undecided left out", paths.train.display(), split.stills.len(), split.undecided);
    let (train, held) = hold_out(split.stills, config);
    if train.len() < config.batch {
        return Err(Error::input(format!(
            "{} training pictures, expected at least a batch of {}",
            train.len(),
            config.batch
        )));
    }
    let device = Device::flex().autodiff();
    let rule = CropRule::of_side(spec.size_px);
    let clips = if config.clips == 0 {
        Vec::new()
    } else {
        rendered::render_clips(config.seed, config.clip_pool, config.clip_frames, &rule)
    };
    let fitter = Fitter { config, spec, rule, augment: Augment::default(), device: device.clone(), clips };
    let mut net = StudentNet::new(&fitter.spec, config.seed, &device);
    let mut optimizer = optimizer(config);
    let mut progress =
        Progress { config: config.clone(), epochs: 0, best_epoch: 0, best_ccc: f64::NEG_INFINITY, epochs_before: 0 };
    if let Some(earlier) = paths.start_from.as_ref().filter(|_| !resume) {
        let before = read_progress(earlier)?;
        if (before.config.seed, before.config.held_out) != (config.seed, config.held_out) {
            return Err(Error::usage("the earlier run held out other pictures")
                .at(earlier.display())
                .remedy(format!("give --seed {}", before.config.seed)));
        }
        if before.config.size != config.size {
            return Err(Error::usage(format!("the earlier run trained {}, not {}", before.config.size, config.size))
                .at(earlier.display())
                .remedy(format!("give --size {}", before.config.size)));
        }
        net = load_net(&earlier.join("best.bpk"), &fitter.spec, &device)?;
        progress.epochs_before = before.epochs_before + before.best_epoch;
    }
    if resume {
        progress = read_progress(&paths.run)?;
        if progress.config != *config {
            return Err(Error::usage("the run was started with other settings")
                .remedy("give the same settings, or another --run"));
        }
        net = load_net(&paths.run.join("last.bpk"), &fitter.spec, &device)?;
        let path = paths.run.join("optimizer.bpk");
        optimizer = checkpoint::load_optimizer(optimizer, &path)?;
    }
    let steps_per_epoch = train.len() / config.batch;
    let millions = net.num_params() as f64 / 1e6;
    log::info!("{millions:.2} M parameters, {} epochs of {steps_per_epoch} steps; timing the first", config.epochs);
    let mut begun = Some(Instant::now());
    let bar = ProgressBar::new((config.epochs * steps_per_epoch) as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {per_sec}, {eta} left, {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position((progress.epochs * steps_per_epoch) as u64);
    for epoch in progress.epochs..config.epochs {
        let order = shuffled(train.len(), config.seed, epoch);
        let mut sum = 0.0;
        for (i, batch) in order.chunks_exact(config.batch).enumerate() {
            if stop.load(Ordering::Relaxed) {
                let place = format!("stopped in epoch {}", epoch + 1);
                return Err(Error::interrupted(place).remedy("continue with --resume, from the last whole epoch"));
            }
            let step = epoch * steps_per_epoch + i;
            let stills: Vec<&Still> = batch.iter().map(|&k| &train[k]).collect();
            let loss = fitter.loss(&net, &stills, &mut Rng::new(config.seed, 1 << 40 | step as u64))?;
            let value = f64::from(loss.clone().into_scalar::<f32>());
            if !value.is_finite() {
                return Err(Error::input(format!("the loss is {value} at step {step}")).remedy("lower --learning-rate"));
            }
            let grads = GradientsParams::from_grads(loss.backward(), &net);
            net = optimizer.step(learning_rate(config, step, config.epochs * steps_per_epoch), net, grads);
            sum += value;
            if let Some(begun) = begun.take() {
                let left = config.epochs * steps_per_epoch - step - 1;
                let told = pace::forecast(begun.elapsed(), steps_per_epoch, left);
                bar.suspend(|| log::info!("{told}; Ctrl-C stops, --resume goes on from the last whole epoch"));
            }
            bar.inc(1);
            bar.set_message(format!("epoch {}, loss {:.4}", epoch + 1, sum / (i + 1) as f64));
        }
        let [arousal, valence] = fitter.evaluate(&net, &held);
        let ccc = 0.5 * (arousal.ccc + valence.ccc);
        let line = serde_json::json!({
            "epoch": epoch + 1, "loss": sum / steps_per_epoch as f64, "held_out": held.len(),
            "ccc_arousal": arousal.ccc, "ccc_valence": valence.ccc,
            "bias_arousal": arousal.bias, "bias_valence": valence.bias, "gain_arousal": arousal.gain, "gain_valence": valence.gain,
        });
        log::info!(
            "epoch {}: loss {:.4}, held-out CCC arousal {:.4}, valence {:.4}",
            epoch + 1,
            sum / steps_per_epoch as f64,
            arousal.ccc,
            valence.ccc
        );
        append_line(&paths.run.join("metrics.jsonl"), &line.to_string())?;
        progress.epochs = epoch + 1;
        if ccc > progress.best_ccc {
            (progress.best_ccc, progress.best_epoch) = (ccc, epoch + 1);
            save_net(&net, &paths.run.join("best.bpk"))?;
        }
        save_net(&net, &paths.run.join("last.bpk"))?;
        replace_file(&paths.run.join("optimizer.bpk"), |p| checkpoint::save_optimizer(&optimizer, p))?;
        let text =
            serde_json::to_string_pretty(&progress).map_err(|e| Error::io("cannot write progress").caused_by(e))?;
        replace_file(&paths.run.join("progress.json"), |p| Ok(std::fs::write(p, text)?))?;
    }
    bar.finish();
    Ok(progress)
}

fn append_line(path: &Path, line: &str) -> Result<()> {
    let fail = |e: std::io::Error| Error::io("cannot be written").at(path.display()).caused_by(e);
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    writeln!(file, "{line}").map_err(fail)
}

#[cfg(test)]
mod tests;
