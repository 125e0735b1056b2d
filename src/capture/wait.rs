//! Waiting for a descriptor, never for ever.

use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Waits until `fd` can be read, has ended or has failed; `false` once `timeout` is over.
///
/// # Errors
/// What poll(2) reports; an interrupting signal does not count and does not prolong the wait.
pub fn readable(fd: BorrowedFd<'_>, timeout: Duration) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    let mut watched = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // Rounded up, or the last fraction of a millisecond would be spent spinning.
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        // SAFETY: `watched` is one initialised pollfd that outlives the call, and the count says one.
        let n = unsafe { libc::poll(&mut watched, 1, i32::try_from(left_ms).unwrap_or(i32::MAX)) };
        if n >= 0 {
            return Ok(n > 0);
        }
        let e = Error::last_os_error();
        if e.kind() != ErrorKind::Interrupted {
            return Err(e);
        }
    }
}

/// A reader whose every read gives up with [`ErrorKind::TimedOut`] after `timeout` without a byte.
///
/// `inner` must not buffer, or bytes it holds back would be waited for: a `File` is right, `Stdin` is not.
#[derive(Debug)]
pub struct Timed<R> {
    inner: R,
    timeout: Duration,
}

impl<R: Read + AsFd> Timed<R> {
    /// Wraps `inner`.
    pub fn new(inner: R, timeout: Duration) -> Self {
        Self { inner, timeout }
    }
}

impl<R: Read + AsFd> Read for Timed<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        if readable(self.inner.as_fd(), self.timeout)? {
            return self.inner.read(buf);
        }
        let what = format!("nothing came for {:.1} s", self.timeout.as_secs_f64());
        Err(Error::new(ErrorKind::TimedOut, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_silent_pipe_times_out_and_a_closed_one_ends() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut timed = Timed::new(reader, Duration::from_millis(30));
        let mut buf = [0; 8];
        let start = Instant::now();
        assert_eq!(timed.read(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!((30..3000).contains(&start.elapsed().as_millis()));
        writer.write_all(b"abc").unwrap();
        assert_eq!(timed.read(&mut buf).unwrap(), 3);
        drop(writer);
        assert_eq!(timed.read(&mut buf).unwrap(), 0);
    }
}
