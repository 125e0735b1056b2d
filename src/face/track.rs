//! Follows faces between detections and keeps their ids.
//!
//! Every visible face is followed from frame to frame by its look ([`super::follow`]), so its box moves with it without
//! lag. The detector runs every [`DETECT_EVERY`] of stream time, and on every frame while nothing is tracked or a face
//! that was there is not seen. Its boxes are matched to tracks by place and look ([`super::matching`]). Where and how
//! large a face is drifts towards its detections by a first-order filter of gain [`FOLLOW`] a [`DETECT_EVERY`] (at least
//! [`CATCH_UP`] if it could not be followed), and so does its roll, which [`super::roll`] reads off every face detected.
//!
//! A face is seen in a frame if it was detected there or followed there. Following alone is believed for [`FAITH`] after
//! the last detection. A face that was seen and is not is held: reported as such for [`HOLD`] of stream time. Its id is
//! kept for [`KEEP`], in a slow stream for [`MISSES`] frames; ids are never used twice.
//!
//! The detector finds heads that are about upright, so it is shown the picture turned: about a tracked face rolled by
//! more than [`TURNED_RAD`], in turn with other tracked faces, and while no face is tracked every second time by
//! [`SEARCH_RAD`] to either side. Every search is of one view and costs the same. A frame has one search for every
//! [`SEARCH_EVERY`] since the frame before, so a slow stream, and the first frame of any, is searched in all views, and
//! what was found weakly is looked at twice.

use super::follow::{Follower, Template};
use super::matching::{Candidate, best_pair};
use super::pace::{Pace, Step};
use super::{Detection, Detector, RollEstimator, View};
use crate::error::Result;
use crate::frame::Gray;
use std::time::Duration;

/// Stream time from one detection to the next while faces are followed: four frames at 25 a second.
const DETECT_EVERY: Duration = Duration::from_millis(150);
/// Gain of the box filter at a detection of a face that was followed since one 160 ms before.
const FOLLOW: f32 = 0.4;
/// The step in seconds that [`FOLLOW`] is for.
const FOLLOW_S: f32 = 0.16;
/// Least gain of the box filter at a detection of a face that was not followed.
const CATCH_UP: f32 = 0.6;
/// A face that is not seen is held this long.
pub const HOLD: Duration = Duration::from_millis(400);
/// A face that comes back within this time keeps its id.
const KEEP: Duration = Duration::from_secs(1);
/// In a stream so slow that [`KEEP`] is a frame or two: a face missed in no more frames than this keeps its id.
const MISSES: u32 = 2;
/// Following without detection is believed this long, and until the detector has denied the face twice.
const FAITH: Duration = Duration::from_secs(1);
/// Detections below this score, or in a turned view, must be seen twice before they count.
const SURE: f32 = 6.0;
/// Roll from which a tracked face is searched for in a view turned with it, in radians. Upright searches find 87 % as many
/// faces turned by 15 degrees as upright ones, 79 % at 20, 56 % at 30 and 23 % at 40 (`models/roll/card.md`).
const TURNED_RAD: f32 = 0.26;
/// Roll of the turned views that are searched while no face is tracked, in radians.
const SEARCH_RAD: f32 = 0.52;
/// Roll of the view in which what was found weakly is looked at again within a frame, in radians.
const AGAIN_RAD: f32 = 0.09;
/// Farthest a head's roll may be from a view's for a search to tell that it has gone, in radians.
const TELLS_RAD: f32 = 0.35;
/// Stream time that one search more is worth.
const SEARCH_EVERY: Duration = Duration::from_millis(40);
/// Most searches of one frame.
const MOST_SEARCHES: u32 = 5;
/// Detections nearer than this to a face already detected in the frame, in box sides, are of the same face.
const SAME: f32 = 0.5;
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
    /// Pixels a second, right and down, smoothed.
    velocity: [f32; 2],
    roll_rad: f32,
    /// Gain of the filter when the roll is next read.
    roll_gain: f32,
    /// The roll was read off the face, not only guessed from the view that showed it.
    roll_read: bool,
    /// Seen in the latest frame.
    here: bool,
    /// When it was last seen.
    seen: Duration,
    /// Where it was then.
    seen_at: [f32; 3],
    /// When it was last detected.
    detected_at: Duration,
    /// The latest frame's searches found it, in a view of this roll.
    detected: Option<f32>,
    /// Searches in a row that should have shown it and did not.
    denials: u32,
    /// Frames in a row in which it was not seen.
    misses: u32,
    confirmed: bool,
    /// Found by its look in every frame since the last detection.
    followed: bool,
    template: Template,
}

