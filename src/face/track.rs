//! Follows faces from frame to frame and keeps their ids.
//!
//! The detector runs on every frame, or on every `every`th ([`Tracker::every`]). What it finds is
//! matched to the faces that were there by place, size and look ([`super::matching`]), each where
//! its motion should have brought it. Place, size and roll, which [`super::roll`] reads off every
//! face detected, go through filters of fixed time constants, the place's with a velocity, so that
//! a slow stream is filtered less. A face that the detector does not look for or misses is followed
//! by its look ([`super::follow`]), for [`FAITH`] after a miss.
//!
//! A face is seen in a frame if it was detected or followed there. A face that was seen and is not
//! is held: reported as such for [`HOLD`] of stream time. Its id is kept for [`KEEP`], in a slow
//! stream for [`MISSES`] frames; ids are never used twice.
//!
//! A detection below [`LEAST_SCORE`] begins no face.
//! One below [`SURE_SCORE`] begins a face only when a second one agrees, but for a stream's
//! first frame and streams so slow that waiting would lose it ([`SLOW`]).

use super::follow::{Follower, Template};
use super::matching::{Candidate, Pair, distance, pair};
use super::pace::{Pace, Step};
use super::{Detector, LEAST_SCORE, Pose, RollEstimator, SURE_SCORE};
use crate::error::Result;
use crate::frame::Gray;
use crate::spec::detector::Detection;
use std::time::Duration;

/// Time constants of the filters of place, size and roll.
const PLACE_S: f32 = 0.05;
const SIZE_S: f32 = 0.25;
const ROLL_S: f32 = 0.2;
/// A face that is not seen is held this long.
pub const HOLD: Duration = Duration::from_millis(400);
/// A face that comes back within this time keeps its id.
const KEEP: Duration = Duration::from_secs(1);
/// In a stream so slow that [`KEEP`] is a frame or two: a face missed in no more frames than this
/// keeps its id.
const MISSES: u32 = 2;
/// Following is believed this long after the detector missed a face.
const FAITH: Duration = Duration::from_millis(400);
/// Frames this far apart: a weak detection is believed at once.
const SLOW: Duration = Duration::from_millis(300);
/// Faces nearer than this, in sides, are one.
const SAME: f32 = 0.4;
/// Most faces followed at once.
pub const MAX_FACES: usize = 32;

/// A face in the current frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TrackedFace {
    /// Stable id, from 1.
    pub id: u32,
    /// Square box `[left, top, side]` in pixels of the frame, its sides upright; see
    /// [`Pose::square`].
    pub square: [f32; 3],
    /// How far the head is rolled, in radians, clockwise.
    pub roll_rad: f32,
}

#[derive(Debug, Clone)]
struct Track {
    id: u32,
    pose: Pose,
    /// Pixels a second, right and down.
    velocity: [f32; 2],
    /// The roll was read off the face.
    roll_read: bool,
    /// Seconds from the detection before to the latest.
    read_s: f32,
    /// When `pose` was last brought up to date.
    moved: Duration,
    /// Seen in the latest frame.
    here: bool,
    /// When it was last seen.
    seen: Duration,
    /// Detected in the latest frame.
    detected: bool,
    /// When the detector first missed it since it last found it.
    missed: Option<Duration>,
    /// Frames in a row in which it was not seen.
    misses: u32,
    confirmed: bool,
    template: Template,
}

/// Share of a step of `passed_s` that a first-order filter takes at once.
fn gain(passed_s: f32, constant_s: f32) -> f32 {
    1.0 - (-passed_s / constant_s).exp()
}

fn middle([x, y, side]: [f32; 3]) -> [f32; 2] {
    [x + 0.5 * side, y + 0.5 * side]
}

