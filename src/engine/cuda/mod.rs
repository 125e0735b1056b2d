//! The CUDA engine: our own kernels on an NVIDIA GPU.

pub mod cache;
pub mod compile;
pub mod device;
pub mod driver;
pub mod fault;
pub mod images;
pub mod nvrtc;
pub mod precompiled;
pub mod ptx;
