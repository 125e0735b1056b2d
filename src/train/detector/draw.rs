//! Training crops: a place in a picture at a scale and a roll, seen in some light by some camera.

use super::scenes::{Mark, Scene};
use crate::frame::Gray;
use crate::render::Rng;
use serde::{Deserialize, Serialize};

/// How crops are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrawConfig {
    /// Side of a crop in pixels.
    pub size_px: usize,
    /// Smallest and largest face that a crop is drawn about, in its pixels; the logarithm is uniform.
    pub faces_px: [f32; 2],
    /// Smallest face that is taught; smaller ones are neither face nor background.
    pub least_px: f32,
    /// Share of crops from pictures without faces.
    pub empty: f64,
    /// Shares of crops rolled by any angle, and by up to 60 degrees; the others by 8 degrees (standard deviation).
    pub any_roll: f64,
    pub some_roll: f64,
    /// Largest factor by which a picture is enlarged.
    pub most_enlarged: f32,
}

impl Default for DrawConfig {
    fn default() -> Self {
        Self {
            size_px: 192,
            faces_px: [7.0, 200.0],
            least_px: 6.5,
            empty: 0.15,
            any_roll: 0.25,
            some_roll: 0.25,
            most_enlarged: 2.5,
        }
    }
}

/// A picture at full, half and a quarter of its size.
pub struct Levels([Gray; 3]);

impl Levels {
    pub fn of(picture: &Gray) -> Self {
        let half = halved(picture);
        let quarter = halved(&half);
        Self([picture.clone(), half, quarter])
    }
}

/// Means of 2x2 pixels.
fn halved(g: &Gray) -> Gray {
    let (width, height) = ((g.width / 2).max(1), (g.height / 2).max(1));
    let at = |x: usize, y: usize| u32::from(g.data[y.min(g.height - 1) * g.width + x.min(g.width - 1)]);
    let mean = |x: usize, y: usize| (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1) + 2) / 4;
    let data = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| mean(2 * x, 2 * y) as u8);
    Gray { width, height, data: data.collect() }
}

/// A similarity from picture to crop: `to = a * from + b`, mirrored or not.
#[derive(Debug, Clone, Copy)]
pub struct Placing {
    a: [[f32; 2]; 2],
    b: [f32; 2],
    pub scale: f32,
    pub roll_rad: f32,
    pub mirrored: bool,
}

impl Placing {
    /// Puts `from` of the picture at `to` of the crop.
    pub fn new(from: [f32; 2], to: [f32; 2], scale: f32, roll_rad: f32, mirrored: bool) -> Self {
        let (sin, cos) = roll_rad.sin_cos();
        let flip = if mirrored { -1.0 } else { 1.0 };
        let a = [[scale * cos * flip, -scale * sin], [scale * sin * flip, scale * cos]];
        let b = [to[0] - a[0][0] * from[0] - a[0][1] * from[1], to[1] - a[1][0] * from[0] - a[1][1] * from[1]];
        Self { a, b, scale, roll_rad, mirrored }
    }

    pub fn at(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [a, b] = self.a;
        [a[0] * x + a[1] * y + self.b[0], b[0] * x + b[1] * y + self.b[1]]
    }

    /// The picture's place of a place in the crop.
    pub fn back(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let inverse = self.inverse();
        let (x, y) = (x - self.b[0], y - self.b[1]);
        [0, 1].map(|i| inverse[i][0] * x + inverse[i][1] * y)
    }

    /// Pixels of the picture, right and down, a pixel of the crop to the right, and one down.
    fn inverse(&self) -> [[f32; 2]; 2] {
        let [[a, b], [c, d]] = self.a;
        let det = a * d - b * c;
        [[d / det, -b / det], [-c / det, a / det]]
    }

    /// A rectangle's place: centre, width and height of the upright rectangle about the ellipse in it, turned.
    pub fn rect(&self, [x, y, w, h]: [f32; 4]) -> [f32; 4] {
        let [cx, cy] = self.at([x + w / 2.0, y + h / 2.0]);
        let (sin, cos) = self.roll_rad.sin_cos();
        let (w, h) = (w * self.scale, h * self.scale);
        [cx, cy, (w * cos).hypot(h * sin), (w * sin).hypot(h * cos)]
    }

    pub fn mark(&self, mark: &Mark) -> Placed {
        let points = mark.points.map(|p| {
            let [a, b, nose, c, d] = p.map(|p| self.at(p));
            if self.mirrored { [b, a, nose, d, c] } else { [a, b, nose, c, d] }
        });
        let yaw = mark.yaw_deg.map(|y| if self.mirrored { -y } else { y });
        Placed { rect: self.rect(mark.rect), points, yaw_deg: yaw, sure: true }
    }
}

