//! Triangles to pixels: a z-buffer with Gouraud shading in grey.

use crate::frame::Gray;

/// Samples a pixel, each way.
const OVER: usize = 2;

/// Light on a surface.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// Unit vector towards it: right, up, towards the viewer.
    pub towards: [f32; 3],
    pub ambient: f32,
    /// Strength of the highlight.
    pub gloss: f32,
}

/// A buffer of 2 x 2 samples a pixel.
#[derive(Debug, Clone, Default)]
pub struct Raster {
    width: usize,
    height: usize,
    depth: Vec<f32>,
    grey: Vec<f32>,
}

impl Raster {
    /// Empties the buffer for a picture of `width` x `height`.
    pub fn clear(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (OVER * width, OVER * height);
        self.depth.clear();
        self.depth.resize(self.width * self.height, f32::NEG_INFINITY);
        self.grey.resize(self.width * self.height, 0.0);
    }

    /// Draws the triangles that run counter-clockwise as seen by the viewer. A vertex is `[x, y, z]`: pixels to the right and down, depth growing towards
    /// the viewer; `grey` is its brightness, 0 to 255.
    pub fn draw(&mut self, triangles: &[[u32; 3]], vertices: &[[f32; 3]], grey: &[f32]) {
        for t in triangles {
            let [a, b, c] = t.map(|i| i as usize);
            self.triangle([vertices[a], vertices[b], vertices[c]], [grey[a], grey[b], grey[c]]);
        }
    }

    fn triangle(&mut self, v: [[f32; 3]; 3], grey: [f32; 3]) {
        let s = OVER as f32;
        let [a, b, c] = v.map(|[x, y, _]| [x * s - 0.5, y * s - 0.5]);
        // With y downwards these have a negative area.
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        if area >= 0.0 || area.is_nan() {
            return;
        }
        let span = |i: usize, n: usize| {
            let (low, high) = (a[i].min(b[i]).min(c[i]), a[i].max(b[i]).max(c[i]));
            (low.ceil().max(0.0) as usize, high.floor().min(n as f32 - 1.0))
        };
        let ((x0, x1), (y0, y1)) = (span(0, self.width), span(1, self.height));
        if x1 < x0 as f32 || y1 < y0 as f32 {
            return;
        }
        let scale = 1.0 / area;
        for y in y0..=y1 as usize {
            for x in x0..=x1 as usize {
                let (px, py) = (x as f32, y as f32);
                let wb = ((px - a[0]) * (c[1] - a[1]) - (py - a[1]) * (c[0] - a[0])) * scale;
                let wc = ((b[0] - a[0]) * (py - a[1]) - (b[1] - a[1]) * (px - a[0])) * scale;
                let wa = 1.0 - wb - wc;
                if wa < 0.0 || wb < 0.0 || wc < 0.0 {
                    continue;
                }
                let z = wa * v[0][2] + wb * v[1][2] + wc * v[2][2];
                let at = y * self.width + x;
                if z > self.depth[at] {
                    self.depth[at] = z;
                    self.grey[at] = wa * grey[0] + wb * grey[1] + wc * grey[2];
                }
            }
        }
    }

    /// Lays the samples over `picture`, which must have the size given to [`Raster::clear`].
    pub fn over(&self, picture: &mut Gray) {
        for (y, row) in picture.data.chunks_exact_mut(picture.width.max(1)).enumerate() {
            for (x, o) in row.iter_mut().enumerate() {
                let (mut sum, mut hit) = (0.0, 0.0);
                for k in 0..OVER * OVER {
                    let at = (OVER * y + k / OVER) * self.width + OVER * x + k % OVER;
                    if self.depth[at] > f32::NEG_INFINITY {
                        (sum, hit) = (sum + self.grey[at], hit + 1.0);
                    }
                }
                let all = (OVER * OVER) as f32;
                *o = (f32::from(*o) * (1.0 - hit / all) + sum / all + 0.5) as u8;
            }
        }
    }
}

/// Normals of `positions` by the areas of their triangles, into `out`; not normalised.
pub fn normals(triangles: &[[u32; 3]], positions: &[[f32; 3]], out: &mut Vec<[f32; 3]>) {
    out.clear();
    out.resize(positions.len(), [0.0; 3]);
    for t in triangles {
        let [a, b, c] = t.map(|i| positions[i as usize]);
        let (u, v) = ([b[0] - a[0], b[1] - a[1], b[2] - a[2]], [c[0] - a[0], c[1] - a[1], c[2] - a[2]]);
        let n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        for &i in t {
            out[i as usize].iter_mut().zip(n).for_each(|(o, n)| *o += n);
        }
    }
}

impl Light {
    /// Brightness, 0 to 255, of a surface of reflectance `albedo` with the normal `n`, seen from the front.
    pub fn on(&self, albedo: f32, n: [f32; 3]) -> f32 {
        let length = (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt().max(1e-12);
        let dot = |to: [f32; 3]| (n[0] * to[0] + n[1] * to[1] + n[2] * to[2]) / length;
        let [x, y, z] = self.towards;
        let half = 1.0 / (x * x + y * y + (z + 1.0) * (z + 1.0)).sqrt().max(1e-6);
        let shine = dot([x * half, y * half, (z + 1.0) * half]).max(0.0).powi(16);
        // Skin lets light around its edge, hence the wrap.
        let lit = (0.2 + 0.8 * dot(self.towards)).max(0.0);
        let sky = 0.85 + 0.15 * n[1] / length;
        255.0
            * (albedo * 1.15 * (self.ambient * sky + (1.0 - self.ambient) * lit)
                + self.gloss * shine * (1.0 - self.ambient))
    }
}
