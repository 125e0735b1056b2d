//! The student in memory: folded weights in either arithmetic, independent of any file or engine.

use crate::error::{Error, Result};
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

/// A convolution in f32; weights OIHW. ReLU follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// A convolution in int8; weights OIHW in [-127, 127]. The ReLU is the lower clamp at 0.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvI8 {
    pub weight: Vec<i8>,
    /// In units of `input_scale * weight_scale[o]`, without any zero-point term.
    pub bias: Vec<i32>,
    /// Real value of one unit of the input.
    pub input_scale: f32,
    /// Real value of one unit of each output channel's weights.
    pub weight_scale: Vec<f32>,
    /// Real value of one unit of the output; its zero point is 0.
    pub output_scale: f32,
    /// Requantising factor of each channel, `f32(f32(input_scale * weight_scale) / output_scale)`, as stored in the file.
    pub requant: Vec<f32>,
}

impl ConvI8 {
    /// Refuses weights and biases with which an accumulator could leave i32 on some input. No partial sum, in whatever order, then
    /// leaves it either.
    fn ensure_exact(&self, zero_point: i64) -> Result<()> {
        let fan = self.weight.len() / self.bias.len();
        for (o, (row, &bias)) in self.weight.chunks_exact(fan).zip(&self.bias).enumerate() {
            let sum = |sign: i64| row.iter().map(|&w| (sign * i64::from(w)).max(0)).sum::<i64>();
            let (up, down) = (sum(1), sum(-1));
            let (least, most) =
                (down * (zero_point - 255) - up * zero_point, up * (255 - zero_point) + down * zero_point);
            let (bias, range) = (i64::from(bias), i64::from(i32::MIN)..=i64::from(i32::MAX));
            if !range.contains(&(bias + least)) || !range.contains(&(bias + most)) {
                return Err(Error::model(format!(
                    "accumulator {o} can reach {} to {}, more than 32 bits hold",
                    bias + least,
                    bias + most
                )));
            }
        }
        Ok(())
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
        let len = |name: String, have: usize, want: usize| {
            if have == want { Ok(()) } else { Err(Error::model(format!("{name} has {have} values, expected {want}"))) }
        };
        let finite = |name: String, v: &[f32]| match v.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(i) => Err(Error::model(format!("{name}[{i}] is {}, expected a finite number", v[i]))),
        };
        let layers = match &self.trunk {
            Trunk::Fp32(c) => c.len(),
            Trunk::Int8(c) => c.len(),
        };
        len("trunk".into(), layers, self.spec.convs.len())?;
        let mut scale = self.spec.input_scale;
        for (i, (c, (in_ch, _, _))) in self.spec.convs.iter().zip(self.spec.shapes()).enumerate() {
            let weights = c.out * in_ch * c.kernel * c.kernel;
            match &self.trunk {
                Trunk::Fp32(convs) => {
                    len(format!("conv{i}.weight"), convs[i].weight.len(), weights)?;
                    len(format!("conv{i}.bias"), convs[i].bias.len(), c.out)?;
                    finite(format!("conv{i}.weight"), &convs[i].weight)?;
                    finite(format!("conv{i}.bias"), &convs[i].bias)?;
                }
                Trunk::Int8(convs) => {
                    let q = &convs[i];
                    len(format!("conv{i}.weight"), q.weight.len(), weights)?;
                    len(format!("conv{i}.bias"), q.bias.len(), c.out)?;
                    len(format!("conv{i}.weight_scale"), q.weight_scale.len(), c.out)?;
                    len(format!("conv{i}.requant"), q.requant.len(), c.out)?;
                    if let Some(j) = q.weight.iter().position(|&w| w == -128) {
                        return Err(Error::model(format!("conv{i}.weight[{j}] is -128, expected -127 to 127")));
                    }
                    if q.input_scale != scale {
                        return Err(Error::model(format!(
                            "conv{i}.input_scale is {}, expected {scale}",
                            q.input_scale
                        )));
                    }
                    let zero = if i == 0 { i64::from(self.spec.input_zero_point) } else { 0 };
                    q.ensure_exact(zero).map_err(|e| e.at(format!("conv{i}")))?;
                    finite(format!("conv{i}.requant"), &q.requant)?;
                    for (o, (&w, &s)) in q.weight_scale.iter().zip(&q.requant).enumerate() {
                        if s != (q.input_scale * w) / q.output_scale || s <= 0.0 {
                            return Err(Error::model(format!(
                                "conv{i}.requant[{o}] is {s}, which its scales do not give"
                            )));
                        }
                    }
                    scale = q.output_scale;
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
            len(name.into(), v.len(), want)?;
            finite(name.into(), v)?;
        }
        Ok(())
    }
}
