//! Integration tests, one binary.

mod allocation;
mod bundle;
mod capture;
mod cli;
mod display;
mod long_run;
mod real_video;
#[cfg(feature = "train")]
mod scoring;
mod students;
mod tidy;
