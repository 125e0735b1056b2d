//! Video apparent emotional reaction recognition on the edge.
//!
//! Modules stand in layers; each imports only from lower ones (see `docs/architecture.md`).

pub mod bench;
pub mod capture;
pub mod cli;
pub mod display;
pub mod engine;
pub mod error;
pub mod face;
pub mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod preprocess;
mod program;
pub mod quant;
pub mod render;
pub mod session;
pub mod sink;
pub mod spec;
pub mod stop;
#[cfg(feature = "train")]
pub mod train;

pub use error::{Error, ErrorKind, Result};
