//! The student whose convolutions train in int8.

use crate::error::{Error, Result};
use crate::model::{Conv, ConvI8, Student, Trunk};
use crate::spec::StudentSpec;
use crate::train::fold::{recurrent, values};
use crate::train::net::GruCell;
use crate::train::quantize::float::real;
use crate::train::quantize::{Ptq, integer, quantize_conv_by};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, module::conv2d, ops::ConvOptions};

/// One convolution, BatchNorm folded into it.
#[derive(Module, Debug)]
pub struct QatConv {
    /// `out x in x k x k`.
    pub weight: Param<Tensor<4>>,
    pub bias: Param<Tensor<1>>,
    /// Logarithm of each channel's weight scale over the one it started with.
    pub weight_shift: Param<Tensor<1>>,
    /// The same of the output's scale; one value.
    pub output_shift: Param<Tensor<1>>,
    /// Scales at the start, which no gradient reaches.
    pub weight_start: Param<Tensor<1>>,
    pub output_start: Param<Tensor<1>>,
    pub kernel: usize,
    pub stride: usize,
}

/// The trainable student in int8.
#[derive(Module, Debug)]
pub struct QatNet {
    pub convs: Vec<QatConv>,
    pub gru: GruCell,
    /// `hidden x 42`.
    pub head: Param<Tensor<2>>,
    pub head_bias: Param<Tensor<1>>,
}

fn param<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

fn constant<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// `values` going forward, the gradient of `t` going back. The difference of `t` from itself is nought exactly, so the
/// values are kept to the bit.
fn straight_through<const D: usize>(t: Tensor<D>, values: Vec<f32>) -> Tensor<D> {
    let exact = constant(values, t.dims(), &t.device());
    (t.clone() - t.detach()) + exact
}

/// `rows x columns` turned over.
fn transposed(v: &[f32], columns: usize) -> Vec<f32> {
    let rows = v.len() / columns;
    (0..v.len()).map(|i| v[i % rows * columns + i / rows]).collect()
}

impl QatNet {
    /// The network that computes what `start.int8` computes: the weights that it was rounded from, its scales, its biases.
    ///
    /// # Errors
    /// If the two students of `start` are not of one shape, one in fp32 and one in int8.
    pub fn new(start: &Ptq, device: &Device) -> Result<Self> {
        let (Trunk::Fp32(full), Trunk::Int8(whole)) = (&start.equalised.trunk, &start.int8.trunk) else {
            return Err(Error::model("training in int8 starts from a student in fp32 and its quantisation"));
        };
        start.equalised.validate()?;
        start.int8.validate()?;
        if start.equalised.spec != start.int8.spec {
            return Err(Error::model("the fp32 student and the int8 student have different shapes"));
        }
        let spec = &start.int8.spec;
        let (h, f) = (spec.hidden, spec.features());
        let convs = spec.convs.iter().zip(spec.shapes()).zip(full.iter().zip(whole));
        let Student { gru, head, .. } = &start.int8;
        Ok(Self {
            convs: convs
                .map(|((c, (ch, _, _)), (full, whole))| QatConv {
                    weight: param(full.weight.clone(), [c.out, ch, c.kernel, c.kernel], device),
                    bias: param(real_biases(whole), [c.out], device),
                    weight_shift: param(vec![0.0; c.out], [c.out], device),
                    output_shift: param(vec![0.0], [1], device),
                    weight_start: param(whole.weight_scale.clone(), [c.out], device),
                    output_start: param(vec![whole.output_scale], [1], device),
                    kernel: c.kernel,
                    stride: c.stride,
                })
                .collect(),
            gru: GruCell {
                w: param(transposed(&gru.w, f), [f, 3 * h], device),
                r: param(transposed(&gru.r, h), [h, 3 * h], device),
                wb: param(gru.wb.clone(), [3 * h], device),
                rb: param(gru.rb.clone(), [3 * h], device),
                hidden: h,
            },
            head: param(transposed(&head.weight, h), [h, spec.outputs], device),
            head_bias: param(head.bias.clone(), [spec.outputs], device),
        })
    }

    /// The convolutions in int8, as they are exported.
    ///
    /// # Errors
    /// If the device does not give the weights.
    pub fn quantized(&self, spec: &StudentSpec) -> Result<Vec<ConvI8>> {
        let mut input_scale = spec.input_scale;
        let mut convs = Vec::new();
        for conv in &self.convs {
            let folded = Conv { weight: values(conv.weight.val())?, bias: values(conv.bias.val())? };
            let scales = shifted(&conv.weight_start, &conv.weight_shift)?;
            let output_scale = shifted(&conv.output_start, &conv.output_shift)?[0];
            convs.push(quantize_conv_by(&folded, input_scale, scales, output_scale));
            input_scale = output_scale;
        }
        Ok(convs)
    }

