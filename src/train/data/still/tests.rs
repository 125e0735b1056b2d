use super::*;
use crate::train::shards::{Writer, WriterConfig};
use std::path::Path;

/// A still of `size_px` a side with a soft pattern; key, label and pattern follow from `n`.
pub fn still(split: Split, n: usize, size_px: usize) -> Sample {
    let level = |i: usize| {
        let (x, y) = ((i % size_px) as f32, (i / size_px) as f32);
        (128.0 + 90.0 * (0.2 * x + n as f32).sin() * (0.15 * y).cos()) as u8
    };
    let meta = Meta {
        key: format!("still{n}"),
        video: format!("still{n}"),
        part: 0,
        subject: None,
        group: format!("still{n}"),
        split,
        fps: 25.0,
        start_s: 0.0,
        frames: 1,
        size_px,
        audio: None,
        votes: None,
        tags: Default::default(),
    };
    let label = (n as f32 * 0.37).sin();
    Sample { meta, video: (0..size_px * size_px).map(level).collect(), labels: vec![[label, -label]], audio: None }
}

/// `n` frames of a still's picture, as a recording of `fps` frames a second.
pub fn recording(split: Split, n: usize, size_px: usize, frames: usize, fps: f64) -> Sample {
    let mut all = clip(&still(split, n, size_px), frames, fps, &Motion::in_judging("recording"));
    for name in [&mut all.meta.key, &mut all.meta.video, &mut all.meta.group] {
        *name = format!("recording{n}");
    }
    (0..frames).for_each(|t| all.labels[t] = [0.5 * (t as f32 * 0.9 + n as f32).sin(), 0.1]);
    all
}

pub fn write(folder: &Path, samples: &[Sample]) -> Reader {
    let size_px = samples[0].meta.size_px;
    let mut writer = Writer::open(folder, WriterConfig { size_px, ..WriterConfig::default() }).unwrap();
    samples.iter().for_each(|s| writer.push(s).unwrap());
    writer.finish().unwrap();
    Reader::open(folder).unwrap()
}

#[test]
fn motion_is_small_and_smooth_and_starts_at_the_still() {
    for seed in 0..200 {
        let motion = Motion::draw(&mut Rng::new(seed, 0));
        assert_eq!(motion.at(0.0), Pose { shift: [0.0; 2], zoom: 0.0, roll: 0.0 });
        let parts = |i: i32| {
            let Pose { shift: [x, y], zoom, roll } = motion.at(i as f32 / 25.0);
            [x / MOST_SHIFT, y / MOST_SHIFT, zoom / MOST_ZOOM, roll / MOST_ROLL]
        };
        let mut farthest = 0.0f32;
        for i in -100..100 {
            let [before, here, after] = [parts(i - 1), parts(i), parts(i + 1)];
            for ((b, h), a) in before.iter().zip(here).zip(after) {
                assert!(h.abs() <= 1.0, "seed {seed}");
                // Of sines of at most 1 Hz whose amplitudes add up to 0.5: the steepest and the most bent there are.
                let w = TAU / 25.0;
                assert!((a - h).abs() <= 0.5 * w + 1e-5, "seed {seed}");
                assert!((a - 2.0 * h + b).abs() <= 0.5 * w * w + 1e-5, "seed {seed}");
                farthest = farthest.max(h.abs());
            }
        }
        assert!(farthest > 0.1, "seed {seed} hardly moves");
    }
}

#[test]
fn a_clip_repeats_the_labels_moves_and_shows_the_still_in_its_middle() {
    let still = still(Split::Train, 3, 32);
    let whole = clip(&still, 9, 25.0, &Motion::in_training("k", 1, 0));
    assert!(whole.validate().is_ok());
    assert_eq!((whole.meta.frames, whole.labels.clone()), (9, vec![still.labels[0]; 9]));
    let frame = |t: usize| &whole.video[t * 1024..][..1024];
    assert_eq!(frame(4), still.video);
    let gap = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / 1024.0;
    for t in 0..8 {
        assert!(gap(frame(t), frame(t + 1)) > 0.0 && gap(frame(t), frame(t + 1)) < 8.0);
    }
    assert!(gap(frame(0), frame(4)) > gap(frame(3), frame(4)));
}

#[test]
fn motion_follows_from_seed_epoch_and_key() {
    let at = |m: Motion| m.at(0.3);
    let first = at(Motion::in_training("a", 1, 0));
    assert_eq!(first, at(Motion::in_training("a", 1, 0)));
    for other in [Motion::in_training("a", 1, 1), Motion::in_training("a", 2, 0), Motion::in_training("b", 1, 0)] {
        assert_ne!(first, at(other));
    }
    assert_ne!(at(Motion::in_judging("a")), first);
    assert_eq!(at(Motion::in_judging("a")), at(Motion::in_judging("a")));
}

#[test]
fn a_still_is_judged_by_its_last_frame_and_a_recording_is_left_alone() {
    let once = judged(still(Split::Valid, 2, 16), 3);
    assert_eq!(once.meta.frames, 22);
    assert!(once.labels[..21].iter().flatten().all(|v| v.is_nan()));
    assert_eq!(once.labels[21], still(Split::Valid, 2, 16).labels[0]);
    assert_eq!(once.video, judged(still(Split::Valid, 2, 16), 3).video);
    let moving = recording(Split::Valid, 1, 16, 5, 10.0);
    assert_eq!(judged(moving.clone(), 3), moving);
    let mut rest = still(Split::Valid, 2, 16);
    rest.meta.part = 1;
    assert_eq!(judged(rest.clone(), 1), rest, "the rest of a recording is no still");
}

#[test]
fn a_census_says_what_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let people = |split, n| recording(split, n, 8, 6, 10.0);
    let all = [people(Split::Train, 3), still(Split::Valid, 0, 8), still(Split::Test, 1, 8), people(Split::Test, 2)];
    let reader = write(dir.path(), &all);
    let of = |split| Census::of(&reader, split, 1).unwrap();
    assert_eq!(of(Split::Valid).about().unwrap(), "stills as clips of 8 frames by camera motion");
    assert_eq!(of(Split::Test).about().unwrap(), "1 recordings and 1 stills as clips of 8 frames by camera motion");
    assert_eq!((of(Split::Train).about(), of(Split::Test).frames), (None, 14));
}
