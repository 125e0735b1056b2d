//! A head of the model as something that can be filmed.

use super::npz::half;
use super::paint::Paint;
use super::{Deltas, IctModel, Part};
use crate::frame::Gray;
use crate::render::film::{Anchors, Head, Light, Raster, Subject, normals};
use crate::render::{Expression, Placement, Pose, Rng};
use std::sync::Arc;

/// Distance of the camera in cm.
const CAMERA_CM: f32 = 60.0;
/// Identity components that are drawn; later ones move less than a fraction of a millimetre.
const COMPONENTS: usize = 60;
/// Eyes to mouth in head half-heights, as on the procedural head.
const EYES_TO_MOUTH: f32 = 0.625;

/// The weight of a shape.
type Weight = fn(&Expression) -> f32;

/// Shapes by the action units that they show (FACS; the model's names are ARKit's). `_L` is the person's left, on the
/// right of the picture.
pub(super) const SHAPES: [(&str, Weight); 35] = [
    ("browInnerUp_L", |e| 0.9 * e.au1),
    ("browInnerUp_R", |e| 0.9 * e.au1),
    ("browOuterUp_L", |e| 0.9 * e.au2),
    ("browOuterUp_R", |e| 0.9 * e.au2),
    ("browDown_L", |e| 1.2 * e.au4),
    ("browDown_R", |e| 1.2 * e.au4),
    ("eyeWide_L", |e| 1.1 * e.au5 * (1.0 - e.au43)),
    ("eyeWide_R", |e| 1.1 * e.au5 * (1.0 - e.au43)),
    ("cheekSquint_L", |e| e.au6),
    ("cheekSquint_R", |e| e.au6),
    ("eyeSquint_L", |e| (e.au7 + 0.5 * e.au6).min(1.0)),
    ("eyeSquint_R", |e| (e.au7 + 0.5 * e.au6).min(1.0)),
    ("eyeBlink_L", |e| e.au43),
    ("eyeBlink_R", |e| e.au43),
    ("noseSneer_L", |e| e.au9),
    ("noseSneer_R", |e| e.au9),
    ("mouthUpperUp_L", |e| (e.au10 + 0.35 * e.au25).min(1.0)),
    ("mouthUpperUp_R", |e| (e.au10 + 0.35 * e.au25).min(1.0)),
    ("mouthSmile_L", |e| e.au12 * (1.0 + e.skew).min(1.2)),
    ("mouthSmile_R", |e| e.au12 * (1.0 - e.skew).min(1.2)),
    ("mouthDimple_L", |e| e.au14),
    ("mouthFrown_L", |e| 1.3 * e.au15),
    ("mouthFrown_R", |e| 1.3 * e.au15),
    ("mouthStretch_L", |e| e.au20),
    ("mouthStretch_R", |e| e.au20),
    ("mouthPress_L", |e| e.au23),
    ("mouthPress_R", |e| e.au23),
    ("mouthRollLower", |e| 0.5 * e.au23),
    ("mouthRollUpper", |e| 0.4 * e.au23),
    ("mouthLowerDown_L", |e| 0.8 * e.au25),
    ("mouthLowerDown_R", |e| 0.8 * e.au25),
    ("jawOpen", |e| 0.6 * e.au26 + 0.04 * e.au25),
    ("mouthPucker", |e| 0.7 * e.au18),
    ("mouthFunnel", |e| 0.4 * e.au18),
    ("mouthShrugLower", |e| 0.4 * e.au15),
];

/// One person's head.
pub struct IctHead {
    model: Arc<IctModel>,
    /// Vertices at rest, without hair's lift.
    rest: Vec<[f32; 3]>,
    paint: Paint,
    /// Middle between the eyes, and the point about which the head turns.
    eyes: [f32; 3],
    pivot: [f32; 3],
    /// Head half-heights a cm.
    scale: f32,
    shapes: Vec<(Deltas, Weight)>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    at: Vec<[f32; 3]>,
    normals: Vec<[f32; 3]>,
    /// Sum of a vertex's neighbours, and their number.
    around: Vec<[f32; 4]>,
    screen: Vec<[f32; 3]>,
    grey: Vec<f32>,
    raster: Raster,
}