    /// The int8 student that this network computes.
    ///
    /// # Errors
    /// If the network does not have the shape of `spec`, or training drove it out of the int8 contract.
    pub fn int8(&self, spec: &StudentSpec) -> Result<Student> {
        let (gru, head) = recurrent(&self.gru, &self.head, &self.head_bias)?;
        let student = Student { spec: spec.clone(), trunk: Trunk::Int8(self.quantized(spec)?), gru, head };
        student.validate()?;
        Ok(student)
    }

    /// Features of u8 rings, one after the other: `n x features`, in value those of the int8 kernels to the bit. With
    /// `learn_scales` the gradients reach the scales too.
    ///
    /// # Errors
    /// As [`Self::int8`].
    pub fn features(&self, spec: &StudentSpec, rings: &[u8], learn_scales: bool) -> Result<Tensor<2>> {
        let device = self.head.val().device();
        let convs = self.quantized(spec)?;
        let outputs = integer::all_outputs(spec, &convs, rings)?;
        let n = rings.len() / (spec.ring * spec.size_px * spec.size_px);
        let mut x: Tensor<4> = constant(real(rings, spec), [n, spec.ring, spec.size_px, spec.size_px], &device);
        for ((conv, whole), out) in self.convs.iter().zip(&convs).zip(&outputs) {
            x = conv.forward(x, whole, out, learn_scales);
        }
        let [_, channels, px, _] = x.dims();
        let exact = match (convs.last(), outputs.last()) {
            (Some(conv), Some(out)) => integer::features(out, conv.output_scale, px * px),
            _ => return Err(Error::model("the network has no convolution")),
        };
        Ok(straight_through(x.reshape([n, channels, px * px]).mean_dim(2).reshape([n, channels]), exact))
    }

    /// State `n x hidden` -> logits `n x 42`.
    pub fn logits(&self, h: Tensor<2>) -> Tensor<2> {
        h.matmul(self.head.val()) + self.head_bias.val().unsqueeze()
    }
}

impl QatConv {
    /// Output of the layer: `whole` and `out` are its weights and its outputs in int8, `x` the real values of its input.
    fn forward(&self, x: Tensor<4>, whole: &ConvI8, out: &[u8], learn_scales: bool) -> Tensor<4> {
        let [channels, inputs, k, _] = self.weight.dims();
        let scale = if learn_scales {
            let shift = graded(self.weight_shift.val(), inputs * k * k, 127.0);
            straight_through(self.weight_start.val().detach() * shift.exp(), whole.weight_scale.clone())
        } else {
            constant(whole.weight_scale.clone(), [channels], &x.device())
        };
        let scale = scale.reshape([channels, 1, 1, 1]);
        let steps = (self.weight.val() / scale.clone()).clamp(-127.0, 127.0);
        let weight = straight_through(steps, whole.weight.iter().map(|&w| f32::from(w)).collect()) * scale;
        let bias = straight_through(self.bias.val(), real_biases(whole));
        let options = ConvOptions::new([self.stride; 2], [self.kernel / 2; 2], [1; 2], 1);
        let y = conv2d(x, weight, Some(bias), options);
        let [n, _, px, _] = y.dims();
        let unit = if learn_scales {
            let shift = graded(self.output_shift.val(), out.len() / n.max(1), 255.0);
            straight_through(self.output_start.val().detach() * shift.exp(), vec![whole.output_scale])
        } else {
            constant(vec![whole.output_scale], [1], &y.device())
        };
        let unit = unit.reshape([1, 1, 1, 1]);
        debug_assert_eq!(out.len(), n * channels * px * px);
        let steps = (y / unit.clone()).clamp(0.0, 255.0);
        straight_through(steps, out.iter().map(|&q| f32::from(q)).collect()) * unit
    }
}

/// `t` with its gradient divided by `sqrt(count * steps)`, the share that LSQ gives a scale of `count` values.
fn graded(t: Tensor<1>, count: usize, steps: f64) -> Tensor<1> {
    let share = 1.0 / (count.max(1) as f64 * steps).sqrt();
    t.clone() * share + t.detach() * (1.0 - share)
}

/// Scales as they are now, worked out in f64 on the host so that training and export have the same bits.
fn shifted(start: &Param<Tensor<1>>, shift: &Param<Tensor<1>>) -> Result<Vec<f32>> {
    let (start, shift) = (values(start.val())?, values(shift.val())?);
    Ok(start.iter().zip(shift).map(|(&s, d)| (f64::from(s) * f64::from(d).exp()) as f32).collect())
}

/// What the integer biases stand for.
fn real_biases(conv: &ConvI8) -> Vec<f32> {
    let real = |(&b, &w): (&i32, &f32)| (f64::from(b) * f64::from(conv.input_scale * w)) as f32;
    conv.bias.iter().zip(&conv.weight_scale).map(real).collect()
}
