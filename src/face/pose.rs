//! Where a head stands in the picture.

use crate::spec::detector::Detection;

/// Place, size and roll of a head.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pose {
    /// Middle of the face's square, in pixels.
    pub centre: [f32; 2],
    /// Side of the square, in pixels.
    pub side: f32,
    /// Clockwise.
    pub roll_rad: f32,
}

/// Side of the square over the root of the detected box's area.
const SIDE: f32 = 1.1;
/// From the box's middle to the square's, downwards, in sides.
const DOWN: f32 = 0.003;

impl Pose {
    /// Of a head that was detected, taken as upright. The box's area depends less on roll than its
    /// sides do.
    pub fn of(found: &Detection) -> Self {
        let [x, y, w, h] = found.rect;
        let side = SIDE * (w * h).max(0.0).sqrt();
        Self { centre: [x, y + DOWN * side], side, roll_rad: 0.0 }
    }

    /// Left, top and side of the square, its sides upright whatever the roll.
    pub fn square(&self) -> [f32; 3] {
        let half = 0.5 * self.side;
        [self.centre[0] - half, self.centre[1] - half, self.side]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_square_lies_about_the_box() {
        let found = Detection { rect: [50.0, 60.0, 32.0, 50.0], ..Detection::default() };
        let [x, y, side] = Pose::of(&found).square();
        assert!((side / SIDE - 40.0).abs() < 1e-3, "{side}");
        assert!((x + 0.5 * side - 50.0).abs() < 1e-3 && (y + 0.5 * side - 60.0 - DOWN * side).abs() < 1e-3, "{x} {y}");
    }

    #[test]
    fn a_box_without_area_has_no_size() {
        let found = Detection { rect: [3.0, 4.0, 0.0, 5.0], ..Detection::default() };
        assert_eq!(Pose::of(&found), Pose { centre: [3.0, 4.0], side: 0.0, roll_rad: 0.0 });
    }
}
