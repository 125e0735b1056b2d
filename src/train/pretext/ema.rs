//! Exponential moving average of a module: the target of BYOL and the teacher of DINO.

use crate::error::{Error, Result};
use crate::train::run::At;
use crate::train::run::checkpoint::{load_net, save_net};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `1 - (1 - start) (cos(pi k / K) + 1) / 2`: from `start` to 1 (arXiv 2006.07733, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Momentum {
    start: f64,
}

impl Momentum {
    /// From `start` at the first step; short runs want less than the paper's 0.996.
    pub const fn from(start: f64) -> Self {
        Self { start }
    }

    /// At `at.step` of `at.steps`.
    pub fn at(&self, at: At) -> f64 {
        1.0 - (1.0 - self.start) * ((std::f64::consts::PI * at.progress()).cos() + 1.0) / 2.0
    }

    /// # Errors
    /// If the start is not from 0 to 1.
    pub fn validate(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.start) {
            return Ok(());
        }
        Err(Error::usage(format!("momentum is {}, expected 0 to 1", self.start)))
    }
}

/// A slow copy of a module. It shares nothing with the module: a plain clone would share BatchNorm's running state.
#[derive(Debug, Clone)]
pub struct Ema<M: Module> {
    /// On the device without gradients.
    slow: M,
}

impl<M: Module> Ema<M> {
    /// Starts as an exact copy.
    pub fn of(module: &M) -> Self {
        Self { slow: module.valid() }
    }

    /// A copy for one forward pass of [`fresh`] inputs: without gradients, and normalising by its batch like the module
    /// that learns. What the pass does to its running statistics is lost with it; the average alone decides them.
    pub fn forward_copy(&self) -> M {
        self.slow.valid().train().no_grad()
    }

    /// The average itself; its BatchNorm layers use running statistics.
    pub fn module(&self) -> &M {
        &self.slow
    }

    /// `slow = momentum * slow + (1 - momentum) * module`, parameters and running statistics alike.
    pub fn update(&mut self, module: &M, momentum: f64) {
        let mut fast = Collect::default();
        module.valid().visit(&mut fast);
        let mut blend = Blend { fast: fast.0.into_iter(), momentum };
        self.slow = self.slow.valid().map(&mut blend);
    }

    /// Writes the average, bit for bit.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        save_net(&self.slow, path)
    }

    /// Reads an average of the same shape.
    ///
    /// # Errors
    /// If the file is missing, damaged or of another shape.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        self.slow = load_net(self.slow.valid(), path)?;
        Ok(())
    }
}

/// An input as [`Ema::forward_copy`] takes it, whatever the learning network's device does about gradients.
pub fn fresh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.without_autodiff().autodiff()
}

/// Every value of a module, flat, in the order of its fields.
#[derive(Default)]
struct Collect(Vec<Tensor<1>>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().flatten(0, D - 1));
    }
}

struct Blend {
    fast: std::vec::IntoIter<Tensor<1>>,
    momentum: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(fast) = self.fast.next() else { return param };
        let momentum = self.momentum;
        param.map(|slow| {
            let fast = fast.reshape(slow.dims());
            slow * momentum + fast * (1.0 - momentum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;
    use crate::train::pretext::heads::BnMlp;
    use crate::train::pretext::tests::{numbers, params};
    use burn::tensor::{Device, Distribution};

    fn at(step: usize, steps: usize) -> At {
        At { epoch: 0, step, steps }
    }

    #[test]
    fn momentum_goes_from_its_start_to_one() {
        let m = Momentum::from(0.97);
        assert!((m.at(at(0, 50)) - 0.97).abs() < 1e-15);
        assert!((m.at(at(25, 50)) - 0.985).abs() < 1e-12);
        assert_eq!(m.at(at(50, 50)), 1.0);
        assert!((0..50).all(|k| m.at(at(k, 50)) < m.at(at(k + 1, 50))));
        assert!(Momentum::from(1.2).validate().is_err() && m.validate().is_ok());
    }

    #[test]
    fn the_average_blends_parameters_and_running_statistics() {
        let device = Device::flex().autodiff();
        let net = BnMlp::new(3, 4, 2, &mut Rng::new(1, 0), &device);
        let mut ema = Ema::of(&net);
        let before = params(ema.module());
        // A pass of the net, and none of the average, moves the net's running statistics alone.
        net.forward(Tensor::random([5, 3], Distribution::Normal(2.0, 3.0), &device));
        assert_eq!(params(ema.module()), before);
        let other = BnMlp::new(3, 4, 2, &mut Rng::new(2, 0), &device);
        other.forward(Tensor::random([5, 3], Distribution::Normal(2.0, 3.0), &device));
        let fast = params(&other.valid());
        ema.update(&other, 0.9);
        for (name, (_, slow)) in params(ema.module()) {
            for ((s, b), f) in slow.iter().zip(&before[&name].1).zip(&fast[&name].1) {
                assert!((s - (0.9 * b + 0.1 * f)).abs() < 1e-6, "{name}");
            }
        }
        let statistics = &fast["norm.running_mean"].1;
        assert!(statistics.iter().any(|v| *v != 0.0), "{statistics:?}");
        // The copy that runs forward leaves no trace.
        let kept = params(ema.module());
        let copy = ema.forward_copy();
        let y = copy.forward(Tensor::random([5, 3], Distribution::Normal(2.0, 3.0), &device));
        assert!(!y.is_require_grad() && params(ema.module()) == kept);
        assert_ne!(numbers(copy.valid().norm.running_mean.value()), kept["norm.running_mean"].1);
    }

    #[test]
    fn an_average_survives_the_disk_and_a_stranger_is_refused() {
        let device = Device::flex().autodiff();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target.bpk");
        let net = |seed, wide| BnMlp::new(3, wide, 2, &mut Rng::new(seed, 0), &device);
        let ema = Ema::of(&net(1, 4));
        ema.save(&path).unwrap();
        let mut other = Ema::of(&net(2, 4));
        other.load(&path).unwrap();
        assert_eq!(params(other.module()), params(ema.module()));
        let e = Ema::of(&net(1, 5)).load(&path).unwrap_err().to_string();
        assert!(e.contains("target.bpk"), "{e}");
        assert!(other.load(&dir.path().join("none")).is_err());
    }
}
