//! What a network should say of a crop.

use super::draw::{Crop, Placed};
use crate::spec::detector::{CELL, Detection, DetectorSpec};

/// Sizes of faces, in strides of a map, that it answers for; beside them it may answer or not.
const SIZES: [f32; 2] = [1.4, 3.6];
const SIZES_TOO: [f32; 2] = [0.9, 4.6];
/// Cells this near to a face's centre are the face's without doubt, in sizes of the face; at least
/// so many strides. Were it one cell alone, half a pixel would decide between two that see the
/// same.
const CORE: f32 = 0.14;
const CORE_STRIDES: f32 = 0.6;
/// Standard deviation by which the score falls beyond, in sizes of the face; at least so many
/// strides.
const FALL: f32 = 0.1;
const FALL_STRIDES: f32 = 0.25;
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
            let core = (CORE * face.size()).max(CORE_STRIDES * stride);
            let sigma = (FALL * face.size()).max(FALL_STRIDES * stride);
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
                let beyond = (dx.hypot(dy) - core).max(0.0) / sigma;
                let score = if nearest { 1.0 } else { (-0.5 * beyond * beyond).exp() };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, y: f32, side: f32) -> Crop {
        let one = Placed { rect: [x, y, side, side], points: None, yaw_deg: Some(0.0), sure: true };
        Crop { pixels: Vec::new(), faces: vec![one] }
    }

    /// Scores of the map of stride 8, for a crop of 80 pixels: ten cells each way.
    fn fine(crop: &Crop) -> Vec<f32> {
        Targets::of(crop, &DetectorSpec::small(), 80).score[..100].to_vec()
    }

    #[test]
    fn half_a_pixel_decides_nothing_between_two_cells_that_see_the_same() {
        for side in [8.0, 14.0, 24.0] {
            // The border between the cells 4 and 5 of line 4 is at 40.
            for off in [-0.5, -0.1, 0.1, 0.5] {
                let scores = fine(&face(40.0 + off, 36.0, side));
                assert!(scores[44].min(scores[45]) > 0.99, "{side} {off}: {} {}", scores[44], scores[45]);
                assert!(scores[42].max(scores[47]) < 0.3, "{side} {off}: {} {}", scores[42], scores[47]);
            }
        }
    }

    #[test]
    fn every_face_has_a_cell_of_its_own_and_its_numbers_are_the_face_s() {
        let spec = DetectorSpec::small();
        for i in 0..40 {
            let (x, y) = (20.0 + 0.93 * i as f32, 58.0 - 0.71 * i as f32);
            for side in [7.0, 12.0, 25.0, 60.0, 150.0] {
                let t = Targets::of(&face(x, y, side), &spec, 80);
                let best = (0..t.score.len()).filter(|&c| t.score[c] == 1.0).collect::<Vec<_>>();
                assert!(!best.is_empty(), "{x} {y} {side}");
                let mut from = 0;
                for &tap in &spec.taps {
                    let [height, width] = spec.size(tap, [80; 2]);
                    for c in best.iter().filter(|c| (from..from + height * width).contains(*c)) {
                        let at = [(c - from) % width, (c - from) / width];
                        let said = Detection::read(&t.numbers[*c], spec.stride(tap) as f32, at);
                        let off =
                            said.rect.iter().zip([x, y, side, side]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(off < 1e-3 * side && t.parts[*c] == [1.0, 0.0, 1.0], "{side}: {said:?}");
                    }
                    from += height * width;
                }
            }
        }
    }

    #[test]
    fn what_may_be_a_face_is_neither_taught_nor_forbidden() {
        let mut crop = face(40.0, 40.0, 20.0);
        crop.faces[0].sure = false;
        let t = Targets::of(&crop, &DetectorSpec::small(), 80);
        assert!(t.score.iter().all(|s| *s == 0.0));
        assert!(t.weight[44] == 0.0 && t.weight[0] == 1.0 && t.parts.iter().all(|p| *p == [0.0; 3]));
    }
}
