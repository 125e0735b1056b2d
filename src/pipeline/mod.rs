//! Layer 4: frames in, readings out.

use crate::capture::{FrameSource, Next, Truth};
use crate::error::Result;
use crate::face::{Detector, HOLD, MAX_FACES, RollEstimator, RollModel, TrackedFace, Tracker};
use crate::frame::{Frame, Gray};
use crate::session::{Estimate, Failover, Finder, STILL_STEPS, Session};
use crate::spec::{CropRule, FaceState, Manifest, Range, Reading, StudentSpec};
use std::sync::Arc;
use std::time::Instant;

/// Everything between a source and its readings; one session a face, one engine at a time for all.
pub struct Pipeline {
    engines: Failover,
    spec: StudentSpec,
    rule: CropRule,
    smooth: bool,
    tracker: Tracker,
    /// `sessions[i]` is that of face `ids[i]`; the faces of the frame at hand stand first, in their
    /// order.
    ids: Vec<u32>,
    sessions: Vec<Session>,
    spare: Vec<Session>,
    faces: Vec<TrackedFace>,
    /// Those of a still's faces.
    still_sessions: Vec<Session>,
    gray: Gray,
    estimates: Vec<Estimate>,
    readings: Vec<Reading>,
    unverified: bool,
    source: Arc<str>,
    /// Whether it was said that more faces are there than are followed.
    said_crowded: bool,
}

impl Pipeline {
    /// A pipeline for the student that `manifest` describes, on a list of engines or on one that is
    /// never replaced. Faces are found by the embedded detector, on every frame.
    ///
    /// # Errors
    /// If the face detector or the roll estimator cannot be loaded.
    pub fn new(engines: impl Into<Failover>, manifest: &Manifest, smooth: bool) -> Result<Self> {
        let finder = Finder::shipped(Range::default())?;
        Self::finding(Box::new(finder), 1, engines, manifest, smooth)
    }

    /// The same with another detector, which runs on every `every`th frame.
    ///
    /// # Errors
    /// If the roll estimator cannot be loaded.
    pub fn finding(
        detector: Box<dyn Detector>,
        every: u32,
        engines: impl Into<Failover>,
        manifest: &Manifest,
        smooth: bool,
    ) -> Result<Self> {
        let rolls = RollEstimator::new(RollModel::shipped()?);
        Ok(Self {
            engines: engines.into(),
            spec: manifest.student.clone(),
            rule: manifest.crop,
            smooth,
            tracker: Tracker::new(detector, rolls).every(every),
            ids: Vec::new(),
            sessions: Vec::new(),
            spare: Vec::new(),
            faces: Vec::new(),
            still_sessions: Vec::new(),
            gray: Gray::default(),
            estimates: Vec::new(),
            readings: Vec::new(),
            unverified: false,
            source: Arc::default(),
            said_crowded: false,
        })
    }

    /// The same, each reading saying that the model runs unverified ([`crate::model::admission`]).
    pub fn marked_unverified(self, unverified: bool) -> Self {
        Self { unverified, ..self }
    }

    /// The same, each reading naming the source of its frame.
    pub fn reading_from(self, source: &str) -> Self {
        Self { source: source.into(), ..self }
    }

    /// Reads every face of a frame; one reading with `face: none` if there is none.
    ///
    /// A face that the frame does not show, but one a moment before did, gives a reading that is
    /// marked as held: its last box and values, and a confidence that falls to 0 within [`HOLD`].
    ///
    /// A face's session lasts as long as the tracker remembers its id; a face away for longer than
    /// [`crate::session::RESET_AFTER`] starts afresh.
    ///
    /// A frame that bears a file's name is a still: each of its faces is read from a zero state,
    /// without the output filter, after [`STILL_STEPS`] steps.
    ///
    /// # Errors
    /// A malformed frame, a failing detector, or an engine that fails with none to take its place.
    pub fn process(&mut self, frame: &Frame) -> Result<&[Reading]> {
        let start = Instant::now();
        frame.luma_into(&mut self.gray)?;
        self.readings.clear();
        if frame.file.is_some() {
            self.read_still(frame, start)?
        } else {
            self.read_frame(frame, start)?
        }
        Ok(&self.readings)
    }

    /// What every reading of a frame says.
    fn blank(&self, frame: &Frame, engine: &'static str, start: Instant) -> Reading {
        Reading {
            source: Arc::clone(&self.source),
            time: frame.taken,
            time_s: frame.time.as_secs_f64(),
            frame: frame.index,
            file: frame.file.clone(),
            engine,
            latency_us: start.elapsed().as_micros() as u64,
            unverified: self.unverified,
            ..Reading::default()
        }
    }

    fn read_still(&mut self, frame: &Frame, start: Instant) -> Result<()> {
        let faces = self.tracker.still(&self.gray)?;
        for some in faces.chunks(MAX_FACES) {
            while self.still_sessions.len() < some.len() {
                self.still_sessions.push(Session::new(&self.spec, self.rule, false));
            }
            let sessions = &mut self.still_sessions[..some.len()];
            sessions.iter_mut().for_each(Session::reset);
            for _ in 1..STILL_STEPS {
                self.engines.step(&self.gray, some, sessions, frame.time)?;
            }
            let stepped = self.engines.step(&self.gray, some, sessions, frame.time)?;
            let engine = stepped.engine;
            self.estimates.clear();
            self.estimates.extend_from_slice(stepped.estimates);
            let blank = self.blank(frame, engine, start);
            self.readings.extend(some.iter().zip(&self.estimates).map(|(face, found)| reading(&blank, face, found)));
        }
        if self.readings.is_empty() {
            let engine = self.engines.name();
            self.readings.push(self.blank(frame, engine, start));
        }
        Ok(())
    }