/// A face in a crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Centre, width, height.
    pub rect: [f32; 4],
    pub points: Option<[[f32; 2]; 5]>,
    pub yaw_deg: Option<f32>,
    /// False: what lies there is neither face nor background.
    pub sure: bool,
}

impl Placed {
    pub fn size(&self) -> f32 {
        (self.rect[2] * self.rect[3]).sqrt()
    }
}

/// A crop with what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    pub pixels: Vec<u8>,
    pub faces: Vec<Placed>,
}

/// Draws where a crop looks: at a face, or anywhere.
pub fn place(config: &DrawConfig, scene: &Scene, face: Option<usize>, rng: &mut Rng) -> Placing {
    let side = config.size_px as f32;
    let turn = rng.unit() as f64;
    let roll = match () {
        () if turn < config.any_roll => rng.range(-std::f32::consts::PI, std::f32::consts::PI),
        () if turn < config.any_roll + config.some_roll => rng.range(-1.05, 1.05),
        () => 0.14 * rng.normal(),
    };
    let mirrored = rng.chance(0.5);
    let log_uniform = |low: f32, high: f32, rng: &mut Rng| (rng.range(low.ln(), high.ln())).exp();
    match face {
        Some(k) => {
            let [x, y, w, h] = scene.faces[k].rect;
            let [low, high] = config.faces_px;
            let scale = (log_uniform(low, high, rng) / scene.faces[k].size()).min(config.most_enlarged);
            // A large face stays about where it can be seen.
            let free = (0.5 - 0.35 * scale * scene.faces[k].size() / side).clamp(0.05, 0.45);
            let to = [0; 2].map(|_| side * (0.5 + rng.range(-free, free)));
            Placing::new([x + w / 2.0, y + h / 2.0], to, scale, roll, mirrored)
        }
        None => {
            let scale = log_uniform(0.25, 1.5, rng);
            let from = [scene.picture.width, scene.picture.height].map(|n| rng.unit() * n as f32);
            Placing::new(from, [side / 2.0; 2], scale, roll, mirrored)
        }
    }
}

/// Takes the crop at `placing`.
pub fn take(config: &DrawConfig, scene: &Scene, levels: &Levels, placing: &Placing, rng: &mut Rng) -> Crop {
    let n = config.size_px;
    let level = match placing.scale {
        s if s > 0.6 => 0,
        s if s > 0.3 => 1,
        _ => 2,
    };
    let (picture, shrunk) = (&levels.0[level], 1.0 / (1 << level) as f32);
    let step = placing.inverse().map(|row| row.map(|v| v * shrunk));
    // The picture's place of the crop's first pixel.
    let b = placing.b;
    let origin = [0, 1].map(|i| -step[i][0] * b[0] - step[i][1] * b[1]);
    let repeat = rng.chance(0.5);
    let mut values = Vec::with_capacity(n * n);
    for y in 0..n {
        for x in 0..n {
            let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
            let u = origin[0] + step[0][0] * x + step[0][1] * y - 0.5;
            let v = origin[1] + step[1][0] * x + step[1][1] * y - 0.5;
            values.push(sample(picture, u, v, repeat));
        }
    }
    light(&mut values, n, rng);
    let side = n as f32;
    let inside = |p: &Placed| {
        let [x, y, w, h] = p.rect;
        x > -w / 2.0 && y > -h / 2.0 && x < side + w / 2.0 && y < side + h / 2.0
    };
    let faces = scene.faces.iter().map(|f| placing.mark(f)).map(|p| {
        let [x, y, w, h] = p.rect;
        // Less than half of it in sight, or too small to be seen.
        let shown = (x + w / 2.0).min(side) - (x - w / 2.0).max(0.0);
        let tall = (y + h / 2.0).min(side) - (y - h / 2.0).max(0.0);
        Placed { sure: p.size() >= config.least_px && shown * tall > 0.5 * w * h, ..p }
    });
    let ignored =
        scene.ignored.iter().map(|r| Placed { rect: placing.rect(*r), points: None, yaw_deg: None, sure: false });
    Crop {
        pixels: values.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect(),
        faces: faces.chain(ignored).filter(inside).collect(),
    }
}

