//! The student's shape: everything an engine needs to know besides the weights.

use super::HEADS;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// One convolution with square kernel, followed by ReLU. Zero padding is `kernel / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvSpec {
    /// Output channels.
    pub out: usize,
    /// Kernel side, odd.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
}

/// The causal student: ring of grey crops -> convolutions -> global mean -> GRU -> 42 logits.
///
/// Input is the ring as `ring` channels of `size_px` x `size_px` u8, oldest first. Its real value is
/// `(u8 - input_zero_point) * input_scale`; padding is the zero point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentSpec {
    /// Crops in the ring (the temporal taps of the stem).
    pub ring: usize,
    /// Side of a crop in pixels.
    pub size_px: usize,
    /// The u8 that stands for zero.
    pub input_zero_point: u8,
    /// Real value of one grey level.
    pub input_scale: f32,
    /// Convolutions in order; the first is the stem.
    pub convs: Vec<ConvSpec>,
    /// GRU units (the carried state).
    pub hidden: usize,
    /// Outputs, always [`HEADS`].
    pub outputs: usize,
}

/// A size's name and shape.
pub type Size = (&'static str, fn() -> StudentSpec);

impl StudentSpec {
    /// Name -> shape of the sizes that are trained.
    pub const SIZES: [Size; 3] = [("pico", Self::pico), ("nano", Self::nano), ("small", Self::small)];

    /// Most trainable values, 16 MiB in f32: twice those of `small`.
    pub const MOST_PARAMETERS: u64 = 4 << 20;

    /// Most values of input and convolutions' outputs together: seventeen times those of `small`.
    pub const MOST_ACTIVATIONS: u64 = 4 << 20;

    /// Most multiply-accumulates of a step: four times those of `small`.
    pub const MOST_MACS: u64 = 1 << 29;

    fn of(convs: &[(usize, usize, usize)], hidden: usize) -> Self {
        Self {
            ring: 5,
            size_px: 80,
            input_zero_point: 128,
            input_scale: 1.0 / 64.0,
            convs: convs.iter().map(|&(out, kernel, stride)| ConvSpec { out, kernel, stride }).collect(),
            hidden,
            outputs: HEADS,
        }
    }

    /// 8.3 million multiply-accumulates a frame.
    pub fn pico() -> Self {
        Self::of(&[(16, 5, 2), (32, 3, 2), (32, 3, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1)], 64)
    }

    /// 34.8 million multiply-accumulates a frame.
    pub fn nano() -> Self {
        let convs = [(32, 7, 2), (32, 3, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1), (64, 3, 1), (128, 3, 2), (128, 3, 1)];
        Self::of(&convs, 128)
    }

    /// 118.8 million multiply-accumulates a frame.
    pub fn small() -> Self {
        let convs = [
            (48, 7, 2),
            (64, 3, 2),
            (64, 3, 1),
            (64, 3, 1),
            (128, 3, 2),
            (128, 3, 1),
            (128, 3, 1),
            (256, 3, 2),
            (256, 3, 1),
        ];
        Self::of(&convs, 256)
    }

    /// The size called `name`.
    ///
    /// # Errors
    /// If there is none; the remedy names those there are.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::SIZES.iter().find(|(n, _)| *n == name).map(|(_, spec)| spec());
        found.ok_or_else(|| Error::usage(format!("{name} is no size of student")).remedy("choose pico, nano or small"))
    }

    /// Input and output side of each convolution: `(in_ch, in_px, out_px)`.
    pub fn shapes(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (mut ch, mut px) = (self.ring, self.size_px);
        self.convs.iter().map(move |c| {
            let out_px = (px + 2 * (c.kernel / 2) - c.kernel) / c.stride + 1;
            let shape = (ch, px, out_px);
            (ch, px) = (c.out, out_px);
            shape
        })
    }

    /// Width of the feature vector after the global mean.
    pub fn features(&self) -> usize {
        self.convs.last().map_or(0, |c| c.out)
    }

    /// Multiply-accumulates of one step.
    pub fn macs(&self) -> u64 {
        let conv =
            |(c, (ch, _, px)): (&ConvSpec, (usize, usize, usize))| product([px, px, c.out, ch, c.kernel, c.kernel]);
        let convs: u64 = self.convs.iter().zip(self.shapes()).map(conv).sum();
        convs + product([3, self.hidden, self.features() + self.hidden]) + product([self.outputs, self.hidden])
    }

    /// Trainable values after folding.
    pub fn parameters(&self) -> u64 {
        let conv = |(c, (ch, _, _)): (&ConvSpec, (usize, usize, usize))| product([c.out, ch * c.kernel * c.kernel + 1]);
        let convs: u64 = self.convs.iter().zip(self.shapes()).map(conv).sum();
        convs + product([3, self.hidden, self.features() + self.hidden + 2]) + product([self.outputs, self.hidden + 1])
    }

    /// Values of the input and of every convolution's output.
    pub fn activations(&self) -> u64 {
        let outputs = self.convs.iter().zip(self.shapes()).map(|(c, (_, _, px))| product([c.out, px, px]));
        product([self.ring, self.size_px, self.size_px]) + outputs.sum::<u64>()
    }

    /// Refuses sizes that are good each, but ask for too much together.
    fn ensure_small(&self) -> Result<()> {
        for (what, have, most) in [
            ("trainable values", self.parameters(), Self::MOST_PARAMETERS),
            ("values of input and outputs of convolutions", self.activations(), Self::MOST_ACTIVATIONS),
            ("multiply-accumulates a step", self.macs(), Self::MOST_MACS),
        ] {
            if have > most {
                return Err(Error::model(format!("student has {have} {what}, at most {most} are run"))
                    .remedy("use a student of the size of pico, nano or small"));
            }
        }
        Ok(())
    }

    /// Refuses shapes that no engine can run.
    pub fn validate(&self) -> Result<()> {
        let fail = |what: String| Err(Error::model(what));
        if !(1..=16).contains(&self.ring) {
            return fail(format!("student.ring is {}, expected 1 to 16", self.ring));
        }
        if !(16..=512).contains(&self.size_px) {
            return fail(format!("student.size_px is {}, expected 16 to 512", self.size_px));
        }
        if !(self.input_scale.is_finite() && self.input_scale > 0.0) {
            return fail(format!("student.input_scale is {}, expected a positive number", self.input_scale));
        }
        if self.convs.is_empty() || self.convs.len() > 64 {
            return fail(format!("student has {} convolutions, expected 1 to 64", self.convs.len()));
        }
        for (i, c) in self.convs.iter().enumerate() {
            let ok = (1..=2048).contains(&c.out) && c.kernel % 2 == 1 && c.kernel <= 15 && (1..=4).contains(&c.stride);
            if !ok {
                return fail(format!(
                    "student.convs[{i}] is {c:?}, expected out 1-2048, odd kernel up to 15, stride 1-4"
                ));
            }
        }
        if !(1..=2048).contains(&self.hidden) {
            return fail(format!("student.hidden is {}, expected 1 to 2048", self.hidden));
        }
        if self.outputs != HEADS {
            return fail(format!("student.outputs is {}, expected {HEADS}", self.outputs));
        }
        self.ensure_small()
    }
}

