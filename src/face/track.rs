//! Follows faces between detections and keeps their ids.
//!
//! Between detections every visible face is followed by its look ([`super::follow`]), so its box moves with it
//! without lag. Every [`DETECT_EVERY`] frames, and on every frame while nothing is tracked or a visible face
//! could not be followed, the detector runs and its boxes are matched to tracks, nearest first; where and how
//! large a face is drifts towards its detections by a first-order filter of gain [`FOLLOW`] (or [`CATCH_UP`] if it
//! could not be followed). That steadies the crop; a change of size is followed with a time constant of
//! `DETECT_EVERY / -ln(1 - FOLLOW)`, about eight frames. A face unseen keeps its last box for [`HOLD`] and its id
//! for [`KEEP`] of stream time; ids are never used twice.

use super::follow::{Follower, Template};
use super::{Detection, Detector};
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
/// Detections below this score must be seen twice before they count.
const SURE: f32 = 6.0;
/// Most faces followed at once.
pub const MAX_FACES: usize = 8;

/// A face in the current frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackedFace {
    /// Stable id, from 1.
    pub id: u32,
    /// Square box `[left, top, side]` in pixels of the frame.
    pub square: [f32; 3],
}

#[derive(Debug, Clone)]
struct Track {
    id: u32,
    square: [f32; 3],
    seen: Duration,
    matched: bool,
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
    follower: Follower,
}

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    let centre = |s: [f32; 3]| (s[0] + s[2] / 2.0, s[1] + s[2] / 2.0);
    let ((ax, ay), (bx, by)) = (centre(a), centre(b));
    (ax - bx).hypot(ay - by) / a[2].max(b[2]).max(1.0)
}

impl Tracker {
    /// A tracker on any detector.
    pub fn new(detector: Box<dyn Detector>) -> Self {
        let since_detection = DETECT_EVERY;
        Self {
            detector,
            tracks: Vec::new(),
            found: Vec::new(),
            visible: Vec::new(),
            next_id: 1,
            since_detection,
            follower: Follower::new(),
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
            self.detector.detect(picture, &mut self.found)?;
            self.associate(time);
            for track in self.tracks.iter_mut().filter(|t| t.matched) {
                self.follower.learn(picture, track.square, &mut track.template);
                track.followed = true;
            }
        }
        self.visible.clear();
        let present = |t: &&Track| t.confirmed && time.saturating_sub(t.seen) <= HOLD;
        self.visible.extend(self.tracks.iter().filter(present).map(|t| TrackedFace { id: t.id, square: t.square }));
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

    fn associate(&mut self, time: Duration) {
        self.tracks.iter_mut().for_each(|t| t.matched = false);
        loop {
            let pairs = self.tracks.iter().enumerate().filter(|(_, t)| !t.matched).flat_map(|(i, t)| {
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
            (track.seen, track.matched, track.confirmed) = (time, true, true);
        }
        self.tracks.retain(|t| t.confirmed || t.matched);
        self.found.sort_by(|a, b| b.square[2].total_cmp(&a.square[2]));
        for found in self.found.drain(..) {
            if self.tracks.len() < MAX_FACES {
                let confirmed = found.score >= SURE;
                self.tracks.push(Track {
                    id: self.next_id,
                    square: found.square,
                    seen: time,
                    matched: true,
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
        fn detect(&mut self, _: &Gray, found: &mut Vec<Detection>) -> Result<()> {
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
            Self { tracker: Tracker::new(Box::new(Script(script.clone()))), script, frame: 0 }
        }

        /// Shows faces at these places for some frames at 25 fps; gives the ids of the last.
        fn show(&mut self, places: &[(f32, f32)], frames: u64) -> Vec<u32> {
            let detection = |&(x, score): &(f32, f32)| Detection { square: [x, 50.0, 100.0], score };
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

    #[test]
    fn no_more_than_the_limit_are_followed() {
        let mut s = Stage::new();
        let crowd: Vec<(f32, f32)> = (0..20).map(|i| (200.0 * i as f32, 9.0)).collect();
        assert_eq!(s.show(&crowd, 2).len(), MAX_FACES);
    }
}
