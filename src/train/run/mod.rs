//! Training runs.

pub mod events;
