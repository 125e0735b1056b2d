use super::*;
use crate::train::pretext::tests::{clips, input, numbers};

const PLAIN: Normalise = Normalise { mean: 0.0, std: 1.0 };

/// Everything at once, but no blanked frames.
fn wild(size_px: usize) -> ViewConfig {
    ViewConfig {
        shift: 0.1,
        blur: 1.0,
        solarise: 0.5,
        cutout: 1.0,
        salt_pepper: 1.0,
        ..ViewConfig::strong(size_px, [0.3, 0.9])
    }
}

fn through(config: &ViewConfig, picture: &[u8], side: usize, seed: u64) -> Vec<f32> {
    let view = config.draw(side, 1, PLAIN, &mut Rng::new(seed, 0));
    let mut out = vec![0.0; config.size_px * config.size_px];
    view.apply(0, picture, &mut out);
    out
}

#[test]
fn every_frame_of_a_clip_is_seen_alike() {
    // Clips that stand still: whatever a view does, all of its frames are the same.
    let mut batch = clips(4, 3, 5, 20);
    for clip in batch.video.chunks_exact_mut(5 * 400) {
        let (first, rest) = clip.split_at_mut(400);
        rest.chunks_exact_mut(400).for_each(|f| f.copy_from_slice(first));
    }
    let config = wild(12);
    let draw = |seed| {
        let mut rng = Rng::new(seed, 0);
        let spans = spans(&batch, &config, &mut rng).unwrap();
        numbers(views(&batch, &config, &spans, &input(), &mut rng))
    };
    let all = draw(1);
    for clip in all.chunks_exact(5 * 144) {
        assert!(clip.chunks_exact(144).all(|f| f == &clip[..144]));
    }
    assert!(all[..144] != all[5 * 144..6 * 144], "two clips, two views");
    assert_eq!(all, draw(1));
    assert_ne!(all, draw(2));
}

#[test]
fn values_stay_within_those_of_black_and_white() {
    let batch = clips(4, 6, 2, 20);
    let range = [0, 255].map(|v| f64::from(input().normalise.level(v)));
    let mut rng = Rng::new(3, 0);
    let config = ViewConfig { time_out: 0.5, ..wild(12) };
    let spans = spans(&batch, &config, &mut rng).unwrap();
    let all = numbers(views(&batch, &config, &spans, &input(), &mut rng));
    assert!(all.iter().all(|v| (range[0] - 1e-6..=range[1] + 1e-6).contains(v)));
}

#[test]
fn the_default_changes_nothing_and_halves_by_averaging() {
    let picture = clips(1, 1, 1, 16).video;
    let same = through(&ViewConfig { size_px: 16, ..ViewConfig::default() }, &picture, 16, 1);
    assert!(same.iter().zip(&picture).all(|(a, b)| (a - f32::from(*b) / 255.0).abs() < 1e-6));
    // A quarter of the side: each pixel is the mean of sixteen, to the level it is rounded to.
    let small = through(&ViewConfig { size_px: 4, ..ViewConfig::default() }, &picture, 16, 1);
    for (k, v) in small.iter().enumerate() {
        let block = (0..16).map(|i| f32::from(picture[(k / 4 * 4 + i / 4) * 16 + k % 4 * 4 + i % 4]));
        assert!((v - block.sum::<f32>() / 16.0 / 255.0).abs() < 0.51 / 255.0);
    }
}

