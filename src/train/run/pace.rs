//! How long a training takes, told after its first step; and an end within seconds of Ctrl-C, however long a step is.

use indicatif::HumanDuration;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest that a step under way is waited for once a stop is asked for.
const GRACE: Duration = Duration::from_secs(5);

/// Time between looks at whether a stop is asked for.
const LOOK: Duration = Duration::from_millis(50);

/// What a run that is ended in the midst of a step exits with, as one that is stopped after it does.
const EXIT: i32 = 2;

/// Time between checkpoints of long steps, in times that writing one takes.
const SPARING: u32 = 20;

/// Watches over a loop: asked to stop, it has [`GRACE`] to come to the end of its step; then the process ends, for checkpoints on disk
/// are whole.
pub struct Watch<'a> {
    stop: &'a AtomicBool,
    grace: Duration,
    /// Ends the process after the message.
    end: &'a (dyn Fn(&str) + Sync),
    over: AtomicBool,
    writing: AtomicBool,
    /// Optimiser steps done in the checkpoint on disk.
    kept: AtomicUsize,
}

/// Says `message` and ends the process.
fn exit(message: &str) {
    log::warn!("{message}");
    std::process::exit(EXIT);
}

impl<'a> Watch<'a> {
    /// Over a loop that resumes from step `kept`.
    pub fn new(stop: &'a AtomicBool, kept: usize) -> Self {
        Self {
            stop,
            grace: GRACE,
            end: &exit,
            over: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            kept: AtomicUsize::new(kept),
        }
    }

    /// Runs `work` under the watch.
    pub fn over<T>(&self, work: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| self.look());
            let _ended = Ended(&self.over, watching.thread().clone());
            work()
        })
    }

    /// Runs `write`, which leaves a checkpoint of step `step`; it is not cut short.
    pub fn writing<T, E>(&self, step: usize, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.writing.store(true, Ordering::Relaxed);
        let done = write();
        if done.is_ok() {
            self.kept.store(step, Ordering::Relaxed);
        }
        self.writing.store(false, Ordering::Relaxed);
        done
    }

    fn look(&self) {
        let mut asked: Option<Instant> = None;
        while !self.over.load(Ordering::Acquire) {
            if asked.is_none() && self.stop.load(Ordering::Relaxed) {
                asked = Some(Instant::now());
            }
            if asked.is_some_and(|at| at.elapsed() >= self.grace) && !self.writing.load(Ordering::Relaxed) {
                return (self.end)(&match self.kept.load(Ordering::Relaxed) {
                    0 => "stopped before the end of a long step; there is no checkpoint yet".to_owned(),
                    step => format!("stopped before the end of a long step; --resume goes on from step {step}"),
                });
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

/// Ends the watch when it is dropped, also by a panic.
struct Ended<'a>(&'a AtomicBool, std::thread::Thread);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.unpark();
    }
}

/// Time that steps and checkpoints take.
pub struct Pace {
    step: Duration,
    begun: Instant,
    written: Instant,
    writing: Duration,
}

impl Pace {
    /// From now on.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { step: Duration::ZERO, begun: now, written: now, writing: Duration::ZERO }
    }

    /// A step begins.
    pub fn begins(&mut self) {
        self.begun = Instant::now();
    }

    /// The step has ended; gives how long it took.
    pub fn ends(&mut self) -> Duration {
        self.step = self.begun.elapsed();
        self.step
    }

    /// Measures `write`, which leaves a checkpoint.
    pub fn wrote<T>(&mut self, write: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = write();
        self.written = Instant::now();
        self.writing = self.written - begun;
        done
    }

    /// Whether so much time has passed since the last checkpoint that one takes a twentieth of it at most.
    pub fn spares(&self) -> bool {
        self.written.elapsed() >= self.writing * SPARING
    }

    /// Whether a checkpoint is due after a step, so that a stop in the next one, which is too long to be waited for, loses little.
    pub fn due(&self) -> bool {
        self.step >= GRACE && self.spares()
    }
}

/// What `step` means for a run that has `left` steps to go, of `of_epoch` an epoch.
pub fn forecast(step: Duration, of_epoch: usize, left: usize) -> String {
    let of = |steps: usize| HumanDuration(step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX)));
    let seconds = step.as_secs_f64();
    let all = of(left);
    format!(
        "a step takes {seconds:.2} s here, an epoch of {of_epoch} steps {}, the {left} steps to go {all}",
        of(of_epoch)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn watched(grace_ms: u64, stop: &AtomicBool, kept: usize, work: impl FnOnce(&Watch)) -> Option<String> {
        let said = Mutex::new(None);
        let end = |message: &str| *said.lock().unwrap() = Some(message.to_owned());
        let watch = Watch { grace: Duration::from_millis(grace_ms), end: &end, ..Watch::new(stop, kept) };
        watch.over(|| work(&watch));
        said.into_inner().unwrap()
    }

    fn pass(ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    #[test]
    fn a_step_that_outlasts_the_grace_is_ended_and_one_that_does_not_is_waited_for() {
        let (asked, not_asked) = (AtomicBool::new(true), AtomicBool::new(false));
        let said = watched(100, &asked, 7, |_| pass(400)).unwrap();
        assert!(said.contains("--resume goes on from step 7"), "{said}");
        assert!(watched(100, &asked, 0, |_| pass(400)).unwrap().contains("no checkpoint yet"));
        assert_eq!(watched(60_000, &asked, 7, |_| pass(50)), None);
        assert_eq!(watched(0, &not_asked, 7, |_| pass(200)), None);
    }

    #[test]
    fn a_checkpoint_that_is_being_written_is_finished_first() {
        let stop = AtomicBool::new(true);
        let said = watched(0, &stop, 7, |watch| {
            let write = || {
                pass(300);
                Ok::<_, ()>(())
            };
            watch.writing(8, write).unwrap();
            pass(300);
        });
        assert!(said.unwrap().contains("from step 8"));
    }

    #[test]
    fn the_watch_ends_with_the_work_also_by_a_panic() {
        let stop = AtomicBool::new(false);
        let watch = Watch::new(&stop, 0);
        assert!(
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watch.over(|| panic!("on purpose")))).is_err()
        );
    }

    #[test]
    fn long_steps_are_kept_at_a_twentieth_of_the_time_and_short_ones_are_not() {
        let ago = |s: u64| Instant::now() - Duration::from_secs(s);
        let pace = |step_s, written_s, writing_s| Pace {
            step: Duration::from_secs(step_s),
            begun: Instant::now(),
            written: ago(written_s),
            writing: Duration::from_secs(writing_s),
        };
        assert!(pace(40, 40, 2).due() && pace(40, 41, 0).due());
        assert!(!pace(40, 39, 2).due(), "the disk is too slow for every step");
        assert!(!pace(4, 400, 2).due(), "a step that short is waited for");
    }

    #[test]
    fn a_forecast_says_step_epoch_and_rest() {
        let text = forecast(Duration::from_millis(41_250), 120, 2400);
        assert_eq!(text, "a step takes 41.25 s here, an epoch of 120 steps 83 minutes, the 2400 steps to go 28 hours");
    }
}
