//! Self-distillation with no labels (Caron et al. 2021, arXiv 2104.14294).
//!
//! Two large crops and several small ones of a clip; from any crop the student predicts the distribution that the
//! teacher gives to a large one. The teacher is an exponential moving average of the student; its outputs are centred
//! and sharpened, which keeps it from collapsing either way.

mod head;

pub use head::DinoHead;

use super::ema::{Ema, Momentum, fresh};
use super::heads::{Pool, constant, values};
use super::views::{Input, ViewConfig, spans, views};
use super::{About, Encoder, Pretext, Setup, collapse};
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::full::Backbone;
use crate::train::run::checkpoint::{load_net, save_net};
use crate::train::run::{At, Batch, Loss, Method};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Large crops of a clip; the teacher sees these alone.
const GLOBAL: usize = 2;

/// Settings of DINO. The default is the paper's, with fewer prototypes, for sets of clips are smaller than ImageNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinoConfig {
    /// Units of the head's two inner layers.
    pub hidden: usize,
    /// Dimensions of the unit vectors that meet the prototypes.
    pub bottleneck: usize,
    /// Whether the head's two inner layers normalise by the batch. The paper's do not; small batches of clips, whose
    /// features start out nearly alike, need it to tell clips apart.
    pub batch_norm: bool,
    /// Classes of the distributions.
    pub prototypes: usize,
    /// Small crops of a clip.
    pub local_crops: usize,
    pub student_temperature: f64,
    /// The teacher's temperature at the first step and after `warmup`.
    pub teacher_temperature: [f64; 2],
    /// Share of the run over which that temperature rises, linearly.
    pub warmup: f64,
    /// Momentum of the centre.
    pub centre_momentum: f64,
    /// The teacher's momentum at the first step.
    pub momentum: Momentum,
    /// Epochs in which the prototypes keep their first values.
    pub frozen_epochs: usize,
    pub global: ViewConfig,
    pub local: ViewConfig,
}

impl Default for DinoConfig {
    fn default() -> Self {
        Self {
            hidden: 2048,
            bottleneck: 256,
            batch_norm: false,
            prototypes: 4096,
            local_crops: 6,
            student_temperature: 0.1,
            teacher_temperature: [0.04, 0.07],
            warmup: 0.3,
            centre_momentum: 0.9,
            momentum: Momentum::from(0.996),
            frozen_epochs: 1,
            global: ViewConfig::strong(80, [0.4, 1.0]),
            local: ViewConfig::strong(48, [0.05, 0.4]),
        }
    }
}

impl DinoConfig {
    /// For narrow backbones and runs of a few hundred steps, on clips of `frames` frames: a small head with BatchNorm,
    /// views of half the frames, four local crops of `local_px` and a quarter of them, a teacher that moves sooner.
    pub fn small(size_px: usize, local_px: usize, frames: usize) -> Self {
        let views = |size_px, area, share| ViewConfig {
            frames: frames.div_ceil(share),
            max_stride: 2,
            ..ViewConfig::strong(size_px, area)
        };
        Self {
            hidden: 256,
            bottleneck: 64,
            batch_norm: true,
            prototypes: 64,
            local_crops: 4,
            teacher_temperature: [0.04; 2],
            momentum: Momentum::from(0.97),
            frozen_epochs: 0,
            global: views(size_px, [0.5, 1.0], 2),
            local: views(local_px, [0.15, 0.5], 4),
            ..Self::default()
        }
    }

    fn validate(&self) -> Result<()> {
        let temperatures = [self.student_temperature, self.teacher_temperature[0], self.teacher_temperature[1]];
        let wrong = if self.hidden == 0 || self.bottleneck == 0 || self.prototypes < 2 {
            "hidden and bottleneck must be above 0, prototypes above 1"
        } else if !temperatures.iter().all(|t| t.is_finite() && *t > 0.0) {
            "temperatures must be above 0"
        } else if ![self.warmup, self.centre_momentum].iter().all(|v| (0.0..=1.0).contains(v)) {
            "warmup and centre_momentum must be from 0 to 1"
        } else {
            self.momentum.validate()?;
            self.global.validate()?;
            return self.local.validate();
        };
        Err(Error::usage(format!("dino: {wrong}")))
    }