#[test]
fn each_effect_does_what_it_says() {
    let picture = clips(1, 1, 1, 16).video;
    let base = ViewConfig { size_px: 16, ..ViewConfig::default() };
    let plain = through(&base, &picture, 16, 1);
    let seen = |config: &ViewConfig| through(config, &picture, 16, 1);

    let flipped = seen(&ViewConfig { flip: 1.0, ..base.clone() });
    assert!(flipped.chunks(16).zip(plain.chunks(16)).all(|(a, b)| a.iter().eq(b.iter().rev())));

    let inverted = seen(&ViewConfig { solarise: 1.0, ..base.clone() });
    assert!(plain.iter().zip(&inverted).all(|(p, s)| {
        let want = if *p * 255.0 >= 128.0 { 1.0 - p } else { *p };
        (s - want).abs() < 1e-6
    }));

    let hole = seen(&ViewConfig { cutout: 1.0, cutout_side: [0.25, 0.25], ..base.clone() });
    let blank = plain.iter().zip(&hole).filter(|(p, h)| p != h).count();
    assert!((1..=25).contains(&blank), "{blank}");

    let specks = seen(&ViewConfig { salt_pepper: 1.0, salt_pepper_share: 0.1, ..base.clone() });
    let changed: Vec<f32> = plain.iter().zip(&specks).filter(|(p, s)| p != s).map(|(_, s)| *s).collect();
    assert!((15..=25).contains(&changed.len()) && changed.iter().all(|s| *s == 0.0 || *s == 1.0), "{changed:?}");

    let blurred = seen(&ViewConfig { blur: 1.0, blur_sigma: [0.1, 0.1], ..base.clone() });
    let variance = |v: &[f32]| {
        let mean = v.iter().sum::<f32>() / v.len() as f32;
        (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f32>())
    };
    let ((m0, v0), (m1, v1)) = (variance(&plain), variance(&blurred));
    assert!(v1 < 0.2 * v0 && (m1 - m0).abs() < 0.05, "{v0} {v1} {m0} {m1}");
}

#[test]
fn a_crop_shows_its_share_of_the_picture() {
    // A picture whose grey level is its column: a crop of area a spans sqrt(a) of the levels.
    let side = 240;
    let picture: Vec<u8> = (0..side * side).map(|i| (i % side) as u8).collect();
    for (area, seed) in [(0.25f32, 1), (0.09, 2), (0.64, 3)] {
        let view = through(&ViewConfig { area: [area; 2], ..ViewConfig::default() }, &picture, side, seed);
        let span = 255.0 * (view[79] - view[0]) * 80.0 / 79.0;
        assert!((span - area.sqrt() * 240.0).abs() < 3.0, "area {area}: {span}");
        assert!(view[0] >= 0.0 && view[79] <= 239.5 / 255.0);
    }
}

#[test]
fn time_out_blanks_one_run_of_frames() {
    let config = ViewConfig { size_px: 2, time_out: 1.0, time_out_share: [0.3, 0.3], ..ViewConfig::default() };
    let mut starts = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let view = config.draw(4, 10, PLAIN, &mut Rng::new(seed, 0));
        let dark = |t| {
            let mut out = [9.0; 4];
            view.apply(t, &[255; 16], &mut out);
            out == [0.0; 4]
        };
        let blank: Vec<usize> = (0..10).filter(|t| dark(*t)).collect();
        assert!(blank.len() == 3 && blank[2] - blank[0] == 2, "{blank:?}");
        starts.insert(blank[0]);
    }
    assert!(starts.len() > 3);
}

#[test]
fn spans_fit_their_clip_and_use_every_stride() {
    let config = ViewConfig { frames: 4, max_stride: 3, ..ViewConfig::default() };
    let mut rng = Rng::new(1, 0);
    let mut strides = std::collections::BTreeSet::new();
    let mut last = 0;
    for _ in 0..300 {
        let span = config.span(11, &mut rng).unwrap();
        let frames: Vec<usize> = span.indices().collect();
        assert!(frames.len() == 4 && frames[3] < 11, "{span:?}");
        strides.insert(span.stride);
        last = last.max(frames[3]);
    }
    assert!(strides.into_iter().eq(1..=3) && last == 10);
    // Strides that do not fit are not drawn.
    assert!((0..50).all(|_| config.span(7, &mut rng).unwrap().stride <= 2));
    assert!(config.span(3, &mut rng).unwrap_err().to_string().contains("clips of 3 frames, views of 4"));
    let one = ViewConfig { frames: 1, max_stride: 9, ..ViewConfig::default() };
    assert!((0..50).all(|_| one.span(2, &mut rng).unwrap().start < 2));
}

#[test]
fn settings_out_of_range_are_refused() {
    let base = ViewConfig::default();
    assert!(base.validate().is_ok() && wild(8).validate().is_ok());
    for bad in [
        ViewConfig { size_px: 0, ..base.clone() },
        ViewConfig { flip: 1.5, ..base.clone() },
        ViewConfig { flip: f32::NAN, ..base.clone() },
        ViewConfig { area: [0.5, 0.2], ..base.clone() },
        ViewConfig { area: [0.0, 0.2], ..base.clone() },
        ViewConfig { aspect: 0.5, ..base.clone() },
        ViewConfig { roll: -0.1, ..base.clone() },
        ViewConfig { max_stride: 0, ..base },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}
