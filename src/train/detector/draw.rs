//! Training crops: a place in a picture at a scale and a roll, seen in some light by some camera.

use super::scenes::{Mark, Scene};
use crate::frame::Gray;
use crate::preprocess::reduce;
use crate::render::Rng;
use serde::{Deserialize, Serialize};

/// How crops are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrawConfig {
    /// Side of a crop in pixels.
    pub size_px: usize,
    /// Every `large_every`th batch has crops twice as large, and a quarter of them; 0: none.
    pub large_every: usize,
    /// Smallest and largest face that a crop is drawn about, in its pixels; the logarithm is
    /// uniform.
    pub faces_px: [f32; 2],
    /// Smallest face that is taught; smaller ones are neither face nor background.
    pub least_px: f32,
    /// Share of crops from pictures without faces.
    pub empty: f64,
    /// Pictures with rendered people that are added.
    pub rendered: usize,
    /// Shares of crops rolled by any angle, and by up to 60 degrees; the others by 8 degrees
    /// (standard deviation).
    pub any_roll: f64,
    pub some_roll: f64,
    /// Largest factor by which a picture is enlarged.
    pub most_enlarged: f32,
}

impl Default for DrawConfig {
    fn default() -> Self {
        Self {
            size_px: 160,
            large_every: 8,
            faces_px: [7.0, 170.0],
            least_px: 6.5,
            empty: 0.15,
            rendered: 1000,
            any_roll: 0.25,
            some_roll: 0.25,
            most_enlarged: 2.5,
        }
    }
}

impl DrawConfig {
    /// Of crops twice as large, about faces up to twice as large.
    pub fn large(&self) -> Self {
        let [least, most] = self.faces_px;
        Self { size_px: 2 * self.size_px, faces_px: [least, 2.0 * most], ..self.clone() }
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

/// Means of 2x2 pixels; what is thinner stays.
fn halved(g: &Gray) -> Gray {
    let mut out = Gray::default();
    match g.width.min(g.height) {
        ..2 => out.clone_from(g),
        _ => reduce(g, 2, &mut out),
    }
    out
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

    /// A rectangle's place: centre, width and height of the upright rectangle about the ellipse in
    /// it, turned.
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
        let y = y as f32 + 0.5;
        let from = [0, 1].map(|i| origin[i] + step[i][0] * 0.5 + step[i][1] * y - 0.5);
        row(picture, from, [step[0][0], step[1][0]], repeat, n, &mut values);
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
        pixels: values.iter().map(|v| (v + 0.5) as u8).collect(),
        faces: faces.chain(ignored).filter(inside).collect(),
    }
}

/// Fractions of a pixel.
const FINE: i32 = 256;

/// `n` values of a picture along a line from `from` on, `step` apart; bilinear; beyond the picture
/// its edge or black.
pub fn row(g: &Gray, from: [f32; 2], step: [f32; 2], repeat: bool, n: usize, values: &mut Vec<f32>) {
    // In 65536ths of a pixel; what lies 16,000 pixels away is as good as what lies farther.
    let fixed = |v: f32| (v.clamp(-16_000.0, 16_000.0) * 65536.0) as i32;
    let (last_x, last_y) = (g.width as i32 - 1, g.height as i32 - 1);
    for i in 0..n {
        let [u, v] = [0, 1].map(|k| fixed(from[k] + step[k] * i as f32));
        let (x, y) = (u >> 16, v >> 16);
        let (fx, fy) = (u >> 8 & (FINE - 1), v >> 8 & (FINE - 1));
        let four = if x >= 0 && y >= 0 && x < last_x && y < last_y {
            let at = y as usize * g.width + x as usize;
            [g.data[at], g.data[at + 1], g.data[at + g.width], g.data[at + g.width + 1]]
        } else if !repeat && (x < -1 || y < -1 || x > last_x || y > last_y) {
            [0; 4]
        } else {
            let at = |x: i32, y: i32| g.data[(y.clamp(0, last_y) * (last_x + 1) + x.clamp(0, last_x)) as usize];
            [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)]
        };
        let [a, b, c, d] = four.map(i32::from);
        let (above, below) = (a * FINE + (b - a) * fx, c * FINE + (d - c) * fx);
        values.push((above * FINE + (below - above) * fy) as f32 / (FINE * FINE) as f32);
    }
}