    /// The teacher's temperature at `at`.
    pub fn temperature(&self, at: At) -> f64 {
        let [from, to] = self.teacher_temperature;
        if at.progress() < self.warmup { from + (to - from) * at.progress() / self.warmup } else { to }
    }
}

/// Student, and in a slow copy the teacher.
#[derive(Module, Debug)]
pub struct DinoNet<E: Encoder> {
    pub backbone: E,
    pub head: DinoHead,
}

impl<E: Encoder> DinoNet<E> {
    /// Puts a head on a backbone of `features` channels.
    pub fn new(backbone: E, features: usize, config: &DinoConfig, rng: &mut Rng, device: &Device) -> Self {
        Self { backbone, head: DinoHead::new(features, config, rng, device) }
    }

    /// Clips `n x T x H x W` -> logits `n x prototypes`.
    fn logits(&self, clips: Tensor<4>, frozen: bool) -> Tensor<2> {
        self.head.forward(Pool::Clip.rows(self.backbone.encode(clips)), frozen)
    }
}

/// Cross-entropy of the student under the teacher, the mean over clips and over pairs of a global crop that the teacher
/// sees and another crop that the student sees (equation 3).
///
/// `teacher`: probabilities `2 clips x K`, first global crops, then second ones. `global`: the student's logarithms of
/// probabilities in the same order. `local`: those of its local crops, `crops x clips x K` row by row.
pub fn cross_entropy(teacher: Tensor<2>, global: Tensor<2>, local: Option<Tensor<2>>) -> Tensor<1> {
    let [rows, classes] = teacher.dims();
    let clips = rows / GLOBAL;
    let [first, second] = [0, 1].map(|g| teacher.clone().narrow(0, g * clips, clips));
    let both = first.clone() + second.clone();
    let mut sum = (Tensor::cat(vec![second, first], 0) * global).sum();
    let mut crops = 0;
    if let Some(local) = local {
        crops = local.dims()[0] / clips;
        let local = local.reshape([crops, clips, classes]).sum_dim(0).reshape([clips, classes]);
        sum = sum + (both * local).sum();
    }
    let pairs = GLOBAL * (GLOBAL - 1 + crops);
    sum * (-1.0 / (pairs * clips) as f64)
}

/// The teacher's mean output over the run, kept as a module so that it is written like one.
#[derive(Module, Debug)]
struct Centre {
    value: Param<Tensor<1>>,
}

/// DINO with its teacher.
pub struct Dino<E: Encoder = Backbone> {
    config: DinoConfig,
    input: Input,
    teacher: Ema<DinoNet<E>>,
    centre: Centre,
    /// Sum of the teacher's outputs since the last step, and their number.
    seen: Option<(Tensor<1>, usize)>,
}

/// The crops of a batch, normalised.
struct Crops {
    /// `2 clips x T x H x W`, first crops, then second ones.
    global: Tensor<4>,
    /// `crops x clips` in that order; none without local crops.
    local: Option<Tensor<4>>,
}

