//! Convolutions for training on CPUs: channels last, f32, forward and backward without columns.
//!
//! `conv` has what the layers call, `tile` the loops in registers. Pictures are shared out among
//! the threads in groups whose number does not depend on the threads, so that sums are the same on
//! any machine of one instruction set.

mod conv;
mod norm;
mod tile;

pub use conv::{Geometry, Kernel};
pub use norm::{Norm, Statistics};
