//! Integration tests, one binary.

mod allocation;
mod bundle;
mod cli;
mod parity;
mod real_video;
mod students;
mod tidy;
