//! What a way of training is to the loop.

use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::data::npy;
use crate::train::data::record::Votes;
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
    /// What people saw in the face of each clip, where they were asked; empty if of none.
    pub votes: Vec<Option<Votes>>,
    /// What the method teaches beside, in its own layout, as many numbers for each clip.
    pub targets: Vec<f32>,
}

impl Batch {
    /// Several clips or batches of one shape as one. Sound is kept if any has it; the others' is then NaN.
    ///
    /// # Errors
    /// If their shapes differ.
    pub fn join(parts: Vec<Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return Ok(Self::default()) };
        for part in parts {
            if (part.frames, part.size_px) != (all.frames, all.size_px) {
                let [a, b] = [&all, &part].map(|p| format!("{} frames of {} pixels", p.frames, p.size_px));
                return Err(Error::input(format!("clips of {a} and of {b} cannot be one batch")));
            }
            all.audio = join_audio(&all, &part)?;
            if !(all.votes.is_empty() && part.votes.is_empty()) {
                all.votes.resize(all.clips, None);
                all.votes.extend_from_slice(&part.votes);
                all.votes.resize(all.clips + part.clips, None);
            }
            all.clips += part.clips;
            all.video.extend(part.video);
            all.labels.extend(part.labels);
            all.targets.extend(part.targets);
        }
        Ok(all)
    }

    /// Writes the arrays to an npz file: `video` (clips x frames x size x size), `labels` (clips x frames x 2), and
    /// `audio` (clips x frames x dims) and `targets` (clips x numbers) if there are any.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::io(format!("cannot be written: {e}")).at(path.display());
        let mut zip = zip::ZipWriter::new(std::fs::File::create(path).map_err(|e| failed(&e))?);
        let start = |zip: &mut zip::ZipWriter<_>, name: &str| {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).map_err(|e| failed(&e))
        };
        let (n, t, size) = (self.clips, self.frames, self.size_px);
        start(&mut zip, "video.npy")?;
        npy::write(&mut zip, &[n, t, size, size], &self.video).map_err(|e| failed(&e))?;
        start(&mut zip, "labels.npy")?;
        npy::write(&mut zip, &[n, t, 2], self.labels.as_flattened()).map_err(|e| failed(&e))?;
        if let Some((dims, rows)) = &self.audio {
            start(&mut zip, "audio.npy")?;
            npy::write(&mut zip, &[n, t, *dims], rows).map_err(|e| failed(&e))?;
        }
        if !self.targets.is_empty() {
            start(&mut zip, "targets.npy")?;
            npy::write(&mut zip, &[n, self.targets.len() / n.max(1)], &self.targets).map_err(|e| failed(&e))?;
        }
        zip.finish().map(drop).map_err(|e| failed(&e))
    }
}

/// The sound of two batches, one after the other.
fn join_audio(a: &Batch, b: &Batch) -> Result<Option<(usize, Vec<f32>)>> {
    let dims = match (&a.audio, &b.audio) {
        (None, None) => return Ok(None),
        (Some((x, _)), Some((y, _))) if x != y => {
            return Err(Error::input(format!("clips with {x} and {y} acoustic features cannot be one batch")));
        }
        (Some((dims, _)), _) | (None, Some((dims, _))) => *dims,
    };
    let rows = |batch: &Batch| match &batch.audio {
        Some((_, rows)) => rows.clone(),
        None => vec![f32::NAN; batch.clips * batch.frames * dims],
    };
    let mut all = rows(a);
    all.extend(rows(b));
    Ok(Some((dims, all)))
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

    /// The part that later trainings start from, where there is one.
    fn backbone<'a>(&self, net: &'a Self::Net) -> Option<&'a Backbone>;
}
