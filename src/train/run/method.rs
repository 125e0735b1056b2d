//! What a way of training is to the loop.

use crate::error::Result;
use crate::render::Rng;
use crate::train::full::Backbone;
use burn::module::Module;
use burn::tensor::Tensor;
use std::path::Path;

/// Clips of one (micro-)batch; all of one length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub clips: usize,
    /// Frames of each clip.
    pub frames: usize,
    /// Side of a frame.
    pub size_px: usize,
    /// Grey, clips x frames x size x size.
    pub video: Vec<u8>,
    /// (arousal, valence) of every frame, clips x frames; NaN where there is none.
    pub labels: Vec<[f32; 2]>,
    /// Features of the sound: how many a frame, and clips x frames x that many. A clip without sound has NaN.
    pub audio: Option<(usize, Vec<f32>)>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    /// From 0.
    pub epoch: usize,
    /// Optimiser steps done, over all epochs.
    pub step: usize,
    /// Optimiser steps of the whole run.
    pub steps: usize,
}

impl At {
    /// Share of the run that is done, in [0, 1).
    pub fn progress(self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }
}

/// A loss with the figures worth writing down.
#[derive(Debug)]
pub struct Loss {
    /// One number, to be minimised.
    pub total: Tensor<1>,
    pub terms: Vec<(&'static str, f64)>,
}

/// A way of training: fine-tuning or a pretext task.
pub trait Method {
    /// What the optimiser moves.
    type Net: Module;

    /// The loss of a batch. All randomness comes from `rng`, which depends on the seed and the step alone.
    ///
    /// # Errors
    /// If the batch lacks what the method needs.
    fn loss(&mut self, net: &Self::Net, batch: &Batch, at: At, rng: &mut Rng) -> Result<Loss>;

    /// After the optimiser's step: EMA targets, centres.
    fn after_step(&mut self, net: &Self::Net, at: At);

    /// Writes everything beside the network and the optimiser that the next step depends on, for exact resume.
    ///
    /// # Errors
    /// If the folder cannot be written.
    fn save(&self, folder: &Path) -> Result<()>;

    /// Takes back what [`Self::save`] wrote.
    ///
    /// # Errors
    /// If a file is missing, damaged, or of another shape.
    fn load(&mut self, folder: &Path) -> Result<()>;

    /// The part that later trainings start from.
    fn backbone<'a>(&self, net: &'a Self::Net) -> &'a Backbone;
}
