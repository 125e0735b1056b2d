//! Several processes that train one network: what the loop asks of them.

use crate::error::Result;

/// This process among those that train together.
///
/// Every call is made by all processes at the same point of the run.
pub trait Ranks {
    /// This process, from 0. Process 0 judges, logs and writes checkpoints.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Replaces `values` by their mean over all processes, the same bits everywhere.
    ///
    /// # Errors
    /// If a process is lost.
    fn mean(&self, values: &mut [f32]) -> Result<()>;

    /// The number that process 0 gives, to all.
    ///
    /// # Errors
    /// If a process is lost.
    fn from_first(&self, value: f64) -> Result<f64>;
}

/// One process alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn mean(&self, _values: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn from_first(&self, value: f64) -> Result<f64> {
        Ok(value)
    }
}
