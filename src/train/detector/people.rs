//! Pictures of rendered people, in rooms of the renderer and in pictures without faces.

use super::scenes::{Mark, Scene};
use crate::frame::Gray;
use crate::render::{Affect, Canvas, Expression, Person, Placement, Pose, Rng, Style};

/// Pixels of a picture.
const SIZE: [usize; 2] = [400, 300];
/// Half the head's height, in pixels, least and most; the logarithm is uniform.
const HEADS_PX: [f32; 2] = [9.0, 120.0];
/// A face's box in half heights of the head: as wide and as high.
const BOX: [f32; 2] = [1.22, 1.6];

/// `n` pictures; every other one in front of one of `rooms`, if there are any.
pub fn scenes(n: usize, rooms: &[&Gray], seed: u64) -> Vec<Scene> {
    (0..n).map(|i| scene(i, rooms, &mut Rng::new(seed, 2 << 40 | i as u64))).collect()
}

fn scene(number: usize, rooms: &[&Gray], rng: &mut Rng) -> Scene {
    let [width, height] = SIZE;
    let mut rgb = vec![0; 3 * width * height];
    let mut canvas = Canvas { data: &mut rgb, width, height };
    match rooms.get(rng.below(rooms.len())) {
        Some(room) if number.is_multiple_of(2) => {
            for (i, pixel) in canvas.data.chunks_exact_mut(3).enumerate() {
                let (x, y) = (i % width * room.width / width, i / width * room.height / height);
                pixel.fill(room.data[y * room.width + x]);
            }
        }
        _ => canvas.background(rng.next_u64()),
    }
    let mut faces: Vec<Mark> = Vec::new();
    let mut ignored = Vec::new();
    let people = 1 + rng.below(4);
    for _ in 0..people {
        let size_px = rng.range(HEADS_PX[0].ln(), HEADS_PX[1].ln()).exp();
        let at = [width, height].map(|n| rng.unit() * n as f32);
        let person = Person::new(rng.next_u64());
        let affect = Affect { arousal: rng.range(-0.9, 0.9), valence: rng.range(-0.9, 0.9) };
        let expression = Expression::from_affect(affect, &person, &Style::new(rng.next_u64()));
        let pose = Pose {
            yaw: 0.45 * rng.normal().clamp(-2.0, 2.0),
            pitch: 0.2 * rng.normal(),
            roll: 0.15 * rng.normal(),
            ..Pose::default()
        };
        let mut place = Placement::new(at, size_px);
        place.light = [rng.range(-0.8, 0.8), rng.range(-0.9, 0.1), rng.range(0.6, 1.0)];
        place.ambient = rng.range(0.25, 0.65);
        let mark = mark(&person, &expression, pose, &place);
        // What a nearer body hides may be seen in part.
        let reach = 2.0 * size_px;
        faces.retain(|f| {
            let hidden = (f.rect[0] + f.rect[2] / 2.0 - at[0]).abs() < reach + f.rect[2] / 2.0
                && f.rect[1] + f.rect[3] > at[1] - 1.4 * size_px;
            if hidden {
                ignored.push(f.rect);
            }
            !hidden
        });
        canvas.person(&person, expression, pose, &place);
        faces.push(mark);
    }
    let luma = |p: &[u8]| ((77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2])) / 256) as u8;
    let data = rgb.chunks_exact(3).map(luma).collect();
    let picture = Gray { width, height, data };
    Scene { name: format!("rendered-{number}"), source: "rendered".into(), picture, faces, ignored }
}

fn mark(person: &Person, e: &Expression, pose: Pose, place: &Placement) -> Mark {
    let [x, y, side] = place.face_box(pose);
    let (cx, cy) = (x + side / 2.0, y + side / 2.0);
    // The box's middle turns with the head about the head's centre.
    let (sin, cos) = pose.roll.sin_cos();
    let (dx, dy) = (cx - place.center[0], cy - place.center[1]);
    let (cx, cy) = (place.center[0] + dx * cos - dy * sin, place.center[1] + dx * sin + dy * cos);
    let [w, h] = BOX.map(|b| b * place.size_px);
    let rect = [(w * cos).hypot(h * sin), (w * sin).hypot(h * cos)];
    let p = person;
    let mouth = [0.92 * p.mouth_width * (1.0 + 0.36 * e.au12), p.mouth_v];
    let spots = [[-p.eye_x, p.eye_v], [p.eye_x, p.eye_v], [0.0, p.nose_v], [-mouth[0], mouth[1]], [mouth[0], mouth[1]]];
    let points = spots.map(|spot| place.spot(p, 0.1 * e.au26, pose, spot));
    Mark {
        rect: [cx - rect[0] / 2.0, cy - rect[1] / 2.0, rect[0], rect[1]],
        points: Some(points),
        yaw_deg: Some(pose.yaw.to_degrees()),
    }
}
