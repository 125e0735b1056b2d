//! The training loop, for every [`Method`].

pub mod checkpoint;
pub mod config;
pub mod device;
pub mod gradients;
pub mod method;
pub mod ranks;
pub mod statistics;

pub use method::{At, Batch, Loss, Method};
