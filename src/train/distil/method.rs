//! Distillation as a [`Method`]: what labels say, what the teacher says, and how late the student may say it.

use super::config::{DistilConfig, LagMode};
use super::mix::Mixed;
use super::net::{Answers, Pupil};
use super::terms::{self, Lesson, Pairs};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::spec::{CropRule, Head, StudentSpec};
use crate::train::data::augment::Augment;
use crate::train::finetune::Predictor;
use crate::train::full::{Backbone, FullNet};
use crate::train::loss::{Bins, Recipe};
use crate::train::quantize::float::real;
use crate::train::rings::rings;
use crate::train::run::{At, Batch, Loss, Method};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Share of an older step's mismatch that is kept at each new one when the shift is searched.
const MEMORY: f64 = 0.98;

/// Share of the older batches' lateness in its running mean at each new one; each process keeps its own.
const STEADY: f64 = 0.9;

/// Where [`Running`] is kept.
const RUNNING: &str = "running.json";

/// Running means over batches, which go with a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Mismatch of every shift; empty before the first step, and where there is but one shift.
    pub mismatch: Vec<f64>,
    /// Seconds by which arousal and valence are late, where a step has told.
    pub late: [Option<f64>; 2],
}

/// The running mean `kept` after `new`, `memory` the share of the older.
fn blend(kept: f64, new: f64, memory: f64) -> f64 {
    memory * kept + (1.0 - memory) * new
}

/// What a student of `spec` sees of `batch` in training, in real units: `clips * frames x ring x size x size`, or one crop in place of
/// the ring where clips are of one frame, whose rings are of equal crops.
pub(super) fn views(
    batch: &Batch,
    config: &DistilConfig,
    spec: &StudentSpec,
    rng: &mut Rng,
    device: &Device,
) -> Tensor<4> {
    let augment = config.augment.then(Augment::default);
    let ring = if batch.frames == 1 { 1 } else { spec.ring };
    let seen = StudentSpec { ring, ..spec.clone() };
    let bytes = rings(batch, &seen, &CropRule::of_side(spec.size_px), augment, rng);
    let shape = [batch.clips * batch.frames, ring, spec.size_px, spec.size_px];
    Tensor::from_data(TensorData::new(real(&bytes, spec), shape), device)
}

/// Distillation of one teacher into one student.
pub struct Distil {
    pub config: DistilConfig,
    pub recipe: Recipe,
    pub spec: StudentSpec,
    /// In inference mode, without gradients.
    pub teacher: FullNet,
    pub reader: Predictor,
    /// Frames of the longest shift.
    pub most: usize,
    /// Frames a second of the clips.
    pub fps: f64,
    /// With gradients.
    pub device: Device,
    pub running: Running,
}

impl Distil {
    /// Views of `batch` for the student, mixed where that is asked for.
    fn seen(&self, batch: &Batch, rng: &mut Rng) -> Mixed {
        let rings = views(batch, &self.config, &self.spec, rng, &self.device);
        match self.config.mixup {
            0.0 => Mixed::none(rings, batch),
            alpha => Mixed::drawn(rings, batch, alpha, rng),
        }
    }

    /// The teacher's outputs for `batch` as it is: it sees both what comes before a frame and what comes after.
    fn lesson(&self, batch: &Batch) -> Lesson {
        let area = batch.size_px * batch.size_px;
        let (logits, features) = self.reader.clips(&self.teacher, batch);
        let here = |t: Tensor<3>| Tensor::from_data(t.into_data(), &self.device);
        Lesson {
            logits: here(logits),
            features: here(features),
            seen: batch.video.chunks_exact(area).map(|frame| frame.iter().any(|v| *v > 0)).collect(),
        }
    }

