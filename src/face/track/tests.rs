//! The tracker on scripted detectors and rendered faces.

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
