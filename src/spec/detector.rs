//! The face detector as data: a chain of convolutions on a grey picture, and maps of numbers that
//! are read off some of them.

use super::ConvSpec;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Numbers of a cell of a map: score, box, points, turn; see [`Detection`].
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

/// A face as a cell of a map says it, in pixels of the picture that the network saw.
///
/// The cell in column `x` and line `y` of a map of stride `s` stands for the place `c = (s (x +
/// 1/2), s (y + 1/2))`. Its numbers are the score's logit; the box's centre less `c`, in strides;
/// the logarithms of its width and height in units of four strides; five points less `c`, in units
/// of two strides; and the head's turn in units of 90 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Detection {
    /// In (0, 1).
    pub score: f32,
    /// Centre, width, height.
    pub rect: [f32; 4],
    /// Image-left and image-right eye, nose, image-left and image-right corner of the mouth.
    pub points: [[f32; 2]; 5],
    /// To the image's right positive, in degrees; rough.
    pub yaw_deg: f32,
}

impl Detection {
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

    /// The same in a picture `factor` times as large.
    pub fn scaled(&self, factor: f32) -> Self {
        let by = |v: f32| v * factor;
        Self { rect: self.rect.map(by), points: self.points.map(|p| p.map(by)), ..*self }
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

/// Adds to `found` what the cells of a map of `width` columns say with at least `least_score`.
pub fn gather(cells: &[[f32; CELL]], width: usize, stride: usize, least_score: f32, found: &mut Vec<Detection>) {
    let least = -(1.0 / least_score - 1.0).ln();
    for (i, cell) in cells.iter().enumerate().filter(|(_, cell)| cell[0] >= least) {
        found.push(Detection::read(cell, stride as f32, [i % width, i / width]));
    }
}

/// Boxes that overlap by more than this are of one face.
pub const SAME_FACE: f32 = 0.4;

/// Keeps the best of the cells that are of one face, best first (greedy non-maximum suppression).
pub fn suppress(cells: &mut Vec<Detection>) {
    cells.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.rect[0].total_cmp(&b.rect[0])));
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

/// How far away faces are found: the longer side at which pictures are searched. Its cost grows
/// with the area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    Near,
    #[default]
    Room,
    Hall,
}

impl Range {
    pub const ALL: [Self; 3] = [Self::Near, Self::Room, Self::Hall];
    /// Side of the smallest face that is found, in pixels of the picture that the network sees.
    pub const LEAST_PX: f32 = 8.0;
    /// Side of a face in metres: the root of its breadth times its height.
    const FACE_M: f32 = 0.16;

    pub fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Room => "room",
            Self::Hall => "hall",
        }
    }

    /// The longer side in pixels.
    pub fn width_px(self) -> usize {
        match self {
            Self::Near => 160,
            Self::Room => 320,
            Self::Hall => 640,
        }
    }

    /// Side of the smallest face that is found in pictures whose longer side has `long_px` pixels.
    pub fn least_px(self, long_px: usize) -> f32 {
        Self::LEAST_PX * long_px as f32 / self.width_px() as f32
    }

    /// How many metres away such a face is from a camera that sees `fov_deg` degrees along the
    /// longer side.
    pub fn farthest_m(self, fov_deg: f32) -> f32 {
        let seen_m = Self::FACE_M * self.width_px() as f32 / Self::LEAST_PX;
        seen_m / (2.0 * (0.5 * fov_deg.to_radians()).tan())
    }
}

impl std::str::FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|r| r.name() == text);
        found.ok_or_else(|| Error::usage(format!("the range {text:?} is not known")).remedy("near, room or hall"))
    }
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
        let cell = Detection {
            score: 0.5,
            rect: [40.0, 52.0, 30.0, 41.0],
            points: [[30.0, 45.0], [48.0, 44.0], [39.0, 53.0], [33.0, 62.0], [46.0, 61.0]],
            yaw_deg: -20.0,
        };
        for (stride, at) in [(8.0, [4, 6]), (16.0, [2, 3])] {
            let back = Detection::read(&cell.write(stride, at), stride, at);
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(
                near(&back.rect, &cell.rect) && near(back.points.as_flattened(), cell.points.as_flattened()),
                "{back:?}"
            );
            assert!((back.yaw_deg - cell.yaw_deg).abs() < 1e-3 && back.score == 0.5);
        }
    }

    #[test]
    fn cells_are_gathered_by_score_with_their_places() {
        let mut cells = [[0.0; CELL]; 6];
        (0..6).for_each(|i| cells[i][0] = i as f32 - 2.5);
        let mut found = Vec::new();
        gather(&cells, 3, 8, 0.5, &mut found);
        let centres: Vec<[f32; 2]> = found.iter().map(|f| [f.rect[0], f.rect[1]]).collect();
        assert_eq!(centres, [[4.0, 12.0], [12.0, 12.0], [20.0, 12.0]]);
    }

    #[test]
    fn the_best_cell_of_a_face_stays() {
        let cell =
            |score, x: f32| Detection { score, rect: [x, 20.0, 20.0, 20.0], points: [[0.0; 2]; 5], yaw_deg: 0.0 };
        let mut cells = vec![cell(0.5, 21.0), cell(0.9, 20.0), cell(0.7, 60.0), cell(0.6, 58.0), cell(0.4, 36.0)];
        suppress(&mut cells);
        assert_eq!(cells.iter().map(|c| c.score).collect::<Vec<_>>(), [0.9, 0.7, 0.4]);
        assert_eq!((overlap([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 2.0, 2.0]) * 3.0).round(), 1.0);
        assert_eq!(overlap([0.0, 0.0, 2.0, 2.0], [9.0, 0.0, 2.0, 2.0]), 0.0);
    }

    #[test]
    fn ranges_say_how_small_and_how_far() {
        assert_eq!(Range::ALL.map(|r| r.least_px(640)), [32.0, 16.0, 8.0]);
        // At 53.13 degrees a camera sees as much as it is away.
        let away = Range::ALL.map(|r| (10.0 * r.farthest_m(53.1301)).round());
        assert_eq!(away, [32.0, 64.0, 128.0]);
        assert!(Range::ALL.iter().all(|r| r.name().parse::<Range>().unwrap() == *r) && "far".parse::<Range>().is_err());
    }
}
