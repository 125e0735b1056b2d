//! The crop rule: which square of the picture the student sees. Training and runtime both obey it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Maps a face's square to the square crop that the student sees.
///
/// With a square of side `s` centred at `(cx, cy)` the crop is centred at
/// `(cx + shift_x * s, cy + shift_y * s)` and has side `margin * s`; it is resampled to
/// `size_px` x `size_px` grey u8 by `preprocess::Cropper`. Pixels outside the picture
/// repeat its edge.
///
/// The crop is upright in the head's own frame: a head rolled by more than two degrees is levelled
/// by `preprocess::Cropper::level_into` about the crop's centre, its shift turning with it, by the
/// roll that `face::RollEstimator` found (clockwise positive). Pictures that are crops themselves,
/// FER+'s, are taken as they are, so a student has seen the natural roll of such pictures and what
/// its augmentation adds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropRule {
    /// Side of the crop in pixels.
    pub size_px: usize,
    /// Finest detail kept: a crop is low-passed as if it had first been taken with this many pixels
    /// a side, so that a large, sharp face looks to the student like the 48-pixel pictures it
    /// learnt from.
    pub detail_px: usize,
    /// Side of the crop over side of the face's square.
    pub margin: f32,
    /// Horizontal shift of the centre, in the square's sides, positive to the right.
    pub shift_x: f32,
    /// Vertical shift of the centre, in the square's sides, positive downwards.
    pub shift_y: f32,
}

impl CropRule {
    /// The rule of the shipped students, which the square of `face::Pose` maps to the framing of
    /// FER+ pictures.
    ///
    /// It is what the students were trained with, and the square is sized and placed for it: over
    /// 2,000 FER+ training pictures (`vaerr-train crop-rule --pictures 2000`; a face found in 89 %)
    /// the medians are 1.103, 0.002 and 0.002, with interquartile ranges of 0.069 of the crop's
    /// side for its side, 0.046 for its horizontal and 0.047 for its vertical place.
    pub const FERPLUS: Self = Self { size_px: 80, detail_px: 48, margin: 1.108, shift_x: 0.004, shift_y: 0.004 };

    /// [`Self::FERPLUS`] for a student whose crops have another side.
    pub fn of_side(size_px: usize) -> Self {
        Self { size_px, ..Self::FERPLUS }
    }

    /// The crop square `[x, y, side]` in pixels for the box `[x, y, side]`.
    pub fn square(&self, face: [f32; 3]) -> [f32; 3] {
        let [x, y, side] = face;
        let (cx, cy) = (x + (0.5 + self.shift_x) * side, y + (0.5 + self.shift_y) * side);
        let crop = side * self.margin;
        [cx - 0.5 * crop, cy - 0.5 * crop, crop]
    }

    /// The crop square of a box whose head is rolled clockwise by `roll_rad`: as
    /// [`CropRule::square`], but the shift turns with the head. It is the square to hand to
    /// `preprocess::Cropper::level_into`, before turning.
    pub fn square_at(&self, face: [f32; 3], roll_rad: f32) -> [f32; 3] {
        if roll_rad == 0.0 {
            return self.square(face);
        }
        let (sin, cos) = roll_rad.sin_cos();
        let turned = Self {
            shift_x: cos * self.shift_x - sin * self.shift_y,
            shift_y: sin * self.shift_x + cos * self.shift_y,
            ..*self
        };
        turned.square(face)
    }

    /// Refuses sizes and factors that no crop can have.
    pub fn validate(&self) -> Result<()> {
        if !(16..=512).contains(&self.size_px) {
            return Err(Error::model(format!("crop.size_px is {}, expected 16 to 512", self.size_px)));
        }
        if !(8..=self.size_px).contains(&self.detail_px) {
            return Err(Error::model(format!("crop.detail_px is {}, expected 8 to crop.size_px", self.detail_px)));
        }
        if !(0.5..=4.0).contains(&self.margin) {
            return Err(Error::model(format!("crop.margin is {}, expected 0.5 to 4", self.margin)));
        }
        for (name, v) in [("shift_x", self.shift_x), ("shift_y", self.shift_y)] {
            if !(-1.0..=1.0).contains(&v) {
                return Err(Error::model(format!("crop.{name} is {v}, expected -1 to 1")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_grows_about_the_shifted_centre() {
        let rule = CropRule { size_px: 80, detail_px: 48, margin: 1.5, shift_x: 0.0, shift_y: 0.1 };
        assert_eq!(rule.square([10.0, 20.0, 40.0]), [0.0, 14.0, 60.0]);
    }

    #[test]
    fn the_shift_turns_with_the_head() {
        let rule = CropRule { size_px: 80, detail_px: 48, margin: 1.0, shift_x: 0.0, shift_y: 0.25 };
        let [x, y, side] = rule.square_at([0.0, 0.0, 40.0], std::f32::consts::FRAC_PI_2);
        assert!((x + 10.0).abs() < 1e-4 && y.abs() < 1e-4 && side == 40.0, "{x} {y} {side}");
        assert_eq!(rule.square_at([3.0, 4.0, 40.0], 0.0), rule.square([3.0, 4.0, 40.0]));
    }

    #[test]
    fn validate_refuses_nan_and_out_of_range() {
        let good = CropRule::FERPLUS;
        assert!(good.validate().is_ok());
        assert!(CropRule { margin: f32::NAN, ..good }.validate().is_err());
        assert!(CropRule { size_px: 0, ..good }.validate().is_err());
        assert!(CropRule { shift_y: 2.0, ..good }.validate().is_err());
    }
}
