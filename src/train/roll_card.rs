//! What a roll estimator is worth: its errors, what the detector finds, and what levelling does to the readings.

use super::data::ferplus::{self, Still};
use super::evaluate::{evaluate, predict_cut};
use super::roll::RollConfig;
use crate::error::Result;
use crate::face::{Detector, Pose, RollEstimator, RollModel, SURE_SCORE};
use crate::frame::Gray;
use crate::model::{Bundle, Precision};
use crate::preprocess::Cropper;
use crate::render::Rng;
use crate::session::Finder;
use crate::spec::detector::Detection;
use crate::spec::{CropRule, Range, SplitMetrics};
use rayon::prelude::*;
use std::fmt::Write;

/// Side of the canvas a turned picture lies on, in pixels.
const CANVAS_PX: usize = 240;
/// Side of the picture on it.
const PICTURE_PX: f32 = 144.0;
/// Pictures shown to the detector at every angle.
const DETECTOR_PICTURES: usize = 300;

/// Each so many-th picture of a split is measured.
const EVERY: usize = 6;

/// Median and 90th percentile of absolute errors, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median_deg: f64,
    pub p90_deg: f64,
}

/// Errors at one applied angle, to either side in turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    pub applied_deg: f32,
    pub one_pass: Spread,
    pub two_passes: Spread,
    /// Of the difference from what is read off the picture as it is, which holds none of its natural roll.
    pub difference: Spread,
    /// Share of pictures that [`RollEstimator::estimate`] says nothing of.
    pub refused: f64,
}

/// Everything the card tells.
pub struct Measured {
    pub pictures: usize,
    pub errors: Vec<Errors>,
    /// Pictures in which the upright detector surely finds the face, as the runtime would.
    pub detected: usize,
    pub errors_detected: Vec<Errors>,
    /// Applied angle in degrees, share of pictures in which the detector finds the face.
    pub found: Vec<(f32, f64)>,
    /// Upright, turned, turned and levelled, turned and levelled by the applied angle.
    pub readings: [SplitMetrics; 4],
}

impl Measured {
    /// Measures `model` on `stills` with the shipped student in int8.
    ///
    /// # Errors
    /// If the detector or the student fail.
    pub fn of(model: &RollModel, stills: &[Still], seed: u64) -> Result<Self> {
        let stills: Vec<Still> = stills.iter().step_by(EVERY).cloned().collect();
        let stills = stills.as_slice();
        let table = |stills: &[Still]| {
            let angles = [0.0, 10.0, 20.0, 30.0, 40.0f32];
            let lines = angles.map(|a| errors(model, stills, a.to_radians())).to_vec();
            lines.iter().for_each(|e| log::info!("{e:?}"));
            lines
        };
        let errors = table(stills);
        let detected = detected(stills)?;
        let errors_detected = table(&detected);
        let mut found = Vec::new();
        for applied in [0.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0f32] {
            found.push((applied, share_found(stills, applied.to_radians())?));
        }
        log::info!("{found:?}");
        let readings = readings(model, stills, seed)?;
        let (pictures, detected) = (stills.len(), detected.len());
        Ok(Self { pictures, errors, detected, errors_detected, found, readings })
    }
}

/// `picture` turned clockwise by `roll_rad` in the middle of a canvas that repeats its edge.
fn canvas(picture: &Gray, roll_rad: f32) -> Gray {
    let side = picture.width as f32 * CANVAS_PX as f32 / PICTURE_PX;
    let corner = 0.5 * (picture.width as f32 - side);
    let mut out = Gray::new(CANVAS_PX, CANVAS_PX);
    Cropper::new(CANVAS_PX).level_into(picture, [corner, corner, side], -roll_rad, &mut out.data);
    out
}

/// The detector's box whose crop is the picture on its canvas.
fn face() -> [f32; 3] {
    let rule = CropRule::FERPLUS;
    let side = PICTURE_PX / rule.margin;
    let corner = |shift: f32| 0.5 * CANVAS_PX as f32 - (0.5 + shift) * side;
    [corner(rule.shift_x), corner(rule.shift_y), side]
}

