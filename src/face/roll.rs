//! How far a head is rolled: gradient orientations within a disc, and two linear regressions on
//! them.
//!
//! The crop square of a face is cut to [`PATCH`] pixels a side at a guess of its roll. Each pixel
//! within the inscribed disc, where turning brings nothing in from outside, splits its gradient
//! between the two nearest of eight directions (Dalal and Triggs 2005, with signs) and the four
//! nearest of [`CELLS`] x [`CELLS`] cells; each cell is divided by the energy around it and its
//! roots are the features. The first pass reads rolls up to 45 degrees, the second cuts again at
//! what the first found and reads the rest. The regressions and their measured errors:
//! `models/roll/card.md`.

use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::preprocess::Cropper;
use crate::spec::CropRule;
use sha2::{Digest, Sha256};

static SHIPPED: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/roll/weights.bin"));

/// Side of the patch in pixels.
const PATCH: usize = 40;
/// Cells along a side.
const CELLS: usize = 8;
/// Directions of a gradient, 45 degrees apart, from the right clockwise.
const BINS: usize = 8;
/// Pixels farther from the centre than this are not read; their neighbours still lie within the
/// patch.
const RADIUS: f32 = 19.0;
/// Energy of a cell, a squared grey level a pixel, below which its contrast is not raised to the
/// full.
const FAINT: f32 = 40.0;

/// Numbers that describe a patch.
pub const FEATURES: usize = CELLS * CELLS * BINS;
/// Cuts made for an estimate, each with a regression of its own.
pub const PASSES: usize = 2;
/// Rolls whose likeness the first pass tells.
const MARKS: usize = 13;
/// Step from one mark to the next, 10 degrees.
const MARK_RAD: f32 = 0.174_532_93;
/// Marks to either side of the likeliest that its neighbours' mean takes in.
const REACH: usize = 2;
/// Values regressed by each pass: likenesses to the marks, then the roll itself in radians.
pub const OUTPUTS: [usize; PASSES] = [MARKS, 1];
/// A second pass that finds more than this, in radians, contradicts the first.
const DISAGREE_RAD: f32 = 0.26;
/// No head is believed to be rolled farther, in radians.
const FARTHEST_RAD: f32 = 1.05;
/// Nor so far from the guess: the detector would not have found it there.
const ASTRAY_RAD: f32 = 0.79;

const MAGIC: &[u8; 8] = b"vaerroll";
const DIGEST_BYTES: usize = 32;

/// The regressions: for each pass a weight a feature, then the intercept; radians.
#[derive(Debug, Clone, PartialEq)]
pub struct RollModel {
    weights: Vec<f32>,
}

/// What the regressions of pass `pass` should give for a head rolled by `roll_rad`: a bell over the
/// marks a step wide, or the roll.
pub fn targets(pass: usize, roll_rad: f32) -> Vec<f64> {
    match pass {
        0 => (0..MARKS).map(|m| (-0.5 * f64::from((roll_rad - mark(m)) / MARK_RAD).powi(2)).exp()).collect(),
        _ => vec![f64::from(roll_rad)],
    }
}

/// The roll of mark `m`, which may be a fraction.
fn mark(m: usize) -> f32 {
    (m as f32 - 0.5 * (MARKS - 1) as f32) * MARK_RAD
}

impl RollModel {
    /// A model of `FEATURES + 1` weights for each of all [`OUTPUTS`].
    ///
    /// # Errors
    /// If their number is wrong or one is not finite.
    pub fn new(weights: Vec<f32>) -> Result<Self> {
        let want = OUTPUTS.iter().sum::<usize>() * (FEATURES + 1);
        if weights.len() != want || !weights.iter().all(|w| w.is_finite()) {
            return Err(Error::model(format!("a roll model has {want} finite weights, not {}", weights.len())));
        }
        Ok(Self { weights })
    }

    /// The embedded model.
    ///
    /// # Errors
    /// If it is damaged, which would be a fault of the build.
    pub fn shipped() -> Result<Self> {
        Self::from_bytes(SHIPPED).map_err(|e| e.at("embedded models/roll/weights.bin"))
    }

    /// Reads `magic, weights as little-endian f32, SHA-256 of all before`.
    ///
    /// # Errors
    /// If length, magic, digest or a weight is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::model("is not a roll model, or is damaged").remedy("write it with `vaerr-train roll`");
        let split = bytes.len().checked_sub(DIGEST_BYTES).ok_or_else(damaged)?;
        let (body, digest) = bytes.split_at(split);
        if Sha256::digest(body).as_slice() != digest {
            return Err(damaged());
        }
        let values = body.strip_prefix(MAGIC).ok_or_else(damaged)?.chunks_exact(4);
        Self::new(values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// The bytes that [`RollModel::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.weights.iter().flat_map(|w| w.to_le_bytes()));
        let digest = Sha256::digest(&out);
        out.extend_from_slice(&digest);
        out
    }

