//! The CUDA kernels, run on the CPU by a shim, against the reference: to the bit.

#[path = "../it/counting.rs"]
mod counting;
#[path = "../it/students.rs"]
mod students;

mod allocation;
mod failover;
mod faults;
mod frames;
mod layers;
mod shim;
mod steps;
