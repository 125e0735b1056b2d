//! The CUDA engine: our own kernels on an NVIDIA GPU.

pub mod device;
pub mod engine;
mod frames;
mod inputs;
pub mod kernels;
pub mod pack;
pub mod plan;
mod slots;
pub mod wire;
