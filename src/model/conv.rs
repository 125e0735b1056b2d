//! Convolutions in memory, in either arithmetic, and what holds for int8 ones in every network.

use crate::error::{Error, Result};
use crate::quant;

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
    /// Requantising factor of each channel, `f32(f32(input_scale * weight_scale) / output_scale)`,
    /// as stored in the file.
    pub requant: Vec<f32>,
}

impl ConvI8 {
    /// Checks the convolution called `name` of `out` channels with `fan` weights each, whose input
    /// has the scale `scale` and the zero point `zero`.
    ///
    /// # Errors
    /// Names the tensor and what was expected.
    pub(super) fn validate(&self, name: &str, [out, fan]: [usize; 2], scale: f32, zero: u8) -> Result<()> {
        ensure_len(&format!("{name}.weight"), self.weight.len(), out * fan)?;
        ensure_len(&format!("{name}.bias"), self.bias.len(), out)?;
        ensure_len(&format!("{name}.weight_scale"), self.weight_scale.len(), out)?;
        ensure_len(&format!("{name}.requant"), self.requant.len(), out)?;
        if self.input_scale != scale {
            return Err(Error::model(format!("{name}.input_scale is {}, expected {scale}", self.input_scale)));
        }
        ensure_exact(name, &self.weight, &self.bias, zero)?;
        ensure_finite(&format!("{name}.requant"), &self.requant)?;
        for (o, (&w, &s)) in self.weight_scale.iter().zip(&self.requant).enumerate() {
            if s != quant::requant_scale(self.input_scale, w, self.output_scale) || s <= 0.0 {
                return Err(Error::model(format!("{name}.requant[{o}] is {s}, which its scales do not give")));
            }
        }
        Ok(())
    }
}

/// Refuses a tensor of another length.
pub(super) fn ensure_len(name: &str, have: usize, want: usize) -> Result<()> {
    if have == want { Ok(()) } else { Err(Error::model(format!("{name} has {have} values, expected {want}"))) }
}

/// Refuses values that are not finite.
pub(super) fn ensure_finite(name: &str, v: &[f32]) -> Result<()> {
    match v.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(i) => Err(Error::model(format!("{name}[{i}] is {}, expected a finite number", v[i]))),
    }
}

/// Refuses weights of -128, and weights and biases with which an accumulator could leave i32 on
/// some input of u8 with the zero point `zero`. No partial sum, in whatever order, then leaves it
/// either.
pub(super) fn ensure_exact(name: &str, weight: &[i8], bias: &[i32], zero: u8) -> Result<()> {
    if let Some(j) = weight.iter().position(|&w| w == -128) {
        return Err(Error::model(format!("{name}.weight[{j}] is -128, expected -127 to 127")));
    }
    let (fan, zero) = (weight.len() / bias.len().max(1), i64::from(zero));
    for (o, (row, &bias)) in weight.chunks_exact(fan.max(1)).zip(bias).enumerate() {
        let sum = |sign: i64| row.iter().map(|&w| (sign * i64::from(w)).max(0)).sum::<i64>();
        let (up, down) = (sum(1), sum(-1));
        let (least, most) = (down * (zero - 255) - up * zero, up * (255 - zero) + down * zero);
        let (bias, range) = (i64::from(bias), i64::from(i32::MIN)..=i64::from(i32::MAX));
        if !range.contains(&(bias + least)) || !range.contains(&(bias + most)) {
            let what = format!("accumulator {o} can reach {} to {}, more than 32 bits hold", bias + least, bias + most);
            return Err(Error::model(what).at(name));
        }
    }
    Ok(())
}