impl Track {
    fn new(id: u32, found: &Detection, time: Duration) -> Self {
        Self {
            id,
            square: found.square,
            velocity: [0.0; 2],
            roll_rad: found.roll_rad,
            roll_gain: 1.0,
            roll_read: false,
            here: true,
            seen: time,
            seen_at: found.square,
            detected_at: time,
            detected: Some(found.roll_rad),
            denials: 0,
            misses: 0,
            confirmed: found.score >= SURE && found.roll_rad == 0.0,
            followed: true,
            template: Template::default(),
        }
    }

    fn face(&self) -> TrackedFace {
        TrackedFace { id: self.id, square: self.square, roll_rad: self.roll_rad }
    }

    /// Where it should be at `time`, for as long as it is held.
    fn expected(&self, time: Duration) -> [f32; 3] {
        let unseen = if self.here { Duration::ZERO } else { time.saturating_sub(self.seen).min(HOLD) };
        let [x, y, side] = self.square;
        let moved = self.velocity.map(|v| v * unseen.as_secs_f32());
        [x + moved[0], y + moved[1], side]
    }

    /// Takes over a detection.
    fn take(&mut self, found: &Detection, time: Duration) {
        let since = time.saturating_sub(self.detected_at).as_secs_f32();
        let steady = 1.0 - (1.0 - FOLLOW).powf(since.max(FOLLOW_S) / FOLLOW_S);
        // A face that was away is taken where it is now, not pulled over from where it was.
        let away = time.saturating_sub(self.seen) > HOLD;
        let gain = match () {
            () if away => 1.0,
            () if self.followed => steady,
            () => steady.max(CATCH_UP),
        };
        for (have, want) in self.square.iter_mut().zip(found.square) {
            *have += gain * (want - *have);
        }
        self.roll_gain = if self.roll_read { gain } else { 1.0 };
        (self.here, self.confirmed, self.denials) = (true, true, 0);
        (self.detected, self.detected_at) = (Some(found.roll_rad), time);
    }

    /// Whether a search of `view`, turned for the face `whose`, should have shown it.
    fn should_show(&self, view: View, whose: Option<u32>) -> bool {
        let told = view.about.is_none() && (self.roll_rad - view.roll_rad).abs() <= TELLS_RAD;
        told || whose == Some(self.id)
    }

    /// Settles whether it was seen at `time`, once the frame was searched.
    fn settle(&mut self, time: Duration) {
        let trusted = time.saturating_sub(self.detected_at) <= FAITH || self.denials < 2;
        self.here &= self.detected.is_some() || trusted;
        if !self.here {
            self.misses += 1;
            return;
        }
        let passed = time.saturating_sub(self.seen).as_secs_f32();
        if passed > 0.0 {
            let rate = (passed / FOLLOW_S).min(1.0);
            for (v, (now, then)) in self.velocity.iter_mut().zip(self.square.into_iter().zip(self.seen_at)) {
                *v += rate * ((now - then) / passed - *v);
            }
        }
        (self.seen, self.seen_at, self.misses) = (time, self.square, 0);
    }
}

/// The tracker; owns its detector.
pub struct Tracker {
    detector: Box<dyn Detector>,
    tracks: Vec<Track>,
    found: Vec<Detection>,
    visible: Vec<TrackedFace>,
    held: Vec<TrackedFace>,
    next_id: u32,
    pace: Pace,
    /// When the detector last ran.
    searched_at: Option<Duration>,
    /// Frames searched.
    searches: usize,
    follower: Follower,
    rolls: RollEstimator,
}

