//! What a network should say of a crop.

use super::draw::{Crop, Placed};
use crate::spec::detector::{CELL, Detection, DetectorSpec};

/// Sizes of faces, in strides of a map, that it answers for; beside them it may answer or not.
const SIZES: [f32; 2] = [1.4, 3.6];
const SIZES_TOO: [f32; 2] = [0.9, 4.6];
/// Standard deviation of the score about a face's centre, in sizes of the face; at least so many
/// strides.
const SPREAD: f32 = 0.13;
const SPREAD_STRIDES: f32 = 0.3;
/// Scores from which box and points are taught.
const TAUGHT: f32 = 0.3;

/// Targets of all maps, map by map, line by line; a row a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Targets {
    pub score: Vec<f32>,
    /// 0 where a cell may say what it likes.
    pub weight: Vec<f32>,
    /// Weights of box, points and turn.
    pub parts: Vec<[f32; 3]>,
    pub numbers: Vec<[f32; CELL]>,
}

impl Targets {
    /// Of a crop of `size` pixels each way.
    pub fn of(crop: &Crop, spec: &DetectorSpec, size: usize) -> Self {
        let mut all = Self::default();
        for (number, &tap) in spec.taps.iter().enumerate() {
            let ends = [number == 0, number + 1 == spec.taps.len()];
            all.map(crop, spec.stride(tap) as f32, spec.size(tap, [size; 2]), ends);
        }
        all
    }

    fn map(&mut self, crop: &Crop, stride: f32, [height, width]: [usize; 2], [first, last]: [bool; 2]) {
        let from = self.score.len();
        let cells = height * width;
        self.score.resize(from + cells, 0.0);
        self.weight.resize(from + cells, 1.0);
        self.parts.resize(from + cells, [0.0; 3]);
        self.numbers.resize(from + cells, [0.0; CELL]);
        let mut faces: Vec<&Placed> = crop.faces.iter().collect();
        // What is unsure first, and of two faces the smaller, which is in front as a rule, last.
        faces.sort_by(|a, b| a.sure.cmp(&b.sure).then(b.size().total_cmp(&a.size())));
        for face in faces {
            let strides = face.size() / stride;
            let own = (strides >= SIZES[0] || first) && (strides < SIZES[1] || last);
            let too = (strides >= SIZES_TOO[0] || first) && (strides < SIZES_TOO[1] || last);
            let taught = face.sure && own;
            if !taught && face.sure && !too {
                continue;
            }
            let [cx, cy, w, h] = face.rect;
            let sigma = (SPREAD * face.size()).max(SPREAD_STRIDES * stride);
            let near = [(cx / stride).floor(), (cy / stride).floor()];
            for i in 0..cells {
                let (x, y) = (i % width, i / width);
                let (dx, dy) = (stride * (x as f32 + 0.5) - cx, stride * (y as f32 + 0.5) - cy);
                let at = from + i;
                if !taught {
                    if dx.abs() < 0.5 * w + 0.5 * stride && dy.abs() < 0.5 * h + 0.5 * stride {
                        self.weight[at] = 0.0;
                    }
                    continue;
                }
                let nearest = [x as f32, y as f32] == near;
                let score = if nearest { 1.0 } else { (-(dx * dx + dy * dy) / (2.0 * sigma * sigma)).exp() };
                if score < 0.02 || score < self.score[at] {
                    continue;
                }
                (self.score[at], self.weight[at]) = (score, 1.0);
                if score >= TAUGHT {
                    self.parts[at] = [
                        score,
                        if face.points.is_some() { score } else { 0.0 },
                        if face.yaw_deg.is_some() { score } else { 0.0 },
                    ];
                    let cell = Detection {
                        score: 0.5,
                        rect: face.rect,
                        points: face.points.unwrap_or([[cx, cy]; 5]),
                        yaw_deg: face.yaw_deg.unwrap_or(0.0),
                    };
                    self.numbers[at] = cell.write(stride, [x, y]);
                }
            }
        }
    }
}
