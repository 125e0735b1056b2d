//! The CUDA kernels, run on the CPU, against the reference: to the bit. `shim` runs their text, `ptx` what NVRTC makes of it.

#[path = "../it/counting.rs"]
mod counting;
#[path = "../it/students.rs"]
mod students;
#[path = "../gpu/tools.rs"]
mod tools;

mod allocation;
mod failover;
mod faults;
mod frames;
mod layers;
mod ptx;
mod shim;
mod steps;
