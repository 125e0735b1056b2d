//! Frontal face detection (SeetaFace through the crate `rustface`, its model embedded).

use crate::error::{Error, Result};
use crate::frame::Gray;

static MODEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/face_detector.bin"));

/// Longest side of the picture the detector sees; its cost grows with the area.
const WORK_PX: usize = 200;
/// Side of the smallest face it finds in that picture, in pixels.
const MIN_FACE_PX: u32 = 20;
/// Pictures with a shorter side are not searched.
const MIN_SIDE_PX: usize = 40;

/// A face found in one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Square box `[left, top, side]` in pixels of the picture, its sides upright whatever the view.
    pub square: [f32; 3],
    /// The detector's score; 2 is the threshold, clear faces reach 10 and more.
    pub score: f32,
    /// Roll of the view in which it was found, in radians, clockwise.
    pub roll_rad: f32,
}

/// How the detector looks at a picture; heads rolled by the view's roll stand upright in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Clockwise, in radians.
    pub roll_rad: f32,
    /// What the picture is turned about, in its pixels: that place is seen at full detail and corners may be lost.
    /// Without it the whole picture is seen, so much smaller that the search costs the same.
    pub about: Option<[f32; 2]>,
}

impl View {
    /// The picture as it is.
    pub const UPRIGHT: Self = Self { roll_rad: 0.0, about: None };
}

/// Finds faces in single pictures.
pub trait Detector {
    /// Replaces `found` with the faces of `picture` that stand about upright in `view`.
    ///
    /// # Errors
    /// If the detector fails; a picture too small to hold a face gives none.
    fn detect_in(&mut self, picture: &Gray, view: View, found: &mut Vec<Detection>) -> Result<()>;

    /// [`Detector::detect_in`] of the picture as it is.
    ///
    /// # Errors
    /// As there.
    fn detect(&mut self, picture: &Gray, found: &mut Vec<Detection>) -> Result<()> {
        self.detect_in(picture, View::UPRIGHT, found)
    }
}

/// `rustface` on a reduced picture.
pub struct SeetaDetector {
    inner: Box<dyn rustface::Detector>,
    small: Gray,
    turned: Gray,
}

impl SeetaDetector {
    /// Loads the embedded model.
    ///
    /// # Errors
    /// If the embedded model cannot be parsed.
    pub fn new() -> Result<Self> {
        let model = rustface::read_model(MODEL)
            .map_err(|e| Error::model("the embedded face detector is damaged").caused_by(e))?;
        let mut inner = rustface::create_detector_with_model(model);
        inner.set_min_face_size(MIN_FACE_PX);
        inner.set_score_thresh(2.0);
        inner.set_pyramid_scale_factor(0.8);
        inner.set_slide_window_step(4, 4);
        Ok(Self { inner, small: Gray::default(), turned: Gray::default() })
    }
}

/// Area average onto a picture `factor` times smaller each way (integer factor, last partial cells dropped).
fn reduce(picture: &Gray, factor: usize, out: &mut Gray) {
    out.reshape(picture.width / factor, picture.height / factor);
    let area = (factor * factor) as u32;
    let width = out.width;
    for (y, row) in out.data.chunks_exact_mut(width).enumerate() {
        for (x, o) in row.iter_mut().enumerate() {
            let lines = (0..factor).map(|j| &picture.data[(y * factor + j) * picture.width + x * factor..][..factor]);
            let sum: u32 = lines.flatten().map(|&v| u32::from(v)).sum();
            *o = ((sum + area / 2) / area) as u8;
        }
    }
}

/// Maps pixels of a turned view to the reduced picture it was taken from.
struct Turning {
    /// Size of the view.
    size: [usize; 2],
    /// Where the view's centre lies.
    pivot: [f32; 2],
    /// Pixels of the picture a pixel of the view, along its rows: right and down.
    step: [f32; 2],
}

impl Turning {
    /// `view` of a picture of `width` x `height` that was reduced by `factor`; it has no more pixels than that.
    fn new(view: View, width: usize, height: usize, factor: f32) -> Self {
        let (sin, cos) = view.roll_rad.sin_cos();
        let (w, h) = (width as f32, height as f32);
        if let Some(about) = view.about {
            let pivot = about.map(|v| v / factor);
            return Self { size: [width, height], pivot, step: [cos, sin] };
        }
        let bounds = [w * cos.abs() + h * sin.abs(), w * sin.abs() + h * cos.abs()];
        let shrink = (bounds[0] * bounds[1] / (w * h)).sqrt();
        let size = bounds.map(|b| (b / shrink) as usize);
        Self { size, pivot: [0.5 * w, 0.5 * h], step: [cos * shrink, sin * shrink] }
    }

