//! The engines that a run may use, in order of preference, and the moves between them.
//!
//! Every frame starts from the ring and state that each session kept before it, whichever engine tries it. If one fails, the
//! next one steps the same frame, so no frame is lost and none enters a ring twice. The one that failed is closed, and opened again by
//! another thread after [`FIRST_WAIT`] of stream time, then twice that, up to [`LONGEST_WAIT`]; once open, the stream moves back at
//! its next frame. The stream never waits for that thread: an opening that hangs is left alone, one at most for each engine, and
//! abandoned on drop. [`SETTLED_FRAMES`] frames without a failure set the wait back.

mod slot;
mod tally;

pub use slot::{FIRST_WAIT, LONGEST_WAIT, Opener, SETTLED_FRAMES};
pub use tally::{EngineTally, Tally};

use super::faces::{self, Scratch};
use super::{Estimate, Session};
use crate::engine::{self, Choice, ENGINES, Engine};
use crate::error::{Error, Result};
use crate::face::TrackedFace;
use crate::frame::Gray;
use crate::model::{Bundle, Precision};
use slot::{Polled, Slot};
use std::sync::Arc;
use std::time::Duration;

/// An engine of the list.
#[derive(Clone)]
pub struct Candidate {
    pub name: &'static str,
    pub open: Opener,
}

/// Steps all faces of a frame on the best engine that works.
pub struct Failover {
    slots: Vec<Slot>,
    /// The slot that stepped last.
    active: usize,
    scratch: Scratch,
    estimates: Vec<Estimate>,
    tally: Tally,
}

/// What one frame gave.
#[derive(Debug, Clone, Copy)]
pub struct Stepped<'a> {
    /// The engine that stepped it; without a face, the one that stepped last.
    pub engine: &'static str,
    /// One for each face.
    pub estimates: &'a [Estimate],
}

/// Opened engines, and why each one before the first was passed over.
pub struct Started {
    pub failover: Failover,
    pub passed_over: Vec<(&'static str, String)>,
}

/// Opens what the user chose: a named engine alone, which is never replaced, or all engines under `auto`.
///
/// # Errors
/// As [`engine::open`].
pub fn open(bundle: &Arc<Bundle>, choice: &Choice, precision: Option<Precision>) -> Result<Started> {
    if *choice != Choice::Auto {
        let opened = engine::open(bundle, choice, precision)?;
        return Ok(Started { failover: opened.engine.into(), passed_over: opened.passed_over });
    }
    let candidate = |entry: &'static engine::EngineEntry| {
        let bundle = Arc::clone(bundle);
        Candidate { name: entry.name, open: Arc::new(move || entry.open_on(&bundle, precision)) }
    };
    Failover::open(ENGINES.iter().map(candidate).collect())
}

/// One engine that is never replaced: its failure is the caller's.
impl From<Box<dyn Engine>> for Failover {
    fn from(engine: Box<dyn Engine>) -> Self {
        Self::with(vec![Slot::handed_over(engine)])
    }
}

impl Failover {
    fn with(slots: Vec<Slot>) -> Self {
        let tally = Tally::new(slots.iter().map(|s| s.name));
        Self { slots, active: 0, scratch: Scratch::default(), estimates: Vec::new(), tally }
    }

    /// Opens the first engine that can be opened and, if that one can be lost, the next as well; the others when they are
    /// needed. One that a device or file kept from opening is tried again as if it had failed at stream time 0.
    ///
    /// # Errors
    /// If none can be opened.
    pub fn open(candidates: Vec<Candidate>) -> Result<Started> {
        let mut all = Self::with(candidates.into_iter().map(|c| Slot::closed(c.name, c.open)).collect());
        let mut passed_over = Vec::new();
        while all.active < all.slots.len() {
            let Err(e) = all.open_slot(all.active) else { break };
            passed_over.push((all.slots[all.active].name, e.to_string()));
            all.active += 1;
        }
        let Some(first) = all.slots.get_mut(all.active).and_then(Slot::engine) else {
            return Err(engine::none_can(&passed_over));
        };
        if first.on_device() {
            (all.active + 1..all.slots.len()).find(|&at| all.open_slot(at).is_ok());
        }
        Ok(Started { failover: all, passed_over })
    }

    fn open_slot(&mut self, at: usize) -> Result<()> {
        let opened = self.slots[at].open_now(Duration::ZERO);
        self.tally.engines[at].refusals += u64::from(opened.is_err());
        opened
    }

