//! Training clips.

use super::draw::{Canvas, Placement};
use super::expression::{Affect, Expression, Style};
use super::person::Person;
use super::rng::Rng;
use super::trajectory::Trajectory;
use crate::frame::Gray;

/// One rendered picture and what it shows.
#[derive(Debug, Clone)]
pub struct Shot {
    pub picture: Gray,
    pub affect: Affect,
    /// Face box `[x, y, side]` in pixels; see [`Placement::face_box`].
    pub face: [f32; 3],
}

/// A clip of `frames` grey pictures of `size_px` x `size_px` at `fps`: person, course, start, light,
/// contrast, noise and blur drawn from `seed`. The whole face box lies inside nearly every picture.
pub fn clip(seed: u64, frames: usize, fps: f64, size_px: usize) -> Vec<Shot> {
    let mut r = Rng::new(seed, 7);
    let person = Person::new(r.next_u64());
    let style = Style::new(r.next_u64());
    let course = Trajectory::new(r.next_u64());
    let start = f64::from(r.range(0.0, 600.0));
    let side = size_px as f32;
    let mut place = Placement::new([0.5 * side, 0.42 * side], side * r.range(0.44, 0.52));
    place.light = [r.range(-0.8, 0.8), r.range(-0.9, 0.1), r.range(0.6, 1.0)];
    place.ambient = r.range(0.25, 0.65);
    let (noise, blur, gain) = (r.range(0.0, 7.0), r.chance(0.4), r.range(0.75, 1.15));
    let mut back = vec![0; 3 * size_px * size_px];
    Canvas { data: &mut back, width: size_px, height: size_px }.background(seed);
    let mut rgb = back.clone();
    let shot = |i: usize| {
        let t = start + i as f64 / fps;
        let (affect, pose) = (course.at(t), course.pose(t));
        let mut e = Expression::from_affect(affect, &person, &style);
        e.au43 = e.au43.max(course.blink(t));
        rgb.copy_from_slice(&back);
        Canvas { data: &mut rgb, width: size_px, height: size_px }.person(&person, e, pose, &place);
        let mut picture = Gray::new(size_px, size_px);
        for (o, p) in picture.data.iter_mut().zip(rgb.chunks_exact(3)) {
            let luma = (77.0 * f32::from(p[0]) + 150.0 * f32::from(p[1]) + 29.0 * f32::from(p[2])) / 256.0;
            *o = (luma * gain + noise * (r.unit() + r.unit() - 1.0)) as u8;
        }
        if blur {
            soften(&mut picture);
        }
        Shot { picture, affect, face: place.face_box(pose) }
    };
    (0..frames).map(shot).collect()
}

/// Binomial blur over three pixels both ways.
pub(super) fn soften(g: &mut Gray) {
    let w = g.width;
    for (step, n) in [(1, w), (w, g.height)] {
        let old = g.data.clone();
        for (i, o) in g.data.iter_mut().enumerate() {
            let at = (i / step) % n;
            let before = if at > 0 { old[i - step] } else { old[i] };
            let after = if at + 1 < n { old[i + step] } else { old[i] };
            *o = ((u16::from(before) + 2 * u16::from(old[i]) + u16::from(after) + 2) / 4) as u8;
        }
    }
}