    /// The picture's place, from its corner, of the view's place `at`, from its own.
    fn place(&self, at: [f32; 2]) -> [f32; 2] {
        let (u, v) = (at[0] - 0.5 * self.size[0] as f32, at[1] - 0.5 * self.size[1] as f32);
        let [right, down] = self.step;
        [self.pivot[0] + right * u - down * v, self.pivot[1] + down * u + right * v]
    }

    /// Pixels of the picture a pixel of the view.
    fn scale(&self) -> f32 {
        self.step[0].hypot(self.step[1])
    }

    /// Draws the view, bilinear, the picture's edge repeated.
    fn draw(&self, picture: &Gray, out: &mut Gray) {
        out.reshape(self.size[0], self.size[1]);
        let limit = [picture.width, picture.height].map(|n| n as f32 - 1.0);
        for (j, row) in out.data.chunks_exact_mut(self.size[0]).enumerate() {
            for (i, o) in row.iter_mut().enumerate() {
                let [x, y] = self.place([i as f32 + 0.5, j as f32 + 0.5]);
                let (x, y) = ((x - 0.5).clamp(0.0, limit[0]), (y - 0.5).clamp(0.0, limit[1]));
                let (column, line) = (x as usize, y as usize);
                let next = [(column + 1).min(picture.width - 1), (line + 1).min(picture.height - 1)];
                let at = |c: usize, r: usize| f32::from(picture.data[r * picture.width + c]);
                let mix = |a: f32, b: f32, f: f32| a + (b - a) * f;
                let top = mix(at(column, line), at(next[0], line), x.fract());
                let bottom = mix(at(column, next[1]), at(next[0], next[1]), x.fract());
                *o = (mix(top, bottom, y.fract()) + 0.5) as u8;
            }
        }
    }
}