    /// The engine that stepped last, or will first.
    pub fn name(&self) -> &'static str {
        self.slots[self.active].name
    }

    /// The arithmetic of that engine, unless it has failed since.
    pub fn precision(&self) -> Option<Precision> {
        self.slots[self.active].precision()
    }

    /// What happened so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether another thread is opening or closing an engine.
    pub fn busy(&self) -> bool {
        self.slots.iter().any(Slot::busy)
    }

    /// Steps `sessions[i]` on `faces[i]` of `picture`, for every `i`, in one call of the engine. `time` is the frame's.
    ///
    /// # Errors
    /// If every engine fails; the sessions are then as before, and the frame may be stepped again.
    pub fn step(
        &mut self,
        picture: &Gray,
        faces: &[TrackedFace],
        sessions: &mut [Session],
        time: Duration,
    ) -> Result<Stepped<'_>> {
        if faces.len() != sessions.len() {
            return Err(Error::usage(format!("{} faces for {} sessions", faces.len(), sessions.len())));
        }
        self.estimates.clear();
        self.look_behind(time);
        if !faces.is_empty() {
            sessions.iter_mut().for_each(|s| s.begin(time));
            self.try_all(picture, faces, sessions, time)?;
            self.estimates.extend(sessions.iter_mut().map(|s| s.finish(time)));
        }
        Ok(Stepped { engine: self.name(), estimates: &self.estimates })
    }

    /// Looks after engines that are better than the one in use.
    fn look_behind(&mut self, time: Duration) {
        self.slots.iter_mut().for_each(|s| s.tried = false);
        for (slot, tally) in self.slots[..self.active].iter_mut().zip(&mut self.tally.engines) {
            match slot.poll(time) {
                Polled::Same => {}
                Polled::Started => tally.reopenings += 1,
                Polled::Ready => log::info!("engine {} is open again", slot.name),
                Polled::Refused(e) => {
                    tally.refusals += 1;
                    log::info!("engine {} cannot be opened again: {e}", slot.name);
                }
            }
        }
    }

    fn try_all(
        &mut self,
        picture: &Gray,
        faces: &[TrackedFace],
        sessions: &mut [Session],
        time: Duration,
    ) -> Result<()> {
        let mut errors = Vec::new();
        while let Some(at) = self.choose(time) {
            let slot = &mut self.slots[at];
            let Some(engine) = slot.engine() else { break };
            if let Some((failed, e)) = errors.last() {
                let (next, precision) = (engine.name(), engine.precision().name());
                log::warn!(
                    "engine {failed} failed at {:.3} s: {e}; going on with {next} {precision}",
                    time.as_secs_f64()
                );
            }
            sessions.iter_mut().for_each(|s| s.on(at));
            match faces::step(engine, picture, faces, sessions, &mut self.scratch) {
                Ok(()) => {
                    slot.succeeded();
                    self.stepped(at, !errors.is_empty(), time);
                    return Ok(());
                }
                Err(e) => {
                    sessions.iter_mut().for_each(Session::rewind);
                    slot.failed(time);
                    self.tally.engines[at].failures += 1;
                    errors.push((slot.name, e));
                }
            }
        }
        Err(every_one_failed(errors))
    }

    /// The best engine that was not tried on this frame, opened if need be. One that is down is opened only if there is no
    /// other, for that may take long.
    fn choose(&mut self, time: Duration) -> Option<usize> {
        loop {
            let at = self.slots.iter().position(Slot::fresh).or_else(|| self.slots.iter().position(Slot::revivable))?;
            match self.slots[at].open_now(time) {
                Ok(()) => return Some(at),
                Err(e) => {
                    self.tally.engines[at].refusals += 1;
                    log::warn!("engine {} cannot be opened: {e}", self.slots[at].name);
                }
            }
        }
    }

    /// Counts a frame that engine `at` stepped.
    fn stepped(&mut self, at: usize, rescued: bool, time: Duration) {
        self.tally.engines[at].frames += 1;
        self.tally.rescued += u64::from(rescued);
        if at != self.active {
            self.tally.moves += 1;
            if at < self.active {
                self.tally.recoveries += 1;
                let (from, to) = (self.slots[self.active].name, self.slots[at].name);
                log::warn!("back from engine {from} to {to} at {:.3} s", time.as_secs_f64());
            }
            self.active = at;
        }
    }
}

fn every_one_failed(mut errors: Vec<(&'static str, Error)>) -> Error {
    match errors.pop() {
        None => Error::device("no engine is left").remedy("see the warnings before this one"),
        Some((_, only)) if errors.is_empty() => only,
        Some((last, e)) => {
            let kind = e.kind();
            let all: Vec<_> = errors.iter().chain([&(last, e)]).map(|(name, e)| format!("{name}: {e}")).collect();
            Error::new(kind, format!("every engine failed: {}", all.join("; ")))
        }
    }
}
