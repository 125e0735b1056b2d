//! Which detection is which face: by place, size and look.

use super::Pose;
use super::follow::{Follower, Template};
use crate::frame::Gray;
use std::time::Duration;

/// Farthest a face may have moved since it was last seen a moment ago, in sides.
const REACH: f32 = 0.8;
/// Farther by this for every second unseen, for a face that looks alike.
const REACH_A_S: f32 = 1.2;
/// Farthest in any case.
const FARTHEST: f32 = 2.0;
/// Likeness from which a face beyond [`REACH`] counts as the same one.
const ALIKE: f32 = 0.6;
/// Sides that a full point of likeness is worth.
const LOOKS: f32 = 0.6;
/// Sides that a size twice as large or half as large is worth.
const SIZES: f32 = 0.5;

/// A face that is looked for among the detections.
pub(super) struct Candidate<'a> {
    /// Its place among the tracks.
    pub index: usize,
    /// Where it should be.
    pub pose: Pose,
    /// How long it was not seen.
    pub unseen: Duration,
    pub template: &'a Template,
}

/// A face and a detection within its reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub cost: f32,
    /// The face's place among the tracks.
    pub face: usize,
    pub detection: usize,
    far: bool,
}

/// Distance of two faces' centres in sides of the larger.
pub(super) fn distance(a: &Pose, b: &Pose) -> f32 {
    let gap = (a.centre[0] - b.centre[0]).hypot(a.centre[1] - b.centre[1]);
    gap / a.side.max(b.side).max(1.0)
}

/// Replaces `pairs` by those of faces and detections that are one and the same, the surest first;
/// each occurs once.
///
/// A look that cannot be compared, as on a flat picture, counts as alike. Looks are compared only
/// where a face or a detection has a rival, or the way is far.
pub(super) fn pair<'a>(
    faces: impl Iterator<Item = Candidate<'a>> + Clone,
    found: &[Pose],
    follower: &mut Follower,
    picture: &Gray,
    pairs: &mut Vec<Pair>,
) {
    pairs.clear();
    for face in faces.clone() {
        let reach = (REACH + REACH_A_S * face.unseen.as_secs_f32()).min(FARTHEST);
        for (detection, pose) in found.iter().enumerate() {
            let gap = distance(&face.pose, pose);
            if gap <= reach {
                let doublings = (face.pose.side.max(1.0) / pose.side.max(1.0)).log2().abs();
                let cost = gap + SIZES * doublings;
                pairs.push(Pair { cost, face: face.index, detection, far: gap > REACH });
            }
        }
    }
    let rival = |pairs: &[Pair], p: Pair| pairs.iter().any(|o| (o.face == p.face) != (o.detection == p.detection));
    for i in 0..pairs.len() {
        let p = pairs[i];
        if !p.far && !rival(pairs, p) {
            continue;
        }
        let Some(face) = faces.clone().find(|f| f.index == p.face) else { continue };
        let likeness = follower.likeness(picture, found[p.detection].square(), face.template).unwrap_or(1.0);
        pairs[i].cost += if p.far && likeness < ALIKE { f32::INFINITY } else { LOOKS * (1.0 - likeness) };
    }
    pairs.retain(|p| p.cost.is_finite());
    pairs.sort_unstable_by(|a, b| a.cost.total_cmp(&b.cost).then(a.face.cmp(&b.face)));
    let mut kept = 0;
    for i in 0..pairs.len() {
        let p = pairs[i];
        if pairs[..kept].iter().all(|k| k.face != p.face && k.detection != p.detection) {
            pairs[kept] = p;
            kept += 1;
        }
    }
    pairs.truncate(kept);
}
