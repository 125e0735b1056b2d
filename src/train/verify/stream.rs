//! A student's stream over the samples of a recording, as the runtime would step it.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::model::Student;
use crate::preprocess::{Cropper, Ring};
use crate::session::RESET_AFTER;
use crate::spec::{HEADS, StudentSpec};
use crate::train::shards::Sample;
use std::sync::{Mutex, PoisonError};

/// What a stream carries from frame to frame, and from one part of a recording to the next.
#[derive(Debug, Clone)]
pub struct Stream {
    ring: Ring,
    pub hidden: Vec<f32>,
    pub logits: [f32; HEADS],
    /// Frames since a face was last seen.
    unseen: usize,
}

impl Stream {
    /// A stream at its beginning.
    pub fn new(spec: &StudentSpec) -> Self {
        let ring = Ring::new(spec.ring, spec.size_px);
        Self { ring, hidden: vec![0.0; spec.hidden], logits: [0.0; HEADS], unseen: 0 }
    }

    /// Steps `engine` on a frame; whether there was a face in it. A frame that is black throughout shows none: nothing is
    /// stepped then, and after a gap of more than [`RESET_AFTER`] ring and state begin anew, as in a session.
    ///
    /// # Errors
    /// If the engine fails or gives what is not a number.
    pub fn step(&mut self, engine: &mut dyn Engine, cropper: &mut Cropper, frame: &Gray, fps: f64) -> Result<bool> {
        if frame.data.iter().all(|v| *v == 0) {
            self.unseen += 1;
            return Ok(false);
        }
        if (self.unseen + 1) as f64 / fps > RESET_AFTER.as_secs_f64() {
            self.ring.clear();
            self.hidden.fill(0.0);
        }
        self.unseen = 0;
        // The frame is the aligned crop in more detail: all of it becomes the student's crop.
        self.ring.push(|out| cropper.crop_into(frame, [0.0, 0.0, frame.width as f32], out));
        engine.step(self.ring.bytes(), &mut self.hidden, &mut self.logits)?;
        if self.hidden.iter().chain(&self.logits).all(|v| v.is_finite()) {
            return Ok(true);
        }
        Err(Error::device("gave values that are not finite numbers").at(format!("engine {}", engine.name())))
    }
}

/// Gives `each` the number of every frame of `sample`, and the frame as a picture.
///
/// # Errors
/// Those of `each`.
pub fn frames(sample: &Sample, mut each: impl FnMut(usize, &Gray) -> Result<()>) -> Result<()> {
    let size_px = sample.meta.size_px;
    let mut picture = Gray::new(size_px, size_px);
    for (i, frame) in sample.video.chunks_exact(size_px * size_px).enumerate() {
        picture.data.copy_from_slice(frame);
        each(i, &picture)?;
    }
    Ok(())
}

/// Engines of one student, opened when they are needed and kept for the next.
pub struct Pool<'a> {
    student: &'a Student,
    open: fn(&Student) -> Result<Box<dyn Engine>>,
    idle: Mutex<Vec<Box<dyn Engine>>>,
}

impl<'a> Pool<'a> {
    /// Without any yet.
    pub fn new(student: &'a Student, open: fn(&Student) -> Result<Box<dyn Engine>>) -> Self {
        Self { student, open, idle: Mutex::default() }
    }

    /// Lends an engine to `work`.
    ///
    /// # Errors
    /// If none can be opened, or those of `work`.
    pub fn with<T>(&self, work: impl FnOnce(&mut dyn Engine) -> Result<T>) -> Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut engine = kept.map_or_else(|| (self.open)(self.student), Ok)?;
        let done = work(&mut *engine);
        idle().push(engine);
        done
    }
}
