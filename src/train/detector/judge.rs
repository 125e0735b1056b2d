//! Whole pictures through the network, and what it finds in them.

use super::Detecting;
use super::draw::{Placing, row};
use super::net::{DetectorNet, Pass};
use super::scenes::Scene;
use super::score::{Figures, Found, figures};
use crate::error::Result;
use crate::frame::Gray;
use crate::preprocess::Fitter;
use crate::session::Finder;
use crate::spec::detector::{Detection, DetectorSpec, gather, suppress};
use crate::train::run::{Judge, Verdict};

/// Cells below this score are not looked at.
pub const LEAST_SCORE: f32 = 0.03;

/// Something that finds faces in a picture, best first, in the picture's pixels.
pub trait Finds {
    /// # Errors
    /// If the network cannot be run.
    fn find(&mut self, picture: &Gray) -> Result<Vec<Detection>>;
}

/// A network in training, in inference mode.
pub struct Trained<'a> {
    pub net: &'a DetectorNet,
    pub spec: &'a DetectorSpec,
}

impl Finds for Trained<'_> {
    fn find(&mut self, picture: &Gray) -> Result<Vec<Detection>> {
        let size = [picture.height, picture.width];
        let pass = Pass::new(self.net, &picture.data, [1, size[0], size[1]], false)?;
        let mut found = Vec::new();
        for (values, &tap) in pass.maps.iter().zip(&self.spec.taps) {
            let (cells, width) = (values.as_chunks().0, self.spec.size(tap, size)[1]);
            gather(cells, width, self.spec.stride(tap), LEAST_SCORE, &mut found);
        }
        suppress(&mut found);
        Ok(found)
    }
}

impl Finds for Finder {
    fn find(&mut self, picture: &Gray) -> Result<Vec<Detection>> {
        let mut found = Vec::new();
        self.search(picture, &mut found)?;
        Ok(found)
    }
}

/// What `finder` reaches on pictures, each with its longer side at `long_px` and rolled by
/// `roll_deg`.
///
/// # Errors
/// If the network cannot be run.
pub fn judged(finder: &mut dyn Finds, scenes: &[Scene], long_px: usize, roll_deg: f32) -> Result<Figures> {
    let (mut all, mut fitter) = (Vec::with_capacity(scenes.len()), Fitter::default());
    for scene in scenes {
        let mut picture = Gray::default();
        fitter.fit(&scene.picture, long_px, &mut picture);
        let long = picture.width.max(picture.height) as f32;
        let factor = long / scene.picture.width.max(scene.picture.height) as f32;
        let mut placing = Placing::new([0.0; 2], [0.0; 2], factor, 0.0, false);
        if roll_deg != 0.0 {
            (picture, placing) = rolled(&picture, factor, roll_deg.to_radians());
        }
        let found = finder.find(&picture)?;
        let one = Found {
            found: found.iter().map(|c| (c.score, c.rect)).collect(),
            faces: scene.faces.iter().map(|f| placing.rect(f.rect)).collect(),
            turns: scene.faces.iter().map(|f| f.yaw_deg).collect(),
            ignored: scene.ignored.iter().map(|r| placing.rect(*r)).collect(),
        };
        all.push((one, long));
    }
    Ok(figures(&all))
}

/// A picture turned about its middle, clockwise, with room for all of it; and where the marks of
/// the picture that it was made of by `factor` lie in it.
fn rolled(picture: &Gray, factor: f32, roll_rad: f32) -> (Gray, Placing) {
    let (sin, cos) = (roll_rad.sin().abs(), roll_rad.cos().abs());
    let (w, h) = (picture.width as f32, picture.height as f32);
    let (width, height) = ((w * cos + h * sin).ceil() as usize, (w * sin + h * cos).ceil() as usize);
    let middle = [width as f32 / 2.0, height as f32 / 2.0];
    let here = Placing::new([w / 2.0, h / 2.0], middle, 1.0, roll_rad, false);
    let marks = Placing::new([w / 2.0 / factor, h / 2.0 / factor], middle, factor, roll_rad, false);
    let mut values = Vec::with_capacity(width * height);
    let [first, next] = [[0.5, 0.5], [1.5, 0.5]].map(|at| here.back(at));
    let step = [next[0] - first[0], next[1] - first[1]];
    for y in 0..height {
        let from = here.back([0.5, y as f32 + 0.5]).map(|v| v - 0.5);
        row(picture, from, step, false, width, &mut values);
    }
    let data = values.iter().map(|v| (v + 0.5) as u8).collect();
    (Gray { width, height, data }, marks)
}

/// Judges a training on pictures that are not trained on.
pub struct PictureJudge {
    pub scenes: Vec<Scene>,
    pub long_px: usize,
}

impl Judge<Detecting> for PictureJudge {
    fn judge(&mut self, method: &Detecting, net: &DetectorNet) -> Result<Verdict> {
        let found = judged(&mut Trained { net, spec: &method.spec }, &self.scenes, self.long_px, 0.0)?;
        let mut figures = vec![("valid/average_precision".to_owned(), found.average_precision)];
        for (size, recall) in super::score::SIZES.iter().zip(&found.recall) {
            figures.push((format!("valid/recall_from_{size}_px"), *recall));
        }
        Ok(Verdict { score: Some(found.average_precision), figures })
    }
}
