//! How much of the full model fine-tuning moves.

use super::{Backbone, FullNet};
use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The paper's three fine-tuning modes.
///
/// A frozen part keeps its weights and normalises by running statistics that do not move. The authors' code only stops
/// the gradients: its frozen BatchNorm layers go on normalising by the batch, and their running statistics drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
pub enum FineTune {
    /// Everything is trained.
    #[default]
    #[serde(rename = "ft")]
    #[value(name = "ft")]
    Full,
    /// The stem is frozen.
    #[serde(rename = "frozen-3dconv")]
    #[value(name = "frozen-3dconv")]
    Frozen3DConv,
    /// Stem and trunk are frozen.
    #[serde(rename = "fully-frozen")]
    #[value(name = "fully-frozen")]
    FullyFrozen,
}

impl FineTune {
    /// Freezes what this mode freezes. Load weights before; a network is frozen once.
    pub fn freeze(self, mut net: FullNet) -> FullNet {
        match self {
            Self::Full => {}
            Self::Frozen3DConv => net.backbone.stem = net.backbone.stem.freeze(),
            Self::FullyFrozen => net.backbone = net.backbone.freeze(),
        }
        net
    }

    /// As [`FullNet::forward`], with the frozen part outside the graph of gradients, so that nothing of it is kept for
    /// the backward pass.
    pub fn forward(self, net: &FullNet, clips: Tensor<4>) -> Tensor<3> {
        let [rows, frames, _, _] = clips.dims();
        match self {
            Self::Full => net.forward(clips),
            Self::Frozen3DConv => {
                let stem = net.backbone.stem.valid();
                let maps = apart(clips, |x| stem.forward(x));
                net.logits(net.backbone.pooled(maps, rows, frames))
            }
            Self::FullyFrozen => net.logits(net.backbone.features(clips)),
        }
    }
}

impl Backbone {
    /// As [`Self::forward`] without gradients, BatchNorm by running statistics: `B x T x H x W` -> `B x T x 8 width`.
    ///
    /// Under [`FineTune::FullyFrozen`] a clip's features are the same in every epoch; what is fed with kept ones is
    /// [`FullNet::logits`].
    pub fn features(&self, clips: Tensor<4>) -> Tensor<3> {
        let still = self.valid();
        apart(clips, |x| still.forward(x))
    }
}

/// Runs `f` off the graph of gradients and gives its result as a constant of it, where `x` belongs to one.
pub(in crate::train) fn apart<const D: usize>(x: Tensor<4>, f: impl FnOnce(Tensor<4>) -> Tensor<D>) -> Tensor<D> {
    let tracked = x.is_autodiff();
    let y = f(x.without_autodiff());
    if tracked { y.autodiff() } else { y }
}

#[cfg(test)]
mod tests {
    use super::super::FullSpec;
    use super::super::partial::named;
    use super::*;
    use crate::render::Rng;
    use crate::train::net::normal;
    use burn::optim::{AdamWConfig, GradientsParams};
    use burn::tensor::Device;

    const SPEC: FullSpec = FullSpec { size_px: 32, width: 4, hidden: 3, layers: 2 };

    fn clips(device: &Device) -> Tensor<4> {
        normal([2, 3, SPEC.size_px, SPEC.size_px], 1.0, &mut Rng::new(1, 1), device).val().detach()
    }

    #[test]
    fn one_step_moves_what_the_mode_trains_and_nothing_else() {
        let device = Device::flex().autodiff();
        let frozen = [
            (FineTune::Full, "none"),
            (FineTune::Frozen3DConv, "backbone.stem."),
            (FineTune::FullyFrozen, "backbone."),
        ];
        for (mode, prefix) in frozen {
            let net = mode.freeze(FullNet::new(&SPEC, 1, &device).unwrap());
            let before = named(&net.valid());
            let loss = mode.forward(&net, clips(&device)).powi_scalar(2).mean();
            let grads = GradientsParams::from_grads(loss.backward(), &net);
            let net = AdamWConfig::new().init().step(1e-2, net, grads);
            let after = named(&net.valid());
            assert_eq!(before.len(), after.len());
            for (name, data) in &before {
                assert_eq!(*data == after[name], name.starts_with(prefix), "{mode:?}: {name}");
            }
        }
    }

    #[test]
    fn frozen_parts_give_the_same_on_and_off_the_graph() {
        let device = Device::flex().autodiff();
        for mode in [FineTune::Frozen3DConv, FineTune::FullyFrozen] {
            let net = mode.freeze(FullNet::new(&SPEC, 1, &device).unwrap());
            let (a, b) = (net.clone().forward(clips(&device)), mode.forward(&net, clips(&device)));
            let gap = (a - b).abs().max().into_scalar::<f32>();
            assert!(gap < 1e-5, "{mode:?}: {gap}");
        }
    }

    #[test]
    fn kept_features_stand_for_the_clips() {
        let device = Device::flex().autodiff();
        let net = FineTune::FullyFrozen.freeze(FullNet::new(&SPEC, 1, &device).unwrap());
        let features = net.backbone.features(clips(&Device::flex()));
        assert!(!features.is_autodiff());
        let from_kept = net.logits(features.autodiff());
        assert_eq!(from_kept.into_data(), FineTune::FullyFrozen.forward(&net, clips(&device)).into_data());
    }

    #[test]
    fn names_are_the_same_in_files_and_on_the_command_line() {
        use clap::ValueEnum;
        for mode in FineTune::value_variants() {
            let typed = mode.to_possible_value().unwrap();
            assert_eq!(serde_json::to_string(mode).unwrap(), format!("\"{}\"", typed.get_name()));
        }
    }
}
