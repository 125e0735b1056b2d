//! Random networks that give maps, for tests.

use vaerr::frame::Gray;
use vaerr::model::{ConvI8, DetectorModel, MapHead};
use vaerr::quant::requant_scale;
use vaerr::render::Rng;
use vaerr::spec::detector::{CELL, DetectorSpec};

fn weights(rng: &mut Rng, n: usize) -> Vec<i8> {
    (0..n).map(|_| (rng.below(255) as i32 - 127) as i8).collect()
}

/// Weights of the whole range, with factors that spread most outputs over their range.
pub fn random(spec: &DetectorSpec, zero: u8, seed: u64) -> DetectorModel {
    let mut rng = Rng::new(seed, 0);
    let mut convs = Vec::new();
    for (i, c) in spec.convs.iter().enumerate() {
        let fan = spec.input(i) * c.kernel * c.kernel;
        convs.push(ConvI8 {
            weight: weights(&mut rng, c.out * fan),
            bias: (0..c.out).map(|_| rng.below(4001) as i32 - 2000).collect(),
            input_scale: 0.0,
            weight_scale: (0..c.out)
                .map(|_| (0.5 + rng.below(100) as f32 / 100.0) / 100.0 / (fan as f32).sqrt())
                .collect(),
            output_scale: (5 + rng.below(5)) as f32 / 255.0,
            requant: Vec::new(),
        });
    }
    let heads = spec.taps.iter().map(|&tap| MapHead {
        weight: weights(&mut rng, CELL * spec.convs[tap].out),
        bias: (0..CELL).map(|_| rng.below(20_001) as i32 - 10_000).collect(),
        scale: (0..CELL).map(|_| 1e-5 * (1 + rng.below(1000)) as f32).collect(),
    });
    let heads = heads.collect();
    let mut model = DetectorModel { spec: spec.clone(), input_scale: 1.0 / 64.0, input_zero_point: zero, convs, heads };
    link(&mut model);
    model
}

/// Gives every convolution the input scale and the factors that the scales before it prescribe.
pub fn link(model: &mut DetectorModel) {
    let mut scale = model.input_scale;
    for conv in &mut model.convs {
        conv.input_scale = scale;
        conv.requant = conv.weight_scale.iter().map(|&w| requant_scale(scale, w, conv.output_scale)).collect();
        scale = conv.output_scale;
    }
}

/// Noise.
pub fn picture(width: usize, height: usize, rng: &mut Rng) -> Gray {
    Gray { width, height, data: (0..width * height).map(|_| rng.below(256) as u8).collect() }
}
