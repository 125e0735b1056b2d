//! The fp32 student's trunk in batches, for calibration and for judging many pictures.

use crate::error::{Error, Result};
use crate::model::{Conv, Student, Trunk};
use crate::spec::StudentSpec;
use burn::tensor::{Device, Tensor, TensorData, activation, module::conv2d, ops::ConvOptions};

/// Rings that go through the trunk together.
const CHUNK: usize = 32;

/// The convolutions of an fp32 student as tensors. They differ from the reference engine's, which accumulates in f64, by
/// the rounding of f32 sums.
pub struct FloatTrunk {
    spec: StudentSpec,
    convs: Vec<(Tensor<4>, Tensor<1>)>,
}

/// Real values of u8 rings, `(v - zero point) * scale`.
pub fn real(rings: &[u8], spec: &StudentSpec) -> Vec<f32> {
    let zero = f32::from(spec.input_zero_point);
    rings.iter().map(|&b| (f32::from(b) - zero) * spec.input_scale).collect()
}

/// The convolutions of an fp32 student.
///
/// # Errors
/// If it is int8.
pub fn convs(student: &Student) -> Result<&[Conv]> {
    match &student.trunk {
        Trunk::Fp32(convs) => Ok(convs),
        Trunk::Int8(_) => Err(Error::model("the student is int8 already").remedy("give the student in fp32")),
    }
}

impl FloatTrunk {
    /// # Errors
    /// If the student is int8 or inconsistent.
    pub fn new(student: &Student) -> Result<Self> {
        student.validate()?;
        let (spec, device) = (student.spec.clone(), Device::flex());
        let tensors = |((c, (ch, _, _)), conv): ((&crate::spec::ConvSpec, (usize, usize, usize)), &Conv)| {
            let weight = TensorData::new(conv.weight.clone(), [c.out, ch, c.kernel, c.kernel]);
            let bias = TensorData::new(conv.bias.clone(), [c.out]);
            (Tensor::from_data(weight, &device), Tensor::from_data(bias, &device))
        };
        let convs = spec.convs.iter().zip(spec.shapes()).zip(convs(student)?).map(tensors).collect();
        Ok(Self { spec, convs })
    }

    /// Output of convolution `i` after its ReLU, from its input; any number of pictures, one after the other, channel by
    /// channel.
    ///
    /// # Errors
    /// If the input is no whole number of pictures.
    pub fn layer(&self, i: usize, x: &[f32]) -> Result<Vec<f32>> {
        let Some((conv, (ch, px, _))) = self.spec.convs.get(i).zip(self.spec.shapes().nth(i)) else {
            return Err(Error::model(format!("there is no convolution {i}")));
        };
        let one = ch * px * px;
        if !x.len().is_multiple_of(one) {
            return Err(Error::model(format!("conv{i} is given {} values, expected pictures of {one}", x.len())));
        }
        let (weight, bias) = &self.convs[i];
        let options = || ConvOptions::new([conv.stride; 2], [conv.kernel / 2; 2], [1; 2], 1);
        let mut out = Vec::new();
        for part in x.chunks(CHUNK * one) {
            let data = TensorData::new(part.to_vec(), [part.len() / one, ch, px, px]);
            let x = Tensor::<4>::from_data(data, &weight.device());
            let y = activation::relu(conv2d(x, weight.clone(), Some(bias.clone()), options()));
            let y: Vec<f32> = y.into_data().try_to_vec().map_err(|e| Error::device(format!("conv{i}: {e:?}")))?;
            out.extend(y);
        }
        Ok(out)
    }

    /// Features of rings, `features` for each; rings one after the other.
    ///
    /// # Errors
    /// If the bytes are no whole number of rings.
    pub fn features(&self, rings: &[u8]) -> Result<Vec<f32>> {
        let one = self.spec.ring * self.spec.size_px * self.spec.size_px;
        let mut features = Vec::with_capacity(rings.len() / one * self.spec.features());
        for part in rings.chunks(CHUNK * one) {
            let mut x = real(part, &self.spec);
            for i in 0..self.convs.len() {
                x = self.layer(i, &x)?;
            }
            let area = x.len() / (part.len() / one).max(1) / self.spec.features();
            features.extend(x.chunks_exact(area).map(|p| p.iter().sum::<f32>() / area as f32));
        }
        Ok(features)
    }

    /// Largest value of each channel of each layer over the rings.
    ///
    /// # Errors
    /// As [`Self::features`].
    pub fn channel_maxima(&self, rings: &[u8]) -> Result<Vec<Vec<f32>>> {
        let one = self.spec.ring * self.spec.size_px * self.spec.size_px;
        let mut maxima: Vec<Vec<f32>> = self.spec.convs.iter().map(|c| vec![0.0; c.out]).collect();
        for part in rings.chunks(CHUNK * one) {
            let mut x = real(part, &self.spec);
            for (i, (top, (_, _, px))) in maxima.iter_mut().zip(self.spec.shapes()).enumerate() {
                x = self.layer(i, &x)?;
                for picture in x.chunks_exact(top.len() * px * px) {
                    for (t, plane) in top.iter_mut().zip(picture.chunks_exact(px * px)) {
                        *t = plane.iter().copied().fold(*t, f32::max);
                    }
                }
            }
        }
        Ok(maxima)
    }
}