impl Track {
    fn new(id: u32, pose: Pose, time: Duration, confirmed: bool) -> Self {
        Self {
            id,
            pose,
            velocity: [0.0; 2],
            roll_read: false,
            read_s: 0.0,
            moved: time,
            here: true,
            seen: time,
            detected: true,
            missed: None,
            misses: 0,
            confirmed,
            template: Template::default(),
        }
    }

    fn face(&self) -> TrackedFace {
        TrackedFace { id: self.id, square: self.pose.square(), roll_rad: self.pose.roll_rad }
    }

    /// Where it should be at `time`.
    fn expected(&self, time: Duration) -> Pose {
        let passed_s = time.saturating_sub(self.moved).min(HOLD).as_secs_f32();
        let centre = std::array::from_fn(|k| self.pose.centre[k] + self.velocity[k] * passed_s);
        Pose { centre, ..self.pose }
    }

    /// Moves it to where it was seen at `time`.
    fn shift(&mut self, seen_at: [f32; 2], time: Duration) {
        let passed_s = time.saturating_sub(self.moved).as_secs_f32();
        let expected = self.expected(time).centre;
        let place = gain(passed_s, PLACE_S);
        // Critically damped (Benedict and Bordner 1962).
        let speed = place * place / (2.0 - place);
        for k in 0..2 {
            let off = seen_at[k] - expected[k];
            self.pose.centre[k] = expected[k] + place * off;
            if passed_s > 0.0 {
                self.velocity[k] += speed / passed_s * off;
            }
        }
        self.moved = time;
    }

    /// Takes over a detection.
    fn take(&mut self, pose: Pose, time: Duration) {
        if time.saturating_sub(self.seen) > HOLD {
            // A face that was away is taken where it is now, not pulled over from where it was.
            let template = std::mem::take(&mut self.template);
            *self = Self { template, ..Self::new(self.id, pose, time, true) };
            return;
        }
        let passed_s = time.saturating_sub(self.moved).as_secs_f32();
        self.shift(pose.centre, time);
        self.pose.side += gain(passed_s, SIZE_S) * (pose.side - self.pose.side);
        self.read_s = passed_s;
        (self.here, self.detected, self.confirmed, self.missed) = (true, true, true, None);
    }

    /// Takes over a roll that was read off the face.
    fn level(&mut self, roll_rad: f32) {
        let gain = if self.roll_read { gain(self.read_s, ROLL_S) } else { 1.0 };
        self.pose.roll_rad += gain * (roll_rad - self.pose.roll_rad);
        self.roll_read = true;
    }

    /// Settles whether it was seen at `time`.
    fn settle(&mut self, time: Duration) {
        if self.here {
            (self.seen, self.misses) = (time, 0);
        } else {
            self.misses += 1;
        }
    }
}

/// The tracker; owns its detector.
pub struct Tracker {
    detector: Box<dyn Detector>,
    every: u32,
    /// Frames since the detector ran.
    since: u32,
    tracks: Vec<Track>,
    found: Vec<Detection>,
    poses: Vec<Pose>,
    pairs: Vec<Pair>,
    visible: Vec<TrackedFace>,
    held: Vec<TrackedFace>,
    next_id: u32,
    pace: Pace,
    follower: Follower,
    rolls: RollEstimator,
    /// The latest frame shows more than [`MAX_FACES`].
    crowded: bool,
}

impl Tracker {
    /// A tracker on any detector.
    pub fn new(detector: Box<dyn Detector>, rolls: RollEstimator) -> Self {
        Self {
            detector,
            every: 1,
            since: 0,
            tracks: Vec::new(),
            found: Vec::new(),
            poses: Vec::new(),
            pairs: Vec::new(),
            visible: Vec::new(),
            held: Vec::new(),
            next_id: 1,
            pace: Pace::default(),
            follower: Follower::new(),
            rolls,
            crowded: false,
        }
    }

    /// The same, the detector running on every `every`th frame while all faces can be followed; 0
    /// counts as 1.
    pub fn every(self, every: u32) -> Self {
        Self { every: every.max(1), ..self }
    }

