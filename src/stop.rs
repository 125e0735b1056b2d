//! Layer 0: the user's wish to stop, handed to whatever waits.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

    /// Asks `ready`, which may wait for [`LOOK_EVERY`], until it says true. False once `limit` has passed, or `grace`
    /// since someone asked to stop.
    ///
    /// # Errors
    /// Those of `ready`.
    pub fn wait<E>(
        &self,
        limit: Duration,
        grace: Duration,
        mut ready: impl FnMut() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let (start, mut asked) = (Instant::now(), None);
        loop {
            if ready()? {
                return Ok(true);
            }
            if self.asked() {
                asked.get_or_insert_with(Instant::now);
            }
            if start.elapsed() >= limit || asked.is_some_and(|a: Instant| a.elapsed() >= grace) {
                return Ok(false);
            }
        }
    }
}

/// Waits [`LOOK_EVERY`] at most for one of poll(2)'s `events` on `fd`, or for its other end to be gone; gives what is there.
///
/// # Errors
/// What poll(2) reports; an interrupting signal counts as nothing there.
pub fn poll(fd: BorrowedFd<'_>, events: i16) -> std::io::Result<i16> {
    let mut watched = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: `watched` is one initialised pollfd that outlives the call, and the count says one.
    let n = unsafe { libc::poll(&mut watched, 1, LOOK_EVERY.as_millis() as i32) };
    match std::io::Error::last_os_error() {
        e if n < 0 && e.kind() != std::io::ErrorKind::Interrupted => Err(e),
        _ => Ok(if n > 0 { watched.revents } else { 0 }),
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

    #[test]
    fn a_wait_ends_when_ready_late_or_some_time_after_the_wish() {
        let (ms, stop) = (Duration::from_millis, Stop::default());
        let never = || {
            std::thread::sleep(ms(1));
            Ok::<_, ()>(false)
        };
        let mut left = 3;
        let third = || {
            left -= 1;
            Ok::<_, ()>(left == 0)
        };
        assert_eq!(stop.wait(ms(10_000), ms(0), third), Ok(true));
        assert_eq!(stop.wait(ms(5), ms(0), never), Ok(false));
        assert_eq!(stop.wait(ms(5), ms(0), || Err(7)), Err(7));
        stop.ask();
        let start = Instant::now();
        assert_eq!(stop.wait(Duration::MAX, ms(20), never), Ok(false));
        assert!((20..5000).contains(&start.elapsed().as_millis()));
    }
}
