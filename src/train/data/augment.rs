//! Random views of a face: what differs between pictures of one expression without changing it.

use crate::frame::Gray;
use crate::render::Rng;

/// How far a view may depart from the plain crop. Lengths are fractions of the crop's side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Standard deviation of the crop centre, each way.
    pub shift: f32,
    /// Standard deviation of the logarithm of the crop's side.
    pub zoom: f32,
    /// Largest roll in radians.
    pub roll: f32,
    /// Share of views with a rectangle blanked (DeVries and Taylor 2017, arXiv 1708.04552).
    pub cutout: f32,
}

impl Default for Augment {
    fn default() -> Self {
        Self { shift: 0.035, zoom: 0.08, roll: 0.25, cutout: 0.25 }
    }
}

/// One drawn view, applied alike to every frame of a clip.
#[derive(Debug, Clone, Copy)]
pub struct View {
    shift: [f32; 2],
    zoom: f32,
    roll: f32,
    flip: bool,
    contrast: f32,
    brightness: f32,
    gamma: f32,
    noise: f32,
    blank: Option<[usize; 4]>,
}

impl Augment {
    /// Draws a view for crops of `size_px`.
    pub fn draw(&self, size_px: usize, rng: &mut Rng) -> View {
        let blank = rng.chance(self.cutout).then(|| {
            let side = |r: &mut Rng| ((0.1 + 0.25 * r.unit()) * size_px as f32) as usize;
            let (w, h) = (side(rng), side(rng));
            [rng.below(size_px - w), rng.below(size_px - h), w, h]
        });
        View {
            shift: [self.shift * rng.normal(), self.shift * rng.normal()],
            zoom: (self.zoom * rng.normal()).exp(),
            roll: self.roll * (2.0 * rng.unit() - 1.0) * rng.unit(),
            flip: rng.chance(0.5),
            contrast: (0.25 * rng.normal()).exp(),
            brightness: 25.0 * rng.normal(),
            gamma: (0.2 * rng.normal()).exp(),
            noise: if rng.chance(0.3) { 6.0 * rng.unit() } else { 0.0 },
            blank,
        }
    }
}

impl View {
    /// The square `[x, y, side]` seen through this view, `size_px` a side, bilinear, edge repeated.
    ///
    /// With no roll this samples where `preprocess::Cropper` does when it enlarges.
    pub fn apply(&self, image: &Gray, [x, y, side]: [f32; 3], size_px: usize, rng: &mut Rng, out: &mut [u8]) {
        let (sin, cos) = self.roll.sin_cos();
        let scale = side * self.zoom / size_px as f32;
        let centre = [x + (0.5 + self.shift[0]) * side, y + (0.5 + self.shift[1]) * side];
        let half = size_px as f32 / 2.0;
        let curve = self.curve();
        for (j, row) in out.chunks_exact_mut(size_px).enumerate() {
            for (i, o) in row.iter_mut().enumerate() {
                let u = (i as f32 + 0.5 - half) * if self.flip { -scale } else { scale };
                let v = (j as f32 + 0.5 - half) * scale;
                let at = [centre[0] + cos * u - sin * v - 0.5, centre[1] + sin * u + cos * v - 0.5];
                *o = curve[bilinear(image, at) as usize];
            }
        }
        if self.noise > 0.0 {
            for o in out.iter_mut() {
                *o = (f32::from(*o) + self.noise * rng.normal()).round().clamp(0.0, 255.0) as u8;
            }
        }
        if let Some([bx, by, w, h]) = self.blank {
            for row in out.chunks_exact_mut(size_px).skip(by).take(h) {
                row[bx..bx + w].fill(128);
            }
        }
    }

    fn curve(&self) -> [u8; 256] {
        std::array::from_fn(|v| {
            let g = 255.0 * (v as f32 / 255.0).powf(self.gamma);
            ((g - 128.0) * self.contrast + 128.0 + self.brightness).round().clamp(0.0, 255.0) as u8
        })
    }
}

fn bilinear(image: &Gray, [x, y]: [f32; 2]) -> u8 {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let at = |dx: i64, dy: i64| {
        let c = (x0 as i64 + dx).clamp(0, image.width as i64 - 1) as usize;
        let r = (y0 as i64 + dy).clamp(0, image.height as i64 - 1) as usize;
        f32::from(image.data[r * image.width + c])
    };
    let top = at(0, 0) * (1.0 - fx) + at(1, 0) * fx;
    let bottom = at(0, 1) * (1.0 - fx) + at(1, 1) * fx;
    (top * (1.0 - fy) + bottom * fy).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Cropper;

    const PLAIN: View = View {
        shift: [0.0; 2],
        zoom: 1.0,
        roll: 0.0,
        flip: false,
        contrast: 1.0,
        brightness: 0.0,
        gamma: 1.0,
        noise: 0.0,
        blank: None,
    };

    fn picture() -> Gray {
        let mut rng = Rng::new(3, 0);
        Gray { width: 48, height: 48, data: (0..48 * 48).map(|_| rng.below(256) as u8).collect() }
    }

    #[test]
    fn the_plain_view_is_the_runtime_crop() {
        let (mut a, mut b) = (vec![0; 6400], vec![0; 6400]);
        PLAIN.apply(&picture(), [0.0, 0.0, 48.0], 80, &mut Rng::new(1, 0), &mut a);
        Cropper::new(80).crop_into(&picture(), [0.0, 0.0, 48.0], &mut b);
        assert!(a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 1));
    }

    #[test]
    fn a_flip_mirrors_columns() {
        let (mut a, mut b) = (vec![0; 6400], vec![0; 6400]);
        PLAIN.apply(&picture(), [0.0, 0.0, 48.0], 80, &mut Rng::new(1, 0), &mut a);
        View { flip: true, ..PLAIN }.apply(&picture(), [0.0, 0.0, 48.0], 80, &mut Rng::new(1, 0), &mut b);
        assert!(a.chunks(80).zip(b.chunks(80)).all(|(a, b)| a.iter().eq(b.iter().rev())));
    }

    #[test]
    fn a_view_is_set_by_its_seed() {
        let draw = |seed| {
            let mut rng = Rng::new(seed, 0);
            let view = Augment::default().draw(80, &mut rng);
            let mut out = vec![0; 6400];
            view.apply(&picture(), [0.0, 0.0, 48.0], 80, &mut rng, &mut out);
            out
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
