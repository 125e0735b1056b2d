//! The moving parts of one face in one frame, and the height of its surface.

use super::expression::Expression;
use super::person::Person;

/// 0 below `a`, 1 above `b`, smooth between.
pub(super) fn step(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A smooth hill of radius 1: 1 at the middle, 0 from the rim on.
pub(super) fn bump(x: f32, y: f32) -> f32 {
    let r = 1.0 - (x * x + y * y);
    if r > 0.0 { r * r } else { 0.0 }
}

/// Feature positions after the action units moved them, in head half-heights.
pub(super) struct Features<'a> {
    pub person: &'a Person,
    pub e: Expression,
    /// Eye opening above and below the eye's axis.
    pub lid_up: f32,
    pub lid_low: f32,
    /// Brow height at its inner and outer end.
    pub brow_in: f32,
    pub brow_out: f32,
    pub mouth_width: f32,
    /// Height of the mouth's corners relative to its middle, for the left and right of the picture.
    pub corner: [f32; 2],
    /// Opening above and below the mouth's line.
    pub gap_up: f32,
    pub gap_low: f32,
    pub lip: f32,
    /// How far the chin has dropped.
    pub jaw: f32,
}

impl<'a> Features<'a> {
    pub fn new(p: &'a Person, e: Expression) -> Self {
        let shut = 1.0 - e.au43;
        let corner = |lead: f32| p.rest_corner - 0.13 * e.au12 * (1.0 + lead) + 0.10 * e.au15;
        Self {
            person: p,
            e,
            lid_up: p.eye_open * (1.0 + 0.75 * e.au5 - 0.25 * e.au7 - 0.12 * e.au6) * shut,
            lid_low: p.eye_open * (0.75 - 0.35 * e.au6 - 0.30 * e.au7) * (0.3 + 0.7 * shut),
            brow_in: p.brow_v - 0.10 * e.au1 + 0.085 * e.au4,
            brow_out: p.brow_v - 0.10 * e.au2 + 0.02 * e.au4,
            mouth_width: p.mouth_width
                * (1.0 + 0.36 * e.au12 + 0.25 * e.au20 - 0.18 * e.au23 - 0.16 * e.au26 - 0.30 * e.au18),
            corner: [corner(-e.skew), corner(e.skew) - 0.09 * e.au14],
            gap_up: 0.018 * e.au25 + 0.03 * e.au26 + 0.02 * e.au10,
            gap_low: 0.025 * e.au25 + 0.13 * e.au26,
            lip: p.lip_thick * (1.0 - 0.55 * e.au23) * (1.0 - 0.2 * e.au12) * (1.0 + 0.25 * e.au18),
            jaw: 0.10 * e.au26,
        }
    }

    /// Relief over the ellipsoid at `(u, v)`.
    pub fn height(&self, u: f32, v: f32) -> f32 {
        let (p, e, s) = (self.person, &self.e, u.abs());
        let mouth_v = p.mouth_v + 0.5 * self.jaw;
        let nose = p.nose_height
            * (0.11 * bump(u / 0.12, (v - 0.12) / 0.34)
                + 0.11 * bump(u / (1.25 * p.nose_width), (v - p.nose_v) / 0.13)
                + 0.05 * bump((s - p.nose_width) / 0.07, (v - p.nose_v - 0.02) / 0.075));
        let eyes = 0.045 * bump((s - p.eye_x) / 0.30, (v - p.brow_v - 0.01) / 0.12)
            - 0.075 * bump((s - p.eye_x + 0.03) / 0.24, (v - p.eye_v) / 0.15)
            + 0.035 * bump((s - p.eye_x) / 0.17, (v - p.eye_v) / 0.10);
        let lift = 0.05 * e.au6 + 0.03 * e.au12;
        let cheek = (0.05 + 0.05 * e.au6 + 0.04 * e.au12) * bump((s - 0.43) / 0.27, (v - 0.32 + lift) / 0.24);
        let mouth = 0.05 * bump(u / 0.36, (v - mouth_v) / 0.24)
            - 0.03 * bump(u / 0.18, (v - mouth_v - 0.17 - self.gap_low) / 0.07)
            + 0.055 * bump(u / 0.26, (v - 0.88 - self.jaw) / 0.16);
        nose + eyes + cheek + mouth
    }
}