fn mean(points: impl Iterator<Item = [f32; 3]>) -> [f32; 3] {
    let (mut sum, mut count) = ([0.0; 3], 0.0f32);
    for p in points {
        sum.iter_mut().zip(p).for_each(|(s, v)| *s += v);
        count += 1.0;
    }
    sum.map(|s| s / count.max(1.0))
}

impl IctHead {
    /// The head of `subject`: its shape and mottling are drawn from `seed`, its colours are the subject's.
    pub fn new(model: Arc<IctModel>, subject: &Subject, seed: u64) -> Self {
        let mut r = Rng::new(seed, 23);
        let mut rest = model.neutral.clone();
        for component in model.identities.iter().take(COMPONENTS) {
            let weight = (0.75 * r.normal()).clamp(-1.8, 1.8);
            for (p, d) in rest.iter_mut().flatten().zip(component) {
                *p += weight * half(*d);
            }
        }
        let mark = |i: usize| rest[model.landmarks[i] as usize];
        let eyes = mean((36..48).map(mark));
        let mouth = mean([48, 54].into_iter().map(mark));
        let pivot = [eyes[0], eyes[1] - 1.0, eyes[2] - 8.0];
        let scale = EYES_TO_MOUTH / (eyes[1] - mouth[1]).max(1.0);
        let paint = Paint::new(&model, &rest, &subject.person, seed);
        let shapes = SHAPES.iter().filter_map(|(name, w)| Some((model.expressions.get(*name)?.clone(), *w))).collect();
        Self { paint, eyes, pivot, scale, shapes, rest, model, scratch: Scratch::default() }
    }

    /// Moves the vertices to an expression.
    fn express(&mut self, e: &Expression) {
        let at = &mut self.scratch.at;
        at.clone_from(&self.rest);
        for (deltas, weight) in &self.shapes {
            let w = weight(e);
            if w.abs() > 1e-3 {
                for (i, d) in deltas {
                    at[*i as usize].iter_mut().zip(d).for_each(|(p, d)| *p += w * d);
                }
            }
        }
        let pivot = self.pivot;
        for (p, &lift) in at.iter_mut().zip(&self.paint.lift_cm) {
            if lift > 0.0 {
                let out: [f32; 3] = std::array::from_fn(|i| p[i] - pivot[i]);
                let length = out.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-3);
                p.iter_mut().zip(out).for_each(|(p, o)| *p += lift * o / length);
            }
        }
    }

    /// Light on every vertex, darker in hollows.
    fn light(&mut self, turn: &Turn, place: &Placement, mouth_open: bool) {
        let s = &mut self.scratch;
        normals(&self.model.outside, &s.at, &mut s.normals);
        s.around.clear();
        s.around.resize(s.at.len(), [0.0; 4]);
        for t in &self.model.outside {
            let [a, b, c] = t.map(|i| s.at[i as usize]);
            for (i, (p, q)) in t.iter().zip([(b, c), (c, a), (a, b)]) {
                let sum = &mut s.around[*i as usize];
                (0..3).for_each(|k| sum[k] += p[k] + q[k]);
                sum[3] += 2.0;
            }
        }
        if mouth_open {
            let mut inner = Vec::new();
            normals(&self.model.inside, &s.at, &mut inner);
            s.normals.iter_mut().flatten().zip(inner.iter().flatten()).for_each(|(n, i)| *n += i);
        }
        let [right, down, near] = place.light;
        let norm = (right * right + down * down + near * near).sqrt().max(1e-6);
        let towards = [right / norm, -down / norm, near / norm];
        s.grey.clear();
        for (i, n) in s.normals.iter().enumerate() {
            let light = Light { towards, ambient: place.ambient, gloss: self.paint.gloss[i] };
            let hollow = match self.model.parts[i] {
                Part::Skin => shadow(s.at[i], s.around[i], *n),
                // Deeper in the mouth is darker.
                Part::Teeth | Part::Gums => 0.35 + 0.65 * ((s.at[i][2] - self.eyes[2] + 1.0) / 2.5).clamp(0.0, 1.0),
                _ => 1.0,
            };
            s.grey.push((hollow * light.on(self.paint.albedo[i], turn.rotate(*n))).min(255.0));
        }
    }
}

