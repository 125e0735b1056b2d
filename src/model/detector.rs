//! A fully convolutional int8 network in memory: a chain of convolutions on a grey picture, and
//! maps of f32 read off some of them.

use super::ConvI8;
use super::conv::{ensure_exact, ensure_len};
use crate::error::{Error, Result};
use crate::spec::detector::{CELL, DetectorSpec};

/// The head of one map: a 1x1 convolution without ReLU to [`CELL`] values.
///
/// `value[o] = f32(acc) * scale[o]`, where `acc = bias[o] + sum over i of weight[o][i] * x[i]` is
/// exact in i32: one multiplication in f32 and no rounding to a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct MapHead {
    /// [`CELL`] rows of as many values as the convolution has channels, in [-127, 127].
    pub weight: Vec<i8>,
    /// In units of `scale[o]`.
    pub bias: Vec<i32>,
    /// Real value of one unit of each accumulator, as stored in the file.
    pub scale: Vec<f32>,
}

/// The whole network. Its picture may have any size.
///
/// A grey value `u` of the picture stands for `(u - input_zero_point) * input_scale`, and its
/// padding for 0. All later activations are u8 with the zero point 0. Every convolution is padded
/// by half its kernel and gives `ceil(n / stride)` values for `n`.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorModel {
    pub spec: DetectorSpec,
    /// Real value of one grey level.
    pub input_scale: f32,
    /// The grey level that stands for zero.
    pub input_zero_point: u8,
    /// One for each of `spec.convs`.
    pub convs: Vec<ConvI8>,
    /// One for each of `spec.taps`.
    pub heads: Vec<MapHead>,
}

impl DetectorModel {
    /// The zero point of what convolution `i` sees.
    pub fn zero_point(&self, i: usize) -> u8 {
        if i == 0 { self.input_zero_point } else { 0 }
    }

    /// Checks every length against the shape, that every value is finite, those of maps too, and the
    /// int8 contract.
    ///
    /// # Errors
    /// Names the tensor and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.spec.validate()?;
        ensure_len("convs", self.convs.len(), self.spec.convs.len())?;
        ensure_len("heads", self.heads.len(), self.spec.taps.len())?;
        ensure_positive("input_scale", self.input_scale)?;
        let mut scale = self.input_scale;
        for (i, (conv, c)) in self.convs.iter().zip(&self.spec.convs).enumerate() {
            let fan = self.spec.input(i) * c.kernel * c.kernel;
            conv.validate(&format!("conv{i}"), [c.out, fan], scale, self.zero_point(i))?;
            ensure_positive(&format!("conv{i}.output_scale"), conv.output_scale)?;
            scale = conv.output_scale;
        }
        for (m, (head, &tap)) in self.heads.iter().zip(&self.spec.taps).enumerate() {
            head.validate(&format!("map{m}"), self.spec.convs[tap].out)?;
        }
        Ok(())
    }
}

impl MapHead {
    fn validate(&self, name: &str, channels: usize) -> Result<()> {
        ensure_len(&format!("{name}.weight"), self.weight.len(), CELL * channels)?;
        ensure_len(&format!("{name}.bias"), self.bias.len(), CELL)?;
        ensure_len(&format!("{name}.scale"), self.scale.len(), CELL)?;
        ensure_exact(name, &self.weight, &self.bias, 0)?;
        for (o, &s) in self.scale.iter().enumerate() {
            ensure_positive(&format!("{name}.scale[{o}]"), s)?;
            if !(i32::MIN as f32 * s).is_finite() {
                return Err(Error::model(format!("{name}.scale[{o}] is {s}, with which values can overflow")));
            }
        }
        Ok(())
    }
}

fn ensure_positive(name: &str, value: f32) -> Result<()> {
    let good = value.is_finite() && value > 0.0;
    if good { Ok(()) } else { Err(Error::model(format!("{name} is {value}, expected a positive number"))) }
}

/// A small one for tests.
#[cfg(test)]
pub(super) fn tiny() -> DetectorModel {
    use crate::quant::requant_scale;
    use crate::spec::ConvSpec;
    let convs = [(3, 3, 2), (2, 1, 1)].map(|(out, kernel, stride)| ConvSpec { out, kernel, stride });
    let conv = |(out, fan, input_scale): (usize, usize, f32)| ConvI8 {
        weight: vec![5; out * fan],
        bias: vec![-7; out],
        input_scale,
        weight_scale: vec![0.5; out],
        output_scale: 0.25,
        requant: vec![requant_scale(input_scale, 0.5, 0.25); out],
    };
    let head = |channels| MapHead { weight: vec![-3; CELL * channels], bias: vec![9; CELL], scale: vec![0.125; CELL] };
    DetectorModel {
        spec: DetectorSpec { convs: convs.into(), taps: vec![0, 1] },
        input_scale: 1.0,
        input_zero_point: 128,
        convs: [(3, 9, 1.0), (2, 3, 0.25)].map(conv).into(),
        heads: [3, 2].map(head).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        tiny().validate().unwrap();
        type Change = fn(&mut DetectorModel);
        let cases: [(Change, &str); 17] = [
            (|m| m.spec.taps.push(2), "reads maps off the convolutions [0, 1, 2]"),
            (|m| m.spec.taps.truncate(1), "heads has 2 values, expected 1"),
            (|m| m.convs.truncate(1), "convs has 1 values, expected 2"),
            (|m| m.input_scale = f32::NAN, "input_scale is NaN, expected a positive number"),
            (|m| m.input_scale = 2.0, "conv0.input_scale is 1, expected 2"),
            (|m| m.convs[0].weight[3] = -128, "conv0.weight[3] is -128"),
            (|m| m.convs[1].weight.truncate(5), "conv1.weight has 5 values, expected 6"),
            (|m| m.convs[1].bias.truncate(1), "conv1.bias has 1 values, expected 2"),
            (|m| m.convs[1].bias[1] = i32::MAX - 9, "conv1: accumulator 1 can reach"),
            // On a picture darker than the zero point, positive weights take off.
            (|m| m.convs[0].bias[2] = i32::MIN + 9, "conv0: accumulator 2 can reach"),
            (|m| m.convs[1].requant[0] = 0.25, "conv1.requant[0] is 0.25, which its scales do not give"),
            (|m| m.heads[1].weight[0] = -128, "map1.weight[0] is -128"),
            (|m| m.heads[0].weight.truncate(47), "map0.weight has 47 values, expected 48"),
            (|m| m.heads[0].bias[15] = i32::MIN, "map0: accumulator 15 can reach"),
            (|m| m.heads[1].scale[2] = f32::INFINITY, "map1.scale[2] is inf, expected a positive number"),
            (|m| m.heads[1].scale[2] = 1e30, "map1.scale[2] is 1000000000000000000000000000000, with which values"),
            (|m| m.heads[1].scale[2] = 0.0, "map1.scale[2] is 0, expected a positive number"),
        ];
        for (change, want) in cases {
            let mut changed = tiny();
            change(&mut changed);
            let e = changed.validate().unwrap_err().to_string();
            assert!(e.contains(want), "{want}: {e}");
        }
    }
}
