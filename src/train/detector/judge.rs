//! Whole pictures through the network, and what it finds in them.

use super::Detecting;
use super::draw::{Placing, sample};
use super::net::{DetectorNet, Pass};
use super::scenes::Scene;
use super::score::{Figures, Found, figures};
use crate::engine::maps::{MapEngine, Maps};
use crate::error::Result;
use crate::frame::Gray;
use crate::spec::detector::{CELL, Cell, DetectorSpec, suppress};
use crate::train::run::{Judge, Verdict};

/// Cells below this score are not looked at.
const LEAST_SCORE: f32 = 0.03;

/// Something that finds faces in a picture, best first, in the picture's pixels.
pub trait Finds {
    /// # Errors
    /// If the network cannot be run.
    fn find(&mut self, picture: &Gray) -> Result<Vec<Cell>>;
}

/// The faces that maps say there are.
fn faces<'a>(maps: impl Iterator<Item = (usize, usize, &'a [[f32; CELL]])>) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (stride, width, map) in maps {
        for (i, row) in map.iter().enumerate() {
            let cell = Cell::read(row, stride as f32, [i % width, i / width]);
            if cell.score >= LEAST_SCORE {
                cells.push(cell);
            }
        }
    }
    suppress(&mut cells);
    cells
}

/// A network in training, in inference mode.
pub struct Trained<'a> {
    pub net: &'a DetectorNet,
    pub spec: &'a DetectorSpec,
}

impl Finds for Trained<'_> {
    fn find(&mut self, picture: &Gray) -> Result<Vec<Cell>> {
        let size = [picture.height, picture.width];
        let pass = Pass::new(self.net, &picture.data, [1, size[0], size[1]], false)?;
        let map = |(values, &tap): (&'_ Vec<f32>, &usize)| {
            (self.spec.stride(tap), self.spec.size(tap, size)[1], values.as_chunks::<CELL>().0.to_vec())
        };
        let maps: Vec<_> = pass.maps.iter().zip(&self.spec.taps).map(map).collect();
        Ok(faces(maps.iter().map(|(stride, width, cells)| (*stride, *width, cells.as_slice()))))
    }
}

/// An int8 network on an engine.
pub struct Engined {
    pub engine: Box<dyn MapEngine>,
    maps: Maps,
}

impl Engined {
    pub fn new(engine: Box<dyn MapEngine>) -> Self {
        Self { engine, maps: Maps::default() }
    }
}

impl Finds for Engined {
    fn find(&mut self, picture: &Gray) -> Result<Vec<Cell>> {
        self.engine.run(picture, &mut self.maps)?;
        Ok(faces(self.maps.iter().map(|m| (m.stride, m.width, m.cells.as_slice()))))
    }
}

/// A picture with its longer side reduced or enlarged to `long_px`, area by area, and the factor.
pub fn resized(picture: &Gray, long_px: usize) -> (Gray, f32) {
    let factor = long_px as f32 / picture.width.max(picture.height) as f32;
    let side = |n: usize| ((n as f32 * factor).round() as usize).max(1);
    let (width, height) = (side(picture.width), side(picture.height));
    let taps = |out: usize, of: usize| -> Vec<Vec<(usize, f32)>> {
        let step = of as f32 / out as f32;
        let reach = step.max(1.0);
        (0..out)
            .map(|i| {
                let centre = (i as f32 + 0.5) * step - 0.5;
                let (low, high) = ((centre - reach).ceil() as isize, (centre + reach).floor() as isize);
                // A triangle as wide as an output pixel, or as an input pixel where it is enlarged.
                let all = (low..=high)
                    .map(|k| (k.clamp(0, of as isize - 1) as usize, 1.0 - (k as f32 - centre).abs() / reach));
                let all: Vec<_> = all.filter(|t| t.1 > 0.0).collect();
                let sum: f32 = all.iter().map(|t| t.1).sum();
                all.into_iter().map(|(k, w)| (k, w / sum)).collect()
            })
            .collect()
    };
    let (across, down) = (taps(width, picture.width), taps(height, picture.height));
    let lines: Vec<f32> = picture
        .data
        .chunks_exact(picture.width)
        .flat_map(|row| across.iter().map(|t| t.iter().map(|&(k, w)| w * f32::from(row[k])).sum::<f32>()))
        .collect();
    let data = down.iter().flat_map(|t| {
        let lines = &lines;
        (0..width).map(move |x| t.iter().map(|&(k, w)| w * lines[k * width + x]).sum::<f32>().round() as u8)
    });
    (Gray { width, height, data: data.collect() }, factor)
}

/// What `finder` reaches on pictures, each with its longer side at `long_px` and rolled by `roll_deg`.
///
/// # Errors
/// If the network cannot be run.
pub fn judged(finder: &mut dyn Finds, scenes: &[Scene], long_px: usize, roll_deg: f32) -> Result<Figures> {
    let mut all = Vec::with_capacity(scenes.len());
    for scene in scenes {
        let (mut picture, factor) = resized(&scene.picture, long_px);
        let mut placing = Placing::new([0.0; 2], [0.0; 2], factor, 0.0, false);
        if roll_deg != 0.0 {
            (picture, placing) = rolled(&picture, factor, roll_deg.to_radians());
        }
        let found = finder.find(&picture)?;
        let one = Found {
            found: found.iter().map(|c| (c.score, c.rect)).collect(),
            faces: scene.faces.iter().map(|f| placing.rect(f.rect)).collect(),
            ignored: scene.ignored.iter().map(|r| placing.rect(*r)).collect(),
        };
        all.push((one, long_px as f32));
    }
    Ok(figures(&all))
}

/// A picture turned about its middle, clockwise, with room for all of it; and where the marks of the picture that it was made of by
/// `factor` lie in it.
fn rolled(picture: &Gray, factor: f32, roll_rad: f32) -> (Gray, Placing) {
    let (sin, cos) = (roll_rad.sin().abs(), roll_rad.cos().abs());
    let (w, h) = (picture.width as f32, picture.height as f32);
    let (width, height) = ((w * cos + h * sin).ceil() as usize, (w * sin + h * cos).ceil() as usize);
    let middle = [width as f32 / 2.0, height as f32 / 2.0];
    let here = Placing::new([w / 2.0, h / 2.0], middle, 1.0, roll_rad, false);
    let marks = Placing::new([w / 2.0 / factor, h / 2.0 / factor], middle, factor, roll_rad, false);
    let places = (0..width * height).map(|i| here.back([(i % width) as f32 + 0.5, (i / width) as f32 + 0.5]));
    let data = places.map(|[u, v]| sample(picture, u - 0.5, v - 0.5, false).round() as u8).collect();
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
