//! Reflectance of a head without textures: what each vertex is covered with, told from its place.

use super::{IctModel, Part};
use crate::render::{Person, Rng};

/// Radius of iris and pupil in cm.
const IRIS_CM: f32 = 0.62;
const PUPIL_CM: f32 = 0.27;

fn luma([r, g, b]: [f32; 3]) -> f32 {
    0.3 * r + 0.59 * g + 0.11 * b
}

/// 0 below `a`, 1 above `b`.
fn step(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The grey reflectance of each vertex, and its gloss.
pub(super) struct Paint {
    pub albedo: Vec<f32>,
    pub gloss: Vec<f32>,
    /// How far hair lifts the vertex off the skull, in cm.
    pub lift_cm: Vec<f32>,
}

/// One person's colours on a head of given shape.
struct Painter<'a> {
    person: &'a Person,
    /// Front view of the landmarks.
    marks: [[f32; 2]; 68],
    /// Middles of the eyeballs, by the sign of x.
    eyes: [[f32; 2]; 2],
    chin_z: f32,
    mottle: [[f32; 4]; 5],
    brow: f32,
}

impl Paint {
    /// Colours `person` on the head whose vertices at rest are `at`.
    pub fn new(model: &IctModel, at: &[[f32; 3]], person: &Person, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 24);
        let painter = Painter::new(model, at, person, &mut rng);
        let mut paint = Self { albedo: Vec::new(), gloss: Vec::new(), lift_cm: Vec::new() };
        for (p, part) in at.iter().zip(&model.parts) {
            let (albedo, gloss, lift) = painter.vertex(*p, *part);
            paint.albedo.push(albedo.clamp(0.0, 1.0));
            paint.gloss.push(gloss);
            paint.lift_cm.push(lift);
        }
        paint
    }
}

impl<'a> Painter<'a> {
    fn new(model: &IctModel, at: &[[f32; 3]], person: &'a Person, rng: &mut Rng) -> Self {
        let marks = model.landmarks.map(|i| [at[i as usize][0], at[i as usize][1]]);
        let eye = |left: bool| {
            let own = |(p, part): (&[f32; 3], &Part)| *part == Part::Sclera && (p[0] < 0.0) == left;
            let ball: Vec<_> = at.iter().zip(&model.parts).filter(|v| own(*v)).map(|(p, _)| *p).collect();
            let middle = |i: usize| {
                let (low, high) = ball.iter().fold((f32::MAX, f32::MIN), |b, p| (b.0.min(p[i]), b.1.max(p[i])));
                0.5 * (low + high)
            };
            [middle(0), middle(1)]
        };
        Self {
            person,
            marks,
            eyes: [eye(true), eye(false)],
            chin_z: at[model.landmarks[8] as usize][2],
            mottle: std::array::from_fn(|_| {
                [rng.range(0.2, 1.6), rng.range(0.2, 1.6), rng.range(0.2, 1.6), std::f32::consts::TAU * rng.unit()]
            }),
            brow: rng.range(0.24, 0.42),
        }
    }

    /// Reflectance, gloss and lift of the vertex at `p`.
    fn vertex(&self, p: [f32; 3], part: Part) -> (f32, f32, f32) {
        match part {
            Part::Sclera => (self.eye(p), 0.5, 0.0),
            Part::Teeth => (0.62, 0.15, 0.0),
            Part::Gums => (0.16, 0.05, 0.0),
            Part::Skin | Part::Scalp => self.skin(p, part),
        }
    }

    fn eye(&self, p: [f32; 3]) -> f32 {
        let [x, y] = self.eyes[usize::from(p[0] > 0.0)];
        let r = (p[0] - x).hypot(p[1] - y);
        let iris = 0.4 * luma(self.person.iris) * (1.0 - 0.5 * step(0.8 * IRIS_CM, IRIS_CM, r));
        let white = 0.62 * (1.0 - 0.35 * step(0.2, 0.8, p[1] - y));
        let edge = step(IRIS_CM - 0.08, IRIS_CM + 0.08, r);
        (iris + (white - iris) * edge) * (0.05 + 0.95 * step(PUPIL_CM - 0.08, PUPIL_CM + 0.08, r))
    }