/// The model's errors on pictures turned by `applied_rad`, every second one to the left.
pub fn errors(model: &RollModel, stills: &[Still], applied_rad: f32) -> Errors {
    let one = |estimator: &mut RollEstimator, (i, still): (usize, &Still)| {
        let roll = if i % 2 == 0 { applied_rad } else { -applied_rad };
        let (turned, plain) = (canvas(&still.image, roll), canvas(&still.image, 0.0));
        let mut both = |picture: &Gray| {
            let first = estimator.pass(0, picture, face(), 0.0);
            [first, estimator.pass(1, picture, face(), first)]
        };
        let ([first, second], [_, natural]) = (both(&turned), both(&plain));
        let refused = estimator.estimate(&turned, face(), 0.0).is_none();
        ([first, second, second - natural].map(|v| f64::from((v - roll).to_degrees().abs())), refused)
    };
    let estimator = || RollEstimator::new(model.clone());
    let read: Vec<([f64; 3], bool)> = stills.par_iter().enumerate().map_init(estimator, one).collect();
    let [one_pass, two_passes, difference] = [0, 1, 2].map(|k| spread(read.iter().map(|r| r.0[k]).collect()));
    let refused = read.iter().filter(|r| r.1).count() as f64 / stills.len().max(1) as f64;
    Errors { applied_deg: applied_rad.to_degrees(), one_pass, two_passes, difference, refused }
}

/// By nearest rank.
fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let rank = |q: f64| {
        let at = (values.len().saturating_sub(1) as f64 * q).round() as usize;
        values.get(at).copied().unwrap_or(f64::NAN)
    };
    Spread { median_deg: rank(0.5), p90_deg: rank(0.9) }
}

/// True if an upright search of `picture` on its canvas finds a face of at least `score` at its place.
fn finds(detector: &mut Finder, found: &mut Vec<Detection>, canvas: &Gray, score: f32) -> Result<bool> {
    detector.detect(canvas, found)?;
    let centred = |d: &Detection| {
        let gap = Pose::of(d).centre.map(|v| (v - 0.5 * CANVAS_PX as f32).abs());
        d.score >= score && gap[0].max(gap[1]) < 0.25 * PICTURE_PX
    };
    Ok(found.iter().any(centred))
}

/// The pictures that show a face to a sure search as they are.
fn detected(stills: &[Still]) -> Result<Vec<Still>> {
    let (mut detector, mut found, mut out) = (Finder::shipped(Range::default())?, Vec::new(), Vec::new());
    for still in stills {
        if finds(&mut detector, &mut found, &canvas(&still.image, 0.0), SURE_SCORE)? {
            out.push(still.clone());
        }
    }
    Ok(out)
}

/// In how many pictures turned by `applied_rad` an upright search finds the face at its place.
fn share_found(stills: &[Still], applied_rad: f32) -> Result<f64> {
    let (mut detector, mut found) = (Finder::shipped(Range::default())?, Vec::new());
    let (mut hits, mut shown) = (0, 0);
    for (i, still) in stills.iter().step_by((stills.len() / DETECTOR_PICTURES).max(1)).enumerate() {
        let roll = if i % 2 == 0 { applied_rad } else { -applied_rad };
        hits += usize::from(finds(&mut detector, &mut found, &canvas(&still.image, roll), 0.0)?);
        shown += 1;
    }
    Ok(hits as f64 / f64::from(shown.max(1)))
}

/// What the shipped int8 student reads, of pictures turned by up to 30 degrees.
fn readings(model: &RollModel, stills: &[Still], seed: u64) -> Result<[SplitMetrics; 4]> {
    let bundle = Bundle::shipped()?;
    let (student, rule) = (bundle.student(Precision::Int8)?, bundle.manifest().crop);
    let mut rng = Rng::new(seed, 1 << 40);
    let rolls: Vec<f32> = stills.iter().map(|_| (rng.range(-30.0, 30.0)).to_radians()).collect();
    let read = |turned: bool, level: &(dyn Fn(&Gray, f32) -> f32 + Sync)| -> Result<SplitMetrics> {
        let cut = |cropper: &mut Cropper, i: usize, out: &mut [u8]| {
            if !turned {
                let side = stills[i].image.width as f32;
                return cropper.crop_into(&stills[i].image, [0.0, 0.0, side], out);
            }
            let picture = canvas(&stills[i].image, rolls[i]);
            let roll = level(&picture, rolls[i]);
            cropper.level_into(&picture, rule.square_at(face(), roll), roll, out);
        };
        let labels: Vec<[f32; 2]> = stills.iter().map(|s| [s.arousal, s.valence]).collect();
        Ok(evaluate(&predict_cut(&student, &rule, stills.len(), cut)?, &labels).metrics)
    };
    let estimated =
        |picture: &Gray, _: f32| RollEstimator::new(model.clone()).estimate(picture, face(), 0.0).unwrap_or(0.0);
    Ok([read(false, &|_, _| 0.0)?, read(true, &|_, _| 0.0)?, read(true, &estimated)?, read(true, &|_, r| r)?])
}