    /// The roll in radians that pass `pass` reads from features.
    pub fn read(&self, pass: usize, features: &[f32; FEATURES]) -> f32 {
        if pass > 0 {
            return self.output(MARKS, features);
        }
        let likeness: [f32; MARKS] = std::array::from_fn(|m| self.output(m, features));
        let best = (0..MARKS).max_by(|&a, &b| likeness[a].total_cmp(&likeness[b])).unwrap_or(MARKS / 2);
        let near = best.saturating_sub(REACH)..(best + REACH + 1).min(MARKS);
        let (mut sum, mut total) = (0.0, 0.0);
        for m in near {
            let w = likeness[m].max(0.0);
            (sum, total) = (sum + w * mark(m), total + w);
        }
        if total > 0.0 { sum / total } else { 0.0 }
    }

    /// Output `k` of all passes' in a row.
    fn output(&self, k: usize, features: &[f32; FEATURES]) -> f32 {
        let line = &self.weights[k * (FEATURES + 1)..][..FEATURES + 1];
        line[FEATURES] + line.iter().zip(features).map(|(w, f)| w * f).sum::<f32>()
    }
}

/// Describes faces by their gradients. Holds its buffers: once warm it allocates nothing.
#[derive(Debug)]
pub struct RollFeatures {
    cropper: Cropper,
    patch: Vec<u8>,
    cells: [[f32; BINS]; CELLS * CELLS],
    values: [f32; FEATURES],
}

impl Default for RollFeatures {
    fn default() -> Self {
        Self {
            cropper: Cropper::new(PATCH),
            patch: vec![0; PATCH * PATCH],
            cells: [[0.0; BINS]; CELLS * CELLS],
            values: [0.0; FEATURES],
        }
    }
}

impl RollFeatures {
    /// Features of the crop square `[left, top, side]` turned clockwise by `roll_rad`.
    pub fn of(&mut self, picture: &Gray, square: [f32; 3], roll_rad: f32) -> &[f32; FEATURES] {
        self.cropper.level_into(picture, square, roll_rad, &mut self.patch);
        self.cells.fill([0.0; BINS]);
        for y in 1..PATCH - 1 {
            for x in 1..PATCH - 1 {
                let from_centre = |k: usize| k as f32 - 0.5 * (PATCH - 1) as f32;
                if from_centre(x).powi(2) + from_centre(y).powi(2) <= RADIUS * RADIUS {
                    self.add(x, y);
                }
            }
        }
        for (at, out) in self.values.chunks_exact_mut(BINS).enumerate() {
            let norm = (around(&self.cells, at) + FAINT).sqrt();
            for (o, &e) in out.iter_mut().zip(&self.cells[at]) {
                *o = (e / norm).sqrt();
            }
        }
        &self.values
    }

    /// Adds one pixel's gradient to the cells around it.
    fn add(&mut self, x: usize, y: usize) {
        let at = |x: usize, y: usize| f32::from(self.patch[y * PATCH + x]);
        let gradient = [at(x + 1, y) - at(x - 1, y), at(x, y + 1) - at(x, y - 1)];
        let shares = directions(gradient);
        let ((c0, fx), (r0, fy)) = (cell(x), cell(y));
        for (row, wy) in [(r0, 1.0 - fy), (r0 + 1, fy)] {
            for (column, wx) in [(c0, 1.0 - fx), (c0 + 1, fx)] {
                if let (1..=CELLS, 1..=CELLS) = (row, column) {
                    let bins = &mut self.cells[(row - 1) * CELLS + column - 1];
                    shares.iter().for_each(|&(bin, m)| bins[bin] += wx * wy * m);
                }
            }
        }
    }
}

/// One more than the cell whose centre lies at or before pixel `k`, and the share of the next one.
fn cell(k: usize) -> (usize, f32) {
    let place = (k as f32 + 0.5) * CELLS as f32 / PATCH as f32 + 0.5;
    (place as usize, place.fract())
}

/// A gradient as the sum of vectors along its two nearest directions: their bins and lengths.
fn directions([gx, gy]: [f32; 2]) -> [(usize, f32); 2] {
    let (ax, ay) = (gx.abs(), gy.abs());
    let axis = match (ax >= ay, gx >= 0.0, gy >= 0.0) {
        (true, true, _) => 0,
        (false, _, true) => 2,
        (true, false, _) => 4,
        (false, _, false) => 6,
    };
    let diagonal = match (gx >= 0.0, gy >= 0.0) {
        (true, true) => 1,
        (false, true) => 3,
        (false, false) => 5,
        (true, false) => 7,
    };
    [(axis, (ax - ay).abs()), (diagonal, std::f32::consts::SQRT_2 * ax.min(ay))]
}

