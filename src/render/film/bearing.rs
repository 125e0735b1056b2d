//! Head movements: a seat, sway, glances aside, and nods with speech.

use super::speech::Speech;
use crate::render::geometry::bump;
use crate::render::trajectory::Wave;
use crate::render::{Pose, Rng};

/// Largest turn either way: 30 degrees.
const YAW_MAX: f32 = 0.52;

/// How the head is held over one recording.
#[derive(Debug, Clone)]
pub struct Bearing {
    seat: Pose,
    sway: [Wave; 5],
    /// Share of full sway, 0.4 to 1.2.
    lively: f32,
    /// Middle in seconds, half length in seconds, yaw and pitch of each glance.
    glances: Vec<[f32; 4]>,
    /// Pitch of a nod on a stressed syllable.
    nod: f32,
}

impl Bearing {
    /// The bearing of `seed` over `seconds`.
    pub fn new(seed: u64, seconds: f32) -> Self {
        let mut r = Rng::new(seed, 14);
        let mut glances = Vec::new();
        let mut at = r.range(0.0, 15.0);
        while at < seconds + 5.0 {
            glances.push([at, r.range(0.6, 2.5), 0.24 * r.normal(), 0.08 * r.normal()]);
            at += r.range(3.0, 18.0);
        }
        let mut small = |s: f32| (s * r.normal()).clamp(-2.0 * s, 2.0 * s);
        let seat = Pose { yaw: small(0.12), pitch: small(0.05), roll: small(0.04), dx: small(0.04), dy: small(0.03) };
        Self {
            seat,
            sway: std::array::from_fn(|_| Wave::new(&mut r, 0.05, 0.6)),
            lively: r.range(0.4, 1.2),
            glances,
            nod: r.range(0.0, 0.07),
        }
    }

    /// Pose at `t` seconds: yaw within 30 degrees, pitch and roll within 15.
    pub fn at(&self, t: f64, speech: Option<&Speech>) -> Pose {
        let w = |i: usize, size: f32| self.lively * size * self.sway[i].at(t);
        let mut p = Pose {
            yaw: self.seat.yaw + w(0, 0.07),
            pitch: self.seat.pitch + w(1, 0.04),
            roll: self.seat.roll + w(2, 0.035),
            dx: self.seat.dx + w(3, 0.03),
            dy: self.seat.dy + w(4, 0.02),
        };
        for &[middle, half, yaw, pitch] in &self.glances {
            let weight = bump((t as f32 - middle) / half, 0.0).sqrt();
            p.yaw += weight * yaw;
            p.pitch += weight * pitch;
        }
        p.pitch += self.nod * speech.map_or(0.0, |s| s.stress(t));
        p.yaw = p.yaw.clamp(-YAW_MAX, YAW_MAX);
        (p.pitch, p.roll) = (p.pitch.clamp(-0.26, 0.26), p.roll.clamp(-0.26, 0.26));
        p
    }
}
