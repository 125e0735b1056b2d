//! How a recording is seen: light, background, camera, what is in the way.

use super::camera::Camera;
use super::subject::Subject;
use crate::error::{Error, Result};
use crate::render::Rng;
use crate::render::trajectory::Wave;

/// How often things cover faces, each in [0, 1] (`hand` to 0.8).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Occlusion {
    /// Share of people who wear glasses.
    pub glasses: f32,
    /// Share of time with a hand at the face.
    pub hand: f32,
    /// Share of recordings with hair in the face.
    pub hair: f32,
}

impl Occlusion {
    /// Nothing in the way.
    pub const NONE: Self = Self { glasses: 0.0, hand: 0.0, hair: 0.0 };

    /// Refuses shares that cannot be.
    pub fn validate(&self) -> Result<()> {
        for (name, share, most) in [("glasses", self.glasses, 1.0), ("hand", self.hand, 0.8), ("hair", self.hair, 1.0)]
        {
            if !(0.0..=most).contains(&share) {
                return Err(Error::usage(format!("the share of {name} is {share}, expected 0 to {most}")));
            }
        }
        Ok(())
    }
}

/// Spans of time, by their start; they do not overlap.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spans(pub Vec<[f32; 2]>);

impl Spans {
    /// Spans of 0.8 to 3.2 s that cover `share` of a long time, from well before 0 to `seconds`.
    fn draw(r: &mut Rng, share: f32, seconds: f32) -> Self {
        const MEAN_S: f32 = 2.0;
        let mut spans = Vec::new();
        if share <= 0.0 {
            return Self(spans);
        }
        let mean_gap = MEAN_S * (1.0 - share) / share;
        let mut at = -30.0 - 10.0 * mean_gap;
        while at < seconds {
            at += -mean_gap * (1.0 - r.unit()).ln();
            let until = at + r.range(0.8, 3.2);
            spans.push([at, until]);
            at = until;
        }
        spans.retain(|s| s[1] > 0.0 && s[0] < seconds);
        Self(spans)
    }

    /// Whether `t` lies in a span.
    pub fn hold(&self, t: f32) -> bool {
        self.at(t).is_some()
    }

    /// The number and the bounds of the span that holds `t`.
    pub fn at(&self, t: f32) -> Option<(usize, [f32; 2])> {
        let i = self.0.partition_point(|s| s[0] <= t).checked_sub(1)?;
        (t < self.0[i][1]).then_some((i, self.0[i]))
    }
}

/// Light, background, camera and occlusions of one recording.
#[derive(Debug, Clone)]
pub struct Scene {
    pub seed: u64,
    /// Direction towards the light: right, down, towards the viewer.
    pub light: [f32; 3],
    /// Share of light from everywhere, 0.2 to 0.7.
    pub ambient: f32,
    /// Slow change of brightness, as of a screen that is watched, and its size.
    glow: (Wave, f32),
    /// Side of the crop in camera pixels: how far away the person sits.
    pub crop_px: f32,
    /// Error of the face box in box sides: right, down, larger; steady and swaying.
    framing: [(f32, Wave); 3],
    pub camera: Camera,
    pub glasses: bool,
    pub hair: bool,
    pub hand: Spans,
}

impl Scene {
    /// The scene of `seed` for a recording of `seconds`, its crops `size_px` a side.
    pub fn new(seed: u64, subject: &Subject, occlusion: &Occlusion, size_px: usize, seconds: f32) -> Self {
        let mut r = Rng::new(seed, 18);
        Self {
            light: [r.range(-0.9, 0.9), r.range(-0.9, 0.15), r.range(0.5, 1.0)],
            ambient: r.range(0.2, 0.7),
            glow: (Wave::new(&mut r, 0.05, 0.7), if r.chance(0.5) { r.range(0.0, 0.05) } else { 0.0 }),
            crop_px: size_px as f32 * r.range(0.7, 1.15),
            framing: std::array::from_fn(|_| ((0.025 * r.normal()).clamp(-0.06, 0.06), Wave::new(&mut r, 0.1, 0.8))),
            camera: Camera::draw(&mut r),
            glasses: subject.eyesight < occlusion.glasses,
            hair: r.chance(occlusion.hair),
            hand: Spans::draw(&mut r, occlusion.hand, seconds),
            seed,
        }
    }

    /// Factor on the light at `t` seconds, near 1.
    pub fn glow(&self, t: f64) -> f32 {
        1.0 + self.glow.1 * self.glow.0.at(t)
    }

    /// `face` as a detector would have found it at `t` seconds: a few hundredths of its side off.
    pub fn found(&self, face: [f32; 3], t: f64) -> [f32; 3] {
        let [dx, dy, ds] = std::array::from_fn(|i| self.framing[i].0 + 0.006 * self.framing[i].1.at(t));
        let [x, y, side] = face;
        [x + (dx - ds) * side, y + (dy - ds) * side, side * (1.0 + 2.0 * ds)]
    }

    /// What stands in the recording's tags.
    pub fn light_name(&self) -> &'static str {
        match self.light[0] {
            x if x < -0.3 => "left",
            x if x > 0.3 => "right",
            _ => "front",
        }
    }
}
