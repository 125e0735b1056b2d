//! Integration tests, one binary.

mod bundle;
mod capture;
mod cli;
mod parity;
mod students;
mod tidy;