    fn skin(&self, p: [f32; 3], part: Part) -> (f32, f32, f32) {
        let [x, y, z] = p;
        let (skin, hair) = (luma(self.person.skin), luma(self.person.hair));
        let cover = self.hair(p, part);
        let wave = |m: &[f32; 4]| (m[0] * x + m[1] * y + m[2] * z + m[3]).sin();
        let mut c = skin * (1.0 + 0.018 * self.mottle.iter().map(wave).sum::<f32>());
        c += (0.74 * skin - c) * self.lips(x, y, z);
        let stubble = self.person.beard * step(0.3, -0.5, self.beard_edge(x, y)) * step(0.5, 2.0, z);
        c += (hair - c) * stubble * (1.0 - self.lips(x, y, z));
        c += (hair - c) * self.brows(x, y, z);
        c *= 1.0 - 0.75 * self.rim(x, y, z);
        let strands = 0.85 + 0.15 * (4.0 * x + 1.5 * y + 2.0 * (2.3 * x).sin()).sin();
        c += (hair * strands - c) * cover;
        (c, 0.07 * (1.0 - cover) + 0.03 * cover, cover * self.volume(x, y))
    }

    /// Height of the hairline at `x`: 0.55 to 0.72 head half-heights, of about 10.7 cm, over the eyes.
    fn hairline(&self, x: f32) -> f32 {
        self.eyes[0][1] + 0.5 - 10.7 * self.person.hairline_v - 0.035 * x * x
    }

    /// How far full hair stands off at that height: most on top, nothing at the hairline and by the ears.
    fn volume(&self, x: f32, y: f32) -> f32 {
        let most = 9.0 * (self.person.hair_volume - 0.95);
        let crown = step(0.0, 3.0, y - self.hairline(x));
        most * crown.max(0.7 * step(2.0, 6.0, y - self.eyes[0][1]) * step(5.0, 6.5, x.abs()))
    }

    /// Share of hair: all of the skull behind a line over the forehead and down before the ears.
    fn hair(&self, [x, y, z]: [f32; 3], part: Part) -> f32 {
        let over_eyes = y - self.eyes[0][1];
        let above = step(-0.2, 0.2, y - self.hairline(x));
        let behind = step(0.3, -0.5, z - 3.4 - 0.25 * over_eyes) * step(-5.0, -3.5, over_eyes);
        let ear = part == Part::Skin && over_eyes < 2.6;
        if ear { above } else { above.max(behind) }
    }

    /// The dark edge of the upper lids, where lashes grow.
    fn rim(&self, x: f32, y: f32, z: f32) -> f32 {
        if z < 4.0 {
            return 0.0;
        }
        let lid = if x < 0.0 { 36..39 } else { 42..45 };
        let near = lid.map(|i| segment([x, y], self.marks[i], self.marks[i + 1])).fold(f32::MAX, f32::min);
        step(0.26, 0.1, near)
    }

    fn brows(&self, x: f32, y: f32, z: f32) -> f32 {
        if z < 4.0 {
            return 0.0;
        }
        let line = if x < 0.0 { 17..21 } else { 22..26 };
        let (mut best, mut along) = (f32::MAX, 0.0);
        for (k, i) in line.enumerate() {
            let d = segment([x, y], self.marks[i], self.marks[i + 1]);
            if d < best {
                (best, along) = (d, k as f32 / 3.0);
            }
        }
        let outwards = if x < 0.0 { 1.0 - along } else { along };
        let thick = self.brow * (1.15 - 0.5 * outwards) * self.person.brow_thick / 0.032;
        0.85 * step(1.5 * thick, 0.6 * thick, best)
    }

    fn lips(&self, x: f32, y: f32, z: f32) -> f32 {
        if z < self.chin_z - 2.5 { 0.0 } else { step(-0.12, 0.12, inside(&self.marks[48..60], [x, y])) }
    }

    /// Height over the line from nose to jaw below which beards grow.
    fn beard_edge(&self, x: f32, y: f32) -> f32 {
        let nose = self.marks[33][1];
        let cheek = 0.9 * (x.abs() - 2.6).max(0.0);
        let lower = if x.abs() < 2.2 { nose - 0.6 } else { nose - 1.4 + cheek };
        let upper_neck = self.marks[8][1] - 2.5;
        if y < upper_neck { 1.0 } else { y - lower }
    }
}

/// Distance from `p` to the line from `a` to `b`.
fn segment(p: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let along = (((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
    (p[0] - a[0] - along * dx).hypot(p[1] - a[1] - along * dy)
}

/// Distance of `p` from the edge of a polygon, positive inside.
fn inside(polygon: &[[f32; 2]], p: [f32; 2]) -> f32 {
    let mut odd = false;
    let mut near = f32::MAX;
    for (i, &a) in polygon.iter().enumerate() {
        let b = polygon[(i + 1) % polygon.len()];
        if (a[1] > p[1]) != (b[1] > p[1]) && p[0] < (b[0] - a[0]) * (p[1] - a[1]) / (b[1] - a[1]) + a[0] {
            odd = !odd;
        }
        near = near.min(segment(p, a, b));
    }
    if odd { near } else { -near }
}
