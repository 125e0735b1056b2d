//! Layer 4: one face's stream through a student: crops in, values with confidence and interval out.

mod decode;
mod faces;
pub mod failover;
mod finder;
mod smooth;

pub use decode::{Estimate, TOLERANCE, decode};
pub use failover::Failover;
pub use finder::{Finder, shipped_detector, shipped_detector_digest};
pub use smooth::{Smoother, TAU_S};

use crate::engine::{Engine, FaceStep, Stream};
use crate::error::{Error, Result};
use crate::face::TrackedFace;
use crate::frame::Gray;
use crate::preprocess::{Cropper, Ring};
use crate::spec::{CropRule, HEADS, StudentSpec};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A gap longer than this resets a session's ring, state and filter, for the face may show something else by then.
pub const RESET_AFTER: Duration = Duration::from_secs(1);

/// Steps from a zero state after which a still is read, as in the figures of the models' cards.
pub const STILL_STEPS: usize = 3;

/// A name for a stream that no other stream of this process has had.
fn fresh_name() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The state of one face, apart from any engine: it can go on with another one at any frame.
pub struct Session {
    /// As [`FaceStep::stream`]. Whatever changes ring or state behind the back of an engine's frame path gives a fresh name,
    /// so that what a device holds under the old one is never read again.
    stream: u64,
    /// The place of the engine that stepped it last among those of a [`Failover`].
    slot: Option<usize>,
    rule: CropRule,
    cropper: Cropper,
    ring: Ring,
    hidden: Vec<f32>,
    /// Ring and state as they were before the frame at hand.
    before: (Ring, Vec<f32>),
    logits: [f32; HEADS],
    smoother: Option<Smoother>,
    /// What the latest frame gave, and its time.
    last: Option<(Estimate, Duration)>,
}

impl Session {
    /// A fresh session; `smooth` adds the output filter.
    pub fn new(spec: &StudentSpec, rule: CropRule, smooth: bool) -> Self {
        let (ring, hidden) = (Ring::new(spec.ring, spec.size_px), vec![0.0; spec.hidden]);
        Self {
            stream: fresh_name(),
            slot: None,
            rule,
            cropper: Cropper::for_rule(&rule),
            before: (ring.clone(), hidden.clone()),
            ring,
            hidden,
            logits: [0.0; HEADS],
            smoother: smooth.then(Smoother::default),
            last: None,
        }
    }

    /// Forgets ring, state and filter.
    pub fn reset(&mut self) {
        self.stream = fresh_name();
        self.ring.clear();
        self.hidden.fill(0.0);
        self.smoother.iter_mut().for_each(Smoother::reset);
        self.last = None;
    }

    /// The GRU state.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// Reads the face in `square` of `picture`, taken at `time`, its head rolled clockwise by `roll_rad`, on an engine that is given the crop; for a whole frame's
    /// faces see [`Failover::step`].
    ///
    /// # Errors
    /// If the engine fails; the session is then as before.
    pub fn step(
        &mut self,
        engine: &mut dyn Engine,
        picture: &Gray,
        square: [f32; 3],
        roll_rad: f32,
        time: Duration,
    ) -> Result<Estimate> {
        self.begin(time);
        self.cut(picture, square, roll_rad);
        let done = engine.step(self.ring.bytes(), &mut self.hidden, &mut self.logits);
        if let Err(e) = done.and_then(|()| self.check(engine.name())) {
            self.rewind();
            return Err(e);
        }
        Ok(self.finish(time))
    }

    /// Gets ready for the frame at `time` and keeps what [`Session::rewind`] needs.
    fn begin(&mut self, time: Duration) {
        if self.last.is_some_and(|(_, last)| time.saturating_sub(last) > RESET_AFTER) {
            self.reset();
        }
        self.before.0.copy_from(&self.ring);
        self.before.1.copy_from_slice(&self.hidden);
    }

    /// Says which engine steps it next: what another one holds is from before that step.
    fn on(&mut self, slot: usize) {
        if self.slot.replace(slot) != Some(slot) {
            self.stream = fresh_name();
        }
    }

    /// Back to [`Session::begin`], whatever an engine has done since.
    fn rewind(&mut self) {
        self.stream = fresh_name();
        self.ring.copy_from(&self.before.0);
        self.hidden.copy_from_slice(&self.before.1);
    }

    /// Puts the crop into the ring here rather than on a device.
    fn cut(&mut self, picture: &Gray, square: [f32; 3], roll_rad: f32) {
        self.stream = fresh_name();
        let crop = self.rule.square_at(square, roll_rad);
        self.ring.push(|out| self.cropper.level_into(picture, crop, roll_rad, out));
    }

    /// Its part in a batch of rings.
    fn as_stream(&mut self) -> Stream<'_> {
        Stream { ring: self.ring.bytes(), hidden: &mut self.hidden, logits: &mut self.logits }
    }

    /// Its part in a frame path.
    fn as_face(&mut self, face: &TrackedFace) -> FaceStep<'_> {
        FaceStep {
            stream: self.stream,
            crop: self.rule.square_at(face.square, face.roll_rad),
            roll_rad: face.roll_rad,
            ring: &mut self.ring,
            hidden: &mut self.hidden,
            logits: &mut self.logits,
        }
    }

    /// Refuses what no sound engine gives, before it can stay in the state for good.
    fn check(&self, engine: &str) -> Result<()> {
        let sound = self.hidden.iter().chain(&self.logits).all(|v| v.is_finite());
        let wrong = || Error::device("gave values that are not finite numbers").at(format!("engine {engine}"));
        sound.then_some(()).ok_or_else(wrong)
    }

    /// What the engine's last step says of the frame at `time`.
    fn finish(&mut self, time: Duration) -> Estimate {
        let mut estimate = decode(&self.logits);
        if let Some(s) = &mut self.smoother {
            estimate.values = s.push(estimate.values, time);
        }
        self.last = Some((estimate, time));
        estimate
    }

    /// What the latest frame that it was stepped on gave, and that frame's time.
    pub fn latest(&self) -> Option<(Estimate, Duration)> {
        self.last
    }
}
