//! Draws a person into an RGB picture.

use super::expression::Expression;
use super::geometry::{Features, bump, step};
use super::person::Person;
use super::rng::Rng;
use super::trajectory::Pose;

/// Side of the face box in head half-heights.
const BOX_SIDE: f32 = 1.56;
/// Height of the face box's centre below the head's centre.
const BOX_V: f32 = 0.165;

/// Where the head stands and how it is lit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Head centre in pixels, before the pose's drift.
    pub center: [f32; 2],
    /// Half the head's height in pixels.
    pub size_px: f32,
    /// Direction towards the light: right, down, towards the viewer.
    pub light: [f32; 3],
    /// Share of light from everywhere, 0 to 1.
    pub ambient: f32,
}

impl Placement {
    /// A head at `center` under soft light from the upper left.
    pub fn new(center: [f32; 2], size_px: f32) -> Self {
        Self { center, size_px, light: [-0.35, -0.5, 0.8], ambient: 0.4 }
    }

    /// The face box `[x, y, side]` in pixels, as a frontal detector gives it: a square of side 1.56
    /// head half-heights centred 0.165 below the head's centre, from mid forehead to chin, ear to
    /// ear.
    pub fn face_box(&self, pose: Pose) -> [f32; 3] {
        let v = BOX_V * self.size_px;
        let cx = self.center[0] + (pose.dx + 0.26 * pose.yaw) * self.size_px;
        let cy = self.center[1] + (pose.dy + 0.72 * pose.pitch) * self.size_px + v;
        let side = BOX_SIDE * self.size_px;
        [cx - 0.5 * side, cy - 0.5 * side, side]
    }

    /// Where the spot `(u, v)` of the head's front is seen, in pixels; `jaw` is how far the chin
    /// has dropped. The inverse of what drawing does for a pixel.
    pub fn spot(&self, person: &Person, jaw: f32, pose: Pose, [u, v]: [f32; 2]) -> [f32; 2] {
        let (yaw, pitch, roll) = (pose.yaw.sin_cos(), pose.pitch.sin_cos(), pose.roll.sin_cos());
        let (mut tall, mut wide, mut at) = (1.0, person.head_width, [0.0; 2]);
        // The head's breadth depends on the height that is looked for.
        for _ in 0..6 {
            let (us, vs) = (u / wide, v / tall);
            let depth = (1.0 - us * us - vs * vs).max(0.0).sqrt();
            let (ys, z1) = (vs * pitch.1 + depth * pitch.0, depth * pitch.1 - vs * pitch.0);
            let xs = us * yaw.1 + z1 * yaw.0;
            (tall, wide) = (stretch(ys, jaw), breadth(person, ys));
            at = [xs * wide, ys * tall];
        }
        let [x, y] = at;
        let turned = [x * roll.1 - y * roll.0, x * roll.0 + y * roll.1];
        let drift = [pose.dx, pose.dy];
        std::array::from_fn(|k| self.center[k] + self.size_px * (drift[k] + turned[k]))
    }
}

/// Length of the head's lower half over its upper.
fn stretch(y: f32, jaw: f32) -> f32 {
    1.0 + if y > 0.0 { jaw } else { 0.0 }
}

/// Half the head's breadth at a height of its ellipsoid.
fn breadth(person: &Person, ys: f32) -> f32 {
    let low = ys.max(0.0);
    person.head_width * (1.0 - person.jaw_taper * low * low)
}

/// An RGB picture, 3 bytes a pixel, rows top to bottom.
pub struct Canvas<'a> {
    pub data: &'a mut [u8],
    pub width: usize,
    pub height: usize,
}

impl Canvas<'_> {
    /// Fills the picture with a soft gradient and texture chosen by `seed`.
    pub fn background(&mut self, seed: u64) {
        let mut r = Rng::new(seed, 5);
        let base: [f32; 3] = std::array::from_fn(|_| r.range(0.2, 0.75));
        let (gx, gy) = (r.range(-0.25, 0.25), r.range(-0.25, 0.25));
        let (fx, fy, ft) = (r.range(2.0, 9.0), r.range(2.0, 9.0), r.range(0.0, 0.06));
        let (w, h) = (self.width.max(1) as f32, self.height.max(1) as f32);
        for (y, row) in self.data.chunks_exact_mut(3 * self.width.max(1)).enumerate() {
            for (x, p) in row.chunks_exact_mut(3).enumerate() {
                let (x, y) = (x as f32 / w - 0.5, y as f32 / h - 0.5);
                let add = gx * x + gy * y + ft * (fx * x + 2.0 * (fy * y).sin()).sin();
                p.iter_mut().zip(base).for_each(|(o, b)| *o = to_byte(b + add));
            }
        }
    }

    /// Draws `person` with `expression`.
    pub fn person(&mut self, person: &Person, expression: Expression, pose: Pose, place: &Placement) {
        if !(place.size_px.is_finite() && place.size_px >= 1.0 && place.center.iter().all(|c| c.is_finite())) {
            return;
        }
        let model = Model::new(person, expression, pose, place);
        let (cx, cy) = (place.center[0] + pose.dx * place.size_px, place.center[1] + pose.dy * place.size_px);
        let clip = |c: f32, n: usize| c.clamp(0.0, n as f32) as usize;
        let reach = 2.0 * place.size_px;
        let columns = clip(cx - reach, self.width)..clip(cx + reach, self.width);
        let rows = clip(cy - 1.4 * place.size_px, self.height)..clip(cy + 3.0 * place.size_px, self.height);
        let (sin, cos) = pose.roll.sin_cos();
        for j in rows {
            let line = &mut self.data[3 * j * self.width..][..3 * self.width];
            let y0 = (j as f32 + 0.5 - cy) / place.size_px;
            for i in columns.clone() {
                let x0 = (i as f32 + 0.5 - cx) / place.size_px;
                let pixel = &mut line[3 * i..3 * i + 3];
                model.body(pixel, x0, y0);
                model.head(pixel, x0 * cos + y0 * sin, y0 * cos - x0 * sin);
            }
        }
    }
}

