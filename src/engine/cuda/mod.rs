//! The CUDA engine: our own kernels on an NVIDIA GPU.

pub mod cache;
pub mod compile;
pub mod device;
pub mod nvrtc;
pub mod ptx;
