//! Waiting for a descriptor, never for ever, and no longer than the user wishes.

use crate::stop::{LOOK_EVERY, Stop};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The descriptor can be read, has ended or has failed.
    Ready,
    /// The time is over.
    Late,
    /// The user wishes to stop.
    Stopped,
}

/// Waits until `fd` can be read, has ended or has failed.
///
/// # Errors
/// What poll(2) reports; an interrupting signal does not count and does not prolong the wait.
pub fn readable(fd: BorrowedFd<'_>, deadline: Instant, stop: &Stop) -> Result<Waited> {
    let mut watched = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        if stop.asked() {
            return Ok(Waited::Stopped);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, or the last fraction of a millisecond would be spent spinning.
        let slice_ms = left.min(LOOK_EVERY).as_micros().div_ceil(1000);
        // SAFETY: `watched` is one initialised pollfd that outlives the call, and the count says one.
        let n = unsafe { libc::poll(&mut watched, 1, i32::try_from(slice_ms).unwrap_or(i32::MAX)) };
        if n > 0 {
            return Ok(Waited::Ready);
        }
        let e = Error::last_os_error();
        if n < 0 && e.kind() != ErrorKind::Interrupted {
            return Err(e);
        }
        if n == 0 && left.is_zero() {
            return Ok(Waited::Late);
        }
    }
}

/// The reason of a read that ended because the user wishes to stop.
#[derive(Debug)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

/// Whether a read ended for [`Stopped`].
pub fn is_stop(e: &Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<Stopped>())
}

/// Gives a [`Timed`] reader its time anew: what it waits for has begun again.
#[derive(Debug, Clone, Default)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    /// Starts the time-out over.
    pub fn renew(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A reader that gives up with [`ErrorKind::TimedOut`] once `timeout` has passed since its [`Patience`] was renewed, however
/// many bytes trickled in, and with [`Stopped`] once the user wishes to stop.
///
/// `inner` must not buffer, or bytes it holds back would be waited for: a `File` is right, `Stdin` is not.
#[derive(Debug)]
pub struct Timed<R> {
    inner: R,
    timeout: Duration,
    deadline: Instant,
    patience: Patience,
    renewed: u64,
    /// The deadline had passed at the latest read.
    late: bool,
    stop: Stop,
}

impl<R: Read + AsFd> Timed<R> {
    /// Wraps `inner`; the time begins now.
    pub fn new(inner: R, timeout: Duration, stop: &Stop) -> Self {
        let deadline = Instant::now() + timeout;
        Self { inner, timeout, deadline, patience: Patience::default(), renewed: 0, late: false, stop: stop.clone() }
    }

    /// What starts the time over.
    pub fn patience(&self) -> Patience {
        self.patience.clone()
    }
}

impl<R: Read + AsFd> Read for Timed<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let renewed = self.patience.0.load(Ordering::Relaxed);
        if renewed != self.renewed {
            (self.renewed, self.deadline, self.late) = (renewed, Instant::now() + self.timeout, false);
        }
        match readable(self.inner.as_fd(), self.deadline, &self.stop)? {
            // What lies ready is taken once more after the deadline, should the reader itself have been slow.
            Waited::Ready if !std::mem::replace(&mut self.late, Instant::now() >= self.deadline) => {
                self.inner.read(buf)
            }
            Waited::Stopped => Err(Error::other(Stopped)),
            Waited::Ready | Waited::Late => {
                let what = format!("nothing whole came for {:.1} s", self.timeout.as_secs_f64());
                Err(Error::new(ErrorKind::TimedOut, what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_silent_pipe_times_out_and_a_closed_one_ends() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut timed = Timed::new(reader, Duration::from_millis(30), &Stop::default());
        let mut buf = [0; 8];
        let start = Instant::now();
        assert_eq!(timed.read(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!((30..3000).contains(&start.elapsed().as_millis()));
        timed.patience().renew();
        writer.write_all(b"abc").unwrap();
        assert_eq!(timed.read(&mut buf).unwrap(), 3);
        drop(writer);
        assert_eq!(timed.read(&mut buf).unwrap(), 0);
    }

    #[test]
    fn bytes_that_trickle_do_not_prolong_the_wait() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut timed = Timed::new(reader, Duration::from_millis(200), &Stop::default());
        let feeder = std::thread::spawn(move || {
            (0..100).for_each(|_| {
                let _ = writer.write_all(b".");
                std::thread::sleep(Duration::from_millis(20));
            });
        });
        let start = Instant::now();
        let e = timed.read_exact(&mut [0; 90]).unwrap_err();
        assert!(e.kind() == ErrorKind::TimedOut && start.elapsed() < Duration::from_millis(1500), "{e}");
        drop(timed);
        feeder.join().unwrap();
    }

    #[test]
    fn a_wish_to_stop_ends_a_wait_at_once() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let stop = Stop::default();
        let mut timed = Timed::new(reader, Duration::from_secs(60), &stop);
        let asker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            stop.ask();
        });
        let start = Instant::now();
        let e = timed.read(&mut [0; 4]).unwrap_err();
        assert!(is_stop(&e) && start.elapsed() < Duration::from_secs(5), "{e}");
        asker.join().unwrap();
    }
}