/// Mean energy a cell in the three by three cells around `at`.
fn around(cells: &[[f32; BINS]; CELLS * CELLS], at: usize) -> f32 {
    let near = |k: usize| k.saturating_sub(1)..(k + 2).min(CELLS);
    let (mut sum, mut count) = (0.0, 0.0);
    for row in near(at / CELLS) {
        for column in near(at % CELLS) {
            sum += cells[row * CELLS + column].iter().map(|v| v * v).sum::<f32>();
            count += 1.0;
        }
    }
    sum / count
}

/// Estimates the roll of faces.
#[derive(Debug)]
pub struct RollEstimator {
    model: RollModel,
    features: RollFeatures,
}

impl RollEstimator {
    /// The estimator of `model`.
    pub fn new(model: RollModel) -> Self {
        Self { model, features: RollFeatures::default() }
    }

    /// The clockwise roll in radians of the face in the detector's box `[left, top, side]`, looked
    /// for around `guess_rad`.
    ///
    /// `None` if the passes contradict each other or the roll is more than 60 degrees, or more than
    /// 45 from the guess: the last one known is better.
    pub fn estimate(&mut self, picture: &Gray, face: [f32; 3], guess_rad: f32) -> Option<f32> {
        let first = self.pass(0, picture, face, guess_rad);
        let rest = self.pass(1, picture, face, first) - first;
        let roll = first + rest;
        let believed =
            rest.abs() <= DISAGREE_RAD && roll.abs() <= FARTHEST_RAD && (roll - guess_rad).abs() <= ASTRAY_RAD;
        believed.then_some(roll)
    }

    /// What pass `pass` makes of the roll when the face is cut at `guess_rad`.
    pub fn pass(&mut self, pass: usize, picture: &Gray, face: [f32; 3], guess_rad: f32) -> f32 {
        let square = CropRule::FERPLUS.square_at(face, guess_rad);
        let features = self.features.of(picture, square, guess_rad);
        guess_rad + self.model.read(pass, features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::clip;

    #[test]
    fn a_damaged_model_is_refused() {
        let good = RollModel::shipped().unwrap().to_bytes();
        assert_eq!(good.as_slice(), SHIPPED);
        for at in [0, 9, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(RollModel::from_bytes(&bad).unwrap_err().kind(), crate::ErrorKind::Model);
        }
        assert!(RollModel::from_bytes(&good[..good.len() - 4]).is_err() && RollModel::from_bytes(&[]).is_err());
        assert!(RollModel::new(vec![0.0; 5]).is_err());
    }

    #[test]
    fn a_gradient_is_the_sum_of_its_shares() {
        for step in 0..64 {
            let (sin, cos) = (step as f32 * 0.1).sin_cos();
            let (mut x, mut y) = (0.0, 0.0);
            for (bin, m) in directions([5.0 * cos, 5.0 * sin]) {
                let (s, c) = (bin as f32 * std::f32::consts::FRAC_PI_4).sin_cos();
                assert!(m >= 0.0);
                (x, y) = (x + m * c, y + m * s);
            }
            assert!((x - 5.0 * cos).abs() < 1e-4 && (y - 5.0 * sin).abs() < 1e-4, "{step}: {x} {y}");
        }
    }

    #[test]
    fn the_middle_of_a_bell_is_its_roll() {
        let mut weights = vec![0.0; OUTPUTS.iter().sum::<usize>() * (FEATURES + 1)];
        for roll in [-0.6f32, -0.11, 0.0, 0.05, 0.4] {
            for (m, t) in targets(0, roll).into_iter().enumerate() {
                weights[m * (FEATURES + 1) + FEATURES] = t as f32;
            }
            let found = RollModel::new(weights.clone()).unwrap().read(0, &[0.0; FEATURES]);
            assert!((found - roll).abs() < 0.02, "{roll}: {found}");
        }
    }

    #[test]
    fn rendered_heads_are_read_as_they_were_turned() {
        let mut estimator = RollEstimator::new(RollModel::shipped().unwrap());
        let mut gaps = Vec::new();
        for seed in 0..12 {
            let shot = clip(seed, 1, 25.0, 160).remove(0);
            let [x, y, side] = shot.face;
            let upright = estimator.estimate(&shot.picture, shot.face, 0.0).unwrap_or(f32::NAN);
            for turn in [-0.5f32, -0.25, 0.25, 0.5] {
                // The face's square with all around it, turned about its middle.
                let mut turned = Gray::new(200, 200);
                let wide = [x - 0.5 * side, y - 0.5 * side, 2.0 * side];
                Cropper::new(200).level_into(&shot.picture, wide, -turn, &mut turned.data);
                let found = estimator.estimate(&turned, [50.0, 50.0, 100.0], 0.0).unwrap_or(f32::NAN);
                gaps.push((found - upright - turn).abs());
            }
        }
        gaps.sort_by(f32::total_cmp);
        assert!(gaps[24] < 0.05 && gaps[43] < 0.16, "{gaps:?}");
    }
}
