//! The face detector as data: a chain of convolutions on a grey picture, and maps of numbers that are read off some of them.

use super::ConvSpec;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Numbers of a cell of a map: score, box, points, turn; see [`Cell`].
pub const CELL: usize = 16;

/// Shape of a detector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectorSpec {
    /// Square kernels, each followed by ReLU; the first sees the picture.
    pub convs: Vec<ConvSpec>,
    /// The convolutions, by number, off which a map is read by a 1x1 convolution without ReLU.
    pub taps: Vec<usize>,
}

impl DetectorSpec {
    /// 59 million multiply-accumulates at 320x240 and 165 thousand weights.
    pub fn small() -> Self {
        let conv = |(out, stride)| ConvSpec { out, kernel: 3, stride };
        let widths = [(16, 2), (16, 2), (32, 2), (32, 1), (32, 1), (48, 2), (48, 1), (64, 2), (64, 1), (64, 2)];
        Self { convs: widths.map(conv).into(), taps: vec![4, 6, 8, 9] }
    }

    /// Channels that convolution `i` sees.
    pub fn input(&self, i: usize) -> usize {
        if i == 0 { 1 } else { self.convs[i - 1].out }
    }

    /// Pixels of the picture from one output of convolution `i` to the next.
    pub fn stride(&self, i: usize) -> usize {
        self.convs[..=i].iter().map(|c| c.stride).product()
    }

    /// Height and width of what convolution `i` gives for a picture of `height` x `width`.
    pub fn size(&self, i: usize, [height, width]: [usize; 2]) -> [usize; 2] {
        self.convs[..=i].iter().fold([height, width], |size, c| size.map(|n| n.div_ceil(c.stride)))
    }

    /// Multiply-accumulates for a picture of `height` x `width`.
    pub fn macs(&self, size: [usize; 2]) -> usize {
        let area = |i: usize| self.size(i, size).iter().product::<usize>();
        let convs = self.convs.iter().enumerate().map(|(i, c)| area(i) * c.out * self.input(i) * c.kernel * c.kernel);
        convs.chain(self.taps.iter().map(|&i| area(i) * self.convs[i].out * CELL)).sum()
    }

    /// # Errors
    /// What no kernel serves.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::model(format!("the detector {what}")));
        if self.convs.is_empty() || self.convs.len() > 64 {
            return refuse(format!("has {} convolutions; 1 to 64 are served", self.convs.len()));
        }
        for (i, c) in self.convs.iter().enumerate() {
            let fits = c.kernel % 2 == 1 && c.kernel <= 7 && (1..=2).contains(&c.stride) && (1..=256).contains(&c.out);
            if !fits {
                return refuse(format!("has a convolution {i} of {c:?}, which is not served"));
            }
        }
        let ascending = self.taps.windows(2).all(|w| w[0] < w[1]);
        if self.taps.is_empty() || !ascending || self.taps.iter().any(|&t| t >= self.convs.len()) {
            return refuse(format!("reads maps off the convolutions {:?}", self.taps));
        }
        Ok(())
    }
}

/// What a cell of a map says, in pixels of the picture that the network saw.
///
/// The cell in column `x` and line `y` of a map of stride `s` stands for the place `c = (s (x + 1/2), s (y + 1/2))`. Its numbers are
/// the score's logit; the box's centre less `c`, in strides; the logarithms of its width and height in units of four strides; five points
/// less `c`, in units of two strides; and the head's turn in units of 90 degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// In (0, 1).
    pub score: f32,
    /// Centre, width, height.
    pub rect: [f32; 4],
    /// Image-left and image-right eye, nose, image-left and image-right corner of the mouth.
    pub points: [[f32; 2]; 5],
    /// To the image's right positive, in degrees; rough.
    pub yaw_deg: f32,
}

impl Cell {
    /// Of the cell's numbers.
    pub fn read(numbers: &[f32; CELL], stride: f32, [x, y]: [usize; 2]) -> Self {
        let c = [x, y].map(|i| stride * (i as f32 + 0.5));
        let side = |v: f32| 4.0 * stride * v.clamp(-4.0, 4.0).exp();
        Self {
            score: 1.0 / (1.0 + (-numbers[0]).exp()),
            rect: [c[0] + stride * numbers[1], c[1] + stride * numbers[2], side(numbers[3]), side(numbers[4])],
            points: std::array::from_fn(|i| [0, 1].map(|k| c[k] + 2.0 * stride * numbers[5 + 2 * i + k])),
            yaw_deg: 90.0 * numbers[15],
        }
    }

