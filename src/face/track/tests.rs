use super::*;
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

#[test]
fn a_weak_detection_counts_only_when_seen_twice() {
    let mut s = Stage::new();
    s.show(&[], 1);
    assert!(s.show(&[(100.0, 0.7)], 1).is_empty());
    assert!(s.show(&[], 3).is_empty());
    assert!(s.show(&[(100.0, 0.7)], 1).is_empty());
    assert_eq!(s.show(&[(100.0, 0.7)], 1).len(), 1);
    assert_eq!(s.show(&[(100.0, 0.7), (500.0, 0.9)], 1).len(), 2, "a sure one at once");
}

#[test]
fn what_is_weaker_still_begins_no_face_and_keeps_one() {
    let mut s = Stage::new();
    assert!(s.show(&[(100.0, 0.5)], 5).is_empty());
    assert_eq!(s.show(&[(100.0, 0.9)], 1), [1]);
    assert_eq!(s.show(&[(102.0, 0.5)], 50), [1]);
}

#[test]
fn a_weak_face_counts_at_once_where_no_frame_follows_soon() {
    let mut s = Stage::new();
    assert_eq!(s.show(&[(100.0, 0.7)], 1), [1], "the first frame");
    let mut s = Stage::new();
    s.show(&[], 1);
    s.at(Duration::from_secs(1));
    assert_eq!(s.show(&[(100.0, 0.7)], 1), [1], "one a second");
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
