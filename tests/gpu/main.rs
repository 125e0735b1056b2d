//! What an NVIDIA GPU and its compilers are asked. The kernels are compiled and their machine code is read without a GPU; the rest needs one.
#![cfg(feature = "cuda")]

mod nvrtc;
mod sass;
