//! Running statistics of BatchNorm under several processes.
//!
//! Each process normalises its own micro-batch by that micro-batch, as one process with gradient accumulation does; the
//! statistics are not synchronised within a step. The running ones, which inference uses, are averaged at the end of each epoch.

use super::ranks::Ranks;
use crate::error::Result;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

/// The network with every value that has no gradient replaced by its mean over all processes.
///
/// # Errors
/// If a process is lost.
pub fn mean<M: Module>(net: M, ranks: &dyn Ranks) -> Result<M> {
    struct Read(Vec<f32>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !param.val().is_require_grad() {
                self.0.extend(param.val().into_data().iter::<f32>());
            }
        }
    }
    struct Write<'a>(&'a [f32]);
    impl ModuleMapper for Write<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if param.val().is_require_grad() {
                return param;
            }
            let (shape, device) = (param.val().shape(), param.val().device());
            let (own, rest) = self.0.split_at(shape.num_elements());
            self.0 = rest;
            param.map(|_| Tensor::from_data(TensorData::new(own.to_vec(), shape), &device))
        }
    }
    let mut read = Read(Vec::new());
    net.visit(&mut read);
    ranks.mean(&mut read.0)?;
    Ok(net.map(&mut Write(&read.0)))
}
