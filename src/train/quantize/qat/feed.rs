//! Stills as clips of one frame.

use crate::error::{Error, Result};
use crate::train::data::ferplus::Still;
use crate::train::fit::shuffled;
use crate::train::run::{Batch, Batches, Feed};
use std::sync::Arc;

/// Every still once an epoch, in an order that depends on the seed and the epoch alone; what is left of a batch is left
/// out.
pub struct StillFeed {
    stills: Arc<Vec<Still>>,
    batch: usize,
    seed: u64,
}

impl StillFeed {
    /// # Errors
    /// Fewer stills than a batch.
    pub fn new(stills: Vec<Still>, batch: usize, seed: u64) -> Result<Self> {
        if stills.len() < batch.max(1) {
            return Err(Error::input(format!("{} pictures, fewer than a batch of {batch}", stills.len()))
                .remedy("give more pictures, or lower qat.run.batch"));
        }
        Ok(Self { stills: Arc::new(stills), batch: batch.max(1), seed })
    }
}

fn clip(still: &Still) -> Batch {
    Batch {
        clips: 1,
        frames: 1,
        size_px: still.image.width,
        video: still.image.data.clone(),
        labels: vec![[still.arousal, still.valence]],
        audio: None,
        votes: Vec::new(),
        targets: Vec::new(),
    }
}

impl Feed for StillFeed {
    fn batches(&self) -> usize {
        self.stills.len() / self.batch
    }

    fn epoch(&self, epoch: usize) -> Result<Batches> {
        let (stills, batch, count) = (Arc::clone(&self.stills), self.batch, self.batches());
        let order = shuffled(stills.len(), self.seed, epoch);
        let one = move |i: usize| Batch::join(order[i * batch..][..batch].iter().map(|&k| clip(&stills[k])).collect());
        Ok(Box::new((0..count).map(one)))
    }
}
