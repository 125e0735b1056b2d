//! Integration tests, one binary.

mod allocation;
mod bundle;
mod capture;
mod cli;
mod counting;
mod detectors;
mod display;
mod failover;
mod formats;
mod grids;
mod hostile;
mod inputs;
mod kernels;
mod long_run;
mod outputs;
mod program;
mod real_video;
mod roll;
#[cfg(feature = "train")]
mod scoring;
mod signed;
mod signing;
mod students;
mod targets;
mod tidy;
