//! Cuts the face out of every frame.

use super::PrepareConfig;
use super::media::Shown;
use crate::error::Result;
use crate::face::{RollEstimator, RollModel, TrackedFace, Tracker};
use crate::frame::Gray;
use crate::preprocess::Cropper;
use crate::session::Finder;
use crate::spec::{CropRule, Range};
use std::time::Duration;

/// A crop stands for frames without a picture this long, as the tracker holds a face that is not seen.
const HOLD_S: f64 = 0.4;
/// The face that is cut out changes for one whose box is larger by this factor.
const LARGER: f32 = 1.3;

/// Follows one person through a recording.
pub(super) struct Cutter {
    rule: CropRule,
    crops: bool,
    /// Opened when a face is first looked for: stills and crops need none.
    tracker: Option<Tracker>,
    cropper: Cropper,
    /// Id of the person.
    who: Option<u32>,
    /// Times at which a face and other faces beside it were seen.
    seen_s: Option<f64>,
    crop: Vec<u8>,
    /// Most faces in one frame.
    pub(super) faces: usize,
}

impl Cutter {
    pub(super) fn new(config: &PrepareConfig) -> Self {
        let rule = config.rule();
        Self {
            rule,
            crops: config.crops,
            tracker: None,
            cropper: Cropper::for_rule(&rule),
            who: None,
            seen_s: None,
            crop: vec![0; rule.size_px * rule.size_px],
            faces: 0,
        }
    }

    /// The crop of a frame and whether it shows the face; black where it does not.
    ///
    /// # Errors
    /// If the detector or the estimator of roll cannot be loaded, or the detector fails.
    pub(super) fn cut(&mut self, shown: Shown<'_>, time_s: f64) -> Result<(&[u8], bool)> {
        let shows = match shown {
            Shown::Crop(picture) => self.whole(picture),
            Shown::Scene(picture) if self.crops => self.whole(picture),
            Shown::Scene(picture) => self.find(picture, time_s)?,
            Shown::Missing => self.seen_s.is_some_and(|seen| time_s - seen <= HOLD_S),
        };
        match shown {
            Shown::Missing => {}
            _ => self.seen_s = shows.then_some(time_s),
        }
        if !shows {
            self.crop.fill(0);
        }
        Ok((&self.crop, shows))
    }

    /// The largest square in the middle of a picture that is a crop; a black one shows no face.
    fn whole(&mut self, picture: &Gray) -> bool {
        let (w, h) = (picture.width as f32, picture.height as f32);
        let side = w.min(h);
        self.cropper.crop_into(picture, [0.5 * (w - side), 0.5 * (h - side), side], &mut self.crop);
        self.crop.iter().any(|v| *v != 0)
    }

    fn find(&mut self, picture: &Gray, time_s: f64) -> Result<bool> {
        let tracker = match &mut self.tracker {
            Some(tracker) => tracker,
            none => {
                let rolls = RollEstimator::new(RollModel::shipped()?);
                none.insert(Tracker::new(Box::new(Finder::shipped(Range::default())?), rolls))
            }
        };
        let faces = tracker.update(picture, Duration::from_secs_f64(time_s.max(0.0)))?;
        self.faces = self.faces.max(faces.len());
        let Some(face) = choose(faces, self.who) else { return Ok(false) };
        self.who = Some(face.id);
        let square = self.rule.square_at(face.square, face.roll_rad);
        self.cropper.level_into(picture, square, face.roll_rad, &mut self.crop);
        Ok(true)
    }
}

/// The face called `who` unless another is much larger; else the largest.
fn choose(faces: &[TrackedFace], who: Option<u32>) -> Option<TrackedFace> {
    let largest = faces.iter().max_by(|a, b| a.square[2].total_cmp(&b.square[2]).then(b.id.cmp(&a.id)))?;
    let same = faces.iter().find(|f| Some(f.id) == who);
    Some(*same.filter(|f| largest.square[2] < LARGER * f.square[2]).unwrap_or(largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_person_is_followed_until_another_is_much_larger() {
        let face = |id, side| TrackedFace { id, square: [0.0, 0.0, side], roll_rad: 0.0 };
        let chosen = |faces: &[TrackedFace], who| choose(faces, who).map(|f| f.id);
        assert_eq!(chosen(&[], Some(1)), None);
        assert_eq!(chosen(&[face(1, 50.0), face(2, 60.0)], None), Some(2));
        assert_eq!(chosen(&[face(1, 50.0), face(2, 60.0)], Some(1)), Some(1));
        assert_eq!(chosen(&[face(1, 50.0), face(2, 70.0)], Some(1)), Some(2));
        assert_eq!(chosen(&[face(2, 40.0), face(3, 40.0)], Some(1)), Some(2));
    }
}
