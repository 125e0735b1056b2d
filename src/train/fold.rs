//! Folding: a trained network becomes the plain student that engines run; and back, to train on.

use super::net::{GruCell, RepConv, StudentNet};
use crate::error::{Error, Result};
use crate::model::{Conv, Gru, Linear, Student, Trunk};
use crate::spec::StudentSpec;
use burn::module::{Param, RunningState};
use burn::nn::BatchNorm;
use burn::tensor::activation;
use burn::tensor::{Device, Tensor, TensorData};

/// The values of a tensor in f32, row by row.
pub(super) fn values<const D: usize>(t: Tensor<D>) -> Result<Vec<f32>> {
    t.into_data().try_to_vec().map_err(|e| Error::model(format!("cannot read a trained tensor: {e:?}")))
}

/// A kernel with BatchNorm (running statistics) multiplied in, in f64.
pub(super) fn fold_norm(kernel: &[f32], norm: &BatchNorm) -> Result<Conv> {
    let (gamma, beta) = (values(norm.gamma.val())?, values(norm.beta.val())?);
    let (mean, var) = (values(norm.running_mean.value_sync())?, values(norm.running_var.value_sync())?);
    let per_out = kernel.len() / gamma.len();
    let gain: Vec<f64> =
        gamma.iter().zip(&var).map(|(&g, &v)| f64::from(g) / (f64::from(v) + norm.epsilon).sqrt()).collect();
    Ok(Conv {
        weight: kernel.iter().enumerate().map(|(i, &w)| (f64::from(w) * gain[i / per_out]) as f32).collect(),
        bias: (0..gain.len()).map(|o| (f64::from(beta[o]) - f64::from(mean[o]) * gain[o]) as f32).collect(),
    })
}

/// Branches summed and BatchNorm multiplied in.
fn fold_conv(conv: &RepConv) -> Result<Conv> {
    fold_norm(&values(conv.kernel_sum())?, &conv.norm)
}

/// GRU and heads in the student's order.
pub(super) fn recurrent(gru: &GruCell, head: &Param<Tensor<2>>, head_bias: &Param<Tensor<1>>) -> Result<(Gru, Linear)> {
    let of = Gru {
        w: values(gru.w.val().transpose())?,
        r: values(gru.r.val().transpose())?,
        wb: values(gru.wb.val())?,
        rb: values(gru.rb.val())?,
    };
    Ok((of, Linear { weight: values(head.val().transpose())?, bias: values(head_bias.val())? }))
}

/// The fp32 student of a network in validation mode (`net.valid()`).
///
/// # Errors
/// If the network does not have the shape of `spec` or holds a value that is not finite.
pub fn fold(net: &StudentNet, spec: &StudentSpec) -> Result<Student> {
    let (gru, head) = recurrent(&net.gru, &net.head, &net.head_bias)?;
    let student = Student {
        spec: spec.clone(),
        trunk: Trunk::Fp32(net.convs.iter().map(fold_conv).collect::<Result<_>>()?),
        gru,
        head,
    };
    student.validate()?;
    Ok(student)
}

/// `layer` becomes `conv`, its BatchNorm what undoes itself on `x`; gives the layer's output there.
fn take(layer: &mut RepConv, conv: &Conv, x: Tensor<4>, device: &Device) -> Result<Tensor<4>> {
    let still = x.device();
    let of = |v: &[f32], device: &Device| Tensor::<1>::from_data(TensorData::new(v.to_vec(), [v.len()]), device);
    let kernel = |device: &Device| of(&conv.weight, device).reshape(layer.main.val().dims());
    let zeros = |shape: [usize; 4]| Param::from_tensor(Tensor::<4>::zeros(shape, device));
    let y = layer.convolve(x, kernel(&still));
    let [n, channels, height, width] = y.dims();
    let by_channel = y.clone().permute([1, 0, 2, 3]).reshape([channels, n * height * width]);
    let mean = by_channel.clone().mean_dim(1);
    let variance = values((by_channel - mean.clone()).powi_scalar(2).mean_dim(1))?;
    let mean = values(mean)?;
    let gamma: Vec<f32> = variance.iter().map(|v| (f64::from(*v) + layer.norm.epsilon).sqrt() as f32).collect();
    let beta: Vec<f32> = conv.bias.iter().zip(&mean).map(|(b, m)| b + m).collect();
    layer.main = Param::from_tensor(kernel(device));
    layer.point = layer.point.as_ref().map(|p| zeros(p.val().dims()));
    layer.identity = layer.identity.as_ref().map(|_| Param::from_tensor(Tensor::zeros([channels], device)));
    layer.norm.gamma = Param::from_tensor(of(&gamma, device));
    layer.norm.beta = Param::from_tensor(of(&beta, device));
    layer.norm.running_mean = RunningState::new(of(&mean, device));
    layer.norm.running_var = RunningState::new(of(&variance, device));
    Ok(activation::relu(y + of(&conv.bias, &still).reshape([1, channels, 1, 1])))
}

