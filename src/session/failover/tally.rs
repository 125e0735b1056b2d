//! What became of the engines of a run.

use std::fmt;

/// Counters of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineTally {
    pub name: &'static str,
    /// Frames that it read.
    pub frames: u64,
    /// Frames that it failed on.
    pub failures: u64,
    /// Times that it was opened in the background to be tried again.
    pub reopenings: u64,
    /// Times that it could not be opened.
    pub refusals: u64,
}

/// Counters of all engines of a run, in the order of preference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub engines: Vec<EngineTally>,
    /// Frames that failed on one engine and were read by another.
    pub rescued: u64,
    /// Changes of engine between one frame and the next.
    pub moves: u64,
    /// Moves back to an engine that had failed.
    pub recoveries: u64,
}

impl Tally {
    pub(super) fn new(names: impl Iterator<Item = &'static str>) -> Self {
        let engine = |name| EngineTally { name, frames: 0, failures: 0, reopenings: 0, refusals: 0 };
        Self { engines: names.map(engine).collect(), ..Self::default() }
    }

    /// Frames that any engine failed on, one for each engine that did.
    pub fn failures(&self) -> u64 {
        self.engines.iter().map(|e| e.failures).sum()
    }

    /// Whether anything happened that the user should hear of.
    pub fn eventful(&self) -> bool {
        self.moves > 0 || self.failures() > 0
    }
}

/// One line, such as `engine cuda failed 2 times and was reopened 1 time; 2 frames read again, 3 changes of engine, 1 of
/// them back; frames: cuda 90, simd 10`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |n: u64| format!("{n} time{}", if n == 1 { "" } else { "s" });
        for e in self.engines.iter().filter(|e| e.failures + e.reopenings > 0) {
            write!(f, "engine {} failed {} and was reopened {}; ", e.name, times(e.failures), times(e.reopenings))?;
        }
        write!(f, "{} frames read again, {} changes of engine, ", self.rescued, self.moves)?;
        write!(f, "{} of them back; frames:", self.recoveries)?;
        for (i, e) in self.engines.iter().filter(|e| e.frames > 0).enumerate() {
            write!(f, "{} {} {}", if i == 0 { "" } else { "," }, e.name, e.frames)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_engines_that_failed_and_engines_that_read() {
        let mut t = Tally::new(["cuda", "simd", "tract"].into_iter());
        assert!(!t.eventful());
        (t.engines[0].frames, t.engines[0].failures, t.engines[0].reopenings) = (90, 2, 1);
        (t.engines[1].frames, t.rescued, t.moves, t.recoveries) = (10, 2, 3, 1);
        assert!(t.eventful());
        assert_eq!(
            t.to_string(),
            "engine cuda failed 2 times and was reopened 1 time; 2 frames read again, 3 changes of engine, 1 of them back; \
             frames: cuda 90, simd 10"
        );
    }
}
