//! Follows faces between detections and keeps their ids.
//!
//! Between detections every visible face is followed by its look ([`super::follow`]), so its box moves with it
//! without lag. Every [`DETECT_EVERY`] frames, and on every frame while nothing is tracked or a visible face
//! could not be followed, the detector runs and its boxes are matched to tracks, nearest first; where and how
//! large a face is drifts towards its detections by a first-order filter of gain [`FOLLOW`] (or [`CATCH_UP`] if it
//! could not be followed), and so does its roll, which [`super::roll`] reads off every face detected. That steadies the crop; a change of size is followed with a time constant of
//! `DETECT_EVERY / -ln(1 - FOLLOW)`, about eight frames. A face unseen keeps its last box for [`HOLD`] and its id
//! for [`KEEP`] of stream time; ids are never used twice.
//!
//! The detector finds heads that are about upright, so it is shown the picture turned: about a tracked face rolled by more
//! than [`TURNED_RAD`], in turn with other tracked faces, and while no face is tracked every second time by [`SEARCH_RAD`]
//! to either side. Every search is of one view and costs the same.

use super::follow::{Follower, Template};
use super::{Detection, Detector, RollEstimator, View};
use crate::error::Result;
use crate::frame::Gray;
use std::time::Duration;

/// Frames from one detection to the next while faces are tracked.
const DETECT_EVERY: u32 = 4;
/// Gain of the box filter at a detection of a face that was followed since the last one.
const FOLLOW: f32 = 0.4;
/// Gain of the box filter at a detection of a face that was not.
const CATCH_UP: f32 = 0.6;
/// A face that detection misses is reported at its last place this long.
const HOLD: Duration = Duration::from_millis(400);
/// A face that comes back within this time keeps its id.
const KEEP: Duration = Duration::from_secs(1);
/// Farthest a face may have moved since it was last seen, in box sides.
const REACH: f32 = 0.8;
/// Detections below this score, or in a turned view, must be seen twice before they count.
const SURE: f32 = 6.0;
/// Roll from which a tracked face is searched for in a view turned with it, in radians. Upright searches find 87 % as many
/// faces turned by 15 degrees as upright ones, 79 % at 20, 56 % at 30 and 23 % at 40 (`models/roll/card.md`).
const TURNED_RAD: f32 = 0.26;
/// Roll of the turned views that are searched while no face is tracked, in radians.
const SEARCH_RAD: f32 = 0.52;
/// Farthest a head's roll may be from a view's for a search to tell that it has gone, in radians.
const TELLS_RAD: f32 = 0.35;
/// Most faces followed at once.
pub const MAX_FACES: usize = 8;

/// A face in the current frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackedFace {
    /// Stable id, from 1.
    pub id: u32,
    /// Square box `[left, top, side]` in pixels of the frame.
    pub square: [f32; 3],
    /// How far the head is rolled, in radians, clockwise; smoothed, and kept from one detection to the next.
    pub roll_rad: f32,
}

#[derive(Debug, Clone)]
struct Track {
    id: u32,
    square: [f32; 3],
    roll_rad: f32,
    /// Gain of the filter when the roll is next read.
    roll_gain: f32,
    seen: Duration,
    /// In the picture, as far as searches tell.
    matched: bool,
    /// The latest search found it, in a view of this roll.
    detected: Option<f32>,
    confirmed: bool,
    /// Found by its look in every frame since the last detection.
    followed: bool,
    template: Template,
}

/// The tracker; owns its detector.
pub struct Tracker {
    detector: Box<dyn Detector>,
    tracks: Vec<Track>,
    found: Vec<Detection>,
    visible: Vec<TrackedFace>,
    next_id: u32,
    since_detection: u32,
    /// Searches made.
    searches: usize,
    follower: Follower,
    rolls: RollEstimator,
}

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    let centre = |s: [f32; 3]| (s[0] + s[2] / 2.0, s[1] + s[2] / 2.0);
    let ((ax, ay), (bx, by)) = (centre(a), centre(b));
    (ax - bx).hypot(ay - by) / a[2].max(b[2]).max(1.0)
}

