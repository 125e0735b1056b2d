//! The training loop, for every [`Method`].

pub mod checkpoint;
pub mod config;
pub mod device;
pub mod events;
pub mod gradients;
pub mod journal;
pub mod method;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod ranks;
pub mod statistics;

pub use method::{At, Batch, Loss, Method};
