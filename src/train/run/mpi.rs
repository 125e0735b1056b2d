//! Processes joined by Open MPI: `mpirun -n 4 vaerr-train ...`, or `srun` on a cluster.

use super::ranks::Ranks;
use crate::error::{Error, Result};
use mpi::collective::SystemOperation;
use mpi::environment::{Universe, initialize_with_threading};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};
use mpi::{Rank, Threading};

/// This process in the world that `mpirun` or `srun` started. When a process dies the launcher ends the others (under
/// `srun` with `--kill-on-bad-exit`); the last checkpoint stands.
pub struct World {
    // Ends MPI when dropped, after the communicator.
    world: SimpleCommunicator,
    _universe: Universe,
}

impl World {
    /// Joins. Call once, before any other thread uses MPI.
    ///
    /// # Errors
    /// If MPI was begun already, or cannot be called from the main thread beside others.
    pub fn join() -> Result<Self> {
        let (universe, threading) = initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| Error::device("MPI was begun twice").at("Open MPI"))?;
        if threading < Threading::Funneled {
            return Err(Error::unsupported("this MPI allows no other threads beside its own").at("Open MPI"));
        }
        Ok(Self { world: universe.world(), _universe: universe })
    }
}

/// Which of the processes on this machine this is, from 0: which GPU it takes. 0 where the launcher does not say.
pub fn local_rank() -> usize {
    ["OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok()?.parse().ok())
        .unwrap_or(0)
}

fn index(rank: Rank) -> usize {
    usize::try_from(rank).unwrap_or(0)
}

impl Ranks for World {
    fn rank(&self) -> usize {
        index(self.world.rank())
    }

    fn local_rank(&self) -> usize {
        local_rank()
    }

    fn size(&self) -> usize {
        index(self.world.size()).max(1)
    }

    fn mean(&self, values: &mut [f32]) -> Result<()> {
        let mut sum = vec![0.0f32; values.len()];
        self.world.all_reduce_into(&values[..], &mut sum[..], SystemOperation::sum());
        let size = self.size() as f32;
        values.iter_mut().zip(sum).for_each(|(v, s)| *v = s / size);
        Ok(())
    }

    fn of_first(&self, value: f64) -> Result<f64> {
        let mut value = value;
        self.world.process_at_rank(0).broadcast_into(&mut value);
        Ok(value)
    }
}
