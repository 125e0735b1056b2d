//! What can be filmed: a head that draws itself into a grey picture.

use crate::frame::Gray;
use crate::render::{Canvas, Expression, Person, Placement, Pose};

/// Places of a drawn face in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchors {
    /// Middle of the eye on the picture's left and on its right.
    pub eyes: [[f32; 2]; 2],
    pub mouth: [f32; 2],
    pub chin: [f32; 2],
    /// Middle of the hairline.
    pub brow: [f32; 2],
    /// Half the head's height in pixels.
    pub size_px: f32,
}

impl Anchors {
    /// Largest distance in pixels by which a place moved.
    pub fn moved(&self, other: &Self) -> f32 {
        let all = |a: &Self| [a.eyes[0], a.eyes[1], a.mouth, a.chin, a.brow];
        let far = |(a, b): ([f32; 2], [f32; 2])| (a[0] - b[0]).hypot(a[1] - b[1]);
        all(self).into_iter().zip(all(other)).map(far).fold(0.0, f32::max)
    }
}

/// A head of one identity.
pub trait Head {
    /// Draws the head over what `picture` holds.
    fn draw(&mut self, picture: &mut Gray, expression: &Expression, pose: Pose, place: &Placement);

    /// Where its features lie, whatever its expression.
    fn anchors(&self, pose: Pose, place: &Placement) -> Anchors;
}

/// The procedural head.
#[derive(Debug, Clone)]
pub struct Portrait {
    person: Person,
    rgb: Vec<u8>,
}

impl Portrait {
    pub fn new(person: Person) -> Self {
        Self { person, rgb: Vec::new() }
    }

    /// The pixel that shows the point `(u, v)` of the face; see [`Person`] for its coordinates.
    fn point(&self, u: f32, v: f32, pose: Pose, place: &Placement) -> [f32; 2] {
        let (sy, cy) = pose.yaw.sin_cos();
        let (sp, cp) = pose.pitch.sin_cos();
        let low = v.max(0.0);
        let wide = self.person.head_width * (1.0 - self.person.jaw_taper * low * low);
        let (us, vs) = (u / wide, v);
        let z = (1.0 - us * us - vs * vs).max(0.0).sqrt();
        let (y, z1) = (vs * cp + z * sp, z * cp - vs * sp);
        let x = (us * cy + z1 * sy) * wide;
        let (sr, cr) = pose.roll.sin_cos();
        let at = [x * cr - y * sr + pose.dx, y * cr + x * sr + pose.dy];
        std::array::from_fn(|i| place.center[i] + at[i] * place.size_px)
    }
}

impl Head for Portrait {
    fn draw(&mut self, picture: &mut Gray, expression: &Expression, pose: Pose, place: &Placement) {
        self.rgb.clear();
        self.rgb.extend(picture.data.iter().flat_map(|&v| [v; 3]));
        let mut canvas = Canvas { data: &mut self.rgb, width: picture.width, height: picture.height };
        canvas.person(&self.person, *expression, pose, place);
        for (o, p) in picture.data.iter_mut().zip(self.rgb.chunks_exact(3)) {
            let luma = 77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]);
            *o = ((luma + 128) >> 8) as u8;
        }
    }

    fn anchors(&self, pose: Pose, place: &Placement) -> Anchors {
        let p = &self.person;
        let at = |u, v| self.point(u, v, pose, place);
        Anchors {
            eyes: [at(-p.eye_x, p.eye_v), at(p.eye_x, p.eye_v)],
            mouth: at(0.0, p.mouth_v),
            chin: at(0.0, 0.95),
            brow: at(0.0, p.hairline_v),
            size_px: place.size_px,
        }
    }
}
