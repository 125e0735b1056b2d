//! Where a network is trained.

use crate::error::{Error, Result};
use burn::tensor::Device;

/// A kind of device, as on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// All cores of this machine.
    #[default]
    Cpu,
    /// A GPU through Vulkan.
    Wgpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl DeviceKind {
    /// The device of process `local` on this machine, from 0; with gradients. `recompute` saves memory for time.
    ///
    /// # Errors
    /// If this build has no such kind.
    pub fn open(self, local: usize, recompute: bool) -> Result<Device> {
        let device = self.bare(local)?.autodiff();
        Ok(if recompute { device.gradient_checkpointing() } else { device })
    }

    #[cfg_attr(not(any(feature = "train-wgpu", feature = "train-cuda")), expect(unused_variables))]
    fn bare(self, local: usize) -> Result<Device> {
        match self {
            DeviceKind::Cpu => Ok(Device::flex()),
            #[cfg(feature = "train-wgpu")]
            DeviceKind::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(local))),
            #[cfg(feature = "train-cuda")]
            DeviceKind::Cuda => Ok(Device::cuda(local)),
            #[cfg(not(all(feature = "train-wgpu", feature = "train-cuda")))]
            other => {
                let name = if other == DeviceKind::Wgpu { "wgpu" } else { "cuda" };
                Err(Error::unsupported(format!("this build cannot train on {name}"))
                    .at(format!("--device {name}"))
                    .remedy(format!("build with `--features train-{name}`, or take --device cpu")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_not_built_says_how_to_build_it() {
        assert!(DeviceKind::Cpu.open(0, true).is_ok());
        if cfg!(not(feature = "train-cuda")) {
            let e = DeviceKind::Cuda.open(0, false).unwrap_err().to_string();
            assert!(e.contains("--features train-cuda") && e.contains("--device cpu"), "{e}");
        }
    }
}
