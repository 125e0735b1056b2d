//! The student in training: with a projection of its features, and the weights of shifts in time.

use crate::render::Rng;
use crate::spec::{HEADS, StudentSpec};
use crate::train::data::record::EMOTIONS;
use crate::train::full::apart;
use crate::train::net::{StudentNet, uniform};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};

/// What the optimiser moves.
#[derive(Module, Debug)]
pub struct Pupil {
    pub student: StudentNet,
    /// `student features x teacher features`.
    pub projection: Param<Tensor<2>>,
    /// `student features x emotions`: what people vote for, read off the features.
    pub emotions: Param<Tensor<2>>,
    /// Logits of the shifts 0, 1, .. frames; even at the start.
    pub shifts: Param<Tensor<1>>,
}

/// A student's outputs for clips.
pub struct Answers {
    /// `clips x frames x 42`.
    pub logits: Tensor<3>,
    /// `clips x frames x hidden`.
    pub states: Tensor<3>,
    /// `clips x frames x features`.
    pub features: Tensor<3>,
}

impl Pupil {
    /// A fresh student of `spec` below a teacher with `taught` features, whose answers may come up to `most` frames late.
    pub fn new(spec: &StudentSpec, taught: usize, most: usize, seed: u64, device: &Device) -> Self {
        let rng = &mut Rng::new(seed, 1 << 49);
        let limit = (6.0 / (spec.features() + taught) as f64).sqrt();
        Self {
            student: StudentNet::new(spec, seed, device),
            projection: uniform([spec.features(), taught], limit, rng, device),
            emotions: Param::from_tensor(Tensor::zeros([spec.features(), EMOTIONS], device)),
            shifts: Param::from_tensor(Tensor::zeros([most + 1], device)),
        }
    }

    /// Shares of the shifts, summing to 1.
    pub fn shares(&self) -> Tensor<1> {
        activation::softmax(self.shifts.val(), 0)
    }
}

impl StudentNet {
    /// Clips from a zero state. `rings` are in real units, `clips * frames x ring x size x size`, clip by clip.
    /// With `frozen_trunk` the convolutions stay outside the graph of gradients and normalise by running statistics.
    pub fn answers(&self, rings: Tensor<4>, clips: usize, frozen_trunk: bool) -> Answers {
        let features = if frozen_trunk {
            let still = self.valid();
            apart(rings, |x| still.features(x))
        } else {
            self.features(rings)
        };
        let [rows, width] = features.dims();
        let frames = rows / clips;
        let states = self.gru.unroll(features.clone(), clips, 1);
        let states: Tensor<3> = Tensor::cat(states.into_iter().map(|h| h.unsqueeze_dim(1)).collect(), 1);
        let hidden = self.gru.hidden;
        let logits = self.logits(states.clone().reshape([rows, hidden])).reshape([clips, frames, HEADS]);
        Answers { logits, states, features: features.reshape([clips, frames, width]) }
    }

    /// Logits of the update gate behind all answers but each clip's first, which meets a zero state; `rows x hidden`.
    pub fn update_logits(&self, answers: &Answers) -> Tensor<2> {
        let [clips, frames, width] = answers.features.dims();
        let (rows, hidden) = (clips * (frames - 1), self.gru.hidden);
        let features = answers.features.clone().narrow(1, 1, frames - 1).reshape([rows, width]);
        let states = answers.states.clone().narrow(1, 0, frames - 1).reshape([rows, hidden]);
        self.gru.update_logits(features, states)
    }
}
