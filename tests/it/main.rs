//! Integration tests, one binary.

mod allocation;
mod bundle;
mod capture;
mod cli;
mod display;
mod long_run;
mod real_video;
mod roll;
mod students;
mod tidy;
