//! Random students for tests.

use vaerr::model::{Conv, ConvI8, Gru, Linear, Student, Trunk};
use vaerr::quant;
use vaerr::render::Rng;
use vaerr::spec::{ConvSpec, HEADS, StudentSpec};

fn normals(rng: &mut Rng, n: usize, std: f32) -> Vec<f32> {
    (0..n).map(|_| std * rng.normal()).collect()
}

/// A small spec with odd sizes.
pub fn odd_spec(ring: usize, size_px: usize, stride: usize) -> StudentSpec {
    let conv = |out, kernel, stride| ConvSpec { out, kernel, stride };
    StudentSpec {
        ring,
        size_px,
        convs: vec![conv(8, 7, 2), conv(12, 3, stride), conv(5, 1, 1)],
        hidden: 7,
        ..StudentSpec::nano()
    }
}

/// He-like random weights in fp32.
pub fn fp32(spec: &StudentSpec, seed: u64) -> Student {
    let mut rng = Rng::new(seed, 0);
    let convs = spec.convs.iter().zip(spec.shapes()).map(|(c, (ch, _, _))| {
        let fan = ch * c.kernel * c.kernel;
        Conv { weight: normals(&mut rng, c.out * fan, (2.0 / fan as f32).sqrt()), bias: normals(&mut rng, c.out, 0.1) }
    });
    let trunk = Trunk::Fp32(convs.collect());
    let (h, f) = (spec.hidden, spec.features());
    let gru = Gru {
        w: normals(&mut rng, 3 * h * f, 0.3),
        r: normals(&mut rng, 3 * h * h, 0.3 / (h as f32).sqrt()),
        wb: normals(&mut rng, 3 * h, 0.1),
        rb: normals(&mut rng, 3 * h, 0.1),
    };
    let head = Linear { weight: normals(&mut rng, HEADS * h, 0.3), bias: normals(&mut rng, HEADS, 0.1) };
    Student { spec: spec.clone(), trunk, gru, head }
}

/// The same student in int8, over fixed activation ranges.
pub fn int8(spec: &StudentSpec, seed: u64) -> Student {
    let full = fp32(spec, seed);
    let Trunk::Fp32(convs) = &full.trunk else { unreachable!() };
    let mut input_scale = spec.input_scale;
    let quantized = convs.iter().map(|c| {
        let fan = c.weight.len() / c.bias.len();
        let weight_scale: Vec<f32> = c.weight.chunks_exact(fan).map(quant::weight_scale).collect();
        let output_scale = 6.0 / 255.0;
        let q = ConvI8 {
            weight: c
                .weight
                .iter()
                .enumerate()
                .map(|(i, &w)| quant::quantize_weight(w, weight_scale[i / fan]))
                .collect(),
            bias: c.bias.iter().zip(&weight_scale).map(|(&b, &s)| quant::quantize_bias(b, input_scale, s)).collect(),
            requant: weight_scale.iter().map(|&w| quant::requant_scale(input_scale, w, output_scale)).collect(),
            input_scale,
            weight_scale,
            output_scale,
        };
        input_scale = output_scale;
        q
    });
    let trunk = Trunk::Int8(quantized.collect());
    Student { trunk, ..full }
}
