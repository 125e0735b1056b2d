//! The face detector on whole pictures.

use crate::engine::maps::{MapEngine, Maps};
use crate::engine::simd::MapSimd;
use crate::error::Result;
use crate::face::{Detector, KEEP_SCORE};
use crate::frame::Gray;
use crate::model::onnx::read_detector;
use crate::model::{DetectorModel, sha256_hex};
use crate::preprocess::Fitter;
use crate::spec::Range;
use crate::spec::detector::{Detection, gather, suppress};

static SHIPPED: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/detector/detector.onnx"));

/// The embedded detector.
///
/// # Errors
/// If it is damaged, which would be a fault of the build.
pub fn shipped_detector() -> Result<DetectorModel> {
    read_detector(SHIPPED).map_err(|e| e.at("embedded models/detector/detector.onnx"))
}

/// SHA-256 of the embedded detector's file, in hexadecimal.
pub fn shipped_detector_digest() -> String {
    sha256_hex(SHIPPED)
}

/// Finds faces by a network that reads maps off the whole picture, brought to the size that a
/// [`Range`] names.
pub struct Finder {
    engine: Box<dyn MapEngine>,
    width_px: usize,
    least_score: f32,
    fitter: Fitter,
    small: Gray,
    maps: Maps,
}

impl Finder {
    /// On any engine, pictures with their longer side at `width_px`. Faces of less than
    /// `least_score` are left out.
    pub fn new(engine: Box<dyn MapEngine>, width_px: usize, least_score: f32) -> Self {
        let (fitter, small, maps) = Default::default();
        Self { engine, width_px, least_score, fitter, small, maps }
    }

    /// The embedded detector on our own kernels.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn shipped(range: Range) -> Result<Self> {
        Ok(Self::new(Box::new(MapSimd::open(&shipped_detector()?)?), range.width_px(), KEEP_SCORE))
    }

    /// As [`Detector::detect`], the picture as large as it is.
    ///
    /// # Errors
    /// As there.
    pub fn search(&mut self, picture: &Gray, found: &mut Vec<Detection>) -> Result<()> {
        found.clear();
        self.engine.run(picture, &mut self.maps)?;
        for map in self.maps.iter() {
            gather(&map.cells, map.width, map.stride, self.least_score, found);
        }
        suppress(found);
        Ok(())
    }
}

impl Detector for Finder {
    fn detect(&mut self, picture: &Gray, found: &mut Vec<Detection>) -> Result<()> {
        found.clear();
        let mut small = std::mem::take(&mut self.small);
        let factor = self.fitter.fit(picture, self.width_px, &mut small);
        let searched = if small.data.is_empty() { Ok(()) } else { self.search(&small, found) };
        self.small = small;
        found.iter_mut().for_each(|f| *f = f.scaled(factor));
        searched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::LEAST_SCORE;
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
    fn finds_the_rendered_face_where_it_is_whatever_its_size() {
        for size in [40.0, 70.0, 110.0, 200.0] {
            let mut found = Vec::new();
            let mut finder = Finder::shipped(Range::Room).unwrap();
            finder.detect(&rendered(640, 480, size), &mut found).unwrap();
            let Some(best) = found.first() else { panic!("{size}: no face") };
            let pose = crate::face::Pose::of(best);
            let off = (pose.centre[0] - 320.0).hypot(pose.centre[1] - 240.0 - 0.165 * size) / size;
            assert!(off < 0.25 && (pose.side / size / 1.56 - 1.0).abs() < 0.25, "{size}: {found:?}");
            assert!(found[1..].iter().all(|f| f.score < LEAST_SCORE), "{size}: {found:?}");
        }
    }

    #[test]
    fn flat_tiny_and_slim_pictures_hold_no_face() {
        let mut finder = Finder::shipped(Range::Room).unwrap();
        for (w, h) in [(0, 0), (1, 1), (39, 200), (4000, 50), (320, 240)] {
            let mut found = vec![Detection::default()];
            finder.detect(&Gray { width: w, height: h, data: vec![90; w * h] }, &mut found).unwrap();
            assert!(found.is_empty(), "{w}x{h}: {found:?}");
        }
    }

    #[test]
    fn what_was_searched_before_changes_no_bit() {
        let sizes = [(200, 150, 60.0), (641, 479, 110.0), (97, 61, 45.0), (333, 217, 80.0), (40, 40, 30.0)];
        let pictures: Vec<Gray> = sizes.iter().map(|&(w, h, size)| rendered(w, h, size)).collect();
        let mut used = Finder::shipped(Range::Room).unwrap();
        let (mut found, mut wanted, mut faces) = (Vec::new(), Vec::new(), 0);
        for at in [0, 1, 2, 3, 4, 2, 0, 4, 1, 3] {
            Finder::shipped(Range::Room).unwrap().detect(&pictures[at], &mut wanted).unwrap();
            used.detect(&pictures[at], &mut found).unwrap();
            assert_eq!(found, wanted, "{:?}", sizes[at]);
            faces += found.len();
        }
        assert!(faces >= 8, "{faces} faces compared");
    }

    #[test]
    fn every_face_of_the_synthetic_source_is_found_where_truth_says() {
        use crate::capture::{FrameSource, Next, synthetic::Synthetic};
        let mut finder = Finder::shipped(Range::Room).unwrap();
        let (mut frame, mut gray, mut found) = (crate::frame::Frame::default(), Gray::default(), Vec::new());
        for seed in 0..4 {
            let mut source = Synthetic::parse(&format!("synthetic:seed={seed},seconds=6,fps=1")).unwrap();
            while source.next_frame(&mut frame).unwrap() == Next::Frame {
                frame.luma_into(&mut gray).unwrap();
                finder.detect(&gray, &mut found).unwrap();
                let best = found.first().unwrap_or_else(|| panic!("seed {seed}, frame {}: no face", frame.index));
                let (pose, [x, y]) = (crate::face::Pose::of(best), source.truth()[0].center);
                let off = (pose.centre[0] - x).hypot(pose.centre[1] - y) / pose.side;
                assert!(best.score > 0.5 && off < 0.2, "seed {seed}, frame {}: {best:?}, {off} off", frame.index);
            }
        }
    }
}
