//! Students small enough to mutate.

use vaerr::model::{Conv, ConvI8, Gru, Linear, Student, Trunk};
use vaerr::spec::{ConvSpec, HEADS, StudentSpec};

fn spec() -> StudentSpec {
    StudentSpec {
        ring: 1,
        size_px: 16,
        input_zero_point: 128,
        input_scale: 1.0 / 64.0,
        convs: vec![ConvSpec { out: 2, kernel: 1, stride: 4 }, ConvSpec { out: 1, kernel: 3, stride: 1 }],
        hidden: 1,
        outputs: HEADS,
    }
}

/// `n` values that lie on no int8 grid.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (0.7 * i as f32 + 0.3).sin()).collect()
}

fn with(trunk: Trunk) -> Student {
    let gru = Gru { w: values(3), r: values(3), wb: values(3), rb: values(3) };
    let head = Linear { weight: values(HEADS), bias: values(HEADS) };
    Student { spec: spec(), trunk, gru, head }
}

/// In fp32.
pub fn fp32() -> Student {
    with(Trunk::Fp32(vec![Conv { weight: values(2), bias: values(2) }, Conv { weight: values(18), bias: values(1) }]))
}

/// In int8.
pub fn int8() -> Student {
    let conv = |weight: Vec<i8>, out: usize, input_scale: f32, output_scale: f32| {
        let weight_scale: Vec<f32> = (1..=out).map(|o| 0.01 * o as f32).collect();
        let requant = weight_scale.iter().map(|w| (input_scale * w) / output_scale).collect();
        ConvI8 { weight, bias: vec![5; out], input_scale, weight_scale, output_scale, requant }
    };
    let second = (0..18).map(|i| (i * 11 - 99) as i8).collect();
    with(Trunk::Int8(vec![conv(vec![127, -3], 2, 1.0 / 64.0, 0.02), conv(second, 1, 0.02, 0.03)]))
}

/// [`int8`] with matrices on int8 grids, which are written in int8.
pub fn gridded() -> Student {
    let mut student = int8();
    for matrix in [&mut student.gru.w, &mut student.gru.r, &mut student.head.weight] {
        matrix.iter_mut().for_each(|v| *v = (*v * 100.0).round() / 128.0);
    }
    student
}
