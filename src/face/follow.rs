//! Follows one face from frame to frame by normalised cross-correlation of a small template.

use crate::frame::Gray;
use crate::preprocess::Cropper;

/// Side of a template in its own pixels; a face is matched at this detail whatever its size.
const SIDE: usize = 24;
/// Farthest motion from one frame to the next in template pixels: a quarter of the face's side.
const REACH: usize = 6;
/// Side of the searched region.
const REGION: usize = SIDE + 2 * REACH;
/// Placements along one axis.
const STEPS: usize = 2 * REACH + 1;
/// Least sum of squared deviations of a template or window worth matching: 3 grey levels a pixel.
const LEAST_ENERGY: f32 = (9 * SIDE * SIDE) as f32;
/// Correlation from which a match is trusted.
const SURE: f32 = 0.8;

/// How a face looked when it was last detected.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// Pixels less their mean.
    pixels: [i16; SIDE * SIDE],
    /// What the rounding of the mean left in their sum.
    rest: f32,
    /// Sum of their squares; 0 before the first [`Follower::learn`].
    energy: f32,
}

impl Default for Template {
    fn default() -> Self {
        Self { pixels: [0; SIDE * SIDE], rest: 0.0, energy: 0.0 }
    }
}

/// The buffers that following needs, shared by all faces.
#[derive(Debug)]
pub(super) struct Follower {
    cropper: Cropper,
    patch: Vec<u8>,
    searcher: Cropper,
    region: Vec<u8>,
    scores: [f32; STEPS * STEPS],
}

impl Follower {
    pub(super) fn new() -> Self {
        Self {
            cropper: Cropper::new(SIDE),
            patch: vec![0; SIDE * SIDE],
            searcher: Cropper::new(REGION),
            region: vec![0; REGION * REGION],
            scores: [0.0; STEPS * STEPS],
        }
    }

    /// Takes the look of the face in `square` (`[left, top, side]`).
    pub(super) fn learn(&mut self, picture: &Gray, square: [f32; 3], template: &mut Template) {
        self.cropper.crop_into(picture, square, &mut self.patch);
        let sum: i32 = self.patch.iter().map(|&v| i32::from(v)).sum();
        let mean = (sum as f32 / self.patch.len() as f32).round() as i16;
        for (t, &v) in template.pixels.iter_mut().zip(&self.patch) {
            *t = i16::from(v) - mean;
        }
        template.rest = template.pixels.iter().map(|&t| i32::from(t)).sum::<i32>() as f32;
        template.energy = template.pixels.iter().map(|&t| f32::from(t) * f32::from(t)).sum();
    }

    /// Finds the face that was in `square` of the previous frame, to a fraction of a pixel and at
    /// the same size.
    ///
    /// `None` if nothing alike is within reach, so that only a detection can tell where the face
    /// is.
    pub(super) fn follow(&mut self, picture: &Gray, square: [f32; 3], template: &Template) -> Option<[f32; 3]> {
        let [x, y, side] = square;
        let step = side / SIDE as f32;
        let (peak, best) = self.compare(picture, square, template)?;
        let (column, row) = (peak % STEPS, peak / STEPS);
        let inner = 1..STEPS - 1;
        if best < SURE || !inner.contains(&column) || !inner.contains(&row) {
            return None;
        }
        let at = |offset: isize| self.scores[peak.wrapping_add_signed(offset)];
        let dx = column as f32 + vertex(at(-1), best, at(1)) - REACH as f32;
        let dy = row as f32 + vertex(at(-(STEPS as isize)), best, at(STEPS as isize)) - REACH as f32;
        Some([x + dx * step, y + dy * step, side])
    }

    /// How alike the face in `square`, give or take a quarter of its side, looks: -1 to 1. `None`
    /// where the template is flat or was never learnt.
    pub(super) fn likeness(&mut self, picture: &Gray, square: [f32; 3], template: &Template) -> Option<f32> {
        self.compare(picture, square, template).map(|(_, best)| best)
    }

