//! Several processes that train one network: what the loop asks of them.

use crate::error::Result;

/// This process among those that train together.
///
/// Every call is made by all processes at the same point of the run.
pub trait Ranks {
    /// This process, from 0. Process 0 judges, logs and writes checkpoints.
    fn rank(&self) -> usize;

    /// This process among those on the same machine, from 0: which GPU it takes.
    fn local_rank(&self) -> usize {
        0
    }

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
    fn of_first(&self, value: f64) -> Result<f64>;
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

    fn of_first(&self, value: f64) -> Result<f64> {
        Ok(value)
    }
}

/// All processes that were started together: those of `mpirun` or `srun` in a build with the feature `mpi`, else this one.
///
/// # Errors
/// If MPI cannot be joined; or if several processes were started and this build cannot join them.
pub fn all() -> Result<Box<dyn Ranks>> {
    #[cfg(feature = "mpi")]
    return Ok(Box::new(super::mpi::World::join()?));
    #[cfg(not(feature = "mpi"))]
    {
        let started = ["OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"].map(|name| std::env::var(name).ok());
        if started.into_iter().flatten().any(|n| n.parse::<usize>().is_ok_and(|n| n > 1)) {
            return Err(crate::Error::unsupported("started as one of several processes, which this build cannot join")
                .remedy("build with `--features mpi`, or start one process"));
        }
        Ok(Box::new(Alone))
    }
}
