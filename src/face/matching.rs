//! Which detection is which face: by place and by look.

use super::Detection;
use super::follow::{Follower, Template};
use crate::frame::Gray;
use std::time::Duration;

/// Farthest a face may have moved since it was last seen a moment ago, in box sides.
const REACH: f32 = 0.8;
/// Farther by this for every second unseen, for a face that looks alike.
const REACH_A_S: f32 = 1.2;
/// Farthest in any case.
const FARTHEST: f32 = 2.0;
/// Likeness from which a face beyond [`REACH`] counts as the same one.
const ALIKE: f32 = 0.6;
/// Box sides that a full point of likeness is worth.
const LOOKS: f32 = 0.6;

/// A face that is looked for among the detections.
pub(super) struct Candidate<'a> {
    /// Its place among the tracks.
    pub index: usize,
    /// Where it should be.
    pub square: [f32; 3],
    /// How long it was not seen.
    pub unseen: Duration,
    pub template: &'a Template,
}

/// Distance of two squares' centres in sides of the larger.
pub(super) fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    let centre = |s: [f32; 3]| (s[0] + s[2] / 2.0, s[1] + s[2] / 2.0);
    let ((ax, ay), (bx, by)) = (centre(a), centre(b));
    (ax - bx).hypot(ay - by) / a[2].max(b[2]).max(1.0)
}

/// The pair, by the indices of face and detection, that is nearest in place and look; `None` if none is within reach.
///
/// A look that cannot be compared, as on a flat picture, counts as alike. Looks are compared only where a face or a
/// detection has a rival, or the way is far.
pub(super) fn best_pair<'a>(
    faces: impl Iterator<Item = Candidate<'a>> + Clone,
    found: &[Detection],
    follower: &mut Follower,
    picture: &Gray,
) -> Option<(usize, usize)> {
    let mut best: Option<(f32, usize, usize)> = None;
    let lone = found.len() == 1 && faces.clone().take(2).count() == 1;
    for face in faces {
        let reach = (REACH + REACH_A_S * face.unseen.as_secs_f32()).min(FARTHEST);
        for (j, d) in found.iter().enumerate() {
            let gap = distance(face.square, d.square);
            if gap > reach {
                continue;
            }
            let mut cost = gap;
            if !lone || gap > REACH {
                let likeness = follower.likeness(picture, d.square, face.template).unwrap_or(1.0);
                if gap > REACH && likeness < ALIKE {
                    continue;
                }
                cost += LOOKS * (1.0 - likeness);
            }
            if best.is_none_or(|(least, ..)| cost < least) {
                best = Some((cost, face.index, j));
            }
        }
    }
    best.map(|(_, i, j)| (i, j))
}