/// A network to train on from a folded fp32 student, on `device`. Its BatchNorms take up the statistics of `rings`
/// (`n x ring x size x size`, in real units, without gradients), so that the network gives there what the student gives, in training too.
///
/// # Errors
/// If `student` is an int8 one.
pub fn unfold(student: &Student, rings: Tensor<4>, device: &Device) -> Result<StudentNet> {
    let Trunk::Fp32(convs) = &student.trunk else {
        return Err(Error::usage("an int8 student cannot be trained on").remedy("take its fp32 student"));
    };
    let mut net = StudentNet::new(&student.spec, 0, device);
    let mut x = rings;
    for (layer, conv) in net.convs.iter_mut().zip(convs) {
        x = take(layer, conv, x, device)?;
    }
    let spec = &student.spec;
    let (h, f) = (spec.hidden, spec.features());
    let matrix = |v: &[f32], shape: [usize; 2]| {
        Param::from_tensor(Tensor::<2>::from_data(TensorData::new(v.to_vec(), shape), device).transpose())
    };
    let row = |v: &[f32]| Param::from_tensor(Tensor::<1>::from_data(TensorData::new(v.to_vec(), [v.len()]), device));
    net.gru = GruCell {
        w: matrix(&student.gru.w, [3 * h, f]),
        r: matrix(&student.gru.r, [3 * h, h]),
        wb: row(&student.gru.wb),
        rb: row(&student.gru.rb),
        hidden: h,
    };
    (net.head, net.head_bias) = (matrix(&student.head.weight, [spec.outputs, h]), row(&student.head.bias));
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;
    use crate::train::net::normal;
    use burn::module::Module;

    #[test]
    fn an_unfolded_student_folds_to_itself_and_gives_the_same_in_training() {
        let (device, spec) = (Device::flex().autodiff(), StudentSpec::pico());
        let student = fold(&StudentNet::new(&spec, 3, &device).valid(), &spec).unwrap();
        let rings = |device: &Device| {
            let shape = [6, spec.ring, spec.size_px, spec.size_px];
            normal::<4>(shape, 1.0, &mut Rng::new(4, 0), &Device::flex()).val().to_device(device)
        };
        let net = unfold(&student, rings(&Device::flex()), &device).unwrap();
        let again = fold(&net.valid(), &spec).unwrap();
        let (Trunk::Fp32(a), Trunk::Fp32(b)) = (&student.trunk, &again.trunk) else { panic!() };
        let gap = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        for (a, b) in a.iter().zip(b) {
            assert!(gap(&a.weight, &b.weight) < 1e-5 && gap(&a.bias, &b.bias) < 1e-4);
        }
        assert!((&student.gru, &student.head) == (&again.gru, &again.head));
        let data = rings(&Device::flex()).into_data();
        let trained = net.features(Tensor::from_data(data.clone(), &device)).into_data();
        let judged = net.valid().features(Tensor::from_data(data, &Device::flex())).into_data();
        let (trained, judged): (Vec<f32>, Vec<f32>) = (trained.iter().collect(), judged.iter().collect());
        assert!(judged.iter().any(|v| *v > 0.1) && gap(&trained, &judged) < 1e-3, "{}", gap(&trained, &judged));
    }
}
