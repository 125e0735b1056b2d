//! Layer 4: one face's stream through a student: crops in, values with confidence and interval out.

mod decode;
mod smooth;

pub use decode::{Estimate, TOLERANCE, decode};
pub use smooth::{Smoother, TAU_S};

use crate::engine::Engine;
use crate::error::Result;
use crate::frame::Gray;
use crate::preprocess::{Cropper, Ring};
use crate::spec::{CropRule, HEADS, StudentSpec};
use std::time::Duration;

/// A gap longer than this resets a session's ring, state and filter, for the face may show something else by then.
pub const RESET_AFTER: Duration = Duration::from_secs(1);

/// The state of one face, apart from any engine: it can go on with another one at any frame.
pub struct Session {
    rule: CropRule,
    cropper: Cropper,
    ring: Ring,
    hidden: Vec<f32>,
    smoother: Option<Smoother>,
    last: Option<Duration>,
}

impl Session {
    /// A fresh session; `smooth` adds the output filter.
    pub fn new(spec: &StudentSpec, rule: CropRule, smooth: bool) -> Self {
        Self {
            rule,
            cropper: Cropper::for_rule(&rule),
            ring: Ring::new(spec.ring, spec.size_px),
            hidden: vec![0.0; spec.hidden],
            smoother: smooth.then(Smoother::default),
            last: None,
        }
    }

    /// Forgets ring, state and filter.
    pub fn reset(&mut self) {
        self.ring.clear();
        self.hidden.fill(0.0);
        self.smoother.iter_mut().for_each(Smoother::reset);
        self.last = None;
    }

    /// The GRU state.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// Reads the face in `square` of `picture`, taken at `time`, whose head is rolled clockwise by `roll_rad`.
    ///
    /// # Errors
    /// If the engine fails; the state is then as before, but the crop is in the ring.
    pub fn step(
        &mut self,
        engine: &mut dyn Engine,
        picture: &Gray,
        square: [f32; 3],
        roll_rad: f32,
        time: Duration,
    ) -> Result<Estimate> {
        if self.last.is_some_and(|last| time.saturating_sub(last) > RESET_AFTER) {
            self.reset();
        }
        self.last = Some(time);
        let crop = self.rule.square_at(square, roll_rad);
        self.ring.push(|out| self.cropper.level_into(picture, crop, roll_rad, out));
        let mut logits = [0.0; HEADS];
        engine.step(self.ring.bytes(), &mut self.hidden, &mut logits)?;
        let mut estimate = decode(&logits);
        if let Some(s) = &mut self.smoother {
            estimate.values = s.push(estimate.values, time);
        }
        Ok(estimate)
    }
}