    /// Takes the next frame; gives the faces seen in it, oldest id first.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn update(&mut self, picture: &Gray, time: Duration) -> Result<&[TrackedFace]> {
        let step = self.pace.step(time);
        self.tracks.retain(|t| {
            time.saturating_sub(t.seen) <= KEEP || (step != Step::Break && t.misses <= MISSES && t.confirmed)
        });
        self.tracks.iter_mut().for_each(|t| t.detected = false);
        self.since += 1;
        let followed = self.since < self.every && self.follow_all(picture, time);
        if !followed {
            self.since = 0;
            self.detect(picture, time, step)?;
        }
        self.tracks.iter_mut().for_each(|t| t.settle(time));
        self.tracks.retain(|t| t.confirmed || t.misses <= 1);
        let held = |t: &&Track| t.confirmed && !t.here && time.saturating_sub(t.seen) <= HOLD;
        self.visible.clear();
        self.visible.extend(self.tracks.iter().filter(|t| t.confirmed && t.here).map(Track::face));
        self.held.clear();
        self.held.extend(self.tracks.iter().filter(held).map(Track::face));
        Ok(&self.visible)
    }

    /// Every face of a picture that has nothing to do with any other, largest first, under ids of
    /// its own.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn still(&mut self, picture: &Gray) -> Result<Vec<TrackedFace>> {
        let faces = super::stills::find(self.detector.as_mut(), &mut self.rolls, picture, self.next_id)?;
        self.next_id += faces.len() as u32;
        Ok(faces)
    }

    /// The faces that the latest frame does not show and that were seen a moment before, where they
    /// were then.
    pub fn held(&self) -> &[TrackedFace] {
        &self.held
    }

    /// True while a face of this id may still come back.
    pub fn remembers(&self, id: u32) -> bool {
        self.tracks.iter().any(|t| t.id == id)
    }

    /// Moves every face that was in the last frame along by its look; true if there was one, all
    /// could be followed and none is held.
    fn follow_all(&mut self, picture: &Gray, time: Duration) -> bool {
        let mut all = self.held.is_empty();
        let mut any = false;
        for track in self.tracks.iter_mut().filter(|t| t.here) {
            match self.follower.follow(picture, track.expected(time).square(), &track.template) {
                Some(square) => track.shift(middle(square), time),
                None => all = false,
            }
            any |= track.confirmed;
        }
        all && any
    }

    /// Runs the detector and gives every track what it found.
    fn detect(&mut self, picture: &Gray, time: Duration, step: Step) -> Result<()> {
        self.detector.detect(picture, &mut self.found)?;
        self.poses.clear();
        self.poses.extend(self.found.iter().map(Pose::of));
        let candidates = self.tracks.iter().enumerate().map(|(index, t)| Candidate {
            index,
            pose: t.expected(time),
            unseen: time.saturating_sub(t.seen),
            template: &t.template,
        });
        pair(candidates, &self.poses, &mut self.follower, picture, &mut self.pairs);
        for p in &self.pairs {
            self.tracks[p.face].take(self.poses[p.detection], time);
        }
        self.follow_missed(picture, time);
        self.begin(time, step);
        for track in self.tracks.iter_mut().filter(|t| t.detected) {
            let square = track.pose.square();
            self.follower.learn(picture, square, &mut track.template);
            if let Some(roll_rad) = self.rolls.estimate(picture, square, track.pose.roll_rad) {
                track.level(roll_rad);
            }
        }
        Ok(())
    }

    /// Follows for a while what the detector missed, unless another face is there.
    fn follow_missed(&mut self, picture: &Gray, time: Duration) {
        for i in 0..self.tracks.len() {
            let track = &self.tracks[i];
            if track.detected {
                continue;
            }
            let since = track.missed.unwrap_or(time);
            let mut square = None;
            if track.here && track.confirmed && time.saturating_sub(since) <= FAITH {
                square = self.follower.follow(picture, track.expected(time).square(), &track.template);
            }
            let seen_at = square.map(|square| Pose { centre: middle(square), ..track.pose });
            let taken = |p: &Pose| self.tracks.iter().any(|t| t.detected && distance(&t.pose, p) < SAME);
            let seen_at = seen_at.filter(|p| !taken(p));
            let track = &mut self.tracks[i];
            (track.missed, track.here) = (Some(since), seen_at.is_some());
            if let Some(pose) = seen_at {
                track.shift(pose.centre, time);
            }
        }
    }

    /// Begins a track for what was found and belongs to none, the largest first.
    fn begin(&mut self, time: Duration, step: Step) {
        let slow = match step {
            Step::First | Step::Break => true,
            Step::On(gap) => gap >= SLOW,
        };
        for p in &self.pairs {
            self.poses[p.detection].side = 0.0;
        }
        for (pose, found) in self.poses.iter_mut().zip(&self.found) {
            if found.score < LEAST_SCORE {
                pose.side = 0.0;
            }
        }
        self.crowded = false;
        loop {
            let largest =
                (0..self.poses.len()).rev().max_by(|&a, &b| self.poses[a].side.total_cmp(&self.poses[b].side));
            let Some(i) = largest.filter(|&i| self.poses[i].side > 0.0) else { break };
            let pose = self.poses[i];
            self.poses[i].side = 0.0;
            if self.tracks.iter().any(|t| t.detected && distance(&t.pose, &pose) < SAME) {
                continue;
            }
            if self.tracks.len() >= MAX_FACES {
                self.crowded = true;
                break;
            }
            let sure = slow || self.found[i].score >= SURE_SCORE;
            self.tracks.push(Track::new(self.next_id, pose, time, sure));
            self.next_id += 1;
        }
    }

    /// Whether the latest frame shows more faces than are followed.
    pub fn crowded(&self) -> bool {
        self.crowded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::KEEP_SCORE;
    use std::sync::{Arc, Mutex};

    struct Script(Arc<Mutex<Vec<Detection>>>);

    impl Detector for Script {
        fn detect(&mut self, _: &Gray, found: &mut Vec<Detection>) -> Result<()> {
            found.clone_from(&self.0.lock().unwrap());
            Ok(())
        }
    }

    /// A face whose square has its left edge at `x`, its top at 50, and sides of 100.
    fn detection(&(x, score): &(f32, f32)) -> Detection {
        let unit = Pose::of(&Detection { rect: [0.0, 0.0, 1.0, 1.0], ..Detection::default() });
        let side = 100.0 / unit.side;
        let rect = [x + 50.0 - side * unit.centre[0], 100.0 - side * unit.centre[1], side, side];
        Detection { score, rect, ..Detection::default() }
    }

    struct Stage {
        tracker: Tracker,
        script: Arc<Mutex<Vec<Detection>>>,
        time: Duration,
    }

    impl Stage {
        fn new() -> Self {
            let script = Arc::new(Mutex::new(Vec::new()));
            let rolls = RollEstimator::new(crate::face::RollModel::shipped().unwrap());
            Self { tracker: Tracker::new(Box::new(Script(script.clone())), rolls), script, time: Duration::ZERO }
        }

        /// Shows faces at these places for some frames at 25 fps; gives the ids of the last.
        fn show(&mut self, places: &[(f32, f32)], frames: u64) -> Vec<u32> {
            let mut ids = Vec::new();
            for _ in 0..frames {
                ids = self.show_in(&Gray::default(), places).iter().map(|f| f.id).collect();
            }
            ids
        }

        /// The next frame comes at this time.
        fn at(&mut self, time: Duration) {
            self.time = time;
        }

        /// Shows faces at these places of a picture for one frame.
        fn show_in(&mut self, picture: &Gray, places: &[(f32, f32)]) -> Vec<TrackedFace> {
            *self.script.lock().unwrap() = places.iter().map(detection).collect();
            let faces = self.tracker.update(picture, self.time).unwrap().to_vec();
            self.time += Duration::from_millis(40);
            faces
        }
    }

    #[test]
    fn a_face_back_within_a_second_keeps_its_id() {
        let mut s = Stage::new();
        assert_eq!(s.show(&[(100.0, 0.9)], 10), [1]);
        assert!(s.show(&[], 20).is_empty());
        assert_eq!(s.show(&[(130.0, 0.9)], 3), [1]);
    }

    #[test]
    fn a_face_away_for_longer_is_someone_new() {
        let mut s = Stage::new();
        s.show(&[(100.0, 0.9)], 10);
        assert!(s.tracker.remembers(1));
        s.show(&[], 40);
        assert!(!s.tracker.remembers(1));
        assert_eq!(s.show(&[(100.0, 0.9)], 3), [2]);
    }

    #[test]
    fn two_faces_keep_their_own_ids_whatever_their_order() {
        let mut s = Stage::new();
        let near = |faces: &[TrackedFace], x: f32| -> Vec<u32> {
            faces.iter().filter(|f| (f.square[0] - x).abs() < 20.0).map(|f| f.id).collect()
        };
        let first = s.show_in(&Gray::default(), &[(300.0, 0.9), (0.0, 0.9)]);
        let ids = [near(&first, 0.0), near(&first, 300.0)];
        assert!(first.len() == 2 && ids.iter().all(|ids| ids.len() == 1), "{first:?}");
        for places in [[310.0, 10.0], [10.0, 310.0], [5.0, 305.0]] {
            let faces = s.show_in(&Gray::default(), &places.map(|x| (x, 0.9)));
            assert_eq!([near(&faces, 0.0), near(&faces, 300.0)], ids, "{faces:?}");
        }
    }

    /// May be a new face, but is not surely one.
    const WEAK: f32 = 0.5 * (LEAST_SCORE + SURE_SCORE);
    /// Keeps a face and begins none.
    const KEPT: f32 = 0.5 * (KEEP_SCORE + LEAST_SCORE);

    #[test]
    fn a_weak_detection_counts_only_when_seen_twice() {
        let mut s = Stage::new();
        s.show(&[], 1);
        assert!(s.show(&[(100.0, WEAK)], 1).is_empty());
        assert!(s.show(&[], 3).is_empty());
        assert!(s.show(&[(100.0, WEAK)], 1).is_empty());
        assert_eq!(s.show(&[(100.0, WEAK)], 1).len(), 1);
        assert_eq!(s.show(&[(100.0, WEAK), (500.0, SURE_SCORE)], 1).len(), 2, "a sure one at once");
    }

    #[test]
    fn what_is_weaker_still_begins_no_face_and_keeps_one() {
        let mut s = Stage::new();
        assert!(s.show(&[(100.0, KEPT)], 5).is_empty());
        assert_eq!(s.show(&[(100.0, SURE_SCORE)], 1), [1]);
        assert_eq!(s.show(&[(102.0, KEPT)], 50), [1]);
    }

    #[test]
    fn a_weak_face_counts_at_once_where_no_frame_follows_soon() {
        let mut s = Stage::new();
        assert_eq!(s.show(&[(100.0, WEAK)], 1), [1], "the first frame");
        let mut s = Stage::new();
        s.show(&[], 1);
        s.at(Duration::from_secs(1));
        assert_eq!(s.show(&[(100.0, WEAK)], 1), [1], "one a second");
    }

    /// Every frame of a stream at this rate shows the face `places` gives; how many frames read it,
    /// and under which ids.
    fn read_at(fps: f64, places: impl Fn(u64) -> Option<(f32, f32)>) -> (usize, std::collections::BTreeSet<u32>) {
        let mut s = Stage::new();
        let (mut read, mut ids) = (0, std::collections::BTreeSet::new());
        for i in 0..20 {
            s.at(Duration::from_secs_f64(i as f64 / fps));
            let seen = s.show(places(i).as_slice(), 1);
            read += usize::from(!seen.is_empty());
            ids.extend(seen);
        }
        (read, ids)
    }

    #[test]
    fn a_face_in_every_frame_is_read_in_every_frame_at_any_rate_under_one_id() {
        for fps in [240.0, 60.0, 24.0, 10.0, 5.0, 3.0, 2.0, 1.0, 0.5] {
            let (read, ids) = read_at(fps, |i| Some((100.0 + i as f32, 0.9)));
            assert_eq!((read, ids.into_iter().collect::<Vec<_>>()), (20, vec![1]), "{fps} frames a second");
        }
    }

    #[test]
    fn a_slow_stream_that_misses_a_face_once_keeps_its_id_and_reports_nothing_meanwhile() {
        let (read, ids) = read_at(0.5, |i| (i != 7).then_some((100.0, 0.9)));
        assert_eq!((read, ids.len()), (19, 1));
        let (read, ids) = read_at(0.5, |i| (!(7..12).contains(&i)).then_some((100.0, 0.9)));
        assert_eq!((read, ids.len()), (15, 2));
    }

    #[test]
    fn after_a_pause_of_a_quick_stream_a_face_is_someone_new() {
        let mut s = Stage::new();
        assert_eq!(s.show(&[(100.0, 0.9)], 10), [1]);
        s.at(Duration::from_secs(8));
        assert_eq!(s.show(&[(100.0, 0.9)], 1), [2]);
    }

    #[test]
    fn a_face_that_is_not_seen_is_held_for_a_moment_and_then_gone() {
        let mut s = Stage::new();
        s.show(&[(100.0, 0.9)], 10);
        for i in 1..=12 {
            assert!(s.show(&[], 1).is_empty());
            assert_eq!(s.tracker.held().len(), usize::from(i <= 10), "frame {i}");
        }
    }

    #[test]
    fn a_box_that_trembles_is_steadied_and_one_that_moves_does_not_lag() {
        let mut s = Stage::new();
        let mut rng = crate::render::Rng::new(1, 0);
        let mut off = Vec::new();
        for _ in 0..200 {
            let face = s.show_in(&Gray::default(), &[(100.0 + 2.0 * rng.normal(), 0.9)])[0];
            off.push(face.square[0] - 100.0);
        }
        let deviation = (off[20..].iter().map(|v| v * v).sum::<f32>() / 180.0).sqrt();
        assert!(deviation < 1.6, "{deviation} of 2 pixels");
        let mut s = Stage::new();
        let lag = (0..50).map(|i| {
            let x = 100.0 + 8.0 * i as f32;
            x - s.show_in(&Gray::default(), &[(x, 0.9)])[0].square[0]
        });
        let lag = lag.last().unwrap();
        assert!(lag.abs() < 0.2, "{lag} pixels behind");
    }

    #[test]
    fn roll_is_read_off_the_face_and_kept() {
        // A rendered face in the middle of a picture, turned.
        let shot = crate::render::clip(4, 1, 25.0, 200).remove(0);
        let [x, y, side] = shot.face;
        let wide = [x - 0.5 * side, y - 0.5 * side, 2.0 * side];
        let mut picture = Gray::new(200, 200);
        crate::preprocess::Cropper::new(200).level_into(&shot.picture, wide, 0.5, &mut picture.data);
        let mut s = Stage::new();
        for i in 0..10 {
            let face = s.show_in(&picture, &[(50.0, 0.9)])[0];
            assert!((face.roll_rad + 0.5).abs() < 0.2, "frame {i}: {}", face.roll_rad);
        }
        let flat = Gray { width: 200, height: 200, data: vec![90; 200 * 200] };
        let kept = s.show_in(&flat, &[(50.0, 0.9)])[0].roll_rad;
        assert!((kept + 0.5).abs() < 0.3, "{kept}");
    }

    /// Grey in which a patch that looks like nothing else lies at `left`.
    fn scene(left: f32, patch: &[u8]) -> Gray {
        let mut picture = Gray { width: 520, height: 200, data: vec![128; 520 * 200] };
        for (y, row) in patch.chunks_exact(100).enumerate() {
            picture.data[(y + 50) * 520 + left as usize..][..100].copy_from_slice(row);
        }
        picture
    }

    fn patch(seed: u64) -> Vec<u8> {
        let mut rng = crate::render::Rng::new(seed, 0);
        let coarse: Vec<u8> = (0..36).map(|_| (40.0 + 170.0 * rng.unit()) as u8).collect();
        (0..100 * 100).map(|i| coarse[(i / 100 * 6 / 100) * 6 + i % 100 * 6 / 100]).collect()
    }

    #[test]
    fn between_detections_a_face_is_followed_by_its_look() {
        let mut s = Stage::new();
        s.tracker = s.tracker.every(4);
        let look = patch(5);
        for i in 0..24 {
            let left = 50.0 + 5.0 * i as f32;
            // What the detector would say if it were asked in between is wrong.
            let said = if i % 4 == 0 { left } else { 400.0 };
            if i < 4 {
                s.show_in(&scene(left, &look), &[(left, 0.9)]);
                continue;
            }
            let faces = s.show_in(&scene(left, &look), &[(said, 0.9)]);
            assert!(faces.len() == 1 && faces[0].id == 1, "frame {i}: {faces:?}");
            assert!((faces[0].square[0] - left).abs() < 4.0, "frame {i}: {:?} for {left}", faces[0].square);
        }
    }

    #[test]
    fn a_face_that_the_detector_misses_is_followed_for_a_moment() {
        let mut s = Stage::new();
        let look = patch(6);
        for i in 0..10 {
            s.show_in(&scene(50.0 + 3.0 * i as f32, &look), &[(50.0 + 3.0 * i as f32, 0.9)]);
        }
        let seen: Vec<usize> = (10..30).map(|i| s.show_in(&scene(50.0 + 3.0 * i as f32, &look), &[]).len()).collect();
        assert_eq!(seen[..10], [1; 10]);
        assert_eq!(seen[12..], [0; 8]);
    }

    #[test]
    fn of_two_faces_that_cross_each_keeps_its_id() {
        // Two patterns that pass each other behind one another, drawn anew for each frame.
        let mut s = Stage::new();
        let (front, back) = (patch(1), patch(2));
        let mut ends = Vec::new();
        for i in 0..60u64 {
            let (a, b) = (20.0 + 6.0 * i as f32, 380.0 - 6.0 * i as f32);
            let mut picture = Gray { width: 520, height: 200, data: vec![128; 520 * 200] };
            for (left, patch) in [(b, &back), (a, &front)] {
                for (y, row) in patch.chunks_exact(100).enumerate() {
                    picture.data[(y + 50) * 520 + left as usize..][..100].copy_from_slice(row);
                }
            }
            let hidden = (a - b).abs() < 60.0;
            let places = if hidden { vec![(a, 0.9)] } else { vec![(a, 0.9), (b, 0.9)] };
            let faces = s.show_in(&picture, &places);
            ends = faces.iter().map(|f| (f.id, f.square[0] > 200.0)).collect();
        }
        assert_eq!(ends, [(1, true), (2, false)]);
    }

    #[test]
    fn no_more_than_the_limit_are_followed() {
        let mut s = Stage::new();
        let crowd: Vec<(f32, f32)> = (0..40).map(|i| (200.0 * i as f32, 0.9)).collect();
        assert_eq!(s.show(&crowd, 2).len(), MAX_FACES);
        assert!(s.tracker.crowded());
        s.show(&crowd[..MAX_FACES], 1);
        assert!(!s.tracker.crowded());
    }
}
