//! Integration tests, one binary.

mod allocation;
mod bundle;
mod capture;
mod cli;
mod display;
mod failover;
mod long_run;
mod real_video;
mod students;
mod tidy;