impl Tracker {
    /// A tracker on any detector.
    pub fn new(detector: Box<dyn Detector>, rolls: RollEstimator) -> Self {
        let since_detection = DETECT_EVERY;
        Self {
            detector,
            tracks: Vec::new(),
            found: Vec::new(),
            visible: Vec::new(),
            next_id: 1,
            since_detection,
            searches: 0,
            follower: Follower::new(),
            rolls,
        }
    }

    /// Takes the next frame; gives the faces in it, oldest id first.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn update(&mut self, picture: &Gray, time: Duration) -> Result<&[TrackedFace]> {
        self.tracks.retain(|t| time.saturating_sub(t.seen) <= KEEP);
        self.since_detection += 1;
        let sure = self.follow(picture);
        if self.since_detection >= DETECT_EVERY || !sure {
            self.since_detection = 0;
            let (view, whose) = self.next_view();
            self.detector.detect_in(picture, view, &mut self.found)?;
            self.associate(time, view, whose);
            self.look(picture);
        }
        self.visible.clear();
        let present = |t: &&Track| t.confirmed && time.saturating_sub(t.seen) <= HOLD;
        let face = |t: &Track| TrackedFace { id: t.id, square: t.square, roll_rad: t.roll_rad };
        self.visible.extend(self.tracks.iter().filter(present).map(face));
        Ok(&self.visible)
    }

    /// True while a face of this id may still come back.
    pub fn remembers(&self, id: u32) -> bool {
        self.tracks.iter().any(|t| t.id == id)
    }

    /// Moves every face that was in the last frame along; true if there was one and all could be followed.
    fn follow(&mut self, picture: &Gray) -> bool {
        let mut sure = false;
        for track in self.tracks.iter_mut().filter(|t| t.matched) {
            match self.follower.follow(picture, track.square, &track.template) {
                Some(square) => track.square = square,
                None => track.followed = false,
            }
            sure |= track.confirmed;
        }
        sure && self.tracks.iter().all(|t| t.followed || !t.matched)
    }

    /// The next view to search, and the id of the face it is turned for.
    fn next_view(&mut self) -> (View, Option<u32>) {
        let turn = self.searches;
        self.searches += 1;
        let tracked = self.tracks.iter().filter(|t| t.matched).count();
        let lost = self.tracks.last().filter(|_| tracked == 0 && turn.is_multiple_of(2));
        if let Some(t) = self.tracks.iter().filter(|t| t.matched).nth(turn % tracked.max(1)).or(lost) {
            let [x, y, side] = t.square;
            let about = Some([x + 0.5 * side, y + 0.5 * side]);
            let view = View { roll_rad: t.roll_rad, about };
            return (if t.roll_rad.abs() > TURNED_RAD { view } else { View::UPRIGHT }, Some(t.id));
        }
        let roll_rad = [0.0, SEARCH_RAD, 0.0, -SEARCH_RAD][turn % 4];
        (View { roll_rad, about: None }, None)
    }

    /// Takes look and roll of every face that was detected.
    fn look(&mut self, picture: &Gray) {
        for track in &mut self.tracks {
            let Some(view) = track.detected else { continue };
            self.follower.learn(picture, track.square, &mut track.template);
            track.followed = true;
            if let Some(roll) = self.rolls.estimate(picture, track.square, view) {
                track.roll_rad += track.roll_gain * (roll - track.roll_rad);
            }
        }
    }

    /// Matches what was found in `view`, turned for the face `whose`, to tracks.
    fn associate(&mut self, time: Duration, view: View, whose: Option<u32>) {
        for t in &mut self.tracks {
            let told = view.about.is_none() && (t.roll_rad - view.roll_rad).abs() <= TELLS_RAD;
            // A face that this view need not show is believed to be where it was followed to.
            t.matched &= t.followed && !told && whose != Some(t.id);
            if t.matched {
                t.seen = time;
            }
            t.detected = None;
        }
        loop {
            let pairs = self.tracks.iter().enumerate().filter(|(_, t)| t.detected.is_none()).flat_map(|(i, t)| {
                self.found.iter().enumerate().map(move |(j, d)| (distance(t.square, d.square), i, j))
            });
            let Some((gap, i, j)) = pairs.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
            if gap > REACH {
                break;
            }
            let found = self.found.swap_remove(j);
            let track = &mut self.tracks[i];
            // A face that was away is taken where it is now, not pulled over from where it was.
            let away = time.saturating_sub(track.seen) > HOLD;
            let steady = if track.followed { FOLLOW } else { CATCH_UP };
            let gain = if away { 1.0 } else { steady };
            for (have, want) in track.square.iter_mut().zip(found.square) {
                *have += gain * (want - *have);
            }
            track.roll_gain = gain;
            (track.seen, track.matched, track.confirmed) = (time, true, true);
            track.detected = Some(found.roll_rad);
        }
        self.tracks.retain(|t| t.confirmed || t.matched);
        self.found.sort_by(|a, b| b.square[2].total_cmp(&a.square[2]));
        for found in self.found.drain(..) {
            if self.tracks.len() < MAX_FACES {
                let confirmed = found.score >= SURE && found.roll_rad == 0.0;
                self.tracks.push(Track {
                    id: self.next_id,
                    square: found.square,
                    roll_rad: found.roll_rad,
                    roll_gain: 1.0,
                    seen: time,
                    matched: true,
                    detected: Some(found.roll_rad),
                    confirmed,
                    followed: true,
                    template: Template::default(),
                });
                self.next_id += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Script(Arc<Mutex<Vec<Detection>>>);

    impl Detector for Script {
        fn detect_in(&mut self, _: &Gray, _: View, found: &mut Vec<Detection>) -> Result<()> {
            found.clone_from(&self.0.lock().unwrap());
            Ok(())
        }
    }

    struct Stage {
        tracker: Tracker,
        script: Arc<Mutex<Vec<Detection>>>,
        frame: u64,
    }

    impl Stage {
        fn new() -> Self {
            let script = Arc::new(Mutex::new(Vec::new()));
            let rolls = RollEstimator::new(crate::face::RollModel::shipped().unwrap());
            Self { tracker: Tracker::new(Box::new(Script(script.clone())), rolls), script, frame: 0 }
        }

        /// Shows faces at these places for some frames at 25 fps; gives the ids of the last.
        fn show(&mut self, places: &[(f32, f32)], frames: u64) -> Vec<u32> {
            let detection = |&(x, score): &(f32, f32)| Detection { square: [x, 50.0, 100.0], score, roll_rad: 0.0 };
            *self.script.lock().unwrap() = places.iter().map(detection).collect();
            let mut ids = Vec::new();
            for _ in 0..frames {
                let time = Duration::from_millis(40 * self.frame);
                ids = self.tracker.update(&Gray::default(), time).unwrap().iter().map(|f| f.id).collect();
                self.frame += 1;
            }
            ids
        }
    }

    #[test]
    fn a_face_back_within_a_second_keeps_its_id() {
        let mut s = Stage::new();
        assert_eq!(s.show(&[(100.0, 9.0)], 10), [1]);
        assert!(s.show(&[], 20).is_empty());
        assert_eq!(s.show(&[(130.0, 9.0)], 3), [1]);
    }

    #[test]
    fn a_face_away_for_longer_is_someone_new() {
        let mut s = Stage::new();
        s.show(&[(100.0, 9.0)], 10);
        assert!(s.tracker.remembers(1));
        s.show(&[], 40);
        assert!(!s.tracker.remembers(1));
        assert_eq!(s.show(&[(100.0, 9.0)], 3), [2]);
    }

    #[test]
    fn two_faces_keep_their_own_ids_whatever_their_order() {
        let mut s = Stage::new();
        assert_eq!(s.show(&[(0.0, 9.0), (300.0, 9.0)], 5), [1, 2]);
        assert_eq!(s.show(&[(310.0, 9.0), (10.0, 9.0)], 5), [1, 2]);
        let left = s.tracker.visible[0].square[0];
        assert!(left < 20.0, "{left}");
    }

    #[test]
    fn a_weak_detection_counts_only_when_seen_twice() {
        let mut s = Stage::new();
        assert!(s.show(&[(100.0, 3.0)], 1).is_empty());
        assert!(s.show(&[], 2).is_empty());
        assert!(s.show(&[(100.0, 3.0)], 1).is_empty());
        assert_eq!(s.show(&[(100.0, 3.0)], 1).len(), 1);
    }

    /// Sees a face wherever a view of about its roll is searched, and notes the views.
    struct Rolled {
        roll: f32,
        views: Arc<Mutex<Vec<View>>>,
    }

    /// In the middle of 250 x 250 pixels.
    const BOX: [f32; 3] = [80.0, 80.0, 90.0];

    impl Detector for Rolled {
        fn detect_in(&mut self, _: &Gray, view: View, found: &mut Vec<Detection>) -> Result<()> {
            self.views.lock().unwrap().push(view);
            found.clear();
            if (view.roll_rad - self.roll).abs() < 0.3 {
                found.push(Detection { square: BOX, score: 9.0, roll_rad: view.roll_rad });
            }
            Ok(())
        }
    }

    /// A rendered face in [`BOX`], turned clockwise by `roll`.
    fn turned(roll: f32) -> Gray {
        let shot = crate::render::clip(4, 1, 25.0, 200).remove(0);
        let [x, y, side] = shot.face;
        let scale = side / BOX[2];
        let wide = [x - BOX[0] * scale, y - BOX[1] * scale, 250.0 * scale];
        let mut out = Gray::new(250, 250);
        crate::preprocess::Cropper::new(250).level_into(&shot.picture, wide, -roll, &mut out.data);
        out
    }

    #[test]
    fn a_rolled_head_is_searched_for_found_and_kept_in_turned_views() {
        let views = Arc::new(Mutex::new(Vec::new()));
        let detector = Rolled { roll: -0.6, views: views.clone() };
        let rolls = RollEstimator::new(crate::face::RollModel::shipped().unwrap());
        let mut tracker = Tracker::new(Box::new(detector), rolls);
        let picture = turned(-0.6);
        let mut show = |i: u64| tracker.update(&picture, Duration::from_millis(40 * i)).unwrap().to_vec();
        let seen: Vec<Vec<TrackedFace>> = (0..40).map(&mut show).collect();
        // Upright, right, upright, left: found on the fourth frame, believed on the fifth.
        assert_eq!(seen.iter().position(|f| !f.is_empty()), Some(4));
        assert!(seen[4..].iter().all(|f| f.len() == 1 && f[0].id == 1));
        let last = seen[39][0].roll_rad;
        assert!((last + 0.6).abs() < 0.15, "{last}");
        let views = views.lock().unwrap();
        assert!(views[5..].iter().all(|v| (v.roll_rad - last).abs() < 0.1 && v.about.is_some()), "{views:?}");
    }

    #[test]
    fn faces_of_different_rolls_are_searched_in_turn_and_all_kept() {
        struct Two;
        impl Detector for Two {
            fn detect_in(&mut self, _: &Gray, view: View, found: &mut Vec<Detection>) -> Result<()> {
                found.clear();
                let square = if view.roll_rad.abs() < 0.3 { BOX } else { [400.0, 80.0, 90.0] };
                found.push(Detection { square, score: 9.0, roll_rad: view.roll_rad });
                Ok(())
            }
        }
        let rolls = RollEstimator::new(crate::face::RollModel::shipped().unwrap());
        let mut tracker = Tracker::new(Box::new(Two), rolls);
        let face = turned(0.0);
        let mut picture = Gray::new(600, 250);
        for (row, line) in picture.data.chunks_exact_mut(600).zip(face.data.chunks_exact(250)) {
            row[..250].copy_from_slice(line);
        }
        let rolled = turned(0.55);
        for (row, line) in picture.data.chunks_exact_mut(600).zip(rolled.data.chunks_exact(250)) {
            row[320..570].copy_from_slice(line);
        }
        tracker.update(&picture, Duration::ZERO).unwrap();
        tracker.tracks.push(Track { id: 2, square: [400.0, 80.0, 90.0], roll_rad: 0.55, ..tracker.tracks[0].clone() });
        for i in 1..60 {
            let faces = tracker.update(&picture, Duration::from_millis(40 * i)).unwrap();
            assert_eq!(faces.iter().map(|f| f.id).collect::<Vec<_>>(), [1, 2], "frame {i}");
        }
    }

    #[test]
    fn no_more_than_the_limit_are_followed() {
        let mut s = Stage::new();
        let crowd: Vec<(f32, f32)> = (0..20).map(|i| (200.0 * i as f32, 9.0)).collect();
        assert_eq!(s.show(&crowd, 2).len(), MAX_FACES);
    }
}
