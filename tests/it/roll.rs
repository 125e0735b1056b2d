//! A rolled head reads as the same head upright does.

use std::time::Duration;
use vaerr::capture::{FrameSource, Next, synthetic::Synthetic};
use vaerr::engine::reference::Reference;
use vaerr::face::{RollEstimator, RollModel, Tracker};
use vaerr::frame::{Frame, Gray};
use vaerr::model::{Bundle, Precision};
use vaerr::session::{Finder, Session};
use vaerr::spec::Range;

/// Grey frames of the rendered face, 80 ms apart.
fn clip(seed: u64, frames: usize) -> Vec<Gray> {
    let mut source = Synthetic::parse(&format!("synthetic:seed={seed},fps=12.5,size=320x240,seconds=0")).unwrap();
    let (mut frame, mut gray) = (Frame::default(), Gray::default());
    let mut take = |_| {
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
        frame.luma_into(&mut gray).unwrap();
        gray.clone()
    };
    (0..frames).map(&mut take).collect()
}

/// `picture` turned clockwise by `roll` radians about its centre, bilinear, its edge repeated.
fn turned(picture: &Gray, roll: f32) -> Gray {
    let (w, h) = (picture.width, picture.height);
    let (sin, cos) = roll.sin_cos();
    let at = |x: isize, y: isize| {
        f32::from(picture.data[y.clamp(0, h as isize - 1) as usize * w + x.clamp(0, w as isize - 1) as usize])
    };
    let value = |i: usize| {
        let (u, v) = ((i % w) as f32 + 0.5 - 0.5 * w as f32, (i / w) as f32 + 0.5 - 0.5 * h as f32);
        let (x, y) = (cos * u + sin * v + 0.5 * w as f32 - 0.5, cos * v - sin * u + 0.5 * h as f32 - 0.5);
        let (c, r) = (x.floor() as isize, y.floor() as isize);
        let (fx, fy) = (x - x.floor(), y - y.floor());
        let top = at(c, r) * (1.0 - fx) + at(c + 1, r) * fx;
        let bottom = at(c, r + 1) * (1.0 - fx) + at(c + 1, r + 1) * fx;
        (top * (1.0 - fy) + bottom * fy).round() as u8
    };
    Gray { width: w, height: h, data: (0..w * h).map(value).collect() }
}

/// Roll of the face in degrees and valence, frame by frame; `level` says whether the session hears of the roll.
fn read(clip: &[Gray], level: bool) -> Vec<Option<(f32, f32)>> {
    let bundle = Bundle::shipped().unwrap();
    let mut engine = Reference::open(&bundle.student(Precision::Int8).unwrap()).unwrap();
    let mut session = Session::new(&bundle.manifest().student, bundle.manifest().crop, true);
    let rolls = RollEstimator::new(RollModel::shipped().unwrap());
    let mut tracker = Tracker::new(Box::new(Finder::shipped(Range::default()).unwrap()), rolls);
    let one = |(i, picture): (usize, &Gray)| {
        let time = Duration::from_millis(80 * i as u64);
        let face = *tracker.update(picture, time).unwrap().first()?;
        assert_eq!(face.id, 1, "frame {i}");
        let roll = if level { face.roll_rad } else { 0.0 };
        let found = session.step(&mut engine, picture, face.square, roll, time).unwrap();
        Some((face.roll_rad.to_degrees(), found.values[1]))
    };
    clip.iter().enumerate().map(one).collect()
}

/// Mean absolute gap of two runs' values over the frames in which both saw the face, and how many those are.
fn gap(a: &[Option<(f32, f32)>], b: &[Option<(f32, f32)>], of: impl Fn((f32, f32), (f32, f32)) -> f32) -> (f32, usize) {
    let gaps: Vec<f32> = a.iter().zip(b).filter_map(|(a, b)| Some(of((*a)?, (*b)?).abs())).collect();
    (gaps.iter().sum::<f32>() / gaps.len() as f32, gaps.len())
}

#[test]
fn a_rolled_head_is_levelled_and_read_as_upright() {
    let (mut levelled, mut as_it_is) = (0.0, 0.0);
    for seed in [1, 3] {
        let upright = clip(seed, 16);
        let want = read(&upright, true);
        assert!(want.iter().all(Option::is_some));
        for degrees in [25.0f32, -25.0] {
            let rolled: Vec<Gray> = upright.iter().map(|g| turned(g, degrees.to_radians())).collect();
            let (found, plain) = (read(&rolled, true), read(&rolled, false));
            let (roll, seen) = gap(&found, &want, |f, w| f.0 - w.0 - degrees);
            assert!(seen >= 14, "seed {seed}, {degrees} degrees: the face is seen in {seen} of 16 frames");
            let valence = |f: (f32, f32), w: (f32, f32)| f.1 - w.1;
            let (with, without) = (gap(&found, &want, valence).0, gap(&plain, &want, valence).0);
            println!(
                "seed {seed}, {degrees} degrees: roll {roll:.1} off, valence {with:.3} off, unlevelled {without:.3}"
            );
            assert!(roll < 4.0, "seed {seed}, {degrees} degrees: roll is {roll} degrees off");
            levelled += with / 4.0;
            as_it_is += without / 4.0;
        }
    }
    assert!(levelled < 0.6 * as_it_is, "valence is {levelled} off levelled and {as_it_is} as it is");
}
