//! The training loop, for every [`Method`].

pub mod checkpoint;
pub mod config;
pub mod device;
pub mod driver;
pub mod events;
pub mod feed;
pub mod gradients;
pub mod journal;
pub mod method;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod pace;
pub mod ranks;
pub mod statistics;

pub use driver::{BACKBONE, BEST, Batches, Done, Feed, Judge, Training, Verdict};
pub use method::{At, Batch, Loss, Method};

#[cfg(test)]
mod tests;