fn table(t: &mut String, errors: &[Errors]) {
    t.push_str("| turned by | one pass | two passes | difference | refused |\n|---|---|---|---|---|\n");
    for e in errors {
        let s = |s: Spread| format!("{:.1} / {:.1}", s.median_deg, s.p90_deg);
        let columns = [s(e.one_pass), s(e.two_passes), s(e.difference)].join(" | ");
        let _ = writeln!(t, "| {:.0} | {columns} | {:.3} |", e.applied_deg, e.refused);
    }
}

/// The model card.
pub fn card(config: &RollConfig, pictures: usize, m: &Measured) -> String {
    let mut t = String::from(
        "# Roll estimator\n\nHow far a head is rolled, from gradient orientations within a disc and two ridge regressions \
         (`src/face/roll.rs`).\n\n## Licence and data\n\nresearch use: trained on FER+. The pictures of FER2013 were \
         gathered for a 2013 challenge and are for research.\n\n## Training\n\n",
    );
    let reach = config.reach_rad.map(|r| f64::from(r.to_degrees()));
    let _ = writeln!(
        t,
        "{pictures} pictures, {} turns of each for each pass and their mirror images, uniform within {:.0} degrees \
         (first pass) and {:.0} (second), crops shifted by {} of their side and scaled by {} (standard deviations), seed \
         {}. The first pass regresses likenesses to thirteen rolls 10 degrees apart, the second the roll that is left. \
         Normal equations in f64, penalty {:e}. No one measured how heads are rolled in these pictures: the label is the \
         turn applied, and in the {} later rounds also the natural roll that the round before read off the picture.\n",
        config.draws,
        reach[0],
        reach[1],
        config.shift,
        config.zoom,
        config.seed,
        config.penalty,
        config.rounds.saturating_sub(1)
    );
    let _ = writeln!(
        t,
        "## Measured\n\nFER+ validation, {} pictures (each sixth), each turned by the angle to alternate sides. Absolute error in \
         degrees against the turn applied, median / 90th percentile; the natural roll of the pictures is part of it, and \
         most of it. \"Difference\" is the error of the two passes' reading less their reading of the same picture \
         unturned, which leaves the natural roll out. \"Refused\" is the share \
         whose passes contradict each other or read more than 45 degrees, where the runtime keeps the last roll.\n",
        m.pictures
    );
    table(&mut t, &m.errors);
    let _ = writeln!(
        t,
        "\nThe same over the {} pictures in which the upright detector surely finds the face as it is, which are those the \
         runtime sees:\n",
        m.detected
    );
    table(&mut t, &m.errors_detected);
    let _ = writeln!(
        t,
        "\nThe upright detector finds the face of a turned picture (at least {DETECTOR_PICTURES} pictures):\n"
    );
    t.push_str("| turned by | found |\n|---|---|\n");
    for (applied, share) in &m.found {
        let _ = writeln!(t, "| {applied:.0} | {share:.3} |");
    }
    let _ = writeln!(
        t,
        "\nThe shipped student, int8, on these pictures turned by an angle uniform within 30 degrees, {}:\n",
        ferplus::LABELS
    );
    t.push_str("| pictures | CCC valence | CCC arousal |\n|---|---|---|\n");
    let names = ["as they are", "turned", "turned, levelled by the estimate", "turned, levelled by the applied angle"];
    for (name, r) in names.iter().zip(&m.readings) {
        let _ = writeln!(t, "| {name} | {:.4} | {:.4} |", r.ccc_valence, r.ccc_arousal);
    }
    t.push_str("\n## Never tested\n\nHeads turned aside and rolled at once; masks; infrared cameras; agreement across skin tones and ages.\n");
    t
}
