//! Things in front of a face: glasses, a hand, hair.

use super::head::Anchors;
use super::scene::Scene;
use super::subject::Subject;
use crate::frame::Gray;
use crate::render::Rng;
use crate::render::geometry::step;

/// What covers one recording's face, and how it looks.
#[derive(Debug, Clone)]
pub struct Occluder {
    glasses: Option<Glasses>,
    hair: Option<Vec<Strand>>,
    hand: Hand,
}

#[derive(Debug, Clone, Copy)]
struct Glasses {
    /// Half axes of a lens and half the width of its rim, in head half-heights.
    lens: [f32; 2],
    rim: f32,
    /// 2 for round lenses, more for square ones.
    square: f32,
    grey: f32,
    /// Share of light that the lens swallows.
    tint: f32,
    glare: f32,
}

/// A lock over forehead and eye, as a curve of three points from the hairline, in head half-heights about the eyes' middle.
#[derive(Debug, Clone, Copy)]
struct Strand {
    points: [[f32; 2]; 3],
    half_width: f32,
    grey: f32,
}

#[derive(Debug, Clone, Copy)]
struct Hand {
    grey: f32,
    light_x: f32,
    seed: u64,
}

/// A rounded line in pixels.
#[derive(Debug, Clone, Copy)]
struct Capsule {
    from: [f32; 2],
    to: [f32; 2],
    radius: f32,
}

fn luma([r, g, b]: [f32; 3]) -> f32 {
    255.0 * (0.3 * r + 0.59 * g + 0.11 * b)
}

impl Occluder {
    /// What the scene puts before the subject's face.
    pub fn new(scene: &Scene, subject: &Subject) -> Self {
        let mut r = Rng::new(scene.seed, 19);
        let (skin, hair) = (luma(subject.person.skin), luma(subject.person.hair));
        let light = scene.ambient + 0.75 * (1.0 - scene.ambient);
        // The same person keeps the same glasses.
        let glasses = Glasses::new(&mut Rng::new(subject.eyesight.to_bits().into(), 19));
        Self {
            glasses: scene.glasses.then_some(glasses),
            hair: scene.hair.then(|| strands(&mut r, hair * light)),
            hand: Hand { grey: skin * light * 0.95, light_x: scene.light[0], seed: r.next_u64() },
        }
    }

    /// Draws what covers the face at `t` seconds.
    pub fn draw(&self, picture: &mut Gray, scene: &Scene, t: f32, at: &Anchors) {
        if let Some(strands) = &self.hair {
            strands.iter().for_each(|s| s.draw(picture, at));
        }
        if let Some(glasses) = &self.glasses {
            glasses.draw(picture, at);
        }
        if let Some((i, span)) = scene.hand.at(t) {
            self.hand.draw(picture, i, span, t, at);
        }
    }
}

/// Calls `mix` for the pixels within `reach` of the box of two points; it gives a grey and an opacity.
fn paint(picture: &mut Gray, low: [f32; 2], high: [f32; 2], mix: impl Fn(f32, f32) -> (f32, f32)) {
    let clip = |v: f32, n: usize| v.clamp(0.0, n as f32) as usize;
    let columns = clip(low[0], picture.width)..clip(high[0] + 1.0, picture.width);
    for y in clip(low[1], picture.height)..clip(high[1] + 1.0, picture.height) {
        let row = &mut picture.data[y * picture.width..][columns.clone()];
        for (p, x) in row.iter_mut().zip(columns.clone()) {
            let (grey, alpha) = mix(x as f32 + 0.5, y as f32 + 0.5);
            *p = (f32::from(*p) + (grey - f32::from(*p)) * alpha.clamp(0.0, 1.0) + 0.5) as u8;
        }
    }
}

