//! What an NVIDIA GPU, its driver and its compilers are asked. Without a GPU the kernels are compiled and their machine code is read, and the
//! driver's host side runs on a stand-in; `real` needs a GPU and is ignored without `--ignored gpu`.
#![cfg(feature = "cuda")]

#[path = "../it/students.rs"]
mod students;

#[path = "../it/counting.rs"]
mod counting;
mod driver;
mod nvrtc;
mod real;
mod sass;
mod tools;
mod under;
