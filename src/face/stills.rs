//! Every face of a picture that is seen once.

use super::matching::distance;
use super::{Detection, Detector, RollEstimator, TrackedFace, View};
use crate::error::Result;
use crate::frame::Gray;

/// Rolls of the views that are searched, in radians.
const VIEWS: [f32; 5] = [0.0, -0.09, 0.09, -0.52, 0.52];
/// Detections nearer than this, in box sides, are of one face.
const SAME: f32 = 0.5;

/// What the views found of one face.
struct Sighting {
    /// Sums of left, top and side, each times its detection's score.
    sum: [f32; 3],
    score: f32,
    best: Detection,
}

impl Sighting {
    fn of(found: Detection) -> Self {
        Self { sum: found.square.map(|v| v * found.score), score: found.score, best: found }
    }

    fn square(&self) -> [f32; 3] {
        self.sum.map(|v| v / self.score)
    }

    fn add(&mut self, found: Detection) {
        self.sum.iter_mut().zip(found.square).for_each(|(s, v)| *s += v * found.score);
        self.score += found.score;
        if found.score > self.best.score {
            self.best = found;
        }
    }
}

/// Finds the faces of `picture`, largest first, and numbers them from `first_id`. A picture has no second frame in which a
/// weak detection could be seen again, so it is searched in several views, and a face's box is the mean of what they show.
///
/// # Errors
/// If the detector fails.
pub(super) fn find(
    detector: &mut dyn Detector,
    rolls: &mut RollEstimator,
    picture: &Gray,
    first_id: u32,
) -> Result<Vec<TrackedFace>> {
    let mut sightings: Vec<Sighting> = Vec::new();
    let mut found = Vec::new();
    for roll_rad in VIEWS {
        detector.detect_in(picture, View { roll_rad, about: None }, &mut found)?;
        for face in found.drain(..) {
            let near = |s: &&mut Sighting| distance(s.square(), face.square) < SAME;
            match sightings.iter_mut().find(near) {
                Some(sighting) => sighting.add(face),
                None => sightings.push(Sighting::of(face)),
            }
        }
    }
    sightings.sort_by(|a, b| b.square()[2].total_cmp(&a.square()[2]));
    let face = |(s, id): (&Sighting, u32)| {
        let square = s.square();
        let guess = s.best.roll_rad;
        TrackedFace { id, square, roll_rad: rolls.estimate(picture, square, guess).unwrap_or(guess) }
    };
    Ok(sightings.iter().zip(first_id..).map(face).collect())
}