/// In 64 bits, which the largest shape that passes the checks of single sizes does not leave.
fn product<const N: usize>(sizes: [usize; N]) -> u64 {
    sizes.iter().map(|&n| n as u64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_valid_and_as_large_as_they_say() {
        let figures = |(name, spec): (&'static str, fn() -> StudentSpec)| {
            let s = spec();
            s.validate().unwrap();
            assert_eq!(StudentSpec::named(name).unwrap(), s);
            (name, s.macs(), s.parameters())
        };
        let want = [("pico", 8_296_064, 108_266), ("nano", 34_766_080, 444_650), ("small", 118_752_768, 1_773_194)];
        assert_eq!(StudentSpec::SIZES.map(figures), want);
        assert_eq!(StudentSpec::nano().shapes().map(|x| x.2).collect::<Vec<_>>(), [40, 20, 20, 10, 10, 10, 5, 5]);
        assert!(StudentSpec::named("large").unwrap_err().to_string().contains("pico"));
    }

    #[test]
    fn the_largest_size_has_room_below_every_limit() {
        let s = StudentSpec::small();
        assert_eq!(s.activations(), 236_800);
        assert!(2 * s.parameters() < StudentSpec::MOST_PARAMETERS && 4 * s.macs() < StudentSpec::MOST_MACS);
        assert!(8 * s.activations() < StudentSpec::MOST_ACTIVATIONS);
    }

    #[test]
    fn sizes_that_are_good_each_but_too_much_together_are_refused() {
        let conv = |out, kernel, stride| ConvSpec { out, kernel, stride };
        let of = |ring, size_px, convs: &[ConvSpec], hidden| StudentSpec {
            ring,
            size_px,
            convs: convs.into(),
            hidden,
            ..StudentSpec::pico()
        };
        for (spec, want) in [
            (of(16, 512, &[conv(2048, 1, 1)], 64), "541065216 values of input and outputs of convolutions, at most"),
            (of(5, 80, &[conv(2048, 3, 4), conv(2048, 3, 4)], 64), "trainable values, at most 4194304 are run"),
            (of(5, 80, &[conv(8, 3, 2)], 2048), "trainable values"),
            (of(5, 80, &[conv(512, 3, 1), conv(512, 3, 1)], 64), "values of input and outputs"),
            (of(5, 80, &[conv(64, 15, 1), conv(128, 15, 1), conv(8, 1, 4)], 8), "multiply-accumulates a step"),
            (of(16, 512, &[conv(2048, 15, 1); 64], 2048), "trainable values"),
        ] {
            let e = spec.validate().unwrap_err().to_string();
            assert!(e.contains(want) && e.contains("pico, nano or small"), "{e}");
        }
    }
}
