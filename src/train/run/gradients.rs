//! Gradients as one vector: averaged over micro-batches and processes, measured, limited.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Tensor, TensorData};

/// Gradients of the micro-batches of a step, averaged.
pub struct Average<M> {
    sum: GradientsAccumulator<M>,
    count: usize,
}

impl<M: Module> Default for Average<M> {
    fn default() -> Self {
        Self { sum: GradientsAccumulator::new(), count: 0 }
    }
}

impl<M: Module> Average<M> {
    /// Adds those of one micro-batch.
    pub fn add(&mut self, net: &M, gradients: GradientsParams) {
        self.sum.accumulate(net, gradients);
        self.count += 1;
    }

    /// The average, and an empty sum again.
    pub fn take(&mut self, net: &M) -> GradientsParams {
        let mut sum = self.sum.grads();
        let count = std::mem::take(&mut self.count).max(1);
        if count > 1 {
            scale(net, &mut sum, 1.0 / count as f64);
        }
        sum
    }
}

/// Euclidean norm of all gradients together.
pub fn norm<M: Module>(net: &M, gradients: &GradientsParams) -> f64 {
    struct Sum<'a>(&'a GradientsParams, f64);
    impl ModuleVisitor for Sum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(g) = self.0.get::<D>(param.id) {
                self.1 += f64::from((g.clone() * g).sum().into_scalar::<f32>());
            }
        }
    }
    let mut sum = Sum(gradients, 0.0);
    net.visit(&mut sum);
    sum.1.sqrt()
}

/// Multiplies all gradients by `factor`.
pub fn scale<M: Module>(net: &M, gradients: &mut GradientsParams, factor: f64) {
    struct Scale<'a>(&'a mut GradientsParams, f64);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(g) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, g * self.1);
            }
        }
    }
    net.visit(&mut Scale(gradients, factor));
}

/// Scales the gradients down to the norm `limit` if theirs is larger (0: never). Returns the norm they had.
pub fn limit<M: Module>(net: &M, gradients: &mut GradientsParams, limit: f64) -> f64 {
    let norm = norm(net, gradients);
    if limit > 0.0 && norm > limit {
        scale(net, gradients, limit / norm);
    }
    norm
}

/// All gradients in the order in which the network visits its parameters.
pub fn flatten<M: Module>(net: &M, gradients: &GradientsParams) -> Vec<f32> {
    struct Read<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Read<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(g) = self.0.get::<D>(param.id) {
                self.1.extend(g.into_data().iter::<f32>());
            }
        }
    }
    let mut read = Read(gradients, Vec::new());
    net.visit(&mut read);
    read.1
}

/// Puts back what [`flatten`] gave, changed or not.
pub fn restore<M: Module>(net: &M, gradients: &mut GradientsParams, values: &[f32]) {
    struct Write<'a>(&'a mut GradientsParams, &'a [f32]);
    impl ModuleVisitor for Write<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(g) = self.0.remove::<D>(param.id) {
                let (own, rest) = self.1.split_at(g.shape().num_elements());
                self.1 = rest;
                let data = TensorData::new(own.to_vec(), g.shape());
                self.0.register(param.id, Tensor::<D>::from_data(data, &g.device()));
            }
        }
    }
    net.visit(&mut Write(gradients, values));
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    fn net_and_gradients(x: [f32; 2]) -> (Linear, GradientsParams) {
        let device = Device::flex().autodiff();
        let mut net = LinearConfig::new(2, 1).init(&device);
        net.weight = Param::from_data([[1.0f32], [2.0]], &device);
        net.bias = Some(Param::from_data([0.5f32], &device));
        let loss = net.forward(Tensor::<2>::from_data([x], &device)).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        (net, gradients)
    }

    #[test]
    fn norm_scale_and_limit_act_on_all_gradients_together() {
        let (net, mut g) = net_and_gradients([2.0, -2.0]);
        assert_eq!(flatten(&net, &g), [2.0, -2.0, 1.0]);
        assert!((norm(&net, &g) - 3.0).abs() < 1e-6);
        assert!((limit(&net, &mut g, 4.0) - 3.0).abs() < 1e-6);
        assert_eq!(flatten(&net, &g), [2.0, -2.0, 1.0]);
        assert!((limit(&net, &mut g, 1.5) - 3.0).abs() < 1e-6);
        assert_eq!(flatten(&net, &g), [1.0, -1.0, 0.5]);
        assert!((limit(&net, &mut g, 0.0) - 1.5).abs() < 1e-6);
    }

    #[test]
    fn micro_batches_are_averaged_and_flat_gradients_go_back() {
        let (net, first) = net_and_gradients([2.0, -2.0]);
        let mut average = Average::default();
        average.add(&net, first);
        let x = Tensor::<2>::from_data([[0.0f32, 1.0]], &net.weight.device());
        average.add(&net, GradientsParams::from_grads(net.forward(x).sum().backward(), &net));
        let mut mean = average.take(&net);
        assert_eq!(flatten(&net, &mean), [1.0, -0.5, 1.0]);
        restore(&net, &mut mean, &[3.0, 4.0, 5.0]);
        assert_eq!(flatten(&net, &mean), [3.0, 4.0, 5.0]);
        assert!(average.take(&net).is_empty());
    }
}