impl<E: Encoder> Dino<E> {
    /// The teacher starts as a copy of the student, the centre at zero.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn new(config: DinoConfig, input: Input, net: &DinoNet<E>) -> Result<Self> {
        config.validate()?;
        let teacher = Ema::of(net);
        let zeros = Tensor::zeros([config.prototypes], &input.device).without_autodiff();
        let centre = Centre { value: Param::from_tensor(zeros) };
        Ok(Self { config, input, teacher, centre, seen: None })
    }

    /// The teacher's averaged weights.
    pub fn teacher(&self) -> &DinoNet<E> {
        self.teacher.module()
    }

    /// The centre, one value a prototype.
    pub fn centre(&self) -> Tensor<1> {
        self.centre.value.val()
    }

    fn crops(&self, batch: &Batch, rng: &mut Rng) -> Result<Crops> {
        let mut drawn = |config: &ViewConfig, count: usize| -> Result<Option<Tensor<4>>> {
            let mut all = Vec::with_capacity(count);
            for _ in 0..count {
                let spans = spans(batch, config, rng)?;
                all.push(views(batch, config, &spans, &self.input, rng));
            }
            Ok((count > 0).then(|| Tensor::cat(all, 0)))
        };
        let global = drawn(&self.config.global, GLOBAL)?.ok_or_else(|| Error::usage("dino: no global crops"))?;
        Ok(Crops { global, local: drawn(&self.config.local, self.config.local_crops)? })
    }

    fn loss_of(&mut self, net: &DinoNet<E>, crops: Crops, at: At) -> Result<Loss> {
        let frozen = at.epoch < self.config.frozen_epochs;
        let outputs = self.teacher.forward_copy().logits(fresh(crops.global.clone()), true).without_autodiff();
        let temperature = self.config.temperature(at);
        let centred = outputs.clone() - self.centre().unsqueeze();
        let teacher = activation::softmax(centred / temperature, 1);
        self.see(outputs);
        let student = |clips| activation::log_softmax(net.logits(clips, frozen) / self.config.student_temperature, 1);
        let (global, local) = (student(crops.global), crops.local.map(student));
        let total = cross_entropy(constant(teacher.clone(), &global), global, local);
        Ok(Loss { terms: self.terms(teacher, &total, temperature)?, total })
    }

    /// Adds the teacher's outputs to what the centre will follow.
    fn see(&mut self, outputs: Tensor<2>) {
        let rows = outputs.dims()[0];
        let sum = outputs.sum_dim(0).squeeze_dim(0);
        self.seen = Some(match self.seen.take() {
            Some((seen, count)) => (seen + sum, count + rows),
            None => (sum, rows),
        });
    }

    /// Entropies in nats; the divergence is what the loss exceeds the teacher's entropy by.
    fn terms(&self, teacher: Tensor<2>, total: &Tensor<1>, temperature: f64) -> Result<Vec<(&'static str, f64)>> {
        let [rows, classes] = teacher.dims();
        let probabilities = values(teacher)?;
        let (entropy, usage) = (collapse::entropy(&probabilities, classes), collapse::usage(&probabilities, classes));
        let total = values(total.clone().detach())?.first().map_or(f64::NAN, |v| f64::from(*v));
        Ok(vec![
            ("teacher_entropy", entropy),
            ("teacher_usage", usage),
            ("kl", total - entropy),
            ("collapsed", collapse::by_classes(entropy, usage, rows, classes)),
            ("teacher_temperature", temperature),
        ])
    }

    fn step(&mut self, net: &DinoNet<E>, at: At) {
        self.teacher.update(net, self.config.momentum.at(at));
        let Some((sum, count)) = self.seen.take() else { return };
        let m = self.config.centre_momentum;
        let centre = self.centre() * m + sum * ((1.0 - m) / count as f64);
        self.centre = Centre { value: Param::from_tensor(centre) };
    }
}

impl Method for Dino {
    type Net = DinoNet<Backbone>;

    fn loss(&mut self, net: &Self::Net, batch: &Batch, at: At, rng: &mut Rng) -> Result<Loss> {
        let crops = self.crops(batch, rng)?;
        let mut loss = self.loss_of(net, crops, at)?;
        loss.terms.push(("momentum", self.config.momentum.at(at)));
        Ok(loss)
    }

    fn after_step(&mut self, net: &Self::Net, at: At) {
        self.step(net, at);
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.teacher.save(&folder.join("teacher.bpk"))?;
        save_net(&self.centre, &folder.join("centre.bpk"))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.teacher.load(&folder.join("teacher.bpk"))?;
        self.centre = load_net(self.centre.clone(), &folder.join("centre.bpk"))?;
        self.seen = None;
        Ok(())
    }

    fn backbone<'a>(&self, net: &'a Self::Net) -> Option<&'a Backbone> {
        Some(&net.backbone)
    }
}

impl Pretext for Dino {
    const ABOUT: About = About {
        name: "dino",
        about: "matches a slow copy's centred, sharpened classes from any crop",
        paper: "arXiv 2104.14294",
    };
    type Config = DinoConfig;

    fn build(config: DinoConfig, setup: Setup) -> Result<(Self, Self::Net)> {
        config.validate()?;
        let rng = &mut setup.head_rng();
        let net = DinoNet::new(setup.backbone, setup.features, &config, rng, &setup.input.device);
        Ok((Self::new(config, setup.input, &net)?, net))
    }
}

#[cfg(test)]
mod tests;
