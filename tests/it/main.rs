//! Integration tests, one binary.

mod bundle;
mod cli;
mod parity;
mod students;
mod tidy;