/// Share of light that reaches a vertex: less where its neighbours stand before it.
fn shadow(p: [f32; 3], around: [f32; 4], n: [f32; 3]) -> f32 {
    let length = n.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-9);
    let count = around[3].max(1.0);
    let hollow = (0..3).map(|k| (around[k] / count - p[k]) * n[k]).sum::<f32>() / length;
    (1.0 - 7.0 * hollow).clamp(0.35, 1.12)
}

/// A pose as a rotation: yaw, then pitch, then roll.
struct Turn {
    yaw: (f32, f32),
    pitch: (f32, f32),
    roll: (f32, f32),
}

impl Turn {
    fn new(pose: Pose) -> Self {
        Self { yaw: pose.yaw.sin_cos(), pitch: pose.pitch.sin_cos(), roll: pose.roll.sin_cos() }
    }

    fn rotate(&self, [x, y, z]: [f32; 3]) -> [f32; 3] {
        let (x, z) = (x * self.yaw.1 + z * self.yaw.0, z * self.yaw.1 - x * self.yaw.0);
        let (y, z) = (y * self.pitch.1 - z * self.pitch.0, z * self.pitch.1 + y * self.pitch.0);
        [x * self.roll.1 + y * self.roll.0, y * self.roll.1 - x * self.roll.0, z]
    }
}

/// From the model's cm to pixels.
struct View {
    turn: Turn,
    eyes: [f32; 3],
    pivot: [f32; 3],
    middle: [f32; 2],
    px_a_cm: f32,
}

impl View {
    /// `[x, y, depth]` of a vertex in pixels, depth in cm.
    fn project(&self, p: [f32; 3]) -> [f32; 3] {
        let [x, y, z] = self.turn.rotate(std::array::from_fn(|i| p[i] - self.pivot[i]));
        // Full scale is at the depth of the eyes.
        let near = (CAMERA_CM - self.eyes[2] + self.pivot[2]) / (CAMERA_CM - z).max(1.0) * self.px_a_cm;
        let raised = self.eyes[1] - self.pivot[1];
        [self.middle[0] + near * x, self.middle[1] - near * y + self.px_a_cm * raised, z]
    }
}

impl IctHead {
    fn view(&self, pose: Pose, place: &Placement) -> View {
        let middle = [
            place.center[0] + pose.dx * place.size_px,
            // The eyes lie 0.01 half-heights above the head's middle.
            place.center[1] + (pose.dy - 0.01) * place.size_px,
        ];
        let px_a_cm = self.scale * place.size_px;
        View { turn: Turn::new(pose), eyes: self.eyes, pivot: self.pivot, middle, px_a_cm }
    }
}

impl Head for IctHead {
    fn draw(&mut self, picture: &mut Gray, expression: &Expression, pose: Pose, place: &Placement) {
        let view = self.view(pose, place);
        let mouth_open = expression.au25 + expression.au26 + expression.au10 + expression.au12 > 0.1;
        self.express(expression);
        self.light(&view.turn, place, mouth_open);
        let s = &mut self.scratch;
        s.screen.clear();
        s.screen.extend(s.at.iter().map(|p| view.project(*p)));
        s.raster.clear(picture.width, picture.height);
        s.raster.draw(&self.model.outside, &s.screen, &s.grey);
        if mouth_open {
            s.raster.draw(&self.model.inside, &s.screen, &s.grey);
        }
        s.raster.over(picture);
    }

    fn anchors(&self, pose: Pose, place: &Placement) -> Anchors {
        let view = self.view(pose, place);
        let mark = |i: usize| self.rest[self.model.landmarks[i] as usize];
        let at = |p: [f32; 3]| {
            let [x, y, _] = view.project(p);
            [x, y]
        };
        let [x, y, z] = mean([21, 22].into_iter().map(mark));
        Anchors {
            eyes: [at(mean((36..42).map(mark))), at(mean((42..48).map(mark)))],
            mouth: at(mean([48, 54].into_iter().map(mark))),
            chin: at(mark(8)),
            brow: at([x, y + 4.0, z - 1.0]),
            size_px: place.size_px,
        }
    }
}
