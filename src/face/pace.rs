//! How far apart a stream's frames stand, so that a slow stream is told from one that paused.

use std::time::Duration;

/// Steps from frame to frame that are remembered.
const STEPS: usize = 5;
/// A step this many times as long as usual is a break, if it is longer than [`BREAK`] too.
const UNUSUAL: u32 = 3;
/// No shorter step is a break.
const BREAK: Duration = Duration::from_secs(1);

/// The steps between a stream's latest frames.
#[derive(Debug, Default)]
pub(super) struct Pace {
    steps: [Duration; STEPS],
    known: usize,
    last: Option<Duration>,
}

/// The step to the frame at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The stream's first frame.
    First,
    /// This long after the frame before, as the stream goes.
    On(Duration),
    /// After a pause, in which anything may have happened.
    Break,
}

impl Pace {
    /// Takes the time of the next frame.
    pub(super) fn step(&mut self, time: Duration) -> Step {
        let Some(last) = self.last.replace(time) else { return Step::First };
        let step = time.saturating_sub(last);
        let usual = self.usual();
        // Taken in, too: where the stream has become slow, that is how it goes from now on.
        self.steps.rotate_right(1);
        self.steps[0] = step;
        self.known = (self.known + 1).min(STEPS);
        if step > BREAK && usual.is_some_and(|u| step > u * UNUSUAL) { Step::Break } else { Step::On(step) }
    }

    /// The median of the remembered steps.
    fn usual(&self) -> Option<Duration> {
        let mut steps = self.steps;
        let known = &mut steps[..self.known];
        known.sort_unstable();
        known.get(known.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(times_ms: &[u64]) -> Vec<Step> {
        let mut pace = Pace::default();
        times_ms.iter().map(|&t| pace.step(Duration::from_millis(t))).collect()
    }

    fn on(ms: u64) -> Step {
        Step::On(Duration::from_millis(ms))
    }

    #[test]
    fn a_slow_stream_has_no_breaks() {
        assert_eq!(steps(&[0, 2000, 4000, 8000]), [Step::First, on(2000), on(2000), on(4000)]);
    }

    #[test]
    fn a_pause_in_a_quick_stream_is_one() {
        assert_eq!(steps(&[0, 40, 80, 1081, 1121]), [Step::First, on(40), on(40), Step::Break, on(40)]);
        assert_eq!(steps(&[0, 40, 80, 1080]), [Step::First, on(40), on(40), on(1000)]);
    }

    #[test]
    fn a_stream_that_slows_down_for_good_is_slow_after_a_few_frames() {
        let all = steps(&[0, 40, 80, 120, 160, 200, 2200, 4200, 6200, 8200, 10_200]);
        assert_eq!(all[6..], [Step::Break, Step::Break, Step::Break, on(2000), on(2000)]);
    }
}
