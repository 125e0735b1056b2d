//! The student in memory: folded weights in either arithmetic, independent of any file or engine.

use super::conv::{ensure_finite, ensure_len};
use super::{Conv, ConvI8};
use crate::error::Result;
use crate::spec::StudentSpec;

/// Which arithmetic a student's convolutions use. GRU and heads are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Floating point throughout.
    Fp32,
    /// u8 activations, s8 weights, i32 accumulators (see `docs/architecture.md`).
    Int8,
}

impl Precision {
    /// `fp32` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Int8 => "int8",
        }
    }
}

/// The convolutions.
#[derive(Debug, Clone, PartialEq)]
pub enum Trunk {
    Fp32(Vec<Conv>),
    Int8(Vec<ConvI8>),
}

/// GRU weights in ONNX order (update z, reset r, new h), `linear_before_reset = 1`:
/// `z = s(Wz x + bz + Rz h + cz)`, `r = s(Wr x + br + Rr h + cr)`, `n = tanh(Wh x + bh + r (Rh h + ch))`,
/// `h' = (1 - z) n + z h`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gru {
    /// `3 * hidden` rows of `features`.
    pub w: Vec<f32>,
    /// `3 * hidden` rows of `hidden`.
    pub r: Vec<f32>,
    /// `3 * hidden` input biases.
    pub wb: Vec<f32>,
    /// `3 * hidden` recurrent biases.
    pub rb: Vec<f32>,
}

/// A linear layer, `out` rows of `in`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// The whole student.
#[derive(Debug, Clone, PartialEq)]
pub struct Student {
    pub spec: StudentSpec,
    pub trunk: Trunk,
    pub gru: Gru,
    /// Hidden state -> 42 logits; the bin rows carry the calibration temperature already.
    pub head: Linear,
}

impl Student {
    /// The arithmetic of the convolutions.
    pub fn precision(&self) -> Precision {
        match self.trunk {
            Trunk::Fp32(_) => Precision::Fp32,
            Trunk::Int8(_) => Precision::Int8,
        }
    }

    /// Checks every length against the shape, that every value is finite, and the int8 contract.
    ///
    /// # Errors
    /// Names the tensor and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.spec.validate()?;
        let layers = match &self.trunk {
            Trunk::Fp32(c) => c.len(),
            Trunk::Int8(c) => c.len(),
        };
        ensure_len("trunk", layers, self.spec.convs.len())?;
        let (mut scale, mut zero) = (self.spec.input_scale, self.spec.input_zero_point);
        for (i, (c, (in_ch, _, _))) in self.spec.convs.iter().zip(self.spec.shapes()).enumerate() {
            let fan = in_ch * c.kernel * c.kernel;
            match &self.trunk {
                Trunk::Fp32(convs) => {
                    ensure_len(&format!("conv{i}.weight"), convs[i].weight.len(), c.out * fan)?;
                    ensure_len(&format!("conv{i}.bias"), convs[i].bias.len(), c.out)?;
                    ensure_finite(&format!("conv{i}.weight"), &convs[i].weight)?;
                    ensure_finite(&format!("conv{i}.bias"), &convs[i].bias)?;
                }
                Trunk::Int8(convs) => {
                    convs[i].validate(&format!("conv{i}"), [c.out, fan], scale, zero)?;
                    (scale, zero) = (convs[i].output_scale, 0);
                }
            }
        }
        let (h, f) = (self.spec.hidden, self.spec.features());
        for (name, v, want) in [
            ("gru.w", &self.gru.w, 3 * h * f),
            ("gru.r", &self.gru.r, 3 * h * h),
            ("gru.wb", &self.gru.wb, 3 * h),
            ("gru.rb", &self.gru.rb, 3 * h),
            ("head.weight", &self.head.weight, self.spec.outputs * h),
            ("head.bias", &self.head.bias, self.spec.outputs),
        ] {
            ensure_len(name, v.len(), want)?;
            ensure_finite(name, v)?;
        }
        Ok(())
    }
}