    /// The numbers that say this, but for the score's logit, which is 0.
    pub fn write(&self, stride: f32, [x, y]: [usize; 2]) -> [f32; CELL] {
        let c = [x, y].map(|i| stride * (i as f32 + 0.5));
        let mut numbers = [0.0; CELL];
        for k in 0..2 {
            numbers[1 + k] = (self.rect[k] - c[k]) / stride;
            numbers[3 + k] = (self.rect[2 + k] / (4.0 * stride)).ln();
            for (i, p) in self.points.iter().enumerate() {
                numbers[5 + 2 * i + k] = (p[k] - c[k]) / (2.0 * stride);
            }
        }
        numbers[15] = self.yaw_deg / 90.0;
        numbers
    }

    /// Intersection over union of the boxes.
    pub fn overlap(&self, other: &Self) -> f32 {
        overlap(self.rect, other.rect)
    }
}

/// Intersection over union of two boxes, each a centre, a width and a height.
pub fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let along = |k: usize| {
        let (low, high) =
            ((a[k] - a[2 + k] / 2.0).max(b[k] - b[2 + k] / 2.0), (a[k] + a[2 + k] / 2.0).min(b[k] + b[2 + k] / 2.0));
        (high - low).max(0.0)
    };
    let both = along(0) * along(1);
    both / (a[2] * a[3] + b[2] * b[3] - both).max(f32::MIN_POSITIVE)
}

/// Boxes that overlap by more than this are of one face.
pub const SAME_FACE: f32 = 0.4;

/// Keeps the best of the cells that are of one face, best first (greedy non-maximum suppression).
pub fn suppress(cells: &mut Vec<Cell>) {
    cells.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept = 0;
    for i in 0..cells.len() {
        let cell = cells[i];
        if cells[..kept].iter().all(|k| k.overlap(&cell) <= SAME_FACE) {
            cells[kept] = cell;
            kept += 1;
        }
    }
    cells.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_detector_keeps_within_its_budget() {
        let spec = DetectorSpec::small();
        spec.validate().unwrap();
        let weights: usize = (spec.convs.iter().enumerate()).map(|(i, c)| (9 * spec.input(i) + 1) * c.out).sum();
        let heads: usize = spec.taps.iter().map(|&t| (spec.convs[t].out + 1) * CELL).sum();
        assert!(spec.macs([240, 320]) <= 60_000_000, "{}", spec.macs([240, 320]));
        assert!(weights + heads <= 200_000, "{}", weights + heads);
        assert_eq!(spec.taps.iter().map(|&t| spec.stride(t)).collect::<Vec<_>>(), [8, 16, 32, 64]);
        assert_eq!((spec.size(8, [240, 320]), spec.size(9, [100, 70])), ([8, 10], [2, 2]));
    }

    #[test]
    fn what_no_kernel_serves_is_refused() {
        let good = DetectorSpec::small();
        let conv = |c: ConvSpec| DetectorSpec { convs: vec![c], taps: vec![0] };
        for bad in [
            DetectorSpec { convs: Vec::new(), taps: Vec::new() },
            DetectorSpec { taps: vec![3, 3], ..good.clone() },
            DetectorSpec { taps: vec![10], ..good.clone() },
            DetectorSpec { taps: Vec::new(), ..good },
            conv(ConvSpec { out: 8, kernel: 4, stride: 1 }),
            conv(ConvSpec { out: 8, kernel: 3, stride: 3 }),
            conv(ConvSpec { out: 0, kernel: 3, stride: 1 }),
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cell_reads_what_it_writes() {
        let cell = Cell {
            score: 0.5,
            rect: [40.0, 52.0, 30.0, 41.0],
            points: [[30.0, 45.0], [48.0, 44.0], [39.0, 53.0], [33.0, 62.0], [46.0, 61.0]],
            yaw_deg: -20.0,
        };
        for (stride, at) in [(8.0, [4, 6]), (16.0, [2, 3])] {
            let back = Cell::read(&cell.write(stride, at), stride, at);
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(
                near(&back.rect, &cell.rect) && near(back.points.as_flattened(), cell.points.as_flattened()),
                "{back:?}"
            );
            assert!((back.yaw_deg - cell.yaw_deg).abs() < 1e-3 && back.score == 0.5);
        }
    }

    #[test]
    fn the_best_cell_of_a_face_stays() {
        let cell = |score, x: f32| Cell { score, rect: [x, 20.0, 20.0, 20.0], points: [[0.0; 2]; 5], yaw_deg: 0.0 };
        let mut cells = vec![cell(0.5, 21.0), cell(0.9, 20.0), cell(0.7, 60.0), cell(0.6, 58.0), cell(0.4, 36.0)];
        suppress(&mut cells);
        assert_eq!(cells.iter().map(|c| c.score).collect::<Vec<_>>(), [0.9, 0.7, 0.4]);
        assert_eq!((overlap([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 2.0, 2.0]) * 3.0).round(), 1.0);
        assert_eq!(overlap([0.0, 0.0, 2.0, 2.0], [9.0, 0.0, 2.0, 2.0]), 0.0);
    }
}
