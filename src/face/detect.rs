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
    /// Square box `[left, top, side]` in pixels of the picture.
    pub square: [f32; 3],
    /// The detector's score; 2 is the threshold, clear faces reach 10 and more.
    pub score: f32,
}

/// Finds faces in single pictures.
pub trait Detector {
    /// Replaces `found` with the faces of `picture`.
    ///
    /// # Errors
    /// If the detector fails; a picture too small to hold a face gives none.
    fn detect(&mut self, picture: &Gray, found: &mut Vec<Detection>) -> Result<()>;
}

/// `rustface` on a reduced picture.
pub struct SeetaDetector {
    inner: Box<dyn rustface::Detector>,
    small: Gray,
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
        Ok(Self { inner, small: Gray::default() })
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

impl Detector for SeetaDetector {
    fn detect(&mut self, picture: &Gray, found: &mut Vec<Detection>) -> Result<()> {
        found.clear();
        let factor = picture.width.max(picture.height).div_ceil(WORK_PX).max(1);
        if picture.width.min(picture.height) / factor < MIN_SIDE_PX {
            return Ok(());
        }
        reduce(picture, factor, &mut self.small);
        let (w, h) = (self.small.width as u32, self.small.height as u32);
        for face in self.inner.detect(&rustface::ImageData::new(&self.small.data, w, h)) {
            let b = face.bbox();
            let [x, y, bw, bh] =
                [b.x() as f32, b.y() as f32, b.width() as f32, b.height() as f32].map(|v| v * factor as f32);
            let side = bw.max(bh);
            let square = [x + 0.5 * (bw - side), y + 0.5 * (bh - side), side];
            found.push(Detection { square, score: face.score() as f32 });
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
            let mut found = vec![Detection { square: [0.0; 3], score: 1.0 }];
            detector.detect(&Gray { width: w, height: h, data: vec![90; w * h] }, &mut found).unwrap();
            assert!(found.is_empty());
        }
    }

    #[test]
    fn reduce_averages_cells() {
        let mut out = Gray::default();
        reduce(&Gray { width: 5, height: 2, data: vec![0, 4, 8, 8, 9, 4, 8, 8, 8, 9] }, 2, &mut out);
        assert_eq!((out.width, out.height, out.data), (2, 1, vec![4, 8]));
    }
}