    /// Fills the scores of all placements around `square`; gives the best one and its score.
    fn compare(&mut self, picture: &Gray, [x, y, side]: [f32; 3], template: &Template) -> Option<(usize, f32)> {
        if template.energy < LEAST_ENERGY {
            return None;
        }
        let step = side / SIDE as f32;
        let reach = REACH as f32 * step;
        self.searcher.crop_into(picture, [x - reach, y - reach, REGION as f32 * step], &mut self.region);
        for (i, score) in self.scores.iter_mut().enumerate() {
            *score = correlation(&self.region[(i / STEPS) * REGION + i % STEPS..], template);
        }
        self.scores.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Correlation, -1 to 1, of the template with the window that starts at `region`; 0 where that is
/// flat.
fn correlation(region: &[u8], template: &Template) -> f32 {
    let (mut sum, mut squares, mut product) = (0i32, 0i32, 0i32);
    for (window, pixels) in region.chunks(REGION).zip(template.pixels.chunks_exact(SIDE)) {
        for (&w, &t) in window[..SIDE].iter().zip(pixels) {
            let w = i32::from(w);
            sum += w;
            squares += w * w;
            product += w * i32::from(t);
        }
    }
    // The mean taken off the template was a whole number; what it left is taken off the product.
    let count = (SIDE * SIDE) as f32;
    let energy = squares as f32 - sum as f32 * (sum as f32 / count);
    if energy < LEAST_ENERGY {
        return 0.0;
    }
    (product as f32 - sum as f32 / count * template.rest) / (energy * template.energy).sqrt()
}

/// Place of the vertex of the parabola through three neighbouring scores, from the middle one,
/// which is the greatest: -0.5 to 0.5.
fn vertex(before: f32, peak: f32, after: f32) -> f32 {
    let bend = before - 2.0 * peak + after;
    if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth pattern moved by `(dx, dy)`, scaled by `gain`.
    fn scene(dx: f32, dy: f32, gain: f32) -> Gray {
        let (width, height) = (320, 240);
        let value = |i: usize| {
            let (x, y) = ((i % width) as f32 - dx, (i / width) as f32 - dy);
            let bump = |cx: f32, cy: f32, r: f32| (-((x - cx).powi(2) + (y - cy).powi(2)) / (r * r)).exp();
            60.0 + gain
                * (90.0 * bump(140.0, 100.0, 14.0) + 70.0 * bump(175.0, 105.0, 10.0) - 50.0 * bump(150.0, 140.0, 20.0))
        };
        Gray { width, height, data: (0..width * height).map(|i| value(i) as u8).collect() }
    }

    const FACE: [f32; 3] = [110.0, 70.0, 96.0];

    #[test]
    fn follows_a_moved_and_darkened_face_to_half_a_pixel() {
        let (mut follower, mut template) = (Follower::new(), Template::default());
        follower.learn(&scene(0.0, 0.0, 1.0), FACE, &mut template);
        for (dx, dy) in [(0.0, 0.0), (2.5, -1.0), (-13.0, 9.0), (18.0, 18.0)] {
            let [x, y, side] = follower.follow(&scene(dx, dy, 0.7), FACE, &template).unwrap();
            assert!((x - FACE[0] - dx).abs() < 0.5 && (y - FACE[1] - dy).abs() < 0.5, "{dx} {dy}: {x} {y}");
            assert_eq!(side, FACE[2]);
        }
    }

    #[test]
    fn a_face_out_of_reach_or_gone_is_not_followed() {
        let (mut follower, mut template) = (Follower::new(), Template::default());
        follower.learn(&scene(0.0, 0.0, 1.0), FACE, &mut template);
        assert!(follower.follow(&scene(60.0, 0.0, 1.0), FACE, &template).is_none());
        assert!(follower.follow(&scene(0.0, 0.0, 0.0), FACE, &template).is_none());
        assert!(follower.follow(&Gray::default(), FACE, &template).is_none());
    }

    #[test]
    fn flat_faces_are_not_followed() {
        let (mut follower, mut template) = (Follower::new(), Template::default());
        assert!(follower.follow(&scene(0.0, 0.0, 1.0), FACE, &template).is_none());
        follower.learn(&Gray::new(50, 50), FACE, &mut template);
        assert!(follower.follow(&scene(0.0, 0.0, 1.0), FACE, &template).is_none());
    }
}