impl Glasses {
    fn draw(&self, picture: &mut Gray, at: &Anchors) {
        let [a, b] = at.eyes;
        let apart = [b[0] - a[0], b[1] - a[1]];
        let distance = apart[0].hypot(apart[1]).max(1e-3);
        let axis = apart.map(|d| d / distance);
        // Lenses narrow as the head turns; the frontal distance of the eyes is about 0.61 head half-heights.
        let narrow = (distance / (0.61 * at.size_px)).clamp(0.4, 1.1);
        let half = [self.lens[0] * at.size_px * narrow, self.lens[1] * at.size_px];
        let rim = (self.rim * at.size_px).max(0.5);
        let reach = half[0].max(half[1]) + 2.0 * rim;
        for eye in at.eyes {
            let mix = |x: f32, y: f32| {
                let (dx, dy) = (x - eye[0], y - eye[1] - 0.02 * at.size_px);
                let (u, v) = ((dx * axis[0] + dy * axis[1]) / half[0], (dy * axis[0] - dx * axis[1]) / half[1]);
                let r = (u.abs().powf(self.square) + v.abs().powf(self.square)).powf(1.0 / self.square);
                let from_rim = ((r - 1.0) * half[1]).abs();
                let edge = 1.0 - step(rim - 0.5, rim + 0.7, from_rim);
                let glare = self.glare * (1.0 - step(0.05, 0.3, (u + v + 0.5).abs()));
                let lens = if r < 1.0 { self.tint.max(glare) } else { 0.0 };
                let inner = if glare > self.tint { 235.0 } else { 20.0 };
                if edge > lens { (self.grey, 0.95 * edge) } else { (inner, lens) }
            };
            paint(picture, [eye[0] - reach, eye[1] - reach], [eye[0] + reach, eye[1] + reach], mix);
        }
        let inner = |eye: [f32; 2], way: f32| std::array::from_fn(|i| eye[i] + way * half[0] * axis[i]);
        let bridge = Capsule { from: inner(a, 1.0), to: inner(b, -1.0), radius: rim };
        bridge.paint(picture, self.grey, 0.95);
    }

    fn new(r: &mut Rng) -> Self {
        let sun = r.chance(0.08);
        Self {
            lens: [r.range(0.19, 0.235), r.range(0.125, 0.19)],
            rim: r.range(0.008, 0.022),
            square: r.range(2.0, 4.5),
            grey: r.range(10.0, 110.0),
            tint: if sun { 0.7 } else { r.range(0.0, 0.12) },
            glare: if r.chance(0.3) { r.range(0.15, 0.6) } else { 0.0 },
        }
    }
}

fn strands(r: &mut Rng, grey: f32) -> Vec<Strand> {
    let side = if r.chance(0.5) { 1.0 } else { -1.0 };
    let (from, to) = (r.range(-0.1, 0.25), r.range(0.25, 0.5));
    let low = r.range(-0.05, 0.5);
    let one = |r: &mut Rng| {
        let spread = 0.12 * (r.unit() - 0.5);
        Strand {
            points: [
                [side * (from + spread), -0.85],
                [side * (from + 0.2 + spread), r.range(-0.45, -0.3)],
                [side * (to + 2.0 * spread), low + 0.1 * r.normal()],
            ],
            half_width: r.range(0.012, 0.035),
            grey: grey * r.range(0.7, 1.25),
        }
    };
    (0..3 + r.below(5)).map(|_| one(r)).collect()
}

impl Strand {
    fn draw(&self, picture: &mut Gray, at: &Anchors) {
        let middle: [f32; 2] = std::array::from_fn(|i| 0.5 * (at.eyes[0][i] + at.eyes[1][i]));
        let place = |p: [f32; 2]| [middle[0] + p[0] * at.size_px, middle[1] + p[1] * at.size_px];
        let [a, b, c] = self.points.map(place);
        let curve = |s: f32| -> [f32; 2] {
            std::array::from_fn(|i| (1.0 - s) * (1.0 - s) * a[i] + 2.0 * s * (1.0 - s) * b[i] + s * s * c[i])
        };
        const PIECES: usize = 8;
        for k in 0..PIECES {
            let (s, e) = (k as f32 / PIECES as f32, (k + 1) as f32 / PIECES as f32);
            let radius = self.half_width * at.size_px * (1.15 - e);
            Capsule { from: curve(s), to: curve(e), radius }.paint(picture, self.grey, 0.85);
        }
    }
}

