//! Layer 0: the user's wish to stop, handed to whatever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whatever waits looks at the wish to stop this often.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A wish to stop; its clones share it. By default nobody has asked.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether someone has asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag itself, for a signal to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_wish() {
        let stop = Stop::default();
        let other = stop.clone();
        assert!(!other.asked());
        stop.ask();
        assert!(other.asked() && other.flag().load(Ordering::Relaxed));
        assert!(!Stop::default().asked());
    }
}
