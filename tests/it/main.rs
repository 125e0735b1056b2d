//! Integration tests, one binary.

mod allocation;
mod bundle;
mod capture;
mod cli;
mod display;
mod long_run;
mod parity;
mod real_video;
mod students;
mod tidy;
