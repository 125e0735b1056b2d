//! Folding: a trained network becomes the plain student that engines run.

use super::net::{GruCell, RepConv, StudentNet};
use crate::error::{Error, Result};
use crate::model::{Conv, Gru, Linear, Student, Trunk};
use crate::spec::StudentSpec;
use burn::module::Param;
use burn::tensor::Tensor;

/// The values of a tensor in f32, row by row.
pub(super) fn values<const D: usize>(t: Tensor<D>) -> Result<Vec<f32>> {
    t.into_data().try_to_vec().map_err(|e| Error::model(format!("cannot read a trained tensor: {e:?}")))
}

/// Branches summed and BatchNorm (running statistics) multiplied in, in f64.
fn fold_conv(conv: &RepConv) -> Result<Conv> {
    let kernel = values(conv.kernel_sum())?;
    let (gamma, beta) = (values(conv.norm.gamma.val())?, values(conv.norm.beta.val())?);
    let (mean, var) = (values(conv.norm.running_mean.value_sync())?, values(conv.norm.running_var.value_sync())?);
    let per_out = kernel.len() / gamma.len();
    let gain: Vec<f64> =
        gamma.iter().zip(&var).map(|(&g, &v)| f64::from(g) / (f64::from(v) + conv.norm.epsilon).sqrt()).collect();
    Ok(Conv {
        weight: kernel.iter().enumerate().map(|(i, &w)| (f64::from(w) * gain[i / per_out]) as f32).collect(),
        bias: (0..gain.len()).map(|o| (f64::from(beta[o]) - f64::from(mean[o]) * gain[o]) as f32).collect(),
    })
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