    /// The square of the lateness, weighed by dimension, mean of those that tell it, by its running mean `m`: `m (2 late - m)`, whose gradient is that
    /// of the square where lateness is its mean. A batch has few clips; the square of its own lateness is mostly chance, which it
    /// would be cheapest to lower by answers that move less.
    pub(super) fn lateness(&mut self, answers: &Answers, labels: &[[f32; 2]]) -> Option<Tensor<1>> {
        let mut squares = Vec::new();
        let weights = self.config.terms.lateness_of;
        for ((head, kept), weight) in Head::ALL.into_iter().zip(&mut self.running.late).zip(weights) {
            let Some(late) = terms::lateness(answers, labels, self.fps, head) else { continue };
            let now = f64::from(late.clone().into_scalar::<f32>());
            let mean = kept.map_or(now, |m| blend(m, now, STEADY));
            *kept = Some(mean);
            squares.push((late * 2.0 - mean) * mean * weight);
        }
        let n = squares.len() as f64;
        squares.into_iter().reduce(|a, b| a + b).map(|sum| sum / n)
    }

    /// The weighted loss against labels and how late the answers follow them, if there are any.
    fn labels(&mut self, answers: &Answers, labels: &[[f32; 2]], loss: &mut Sum) -> Result<()> {
        let (weight, lateness) = (self.config.terms.labels, self.config.terms.lateness);
        if lateness > 0.0
            && let Some(term) = self.lateness(answers, labels)
        {
            loss.add("lateness", lateness, term);
        }
        if weight == 0.0 || labels.iter().flatten().all(|v| v.is_nan()) {
            return Ok(());
        }
        let bins = [Bins::Equal, Bins::Equal];
        let losses = self.recipe.loss_of_clips(answers.logits.clone(), labels, &bins)?;
        loss.add("labels", weight, losses.total);
        Ok(())
    }

    /// The terms of values and bins at a shift.
    fn told(&self, answers: &Answers, lesson: &Lesson, pairs: &Pairs) -> Sum {
        let t = self.config.terms;
        let mut sum = Sum::default();
        if t.values > 0.0 {
            sum.add("teacher_values", t.values, terms::values(answers, lesson, pairs));
        }
        if t.bins > 0.0 {
            sum.add("teacher_bins", t.bins, terms::bins(answers, lesson, pairs, t.temperature));
        }
        sum
    }

    /// The teacher's terms alone.
    ///
    /// # Errors
    /// If no frame shows a face.
    #[cfg(test)]
    pub(super) fn teach(&mut self, net: &Pupil, answers: &Answers, lesson: &Lesson) -> Result<Loss> {
        let mut sum = Sum::default();
        self.taught(net, answers, lesson, &mut sum)?;
        sum.done()
    }

    /// Adds the teacher's terms: over the mixture of all shifts, or at the one that has matched best so far.
    fn taught(&mut self, net: &Pupil, answers: &Answers, lesson: &Lesson, loss: &mut Sum) -> Result<()> {
        let pairs = |shift| Pairs::new(lesson, shift, self.most);
        let Some(all) = (0..=self.most).map(pairs).collect::<Option<Vec<Pairs>>>() else { return Ok(()) };
        let told: Vec<Sum> = all.iter().map(|pairs| self.told(answers, lesson, pairs)).collect();
        if self.config.terms.features > 0.0 {
            // Features are of the frame that is seen, not of the answer.
            let term = terms::features(answers, lesson, &all[0], net.projection.val());
            loss.add("teacher_features", self.config.terms.features, term);
        }
        if told[0].total.is_none() {
            return Ok(());
        }
        if self.config.lag.mode == LagMode::Learned {
            let shares = net.shares();
            for (k, sum) in told.into_iter().enumerate() {
                loss.merge(sum, Some(shares.clone().narrow(0, k, 1)));
            }
            loss.figures.push(("lag_frames", expected(&shares)?));
            return Ok(());
        }
        if self.most > 0 {
            let now: Vec<f64> = told.iter().map(Sum::value).collect();
            if self.running.mismatch.is_empty() {
                self.running.mismatch.clone_from(&now);
            }
            self.running.mismatch.iter_mut().zip(now).for_each(|(kept, new)| *kept = blend(*kept, new, MEMORY));
        }
        let best = self.shift();
        loss.figures.push(("lag_frames", best as f64));
        if let Some(sum) = told.into_iter().nth(best) {
            loss.merge(sum, None);
        }
        Ok(())
    }

