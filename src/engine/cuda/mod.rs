//! The CUDA engine: our own kernels on an NVIDIA GPU.

pub mod device;