impl Detector for SeetaDetector {
    fn detect_in(&mut self, picture: &Gray, view: View, found: &mut Vec<Detection>) -> Result<()> {
        found.clear();
        let factor = picture.width.max(picture.height).div_ceil(WORK_PX).max(1);
        if picture.width.min(picture.height) / factor < MIN_SIDE_PX {
            return Ok(());
        }
        reduce(picture, factor, &mut self.small);
        let factor = factor as f32;
        // Made for upright views too: of an `Option` that is `None`, optimised code reads the sizes ahead of the loop below,
        // which changes nothing and which valgrind reports.
        let turning = Turning::new(view, self.small.width, self.small.height, factor);
        let turned = view.roll_rad != 0.0;
        if turned {
            turning.draw(&self.small, &mut self.turned);
        }
        let seen = if turned { &self.turned } else { &self.small };
        let (w, h) = (seen.width as u32, seen.height as u32);
        for face in self.inner.detect(&rustface::ImageData::new(&seen.data, w, h)) {
            let b = face.bbox();
            let [x, y, bw, bh] = [b.x() as f32, b.y() as f32, b.width() as f32, b.height() as f32];
            let (mut centre, mut side) = ([x + 0.5 * bw, y + 0.5 * bh], bw.max(bh));
            if turned {
                (centre, side) = (turning.place(centre), side * turning.scale());
            }
            let square = [factor * (centre[0] - 0.5 * side), factor * (centre[1] - 0.5 * side), factor * side];
            found.push(Detection { square, score: face.score() as f32, roll_rad: view.roll_rad });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Affect, Canvas, Expression, Person, Placement, Pose, Style};

    fn rendered(width: usize, height: usize, size: f32) -> Gray {
        let mut rgb = vec![0; 3 * width * height];
        let mut canvas = Canvas { data: &mut rgb, width, height };
        canvas.background(1);
        let person = Person::new(1);
        let e = Expression::from_affect(Affect { arousal: 0.0, valence: 0.3 }, &person, &Style::PLAIN);
        let place = Placement::new([width as f32 / 2.0, height as f32 / 2.0], size);
        canvas.person(&person, e, Pose::default(), &place);
        Gray { width, height, data: rgb.chunks_exact(3).map(|p| p[1]).collect() }
    }

    #[test]
    fn finds_the_rendered_face_where_it_is() {
        let mut found = Vec::new();
        SeetaDetector::new().unwrap().detect(&rendered(640, 480, 110.0), &mut found).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let [x, y, side] = found[0].square;
        assert!((x + side / 2.0 - 320.0).abs() < 25.0 && (y + side / 2.0 - 240.0).abs() < 60.0, "{found:?}");
    }

    #[test]
    fn flat_tiny_and_slim_pictures_hold_no_face() {
        let mut detector = SeetaDetector::new().unwrap();
        for (w, h) in [(0, 0), (1, 1), (39, 200), (4000, 50), (320, 240)] {
            let mut found = vec![Detection { square: [0.0; 3], score: 1.0, roll_rad: 0.0 }];
            let flat = Gray { width: w, height: h, data: vec![90; w * h] };
            for view in
                [View::UPRIGHT, View { roll_rad: 0.5, about: None }, View { roll_rad: -2.0, about: Some([9.0; 2]) }]
            {
                detector.detect_in(&flat, view, &mut found).unwrap();
                assert!(found.is_empty());
            }
        }
    }

    #[test]
    fn a_face_rolled_out_of_an_upright_search_is_found_in_its_view() {
        let roll = 0.8;
        let upright = rendered(640, 480, 110.0);
        let mut rolled = Gray::default();
        Turning::new(View { roll_rad: -roll, about: Some([320.0, 240.0]) }, 640, 480, 1.0).draw(&upright, &mut rolled);
        let (mut detector, mut found) = (SeetaDetector::new().unwrap(), Vec::new());
        detector.detect(&rolled, &mut found).unwrap();
        assert!(found.is_empty(), "{found:?}");
        detector.detect(&upright, &mut found).unwrap();
        let [x, y, side] = found[0].square;
        // Where the upright face's centre went.
        let (u, v) = (x + 0.5 * side - 320.0, y + 0.5 * side - 240.0);
        let want = [320.0 + roll.cos() * u - roll.sin() * v, 240.0 + roll.sin() * u + roll.cos() * v];
        for about in [None, Some([320.0, 240.0]), Some([380.0, 200.0])] {
            detector.detect_in(&rolled, View { roll_rad: roll, about }, &mut found).unwrap();
            assert_eq!(found.len(), 1, "{about:?} {found:?}");
            let [x, y, found_side] = found[0].square;
            let gap = (x + 0.5 * found_side - want[0]).hypot(y + 0.5 * found_side - want[1]);
            assert!(gap < 0.12 * side && (found_side / side - 1.0).abs() < 0.2, "{about:?} {found:?} {want:?}");
        }
    }

    #[test]
    fn a_turned_view_of_the_whole_picture_has_no_more_pixels() {
        for degrees in [-170, -30, 7, 30, 45, 90] {
            let turning = Turning::new(View { roll_rad: (degrees as f32).to_radians(), about: None }, 160, 120, 4.0);
            assert!(turning.size[0] * turning.size[1] <= 160 * 120);
            let corners = [[0.0, 0.0], [160.0, 0.0], [0.0, 120.0], [160.0, 120.0]];
            let scale = turning.scale();
            for [x, y] in corners {
                let (u, v) = ((x - 80.0) / scale / scale, (y - 60.0) / scale / scale);
                let seen = [turning.step[0] * u + turning.step[1] * v, turning.step[0] * v - turning.step[1] * u];
                assert!(seen[0].abs() <= 0.5 * turning.size[0] as f32 + 1.0, "{degrees} {seen:?}");
                assert!(seen[1].abs() <= 0.5 * turning.size[1] as f32 + 1.0, "{degrees} {seen:?}");
            }
        }
    }

    #[test]
    fn what_was_searched_before_changes_no_bit() {
        let sizes = [(200, 150, 60.0), (641, 479, 110.0), (97, 61, 45.0), (333, 217, 80.0), (40, 40, 30.0)];
        let views = [0.0, 0.5, -0.3].map(|roll_rad| View { roll_rad, about: None });
        let pictures: Vec<Gray> = sizes.iter().map(|&(w, h, size)| rendered(w, h, size)).collect();
        let mut used = SeetaDetector::new().unwrap();
        let (mut found, mut wanted, mut faces) = (Vec::new(), Vec::new(), 0);
        for at in [0, 1, 2, 3, 4, 2, 0, 4, 1, 3] {
            for view in views {
                SeetaDetector::new().unwrap().detect_in(&pictures[at], view, &mut wanted).unwrap();
                used.detect_in(&pictures[at], view, &mut found).unwrap();
                assert_eq!(found, wanted, "{:?} in {view:?}", sizes[at]);
                faces += found.len();
            }
        }
        assert!(faces >= 10, "{faces} faces compared");
    }

    #[test]
    fn reduce_averages_cells() {
        let mut out = Gray::default();
        reduce(&Gray { width: 5, height: 2, data: vec![0, 4, 8, 8, 9, 4, 8, 8, 8, 9] }, 2, &mut out);
        assert_eq!((out.width, out.height, out.data), (2, 1, vec![4, 8]));
    }
}
