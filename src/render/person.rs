//! Identity: everything of a face that does not move.

use super::rng::Rng;

/// One person. Lengths are in head half-heights, `v` runs downwards from the head's centre; the eyes
/// lie near `v = 0`, the mouth near 0.6, the chin at 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub head_width: f32,
    pub jaw_taper: f32,
    pub eye_x: f32,
    pub eye_v: f32,
    pub eye_width: f32,
    pub eye_open: f32,
    pub brow_v: f32,
    pub brow_thick: f32,
    pub nose_v: f32,
    pub nose_width: f32,
    pub nose_height: f32,
    pub mouth_v: f32,
    pub mouth_width: f32,
    pub lip_thick: f32,
    pub hairline_v: f32,
    pub hair_volume: f32,
    pub long_hair: bool,
    pub beard: f32,
    pub glasses: bool,
    /// Linear RGB reflectance in [0, 1].
    pub skin: [f32; 3],
    pub hair: [f32; 3],
    pub iris: [f32; 3],
    pub cloth: [f32; 3],
    /// Factor on every action unit, 0.85 to 1.15.
    pub expressiveness: f32,
    /// Resting offset of the mouth corners, positive downwards.
    pub rest_corner: f32,
}

fn mix3(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

impl Person {
    /// The person of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut r = Rng::new(seed, 1);
        let tone = r.unit();
        let dark = r.unit();
        let long_hair = r.chance(0.45);
        Self {
            head_width: r.range(0.72, 0.80),
            jaw_taper: r.range(0.08, 0.24),
            eye_x: r.range(0.285, 0.325),
            eye_v: r.range(-0.04, 0.02),
            eye_width: r.range(0.135, 0.16),
            eye_open: r.range(0.058, 0.072),
            brow_v: r.range(-0.21, -0.17),
            brow_thick: r.range(0.022, 0.042),
            nose_v: r.range(0.34, 0.40),
            nose_width: r.range(0.10, 0.135),
            nose_height: r.range(0.8, 1.2),
            mouth_v: r.range(0.59, 0.64),
            mouth_width: r.range(0.22, 0.27),
            lip_thick: r.range(0.8, 1.25),
            hairline_v: r.range(-0.72, -0.55),
            hair_volume: r.range(1.04, 1.18),
            long_hair,
            beard: if !long_hair && r.chance(0.3) { r.range(0.2, 0.6) } else { 0.0 },
            glasses: r.chance(0.12),
            skin: mix3([0.86, 0.68, 0.58], [0.42, 0.28, 0.21], tone),
            hair: mix3([0.05, 0.04, 0.035], [0.50, 0.36, 0.20], dark * dark * (1.0 - 0.8 * tone)),
            iris: mix3([0.16, 0.10, 0.06], [0.28, 0.36, 0.42], r.unit() * (1.0 - tone)),
            cloth: [r.range(0.1, 0.7), r.range(0.1, 0.7), r.range(0.1, 0.7)],
            expressiveness: r.range(0.85, 1.15),
            rest_corner: r.range(-0.012, 0.012),
        }
    }
}