impl Hand {
    /// Draws the hand of span `i`: it comes from below within 0.35 s, rests at mouth, chin or cheek, and leaves.
    fn draw(&self, picture: &mut Gray, i: usize, span: [f32; 2], t: f32, at: &Anchors) {
        let mut r = Rng::new(self.seed, i as u64);
        let side = if r.chance(0.5) { 1.0 } else { -1.0 };
        let goal = match r.below(3) {
            0 => at.mouth,
            1 => [0.5 * (at.chin[0] + at.mouth[0]), at.chin[1]],
            _ => [at.eyes[usize::from(side > 0.0)][0] + 0.15 * side * at.size_px, at.mouth[1] - 0.1 * at.size_px],
        };
        let here = step(0.0, 0.35, (t - span[0]).min(span[1] - t));
        let wait = [side * 0.6, 1.6];
        let rub = 0.02 * (6.0 * t).sin() * r.unit();
        let tip =
            [goal[0] + at.size_px * ((1.0 - here) * wait[0] + rub), goal[1] + at.size_px * (1.0 - here) * wait[1]];
        let lean = side * r.range(0.15, 0.6);
        let parts = fingers(tip, at.size_px, lean, side);
        let (low, high) = bounds(&parts);
        let mix = |x: f32, y: f32| self.shade(&parts, x, y);
        paint(picture, low, high, mix);
    }

    /// Nearest finger's cylinder under the scene's light; dark where two meet.
    fn shade(&self, parts: &[Capsule], x: f32, y: f32) -> (f32, f32) {
        let mut best = (f32::INFINITY, 0.0);
        for c in parts {
            let (d, across) = c.distance(x, y);
            if d - c.radius < best.0 {
                best = (d - c.radius, across / c.radius);
            }
        }
        let (outside, across) = best;
        let round = (1.0 - across * across).max(0.0).sqrt();
        let grey = self.grey * (0.55 + 0.45 * round + 0.2 * self.light_x * across);
        (grey.min(250.0), 1.0 - step(-0.6, 0.6, outside))
    }
}

/// Four fingers that end near `tip`, a thumb, the palm's heel and the wrist.
fn fingers(tip: [f32; 2], size_px: f32, lean: f32, side: f32) -> [Capsule; 7] {
    let (sin, cos) = lean.sin_cos();
    let put = |x: f32, y: f32| [tip[0] + size_px * (x * cos - y * sin), tip[1] + size_px * (y * cos + x * sin)];
    let line = |a: [f32; 2], b: [f32; 2], radius: f32| Capsule {
        from: put(a[0], a[1]),
        to: put(b[0], b[1]),
        radius: radius * size_px,
    };
    let finger = |x: f32, short: f32| line([x, short], [0.9 * x, 0.55], 0.075);
    [
        line([0.0, 0.75], [0.0, 1.0], 0.27),
        line([0.05 * side, 1.1], [0.2 * side, 2.4], 0.21),
        finger(-0.22, 0.06),
        finger(-0.075, 0.0),
        finger(0.075, 0.02),
        finger(0.22, 0.1),
        line([-0.36 * side, 0.42], [-0.2 * side, 0.8], 0.085),
    ]
}

fn bounds(parts: &[Capsule]) -> ([f32; 2], [f32; 2]) {
    let mut low = [f32::INFINITY; 2];
    let mut high = [f32::NEG_INFINITY; 2];
    for c in parts {
        for i in 0..2 {
            low[i] = low[i].min(c.from[i].min(c.to[i]) - c.radius - 1.0);
            high[i] = high[i].max(c.from[i].max(c.to[i]) + c.radius + 1.0);
        }
    }
    (low, high)
}

impl Capsule {
    /// Distance of a pixel from the line, and the signed part of it across the line to the right.
    fn distance(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (self.to[0] - self.from[0], self.to[1] - self.from[1]);
        let (px, py) = (x - self.from[0], y - self.from[1]);
        let length = (dx * dx + dy * dy).max(1e-6);
        let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
        let d = (px - along * dx).hypot(py - along * dy);
        let right = if px * dy - py * dx > 0.0 { d } else { -d };
        (d, right)
    }

    fn paint(&self, picture: &mut Gray, grey: f32, opacity: f32) {
        let (low, high) = bounds(std::slice::from_ref(self));
        paint(picture, low, high, |x, y| {
            let outside = self.distance(x, y).0 - self.radius;
            (grey, opacity * (1.0 - step(-0.6, 0.6, outside)))
        });
    }
}