fn to_byte(v: f32) -> u8 {
    (v * 255.0 + 0.5) as u8
}

fn paint(pixel: &mut [u8], colour: [f32; 3], alpha: f32) {
    if alpha > 0.0 {
        for (p, c) in pixel.iter_mut().zip(colour) {
            let old = f32::from(*p) / 255.0;
            *p = to_byte(old + (c.min(1.0) - old) * alpha);
        }
    }
}

struct Model<'a> {
    features: Features<'a>,
    px: f32,
    light: [f32; 3],
    ambient: f32,
    yaw: (f32, f32),
    pitch: (f32, f32),
}

impl<'a> Model<'a> {
    fn new(person: &'a Person, e: Expression, pose: Pose, place: &Placement) -> Self {
        let [x, y, z] = place.light;
        let norm = (x * x + y * y + z * z).sqrt().max(1e-6);
        Self {
            features: Features::new(person, e),
            px: 1.0 / place.size_px,
            light: place.light.map(|l| l / norm),
            ambient: place.ambient,
            yaw: pose.yaw.sin_cos(),
            pitch: pose.pitch.sin_cos(),
        }
    }

    /// Neck, shoulders, hair behind the head and ears.
    fn body(&self, pixel: &mut [u8], x: f32, y: f32) {
        let p = self.features.person;
        let px = self.px;
        let cover = |d: f32| 1.0 - step(-px, px, d);
        let wide = p.head_width * p.hair_volume;
        if y > 0.5 {
            let neck = x.abs() - 0.40 - 0.15 * (y - 1.1).max(0.0);
            let shade = 0.45 + 0.15 * (x * self.light[0]) + 0.12 * (y - 1.0).clamp(0.0, 1.0);
            paint(pixel, p.skin.map(|c| c * shade), cover(neck));
            let shoulder = ((x / 1.6).hypot((y - 2.3) / 0.95) - 1.0) * 0.9;
            paint(pixel, p.cloth.map(|c| c * (0.75 + 0.2 * x * self.light[0])), cover(shoulder));
        }
        let hair = if p.long_hair && y > -0.1 {
            (x.abs() - wide * 1.04 + 0.5 * (y - 0.75).max(0.0).powi(2)).max(y - 1.2 + 0.05 * (25.0 * x).sin())
        } else {
            ((x / wide).hypot(y / (0.5 + 0.5 * p.hair_volume)) - 1.0).max(y - 0.05)
        };
        let strands = 0.8 + 0.2 * (30.0 * x + 4.0 * y).sin();
        let long = p.long_hair && y > 0.5 && x.abs() < 0.5;
        if !long {
            paint(pixel, p.hair.map(|c| c * strands), cover(hair));
        }
        if !p.long_hair {
            let ear = ((x.abs() - p.head_width) / 0.09).hypot((y - 0.10) / 0.20) - 1.0;
            paint(pixel, p.skin.map(|c| c * 0.65), cover(0.1 * ear));
        }
    }

    fn head(&self, pixel: &mut [u8], x: f32, y: f32) {
        let tall = stretch(y, self.features.jaw);
        let ys = y / tall;
        let wide = breadth(self.features.person, ys);
        let xs = x / wide;
        let r2 = xs * xs + ys * ys;
        if r2 >= 1.0 {
            let edge = (r2.sqrt() - 1.0) / self.px;
            if edge >= 1.0 {
                return;
            }
        }
        let zs = (1.0 - r2).max(0.0).sqrt();
        let (us, z1) = (xs * self.yaw.1 - zs * self.yaw.0, zs * self.yaw.1 + xs * self.yaw.0);
        let vs = ys * self.pitch.1 - z1 * self.pitch.0;
        let (u, v) = (us * wide, vs * tall);
        let mut c = self.features.albedo(u, v, self.px);
        let light = self.shade([xs / wide, ys, zs], u, v);
        c.iter_mut().for_each(|c| *c *= light);
        paint(pixel, c, 1.0 - step(-1.0, 1.0, (r2.sqrt() - 1.0) / self.px));
    }

    fn shade(&self, [nx, ny, nz]: [f32; 3], u: f32, v: f32) -> f32 {
        const D: f32 = 0.012;
        let f = &self.features;
        let here = f.height(u, v);
        let slope = [(f.height(u + D, v) - here) / D, (f.height(u, v + D) - here) / D];
        let norm = (nx * nx + ny * ny + nz * nz).sqrt().max(1e-6);
        let n = [nx / norm - 0.9 * slope[0], ny / norm - 0.9 * slope[1], nz / norm + 0.05];
        let norm = (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt().max(1e-6);
        let dot = (n[0] * self.light[0] + n[1] * self.light[1] + n[2] * self.light[2]) / norm;
        let socket = 1.0 - 0.15 * bump((u.abs() - f.person.eye_x) / 0.26, (v - f.person.eye_v) / 0.14);
        let under = 0.85 + 0.15 * step(1.05, 0.8, v);
        (self.ambient + (1.0 - self.ambient) * (0.25 + 0.75 * dot).max(0.0)) * socket * under * 1.12
    }
}