    fn read_frame(&mut self, frame: &Frame, start: Instant) -> Result<()> {
        self.faces.clear();
        self.faces.extend_from_slice(self.tracker.update(&self.gray, frame.time)?);
        if self.tracker.crowded() && !std::mem::replace(&mut self.said_crowded, true) {
            log::warn!("more than {MAX_FACES} faces are there; the largest are read");
        }
        while let Some(gone) = self.ids.iter().position(|id| !self.tracker.remembers(*id)) {
            self.ids.swap_remove(gone);
            let mut session = self.sessions.swap_remove(gone);
            session.reset();
            self.spare.push(session);
        }
        (0..self.faces.len()).for_each(|i| self.bring_session(i));
        let sessions = &mut self.sessions[..self.faces.len()];
        let stepped = self.engines.step(&self.gray, &self.faces, sessions, frame.time)?;
        let engine = stepped.engine;
        self.estimates.clear();
        self.estimates.extend_from_slice(stepped.estimates);
        let blank = self.blank(frame, engine, start);
        self.readings.extend(self.faces.iter().zip(&self.estimates).map(|(face, found)| reading(&blank, face, found)));
        for face in self.tracker.held() {
            let at = self.ids.iter().position(|id| *id == face.id);
            let Some((mut last, then)) = at.and_then(|i| self.sessions[i].latest()) else { continue };
            let unseen = frame.time.saturating_sub(then).as_secs_f32() / HOLD.as_secs_f32();
            last.confidence *= (1.0 - unseen).max(0.0);
            self.readings.push(Reading { held: true, ..reading(&blank, face, &last) });
        }
        if self.readings.is_empty() {
            self.readings.push(blank);
        }
        Ok(())
    }

    /// The engines and what became of them.
    pub fn engines(&self) -> &Failover {
        &self.engines
    }

    /// Puts the session of the frame's face `i`, an old or a new one, in place `i`.
    fn bring_session(&mut self, i: usize) {
        let id = self.faces[i].id;
        let at = self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            let fresh = || Session::new(&self.spec, self.rule, self.smooth);
            self.sessions.push(self.spare.pop().unwrap_or_else(fresh));
            self.ids.push(id);
            self.ids.len() - 1
        });
        self.ids.swap(i, at);
        self.sessions.swap(i, at);
    }
}

/// `blank` with what was found of a face.
fn reading(blank: &Reading, face: &TrackedFace, found: &Estimate) -> Reading {
    let [x, y, side] = face.square;
    Reading {
        face: FaceState::Id(face.id),
        r#box: Some([x, y, side, side]),
        roll_deg: Some(face.roll_rad.to_degrees()),
        arousal: Some(found.values[0]),
        valence: Some(found.values[1]),
        confidence: Some(found.confidence.clamp(0.0, 1.0)),
        interval: Some(found.interval),
        ..blank.clone()
    }
}

/// Predictions paired with the designed emotion of the rendered face nearest to each box.
#[derive(Debug, Clone, Default)]
pub struct TruthPairs {
    /// Predicted arousal and valence.
    pub predicted: [Vec<f64>; 2],
    /// Designed arousal and valence.
    pub designed: [Vec<f64>; 2],
}

impl TruthPairs {
    /// Adds the readings of one frame.
    pub fn add(&mut self, readings: &[Reading], truth: &[Truth]) {
        for r in readings.iter().filter(|r| !r.held) {
            let (Some(b), Some(a), Some(v)) = (r.r#box, r.arousal, r.valence) else { continue };
            let gap = |t: &Truth| (t.center[0] - b[0] - b[2] / 2.0).hypot(t.center[1] - b[1] - b[3] / 2.0);
            let Some(t) = truth.iter().min_by(|x, y| gap(x).total_cmp(&gap(y))) else { continue };
            for (d, (have, want)) in [(a, t.arousal), (v, t.valence)].into_iter().enumerate() {
                self.predicted[d].push(f64::from(have));
                self.designed[d].push(f64::from(want));
            }
        }
    }
}

/// Counters of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub frames: u64,
    /// Frames that show a face.
    pub with_face: u64,
    pub readings: u64,
    /// Frames that failed on one engine and were read by another.
    pub rescued: u64,
    /// Changes of engine.
    pub moves: u64,
}

/// Runs a source to its end, handing each frame's readings to `each` until it says to stop.
///
/// # Errors
/// Whatever the source, the pipeline or `each` reports.
pub fn run(
    source: &mut dyn FrameSource,
    pipeline: &mut Pipeline,
    mut each: impl FnMut(&Frame, &[Reading], &[Truth]) -> Result<bool>,
) -> Result<Counts> {
    let mut frame = Frame::default();
    let mut counts = Counts::default();
    while source.next_frame(&mut frame)? == Next::Frame {
        let readings = pipeline.process(&frame)?;
        counts.frames += 1;
        counts.readings += readings.len() as u64;
        counts.with_face += u64::from(readings.iter().any(|r| r.face.id().is_some() && !r.held));
        let go_on = each(&frame, readings, source.truth())?;
        let tally = pipeline.engines.tally();
        (counts.rescued, counts.moves) = (tally.rescued, tally.moves);
        if !go_on {
            break;
        }
    }
    Ok(counts)
}
