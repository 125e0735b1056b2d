//! The oracle of networks that give maps.

use super::Trace;
use super::loops::{Layers, whole};
use crate::engine::maps::{MapEngine, Maps, check_picture};
use crate::error::Result;
use crate::frame::Gray;
use crate::model::DetectorModel;
use crate::spec::detector::CELL;

/// The reference engine for networks that give maps.
pub struct MapReference {
    model: DetectorModel,
    loops: Layers<i32>,
    heads: Vec<Vec<i32>>,
}

impl MapReference {
    /// Opens the engine on a network.
    ///
    /// # Errors
    /// If the network is inconsistent.
    pub fn open(model: &DetectorModel) -> Result<Self> {
        model.validate()?;
        let heads = model.heads.iter().map(|h| whole(&h.weight)).collect();
        Ok(Self { loops: Layers::int8(&model.convs), heads, model: model.clone() })
    }

    /// A run that also records every layer.
    ///
    /// # Errors
    /// As [`MapEngine::run`].
    pub fn run_traced(&mut self, picture: &Gray, maps: &mut Maps, trace: &mut Trace) -> Result<()> {
        self.pass(picture, maps, Some(trace))
    }

    fn pass(&mut self, picture: &Gray, maps: &mut Maps, mut trace: Option<&mut Trace>) -> Result<()> {
        check_picture(picture)?;
        let (model, loops) = (&self.model, &mut self.loops);
        let mut before = [picture.height, picture.width];
        let maps = maps.fit(&model.spec, before);
        if let Some(t) = trace.as_deref_mut() {
            t.layers.clear();
        }
        loops.x.clear();
        loops.x.extend(picture.data.iter().map(|&b| i32::from(b) - i32::from(model.input_zero_point)));
        for (i, (c, conv)) in model.spec.convs.iter().zip(&model.convs).enumerate() {
            let after = model.spec.size(i, [picture.height, picture.width]);
            loops.convolve(i, *c, model.spec.input(i), [before, after]);
            loops.requantize(&conv.requant);
            before = after;
            if let Some(t) = trace.as_deref_mut() {
                t.layers.push(loops.x.iter().map(|&v| v as f32 * conv.output_scale).collect());
            }
            if let Some(m) = model.spec.taps.iter().position(|&tap| tap == i) {
                let head = &model.heads[m];
                read(&loops.x, &self.heads[m], &head.bias, &head.scale, &mut maps[m].cells);
            }
        }
        Ok(())
    }
}

/// A 1x1 convolution of the planes `x` to a cell for every place.
fn read(x: &[i32], weight: &[i32], bias: &[i32], scale: &[f32], cells: &mut [[f32; CELL]]) {
    let (area, channels) = (cells.len(), weight.len() / CELL);
    for (place, cell) in cells.iter_mut().enumerate() {
        for (o, value) in cell.iter_mut().enumerate() {
            let mut acc = bias[o];
            for c in 0..channels {
                acc += weight[o * channels + c] * x[c * area + place];
            }
            *value = acc as f32 * scale[o];
        }
    }
}

impl MapEngine for MapReference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn run(&mut self, picture: &Gray, maps: &mut Maps) -> Result<()> {
        self.pass(picture, maps, None)
    }
}
