//! The CUDA engine: our own kernels on an NVIDIA GPU.

pub mod cache;
pub mod compile;
pub mod device;
pub mod driver;
pub mod fault;
pub mod images;
pub mod kernels;
pub mod nvrtc;
pub mod precompiled;
pub mod ptx;

use compile::Unit;

/// What is compiled: all kernels in one unit.
pub fn units() -> Vec<Unit> {
    vec![Unit { name: "vaerr.cu", source: kernels::source().into(), headers: &[] }]
}
