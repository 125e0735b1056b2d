//! Training in int8 as a [`Method`], with a loss of the caller's.

use super::net::QatNet;
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::spec::{CropRule, StudentSpec};
use crate::train::data::augment::Augment;
use crate::train::full::Backbone;
use crate::train::loss::{Bins, Recipe};
use crate::train::rings::rings;
use crate::train::run::{At, Batch, Loss, Method};
use burn::tensor::Tensor;
use std::path::Path;

/// What the network gives for a batch.
pub struct Outputs {
    /// `clips x steps x 42`.
    pub logits: Tensor<3>,
    /// `clips x frames x features`.
    pub features: Tensor<3>,
}

/// What training in int8 lowers.
pub trait Objective {
    /// The loss of a batch. Steps are the batch's frames; a still, a clip of one frame, has as many as it is shown.
    ///
    /// # Errors
    /// If the batch lacks what the loss needs.
    fn loss(&mut self, outputs: &Outputs, batch: &Batch, at: At, rng: &mut Rng) -> Result<Loss>;
}

impl<F: FnMut(&Outputs, &Batch, At, &mut Rng) -> Result<Loss>> Objective for F {
    fn loss(&mut self, outputs: &Outputs, batch: &Batch, at: At, rng: &mut Rng) -> Result<Loss> {
        self(outputs, batch, at, rng)
    }
}

/// One of the losses against labels, every step alike.
pub struct LabelLoss {
    pub recipe: Recipe,
    pub bins: [Bins; 2],
}

impl Objective for LabelLoss {
    fn loss(&mut self, outputs: &Outputs, batch: &Batch, _at: At, _rng: &mut Rng) -> Result<Loss> {
        let [_, steps, _] = outputs.logits.dims();
        let of_clip = |labels: &[[f32; 2]]| match labels {
            [still] => vec![*still; steps],
            frames => frames.to_vec(),
        };
        let labels: Vec<[f32; 2]> = batch.labels.chunks(batch.frames.max(1)).flat_map(of_clip).collect();
        let losses = self.recipe.loss_of_clips(outputs.logits.clone(), &labels, &self.bins)?;
        Ok(Loss { terms: losses.terms()?, total: losses.total })
    }
}

/// Training in int8.
pub struct Qat<O> {
    pub spec: StudentSpec,
    /// How the student's crop is cut from a batch's frames, which are aligned crops or whole stills.
    pub rule: CropRule,
    /// Random views, one for all frames of a clip; without them the runtime's crop.
    pub augment: Option<Augment>,
    /// Whether scales are trained; else they stay as they were calibrated.
    pub learn_scales: bool,
    /// Steps that a still is shown for.
    pub shown: usize,
    pub objective: O,
}

impl<O> Qat<O> {
    /// The network on a batch, from a zero state.
    ///
    /// # Errors
    /// A batch without frames, or a network out of the int8 contract.
    pub fn outputs(&self, net: &QatNet, batch: &Batch, rng: &mut Rng) -> Result<Outputs> {
        let (clips, frames) = (batch.clips, batch.frames);
        if clips * frames == 0 {
            return Err(Error::input("the batch has no frame"));
        }
        let rings = rings(batch, &self.spec, &self.rule, self.augment, rng);
        let features = net.features(&self.spec, &rings, self.learn_scales)?;
        let width = self.spec.features();
        let shown = if frames == 1 { self.shown.max(1) } else { 1 };
        let states = net.gru.unroll(features.clone(), clips, shown);
        let logits: Vec<Tensor<3>> = states.into_iter().map(|h| net.logits(h).unsqueeze_dim(1)).collect();
        Ok(Outputs { logits: Tensor::cat(logits, 1), features: features.reshape([clips, frames, width]) })
    }
}

impl<O: Objective> Method for Qat<O> {
    type Net = QatNet;

    fn loss(&mut self, net: &QatNet, batch: &Batch, at: At, rng: &mut Rng) -> Result<Loss> {
        let outputs = self.outputs(net, batch, rng)?;
        self.objective.loss(&outputs, batch, at, rng)
    }

    fn after_step(&mut self, _net: &QatNet, _at: At) {}

    fn save(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    fn backbone<'a>(&self, _net: &'a QatNet) -> Option<&'a Backbone> {
        None
    }
}
