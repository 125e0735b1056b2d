//! Every face of a picture that is seen once.

use super::{Detector, LEAST_SCORE, Pose, RollEstimator, TrackedFace};
use crate::error::Result;
use crate::frame::Gray;

/// Finds the faces of `picture`, largest first, and numbers them from `first_id`.
///
/// # Errors
/// If the detector fails.
pub(super) fn find(
    detector: &mut dyn Detector,
    rolls: &mut RollEstimator,
    picture: &Gray,
    first_id: u32,
) -> Result<Vec<TrackedFace>> {
    let mut found = Vec::new();
    detector.detect(picture, &mut found)?;
    let faces = found.iter().filter(|f| f.score >= LEAST_SCORE);
    let mut poses: Vec<Pose> = faces.map(Pose::of).collect();
    poses.sort_by(|a, b| b.side.total_cmp(&a.side));
    let face = |(pose, id): (&Pose, u32)| {
        let square = pose.square();
        TrackedFace { id, square, roll_rad: rolls.estimate(picture, square, 0.0).unwrap_or(0.0) }
    };
    Ok(poses.iter().zip(first_id..).map(face).collect())
}