    /// The shift that has matched best so far; of equals the shortest.
    pub fn shift(&self) -> usize {
        let least =
            |best: usize, k: usize| if self.running.mismatch[k] < self.running.mismatch[best] { k } else { best };
        (1..self.running.mismatch.len()).fold(0, least)
    }
}

/// Mean shift in frames by its shares.
fn expected(shares: &Tensor<1>) -> Result<f64> {
    let shares: Vec<f32> = shares
        .clone()
        .into_data()
        .try_to_vec()
        .map_err(|e| Error::device(format!("the shifts cannot be read: {e:?}")))?;
    Ok(shares.iter().enumerate().map(|(k, s)| k as f64 * f64::from(*s)).sum())
}

/// A weighted sum of terms and what they are.
#[derive(Default)]
struct Sum {
    total: Option<Tensor<1>>,
    terms: Vec<(&'static str, Tensor<1>)>,
    figures: Vec<(&'static str, f64)>,
}

impl Sum {
    fn add(&mut self, name: &'static str, weight: f64, term: Tensor<1>) {
        let weighted = term.clone() * weight;
        self.total = Some(match self.total.take() {
            Some(total) => total + weighted,
            None => weighted,
        });
        self.terms.push((name, term));
    }

    /// Adds `other`, of which `share` counts.
    fn merge(&mut self, other: Self, share: Option<Tensor<1>>) {
        let scaled = |t: Tensor<1>| match &share {
            Some(share) => t * share.clone(),
            None => t,
        };
        let more = other.total.map(scaled);
        self.total = match (self.total.take(), more) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        for (name, term) in other.terms {
            let term = scaled(term);
            match self.terms.iter_mut().find(|(n, _)| *n == name) {
                Some((_, known)) => *known = known.clone() + term,
                None => self.terms.push((name, term)),
            }
        }
    }

    fn value(&self) -> f64 {
        self.total.as_ref().map_or(0.0, |t| f64::from(t.clone().into_scalar::<f32>()))
    }

    fn done(self) -> Result<Loss> {
        let total = self.total.ok_or_else(|| {
            Error::input("no frame of the batch teaches anything")
                .remedy("leave out recordings without faces, or weigh terms.values or terms.bins above 0")
        })?;
        let mut figures = self.figures;
        for (name, term) in self.terms {
            figures.push((name, f64::from(term.into_scalar::<f32>())));
        }
        Ok(Loss { total, terms: figures })
    }
}

impl Method for Distil {
    type Net = Pupil;

    fn loss(&mut self, net: &Pupil, batch: &Batch, _at: At, rng: &mut Rng) -> Result<Loss> {
        let Mixed { rings, labels, votes } = self.seen(batch, rng);
        let answers = net.student.answers(rings, batch.clips, self.config.frozen_trunk);
        let mut sum = Sum::default();
        self.labels(&answers, &labels, &mut sum)?;
        let t = self.config.terms;
        if t.votes > 0.0
            && let Some(term) = terms::votes(&answers, &votes, net.emotions.val())
        {
            sum.add("votes", t.votes, term);
        }
        if t.settling > 0.0 {
            sum.add("settling", t.settling, terms::settling(net.student.update_logits(&answers), self.fps));
        }
        if t.values + t.bins + t.features > 0.0 {
            let lesson = self.lesson(batch);
            self.taught(net, &answers, &lesson, &mut sum)?;
        }
        sum.done()
    }

    fn after_step(&mut self, _net: &Pupil, _at: At) {}

    fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec(&self.running).map_err(|e| Error::io("cannot be kept").caused_by(e))?;
        Ok(std::fs::write(folder.join(RUNNING), text)?)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(RUNNING);
        let text = std::fs::read(&path).map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e))?;
        let kept: Running =
            serde_json::from_slice(&text).map_err(|e| Error::input("is malformed").at(path.display()).caused_by(e))?;
        let shifts = kept.mismatch.len();
        if !(shifts == 0 || shifts == self.most + 1) {
            return Err(Error::input(format!("holds {shifts} shifts, expected {}", self.most + 1)).at(path.display()));
        }
        self.running = kept;
        Ok(())
    }

    fn backbone<'a>(&self, _net: &'a Pupil) -> Option<&'a Backbone> {
        None
    }
}