/// Bilinear; beyond the picture its edge or black.
pub fn sample(g: &Gray, u: f32, v: f32, repeat: bool) -> f32 {
    let (w, h) = (g.width as i32, g.height as i32);
    let (x, y) = (u.floor(), v.floor());
    let (fx, fy) = (u - x, v - y);
    let (x, y) = (x as i32, y as i32);
    if !repeat && (x < -1 || y < -1 || x >= w || y >= h) {
        return 0.0;
    }
    let at = |x: i32, y: i32| f32::from(g.data[(y.clamp(0, h - 1) * w + x.clamp(0, w - 1)) as usize]);
    let mix = |a: f32, b: f32, f: f32| a + (b - a) * f;
    mix(mix(at(x, y), at(x + 1, y), fx), mix(at(x, y + 1), at(x + 1, y + 1), fx), fy)
}

/// Light, contrast, gamma, blur, noise, coarse compression, and things in front.
fn light(values: &mut Vec<f32>, n: usize, rng: &mut Rng) {
    if rng.chance(0.2) {
        cover(values, n, rng);
    }
    if rng.chance(0.25) {
        blur(values, n, if rng.chance(0.5) { [1, 1] } else { [[2, 0], [0, 2], [2, 2]][rng.below(3)] });
    }
    if rng.chance(0.2) {
        let gamma = rng.range(-0.9, 0.9).exp();
        values.iter_mut().for_each(|v| *v = 255.0 * (v.clamp(0.0, 255.0) / 255.0).powf(gamma));
    }
    if rng.chance(0.6) {
        let (gain, mean) = (rng.range(0.35, 1.4), rng.range(-50.0, 50.0));
        values.iter_mut().for_each(|v| *v = (*v - 128.0) * gain + 128.0 + mean);
    }
    if rng.chance(0.15) {
        // Dark scenes.
        let gain = rng.range(0.08, 0.5);
        values.iter_mut().for_each(|v| *v *= gain);
    }
    if rng.chance(0.15) {
        // Light from one side.
        let (dx, dy) = (rng.range(-1.0, 1.0), rng.range(-1.0, 1.0));
        let strength = rng.range(30.0, 130.0) / n as f32;
        for (i, v) in values.iter_mut().enumerate() {
            *v += strength * (dx * (i % n) as f32 + dy * (i / n) as f32 - 0.5 * (dx + dy) * n as f32);
        }
    }
    if rng.chance(0.35) {
        let noise = rng.range(1.0, 12.0);
        values.iter_mut().for_each(|v| *v += noise * rng.normal());
    }
    if rng.chance(0.15) {
        blocks(values, n, rng.range(4.0, 24.0));
    }
}

/// A bar or an ellipse of one grey or of noise.
fn cover(values: &mut [f32], n: usize, rng: &mut Rng) {
    let side = n as f32;
    let (cx, cy) = (rng.unit() * side, rng.unit() * side);
    let (w, h) = (rng.range(0.03, 0.25) * side, rng.range(0.03, 0.25) * side);
    let (grey, noise, round) = (rng.range(0.0, 255.0), rng.range(0.0, 40.0), rng.chance(0.5));
    for (i, v) in values.iter_mut().enumerate() {
        let (x, y) = (((i % n) as f32 - cx) / w, ((i / n) as f32 - cy) / h);
        if if round { x * x + y * y < 1.0 } else { x.abs().max(y.abs()) < 1.0 } {
            *v = grey + noise * rng.normal();
        }
    }
}

/// Means over `2 * reach + 1` pixels, across and down.
fn blur(values: &mut Vec<f32>, n: usize, reach: [usize; 2]) {
    for (axis, reach) in reach.into_iter().enumerate().filter(|(_, r)| *r > 0) {
        let old = std::mem::take(values);
        let at = |i: usize, k: isize| {
            let (x, y) = ((i % n) as isize, (i / n) as isize);
            let clamp = |v: isize| v.clamp(0, n as isize - 1) as usize;
            if axis == 0 { old[clamp(y) * n + clamp(x + k)] } else { old[clamp(y + k) * n + clamp(x)] }
        };
        let r = reach as isize;
        let share = 1.0 / (2 * reach + 1) as f32;
        *values = (0..n * n).map(|i| (-r..=r).map(|k| at(i, k)).sum::<f32>() * share).collect();
    }
}

/// What coarse JPEG does: means of 8x8 blocks stay, what differs from them is rounded to multiples of `step`.
fn blocks(values: &mut [f32], n: usize, step: f32) {
    for block in 0..(n / 8) * (n / 8) {
        let first = block / (n / 8) * 8 * n + block % (n / 8) * 8;
        let places = (0..64).map(|i| first + i / 8 * n + i % 8);
        let mean = places.clone().map(|i| values[i]).sum::<f32>() / 64.0;
        places.for_each(|i| values[i] = mean + ((values[i] - mean) / step).round() * step);
    }
}
