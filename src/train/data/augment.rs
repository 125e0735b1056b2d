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

/// An affine map from a view's pixel grid onto a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warp {
    /// Where the view's centre lies, in picture pixels from the upper left corner.
    pub centre: [f32; 2],
    /// Picture pixels from one view pixel to the next, along a row and along a column; a negative first one flips.
    pub step: [f32; 2],
    /// Roll in radians.
    pub roll: f32,
}

impl Warp {
    /// Where each pixel of a view of `size_px` a side is taken, row by row, in units where 0 is the first pixel's middle.
    pub fn points(&self, size_px: usize) -> impl Iterator<Item = [f32; 2]> {
        let (sin, cos) = self.roll.sin_cos();
        let half = size_px as f32 / 2.0;
        let Self { centre, step, .. } = *self;
        (0..size_px * size_px).map(move |k| {
            let u = ((k % size_px) as f32 + 0.5 - half) * step[0];
            let v = ((k / size_px) as f32 + 0.5 - half) * step[1];
            [centre[0] + cos * u - sin * v - 0.5, centre[1] + sin * u + cos * v - 0.5]
        })
    }
}

/// The four pixels around a point and where it lies between them; beyond the picture its edge is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Tap {
    corners: [u32; 4],
    fraction: [f32; 2],
}

impl Tap {
    /// Of a point as [`Warp::points`] gives it.
    pub fn new([x, y]: [f32; 2], width: usize, height: usize) -> Self {
        let (x0, y0) = (x.floor(), y.floor());
        let at = |dx: i64, dy: i64| {
            let c = (x0 as i64 + dx).clamp(0, width as i64 - 1) as usize;
            let r = (y0 as i64 + dy).clamp(0, height as i64 - 1) as usize;
            (r * width + c) as u32
        };
        Self { corners: [at(0, 0), at(1, 0), at(0, 1), at(1, 1)], fraction: [x - x0, y - y0] }
    }

    /// The bilinear value in a picture of the size given to [`Tap::new`].
    pub fn read(&self, picture: &[u8]) -> f32 {
        let [a, b, c, d] = self.corners.map(|i| f32::from(picture[i as usize]));
        let [fx, fy] = self.fraction;
        let top = a * (1.0 - fx) + b * fx;
        let bottom = c * (1.0 - fx) + d * fx;
        top * (1.0 - fy) + bottom * fy
    }
}

/// What each grey level becomes: gamma, then contrast about the middle, then brightness in levels.
pub fn tone(gamma: f32, contrast: f32, brightness: f32) -> [u8; 256] {
    std::array::from_fn(|v| {
        let g = 255.0 * (v as f32 / 255.0).powf(gamma);
        ((g - 128.0) * contrast + 128.0 + brightness).round().clamp(0.0, 255.0) as u8
    })
}

impl View {
    /// The square `[x, y, side]` seen through this view, `size_px` a side, bilinear, edge repeated.
    ///
    /// With no roll this samples where `preprocess::Cropper` does when it enlarges.
    pub fn apply(&self, image: &Gray, [x, y, side]: [f32; 3], size_px: usize, rng: &mut Rng, out: &mut [u8]) {
        let scale = side * self.zoom / size_px as f32;
        let warp = Warp {
            centre: [x + (0.5 + self.shift[0]) * side, y + (0.5 + self.shift[1]) * side],
            step: [if self.flip { -scale } else { scale }, scale],
            roll: self.roll,
        };
        let curve = tone(self.gamma, self.contrast, self.brightness);
        for (o, point) in out.iter_mut().zip(warp.points(size_px)) {
            *o = curve[Tap::new(point, image.width, image.height).read(&image.data).round() as usize];
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
