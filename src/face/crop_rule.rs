//! Fits the crop rule to a data set whose pictures are themselves the crops.

use super::{Detector, LEAST_SCORE, Pose};
use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::preprocess::Cropper;
use crate::spec::CropRule;

/// Side of the pictures shown to the detector, in pixels.
const CANVAS_PX: usize = 240;
/// Side of the data set's picture in the middle of that canvas; the rest repeats its edge.
const PICTURE_PX: usize = 144;

/// What [`crop_rule_from`] measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropRuleFit {
    /// The rule of the medians, rounded to three decimals; it maps a face's square to the data
    /// set's framing.
    pub rule: CropRule,
    /// Pictures shown.
    pub pictures: usize,
    /// Pictures in which a face was found.
    pub found: usize,
    /// Interquartile range of the crop's side, as a fraction of its median.
    pub iqr_side: f32,
    /// Interquartile range of the crop's horizontal place, in crop sides.
    pub iqr_x: f32,
    /// Interquartile range of the crop's vertical place, in crop sides.
    pub iqr_y: f32,
}

/// Measures how `detector` sees pictures that are crops themselves, and returns the rule that maps
/// a face's square ([`Pose::square`]) back to those crops: medians of `picture side / square's
/// side` and of the shift from the square's centre to the picture's, in sides. Sizes and detail are
/// taken from `like`.
///
/// Every picture is taken as square and set threefold enlarged for 48 pixels into a canvas that
/// repeats its edge. Of several faces the largest counts.
///
/// # Errors
/// If the detector fails, or finds faces in fewer than ten pictures.
pub fn crop_rule_from(
    detector: &mut dyn Detector,
    pictures: impl IntoIterator<Item = Gray>,
    like: CropRule,
) -> Result<CropRuleFit> {
    let mut cropper = Cropper::new(CANVAS_PX);
    let mut canvas = Gray::new(CANVAS_PX, CANVAS_PX);
    let mut found = Vec::new();
    let mut samples: [Vec<f32>; 3] = Default::default();
    let mut shown = 0;
    for picture in pictures {
        shown += 1;
        cropper.crop_into(&picture, canvas_square(&picture), &mut canvas.data);
        detector.detect(&canvas, &mut found)?;
        let poses = found.iter().filter(|f| f.score >= LEAST_SCORE).map(Pose::of);
        if let Some(face) = poses.max_by(|a, b| a.side.total_cmp(&b.side)) {
            for (values, v) in samples.iter_mut().zip(mapping(&face)) {
                values.push(v);
            }
        }
    }
    let hits = samples[0].len();
    if hits < 10 {
        return Err(Error::input(format!(
            "faces were found in {hits} of {shown} pictures, too few to fit a crop rule"
        ))
        .remedy("give a few hundred pictures of single faces"));
    }
    let [(margin, iqr_margin), (shift_x, iqr_x), (shift_y, iqr_y)] = samples.map(quartiles);
    let rounded = |v: f32| (v * 1000.0).round() / 1000.0;
    let rule = CropRule { margin: rounded(margin), shift_x: rounded(shift_x), shift_y: rounded(shift_y), ..like };
    rule.validate()?;
    Ok(CropRuleFit {
        rule,
        pictures: shown,
        found: hits,
        iqr_side: iqr_margin / margin,
        iqr_x: iqr_x / margin,
        iqr_y: iqr_y / margin,
    })
}

/// The square of `picture` that fills the canvas.
fn canvas_square(picture: &Gray) -> [f32; 3] {
    let (w, h) = (picture.width as f32, picture.height as f32);
    let side = w.max(h) * CANVAS_PX as f32 / PICTURE_PX as f32;
    [0.5 * (w - side), 0.5 * (h - side), side]
}

/// Margin and shifts of the rule that maps `face`, found on the canvas, to the picture.
fn mapping(face: &Pose) -> [f32; 3] {
    let centre = 0.5 * CANVAS_PX as f32;
    let [x, y] = face.centre.map(|v| (centre - v) / face.side);
    [PICTURE_PX as f32 / face.side, x, y]
}

/// Median and interquartile range, by nearest rank.
fn quartiles(mut values: Vec<f32>) -> (f32, f32) {
    values.sort_by(f32::total_cmp);
    let rank = |q: f32| values[((values.len() - 1) as f32 * q).round() as usize];
    (rank(0.5), rank(0.75) - rank(0.25))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::detector::Detection;

    /// Sees each picture's face at a fixed place of the canvas.
    struct Fixed(Option<Detection>);

    impl Detector for Fixed {
        fn detect(&mut self, _: &Gray, found: &mut Vec<Detection>) -> Result<()> {
            found.clear();
            found.extend(self.0);
            Ok(())
        }
    }

    fn pictures(n: usize) -> impl Iterator<Item = Gray> {
        (0..n).map(|_| Gray::new(48, 48))
    }

    #[test]
    fn the_fitted_rule_maps_the_face_back_to_the_picture() {
        let face = Detection { rect: [116.0, 124.0, 80.0, 110.0], score: 0.9, ..Detection::default() };
        let fit = crop_rule_from(&mut Fixed(Some(face)), pictures(12), CropRule::FERPLUS).unwrap();
        assert_eq!((fit.pictures, fit.found, fit.rule.size_px), (12, 12, CropRule::FERPLUS.size_px));
        let [x, y, side] = fit.rule.square(Pose::of(&face).square());
        assert!((x - 48.0).abs() < 0.2 && (y - 48.0).abs() < 0.2 && (side - 144.0).abs() < 0.2, "{x} {y} {side}");
        assert_eq!((fit.iqr_side, fit.iqr_x, fit.iqr_y), (0.0, 0.0, 0.0));
    }

    #[test]
    fn too_few_faces_are_an_error() {
        let e = crop_rule_from(&mut Fixed(None), pictures(20), CropRule::FERPLUS).unwrap_err();
        assert_eq!(e.kind(), crate::ErrorKind::Input);
    }
}
