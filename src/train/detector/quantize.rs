//! From a trained network to the int8 one that engines run.

use super::net::{DetectorNet, Pass, UNIT, ZERO};
use super::scenes::Scene;
use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::model::{Conv, ConvI8, DetectorModel, MapHead};
use crate::preprocess::Fitter;
use crate::spec::detector::{CELL, DetectorSpec};
use crate::train::fold::{fold_norm, values};
use crate::train::quantize::calibrate::{Calibrate, WeightRange, range, weight_scale};
use crate::train::quantize::quantize_conv_by;

/// Values of a layer that its range is chosen from, taken evenly from all pictures.
const VALUES: usize = 1 << 22;

/// What 255 stands for in the output of each convolution.
fn ranges(net: &DetectorNet, scenes: &[Scene], long_px: usize, how: Calibrate) -> Result<Vec<f32>> {
    let mut seen: Vec<Vec<f32>> = vec![Vec::new(); net.convs.len()];
    let mut fitter = Fitter::default();
    for scene in scenes {
        let mut picture = Gray::default();
        fitter.fit(&scene.picture, long_px, &mut picture);
        let pass = Pass::new(net, &picture.data, [1, picture.height, picture.width], false)?;
        for (seen, y) in seen.iter_mut().zip(pass.activations()) {
            let share = VALUES / scenes.len().max(1);
            seen.extend(y.iter().step_by((y.len() / share.max(1)).max(1)));
        }
    }
    let of = |(i, v): (usize, &Vec<f32>)| {
        range(v, how, 0.9999).ok_or_else(|| Error::input(format!("convolution {i} gives nothing on these pictures")))
    };
    seen.iter().enumerate().map(of).collect()
}

fn scales(weight: &[f32], rows: usize, how: WeightRange) -> Vec<f32> {
    weight.chunks_exact(weight.len() / rows).map(|row| weight_scale(row, how)).collect()
}

/// Quantises after training: activations by the range of least squared error on `scenes`, each with
/// its longer side at `long_px`, weights by channel.
///
/// # Errors
/// A layer that gives nothing, or accumulators that could leave 32 bits.
pub fn quantize(net: &DetectorNet, spec: &DetectorSpec, scenes: &[Scene], long_px: usize) -> Result<DetectorModel> {
    let ranges = ranges(net, scenes, long_px, Calibrate::Mse)?;
    let mut convs: Vec<ConvI8> = Vec::new();
    for (layer, range) in net.convs.iter().zip(ranges) {
        let conv = &fold_norm(&values(layer.conv.val())?, &layer.norm)?;
        let input_scale = convs.last().map_or(1.0 / UNIT, |c| c.output_scale);
        let scales = scales(&conv.weight, conv.bias.len(), WeightRange::Mse);
        convs.push(quantize_conv_by(conv, input_scale, scales, range / 255.0));
    }
    let heads = net.heads.iter().zip(&spec.taps).map(|(h, &tap)| {
        let conv = Conv { weight: values(h.weight.val())?, bias: values(h.bias.val())? };
        // The largest weight keeps its place: heads have few, and no range of outputs to fit.
        let scales = scales(&conv.weight, CELL, WeightRange::Max);
        let input_scale = convs[tap].output_scale;
        let scale = scales.iter().map(|s| s * input_scale).collect();
        let on_grid = quantize_conv_by(&conv, input_scale, scales, 1.0);
        Ok(MapHead { weight: on_grid.weight, bias: on_grid.bias, scale })
    });
    let heads = heads.collect::<Result<_>>()?;
    let model = DetectorModel { spec: spec.clone(), input_scale: 1.0 / UNIT, input_zero_point: ZERO, convs, heads };
    model.validate()?;
    Ok(model)
}
