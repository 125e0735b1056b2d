//! One recording, frame by frame.

use super::bearing::Bearing;
use super::course::Course;
use super::head::{Anchors, Head};
use super::muscles::Muscles;
use super::occlusion::Occluder;
use super::scene::{Occlusion, Scene};
use super::speech::{Mouth, Speech};
use super::subject::Subject;
use crate::error::Result;
use crate::frame::Gray;
use crate::render::{Canvas, Expression, Placement, Pose, Rng};
use crate::spec::CropRule;

/// Most pictures that one exposure is averaged from.
const EXPOSURES: usize = 3;
/// Head half-heights a face box's side; see [`Placement::face_box`].
const BOX_SIDE: f32 = 1.56;

/// A part of a camera's picture around a face.
#[derive(Debug, Clone)]
pub struct Picture {
    pub gray: Gray,
    /// The crop's square in it, as [`CropRule::square`] gives it for the box a detector would have found.
    pub crop: [f32; 3],
}

/// Everything of one recording but its head.
#[derive(Debug, Clone)]
pub struct Film {
    pub subject: Subject,
    pub course: Course,
    pub scene: Scene,
    pub speech: Option<Speech>,
    muscles: Muscles,
    bearing: Bearing,
    occluder: Occluder,
    rule: CropRule,
    fps: f64,
    seed: u64,
    place: Placement,
    back: Gray,
}

impl Film {
    /// The recording `seed` of `subject`: `seconds` long at `fps`, seen through `rule`, silent or not. How the head rolls is
    /// what is left after crops were levelled.
    pub fn new(
        subject: Subject,
        seed: u64,
        seconds: f32,
        fps: f64,
        rule: CropRule,
        occlusion: &Occlusion,
        silent: bool,
    ) -> Self {
        let mut r = Rng::new(seed, 20);
        let course = Course::new(r.next_u64(), &subject, seconds);
        let scene = Scene::new(r.next_u64(), &subject, occlusion, rule.size_px, seconds);
        let speech = (!silent).then(|| Speech::new(seed, &subject, &course, seconds));
        let size_px = scene.crop_px / (BOX_SIDE * rule.margin);
        let side = 2 * scene.crop_px as usize;
        let mut place = Placement::new([0.5 * side as f32, 0.45 * side as f32], size_px);
        (place.light, place.ambient) = (scene.light, scene.ambient);
        Self {
            muscles: Muscles::new(seed, &subject, seconds),
            bearing: Bearing::new(seed, seconds),
            occluder: Occluder::new(&scene, &subject),
            back: background(scene.seed, side),
            subject,
            course,
            scene,
            speech,
            rule,
            fps,
            seed,
            place,
        }
    }

    /// The same recording with a designed course, which the face follows at once.
    pub fn following(self, course: Course) -> Self {
        Self { course, muscles: self.muscles.prompt(), ..self }
    }

    /// The face of `t` seconds.
    pub fn expression(&self, t: f64) -> Expression {
        let mouth = self.speech.as_ref().map_or(Mouth::default(), |s| s.mouth(t));
        self.muscles.at(t, &self.course, &self.subject, &mouth)
    }

    /// The pose of `t` seconds.
    pub fn pose(&self, t: f64) -> Pose {
        self.bearing.at(t, self.speech.as_ref())
    }

    /// Frame `i`, at `i / fps` seconds.
    ///
    /// Rendered is the part of the camera's picture that the crop needs, on the grid of 8 pixels of its compression.
    /// Motion blur averages up to three exposures, one for each pixel that the face moves while the shutter is open.
    ///
    /// # Errors
    /// The compression fails.
    pub fn picture(&self, i: usize, head: &mut dyn Head) -> Result<Picture> {
        let t = i as f64 / self.fps;
        let face = self.scene.found(self.face_box(t, head), t);
        let crop = self.rule.square(face);
        let corner = |v: f32| ((v - 2.0) / 8.0).floor() as i64 * 8;
        let (left, top) = (corner(crop[0]), corner(crop[1]));
        let end = |v: f32, from: i64| (((v + crop[2] + 2.0 - from as f32) / 8.0).ceil() as usize).max(1) * 8;
        let back = window(&self.back, left, top, end(crop[0], left), end(crop[1], top));
        let mut place = self.place;
        place.center = [place.center[0] - left as f32, place.center[1] - top as f32];
        let mut gray = self.exposure(t, head, &back, &place);
        let mut rng = Rng::new(self.seed, 1 << 20 | i as u64);
        self.scene.camera.take(&mut gray, self.scene.glow(t), &mut rng)?;
        Ok(Picture { gray, crop: [crop[0] - left as f32, crop[1] - top as f32, crop[2]] })
    }

    /// The face box of `t` seconds. On a head turned far, a box for nearly frontal heads lags behind the features, so it is
    /// moved half of the way to the eyes.
    fn face_box(&self, t: f64, head: &dyn Head) -> [f32; 3] {
        let pose = self.pose(t);
        let [x, y, side] = self.place.face_box(pose);
        let eyes = head.anchors(pose, &self.place).eyes;
        [0.5 * (x + 0.5 * (eyes[0][0] + eyes[1][0]) - 0.5 * side), y, side]
    }

    /// What falls on the sensor while the shutter is open.
    fn exposure(&self, t: f64, head: &mut dyn Head, back: &Gray, place: &Placement) -> Gray {
        let open_s = f64::from(self.scene.camera.shutter) / self.fps;
        let from = head.anchors(self.pose(t), place);
        let moved = from.moved(&head.anchors(self.pose(t + open_s), place));
        let count = (moved.round() as usize).clamp(1, EXPOSURES);
        let mut first = self.moment(t, head, back, place, &from);
        if count == 1 {
            return first;
        }
        let mut sum: Vec<u16> = first.data.iter().map(|&v| u16::from(v)).collect();
        for k in 1..count {
            let t = t + open_s * k as f64 / (count - 1) as f64;
            let at = head.anchors(self.pose(t), place);
            let next = self.moment(t, head, back, place, &at);
            sum.iter_mut().zip(&next.data).for_each(|(s, &v)| *s += u16::from(v));
        }
        first.data.iter_mut().zip(sum).for_each(|(o, s)| *o = (s / count as u16) as u8);
        first
    }

    fn moment(&self, t: f64, head: &mut dyn Head, back: &Gray, place: &Placement, at: &Anchors) -> Gray {
        let mut picture = back.clone();
        head.draw(&mut picture, &self.expression(t), self.pose(t), place);
        self.occluder.draw(&mut picture, &self.scene, t as f32, at);
        picture
    }
}

fn background(seed: u64, side: usize) -> Gray {
    let mut rgb = vec![0; 3 * side * side];
    Canvas { data: &mut rgb, width: side, height: side }.background(seed);
    let luma = |p: &[u8]| (77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2])) >> 8;
    Gray { width: side, height: side, data: rgb.chunks_exact(3).map(|p| luma(p) as u8).collect() }
}

/// Part of a picture; its edge is repeated outside.
fn window(from: &Gray, left: i64, top: i64, width: usize, height: usize) -> Gray {
    let clip = |v: i64, n: usize| v.clamp(0, n as i64 - 1) as usize;
    let mut out = Gray::new(width, height);
    for (y, row) in out.data.chunks_exact_mut(width).enumerate() {
        let source = &from.data[clip(top + y as i64, from.height) * from.width..][..from.width];
        row.iter_mut().enumerate().for_each(|(x, o)| *o = source[clip(left + x as i64, from.width)]);
    }
    out
}