/// Light, contrast, gamma, blur, noise, coarse compression, and things in front.
fn light(values: &mut Vec<f32>, n: usize, rng: &mut Rng) {
    if rng.chance(0.12) {
        cover(values, n, rng);
    }
    if rng.chance(0.15) {
        blur(values, n, if rng.chance(0.5) { [1, 1] } else { [[2, 0], [0, 2], [2, 2]][rng.below(3)] });
    }
    if rng.chance(0.12) {
        let gamma = rng.range(-0.7, 0.7).exp();
        let curve: [f32; 256] = std::array::from_fn(|v| 255.0 * (v as f32 / 255.0).powf(gamma));
        values.iter_mut().for_each(|v| *v = curve[usize::from((*v + 0.5) as u8)]);
    }
    if rng.chance(0.4) {
        let (gain, mean) = (rng.range(0.5, 1.4), rng.range(-40.0, 40.0));
        values.iter_mut().for_each(|v| *v = (*v - 128.0) * gain + 128.0 + mean);
    }
    if rng.chance(0.08) {
        // Dark scenes.
        let gain = rng.range(0.12, 0.6);
        values.iter_mut().for_each(|v| *v *= gain);
    }
    if rng.chance(0.1) {
        // Light from one side.
        let (dx, dy) = (rng.range(-1.0, 1.0), rng.range(-1.0, 1.0));
        let strength = rng.range(30.0, 130.0) / n as f32;
        for (y, row) in values.chunks_exact_mut(n).enumerate() {
            let across = dy * y as f32 - 0.5 * (dx + dy) * n as f32;
            row.iter_mut().enumerate().for_each(|(x, v)| *v += strength * (dx * x as f32 + across));
        }
    }
    if rng.chance(0.25) {
        let noise = rng.range(1.0, 9.0);
        values.iter_mut().for_each(|v| *v += noise * grain(rng));
    }
    if rng.chance(0.1) {
        blocks(values, n, rng.range(4.0, 20.0));
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
            *v = grey + noise * grain(rng);
        }
    }
}

/// Nearly normal, of mean 0 and deviation 1: four uniform numbers of one draw.
fn grain(rng: &mut Rng) -> f32 {
    let bits = rng.next_u64();
    let sum = [0, 16, 32, 48].map(|k| (bits >> k & 0xffff) as i32).iter().sum::<i32>();
    (sum - 2 * 0xffff) as f32 * (3f32.sqrt() / 65536.0)
}

/// Means over `2 * reach + 1` pixels, across and down.
fn blur(values: &mut Vec<f32>, n: usize, [across, down]: [usize; 2]) {
    let mut line = Vec::new();
    for row in values.chunks_exact_mut(n).filter(|_| across > 0) {
        line.clear();
        line.extend(std::iter::repeat_n(row[0], across));
        line.extend_from_slice(row);
        line.extend(std::iter::repeat_n(row[n - 1], across));
        let share = 1.0 / (2 * across + 1) as f32;
        row.iter_mut().zip(line.windows(2 * across + 1)).for_each(|(v, w)| *v = share * w.iter().sum::<f32>());
    }
    if down > 0 {
        let old = std::mem::take(values);
        let share = 1.0 / (2 * down + 1) as f32;
        values.resize(n * n, 0.0);
        for (y, row) in values.chunks_exact_mut(n).enumerate() {
            for k in 0..=2 * down {
                let from = (y + k).saturating_sub(down).min(n - 1) * n;
                row.iter_mut().zip(&old[from..from + n]).for_each(|(v, o)| *v += share * o);
            }
        }
    }
}

/// What coarse JPEG does: means of 8x8 blocks stay, what differs from them is rounded to multiples
/// of `step`.
fn blocks(values: &mut [f32], n: usize, step: f32) {
    for block in 0..(n / 8) * (n / 8) {
        let first = block / (n / 8) * 8 * n + block % (n / 8) * 8;
        let places = (0..64).map(|i| first + i / 8 * n + i % 8);
        let mean = places.clone().map(|i| values[i]).sum::<f32>() / 64.0;
        places.for_each(|i| values[i] = mean + nearest((values[i] - mean) / step) * step);
    }
}

/// The nearest whole number of what is not huge.
fn nearest(v: f32) -> f32 {
    (v + 4096.5) as i32 as f32 - 4096.0
}