impl Tracker {
    /// A tracker on any detector.
    pub fn new(detector: Box<dyn Detector>, rolls: RollEstimator) -> Self {
        Self {
            detector,
            tracks: Vec::new(),
            found: Vec::new(),
            visible: Vec::new(),
            held: Vec::new(),
            next_id: 1,
            pace: Pace::default(),
            searched_at: None,
            searches: 0,
            follower: Follower::new(),
            rolls,
        }
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
        let sure = self.follow(picture);
        let due = self.searched_at.is_none_or(|then| time.saturating_sub(then) >= DETECT_EVERY);
        if due || !sure {
            self.searched_at = Some(time);
            self.search(picture, time, step)?;
            self.look(picture);
        }
        self.tracks.iter_mut().for_each(|t| t.settle(time));
        let held = |t: &&Track| t.confirmed && !t.here && time.saturating_sub(t.seen) <= HOLD;
        self.visible.clear();
        self.visible.extend(self.tracks.iter().filter(|t| t.confirmed && t.here).map(Track::face));
        self.held.clear();
        self.held.extend(self.tracks.iter().filter(held).map(Track::face));
        Ok(&self.visible)
    }

    /// Every face of a picture that has nothing to do with any other, under ids of its own.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn still(&mut self, picture: &Gray) -> Result<Vec<TrackedFace>> {
        let faces = super::stills::find(self.detector.as_mut(), &mut self.rolls, picture, self.next_id)?;
        self.next_id += faces.len() as u32;
        Ok(faces)
    }

    /// The faces that the latest frame does not show and that were seen a moment before, where they were then.
    pub fn held(&self) -> &[TrackedFace] {
        &self.held
    }

    /// True while a face of this id may still come back.
    pub fn remembers(&self, id: u32) -> bool {
        self.tracks.iter().any(|t| t.id == id)
    }

    /// Moves every face that was in the last frame along; true if there was one, all could be followed and none is held.
    fn follow(&mut self, picture: &Gray) -> bool {
        let mut sure = self.held.is_empty();
        let mut any = false;
        for track in &mut self.tracks {
            track.detected = None;
            if track.here {
                match self.follower.follow(picture, track.square, &track.template) {
                    Some(square) => track.square = square,
                    None => (track.followed, track.here) = (false, false),
                }
                any |= track.confirmed;
                sure &= track.here;
            }
        }
        sure && any
    }

    /// Searches the frame in as many views as its step allows and its faces ask for.
    fn search(&mut self, picture: &Gray, time: Duration, step: Step) -> Result<()> {
        let most = match step {
            Step::First | Step::Break => MOST_SEARCHES,
            Step::On(gap) => (gap.as_millis() / SEARCH_EVERY.as_millis()).clamp(1, MOST_SEARCHES.into()) as u32,
        };
        let mut next = Some(self.first_view());
        self.searches += 1;
        let mut done = [None; MOST_SEARCHES as usize];
        for count in 0..most as usize {
            let Some((view, whose)) = next else { break };
            done[count] = Some(view);
            self.detector.detect_in(picture, view, &mut self.found)?;
            self.associate(picture, time, view, whose);
            next = self.further_view(&done);
        }
        let sighted = |t: &Track| t.confirmed || t.detected.is_some() || (t.here && t.denials == 0);
        self.tracks.retain(sighted);
        Ok(())
    }

    /// The view of a track, if it is searched for turned, or the upright one.
    fn view_of(track: &Track) -> View {
        if track.roll_rad.abs() <= TURNED_RAD {
            return View::UPRIGHT;
        }
        Self::view_at(track, track.roll_rad)
    }

    /// The view about a track, at full detail.
    fn view_at(track: &Track, roll_rad: f32) -> View {
        let [x, y, side] = track.square;
        View { roll_rad, about: Some([x + 0.5 * side, y + 0.5 * side]) }
    }

    /// The view that a frame's search begins with, and the id of the face it is turned for.
    fn first_view(&self) -> (View, Option<u32>) {
        let turn = self.searches;
        let tracked = self.tracks.iter().filter(|t| t.here).count();
        let lost = self.tracks.last().filter(|_| tracked == 0 && turn.is_multiple_of(2));
        if let Some(t) = self.tracks.iter().filter(|t| t.here).nth(turn % tracked.max(1)).or(lost) {
            return (Self::view_of(t), Some(t.id));
        }
        let roll_rad = [0.0, SEARCH_RAD, 0.0, -SEARCH_RAD][turn % 4];
        (View { roll_rad, about: None }, None)
    }

    /// What else is worth a search in a frame in which `done` were searched: every face not seen yet in its own view,
    /// then the whole picture upright; what was found weakly, a little turned; while there is no face, turned to both sides.
    fn further_view(&self, done: &[Option<View>]) -> Option<(View, Option<u32>)> {
        let fresh = |view: &View| {
            let same = |d: &View| {
                (d.roll_rad - view.roll_rad).abs() < 0.5 * AGAIN_RAD && d.about.is_none() == view.about.is_none()
            };
            !done.iter().flatten().any(same)
        };
        let whole = |roll_rad: f32| View { roll_rad, about: None };
        let unseen = self.tracks.iter().filter(|t| t.confirmed && t.detected.is_none());
        let own = unseen.map(|t| (Self::view_of(t), Some(t.id)));
        let weak = self.tracks.iter().find(|t| !t.confirmed);
        let about =
            weak.into_iter().flat_map(|t| [AGAIN_RAD, -AGAIN_RAD].map(|r| (Self::view_at(t, t.roll_rad + r), t.id)));
        let again = about.map(|(view, id)| (view, Some(id)));
        let anyone = self.tracks.iter().any(|t| t.here);
        let around = [0.0, SEARCH_RAD, -SEARCH_RAD].into_iter().filter(|r| *r == 0.0 || !anyone);
        own.chain(again).chain(around.map(|r| (whole(r), None))).find(|(view, _)| fresh(view))
    }

    /// Takes look and roll of every face that was detected.
    fn look(&mut self, picture: &Gray) {
        for track in &mut self.tracks {
            let Some(view) = track.detected else { continue };
            self.follower.learn(picture, track.square, &mut track.template);
            track.followed = true;
            if let Some(roll) = self.rolls.estimate(picture, track.square, view) {
                track.roll_rad += track.roll_gain * (roll - track.roll_rad);
                track.roll_read = true;
            }
        }
    }

    /// Matches what was found in `view`, turned for the face `whose`, to tracks.
    fn associate(&mut self, picture: &Gray, time: Duration, view: View, whose: Option<u32>) {
        loop {
            let open = self.tracks.iter().enumerate().filter(|(_, t)| t.detected.is_none() || !t.confirmed);
            let candidates = open.map(|(index, t)| Candidate {
                index,
                square: t.expected(time),
                unseen: time.saturating_sub(t.seen),
                template: &t.template,
            });
            let Some((i, j)) = best_pair(candidates, &self.found, &mut self.follower, picture) else { break };
            let found = self.found.swap_remove(j);
            self.tracks[i].take(&found, time);
        }
        for t in self.tracks.iter_mut().filter(|t| t.detected.is_none() && t.should_show(view, whose)) {
            t.denials += 1;
        }
        self.found.sort_by(|a, b| b.square[2].total_cmp(&a.square[2]));
        for found in self.found.drain(..) {
            let known = |t: &Track| t.detected.is_some() && super::matching::distance(t.square, found.square) < SAME;
            if self.tracks.len() < MAX_FACES && !self.tracks.iter().any(known) {
                self.tracks.push(Track::new(self.next_id, &found, time));
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
            let detection = |&(x, score): &(f32, f32)| Detection { square: [x, 50.0, 100.0], score, roll_rad: 0.0 };
            *self.script.lock().unwrap() = places.iter().map(detection).collect();
            let mut ids = Vec::new();
            for _ in 0..frames {
                ids = self.tracker.update(&Gray::default(), self.time).unwrap().iter().map(|f| f.id).collect();
                self.time += Duration::from_millis(40);
            }
            ids
        }

        /// The next frame comes at this time.
        fn at(&mut self, time: Duration) {
            self.time = time;
        }

        /// Shows faces at these places of a picture for one frame.
        fn show_in(&mut self, picture: &Gray, places: &[(f32, f32)]) -> Vec<TrackedFace> {
            let detection = |&(x, score): &(f32, f32)| Detection { square: [x, 50.0, 100.0], score, roll_rad: 0.0 };
            *self.script.lock().unwrap() = places.iter().map(detection).collect();
            let faces = self.tracker.update(picture, self.time).unwrap().to_vec();
            self.time += Duration::from_millis(40);
            faces
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
        s.show(&[], 1);
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
        // The first frame is searched in all views, and what a turned one shows is looked at again.
        assert!(seen.iter().all(|f| f.len() == 1 && f[0].id == 1));
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
        let square = [400.0, 80.0, 90.0];
        let mut other = Track { id: 2, square, roll_rad: 0.55, ..tracker.tracks[0].clone() };
        tracker.follower.learn(&picture, square, &mut other.template);
        tracker.tracks.push(other);
        for i in 1..60 {
            let faces = tracker.update(&picture, Duration::from_millis(40 * i)).unwrap();
            assert_eq!(faces.iter().map(|f| f.id).collect::<Vec<_>>(), [1, 2], "frame {i}");
        }
    }

    /// Every frame of a stream at this rate shows the face `places` gives; how many frames read it, and under which ids.
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
        for fps in [60.0, 24.0, 10.0, 5.0, 3.0, 2.0, 1.0, 0.5] {
            let (read, ids) = read_at(fps, |i| Some((100.0 + i as f32, 9.0)));
            assert_eq!((read, ids.into_iter().collect::<Vec<_>>()), (20, vec![1]), "{fps} frames a second");
        }
    }

    #[test]
    fn a_slow_stream_that_misses_a_face_once_keeps_its_id_and_reports_nothing_meanwhile() {
        let (read, ids) = read_at(0.5, |i| (i != 7).then_some((100.0, 9.0)));
        assert_eq!((read, ids.len()), (19, 1));
        let (read, ids) = read_at(0.5, |i| (!(7..12).contains(&i)).then_some((100.0, 9.0)));
        assert_eq!((read, ids.len()), (15, 2));
    }

    #[test]
    fn after_a_pause_of_a_quick_stream_a_face_is_someone_new() {
        let mut s = Stage::new();
        assert_eq!(s.show(&[(100.0, 9.0)], 10), [1]);
        s.at(Duration::from_secs(8));
        assert_eq!(s.show(&[(100.0, 9.0)], 1), [2]);
    }

    #[test]
    fn a_face_that_is_not_seen_is_held_for_a_moment_and_then_gone() {
        let mut s = Stage::new();
        s.show(&[(100.0, 9.0)], 10);
        for i in 1..=12 {
            assert!(s.show(&[], 1).is_empty());
            assert_eq!(s.tracker.held().len(), usize::from(i <= 10), "frame {i}");
        }
    }

    #[test]
    fn a_weak_face_is_looked_at_twice_where_no_frame_follows_soon() {
        let mut s = Stage::new();
        assert_eq!(s.show(&[(100.0, 3.0)], 1), [1], "the first frame");
        let mut s = Stage::new();
        s.show(&[], 1);
        s.at(Duration::from_secs(1));
        assert_eq!(s.show(&[(100.0, 3.0)], 1), [1], "one a second");
    }

    #[test]
    fn of_two_faces_that_cross_each_keeps_its_id() {
        // Two patterns that pass each other behind one another, drawn anew for each frame.
        let mut s = Stage::new();
        let patch = |seed: u64| -> Vec<u8> {
            let mut rng = crate::render::Rng::new(seed, 0);
            let coarse: Vec<u8> = (0..36).map(|_| (40.0 + 170.0 * rng.unit()) as u8).collect();
            (0..100 * 100).map(|i| coarse[(i / 100 * 6 / 100) * 6 + i % 100 * 6 / 100]).collect()
        };
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
            let places = if hidden { vec![(a, 9.0)] } else { vec![(a, 9.0), (b, 9.0)] };
            ends = s.show_in(&picture, &places).iter().map(|f| (f.id, f.square[0] > 200.0)).collect();
        }
        assert_eq!(ends, [(1, true), (2, false)]);
    }

    #[test]
    fn no_more_than_the_limit_are_followed() {
        let mut s = Stage::new();
        let crowd: Vec<(f32, f32)> = (0..20).map(|i| (200.0 * i as f32, 9.0)).collect();
        assert_eq!(s.show(&crowd, 2).len(), MAX_FACES);
    }
}
