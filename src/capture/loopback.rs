//! Frames that a program pushes, through a bounded queue.

use super::{FrameSource, Next, SourceInfo, SourceStats};
use crate::error::{Error, Result};
use crate::frame::Frame;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which frames a full queue keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The longest-waiting frame makes room: least delay, as for a camera.
    Newest,
    /// The pushed frame is turned away: nothing that was accepted is lost.
    Oldest,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Frame>,
    spent: Vec<Frame>,
    /// Stamp of the last frame that was pushed, accepted or not.
    last: Duration,
    dropped: u64,
    feeder_gone: bool,
    reader_gone: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    pushed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that frames are pushed into; dropping it ends the stream once the queue is empty.
#[derive(Debug)]
pub struct Feeder {
    shared: Arc<Shared>,
    capacity: usize,
    keep: Keep,
}

/// The end that frames are read from.
#[derive(Debug)]
pub struct Loopback {
    shared: Arc<Shared>,
    timeout: Duration,
    info: SourceInfo,
    delivered: u64,
    over: bool,
}

/// A queue of at most `capacity` frames (at least 1) between a program and a pipeline; a read waits `timeout`.
pub fn loopback(name: &str, capacity: usize, keep: Keep, timeout: Duration) -> (Feeder, Loopback) {
    let capacity = capacity.max(1);
    let queue = Queue {
        waiting: VecDeque::with_capacity(capacity),
        spent: Vec::with_capacity(capacity + 1),
        ..Queue::default()
    };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), pushed: Condvar::new() });
    let info = SourceInfo { name: name.to_owned(), fps: None, frames: None, live: true };
    let feeder = Feeder { shared: Arc::clone(&shared), capacity, keep };
    (feeder, Loopback { shared, timeout, info, delivered: 0, over: false })
}

impl Feeder {
    /// Hands a frame over with its `time`; its `index` is given anew on delivery. `frame` comes back holding a spent
    /// buffer to draw the next one in, so that a warm queue allocates nothing. Never waits.
    ///
    /// `false` if the queue was full and a frame was lost, as [`Keep`] says which.
    ///
    /// # Errors
    /// A malformed frame, a stamp earlier than the last one's, or a reader that is gone; `frame` is then untouched.
    pub fn push(&mut self, frame: &mut Frame) -> Result<bool> {
        frame.validate()?;
        let mut guard = self.shared.lock();
        let q = &mut *guard;
        if q.reader_gone {
            return Err(Error::io("nobody reads these frames any more"));
        }
        if frame.time < q.last {
            return Err(Error::input(format!("a frame stamped {:?} follows one stamped {:?}", frame.time, q.last))
                .remedy("push frames in the order they were taken"));
        }
        q.last = frame.time;
        let full = q.waiting.len() >= self.capacity;
        if full {
            q.dropped += 1;
            if self.keep == Keep::Oldest {
                return Ok(false);
            }
            q.spent.extend(q.waiting.pop_front());
        }
        let spare = q.spent.pop().unwrap_or_default();
        q.waiting.push_back(std::mem::replace(frame, spare));
        drop(guard);
        self.shared.pushed.notify_one();
        Ok(!full)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.lock().feeder_gone = true;
        self.shared.pushed.notify_one();
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.shared.lock().reader_gone = true;
    }
}

impl FrameSource for Loopback {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        if self.over {
            return Ok(Next::End);
        }
        let deadline = Instant::now() + self.timeout;
        let mut q = self.shared.lock();
        loop {
            if let Some(next) = q.waiting.pop_front() {
                let old = std::mem::replace(frame, next);
                if q.spent.len() < q.spent.capacity() {
                    q.spent.push(old);
                }
                frame.index = self.delivered;
                self.delivered += 1;
                return Ok(Next::Frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if q.feeder_gone || left.is_zero() {
                self.over = true;
                let gone = q.feeder_gone;
                let late = || Error::device(format!("no frame was pushed for {:?}", self.timeout)).at(&self.info.name);
                return if gone { Ok(Next::End) } else { Err(late()) };
            }
            q = self.shared.pushed.wait_timeout(q, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn stats(&self) -> SourceStats {
        SourceStats { delivered: self.delivered, dropped: self.shared.lock().dropped, ..SourceStats::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::check_contract;
    use crate::frame::{PixelFormat, Range};

    const LONG: Duration = Duration::from_secs(5);

    fn frame(n: u8) -> Frame {
        let mut f = Frame::default();
        f.reshape(4, 2, PixelFormat::Gray8, Range::Full).unwrap();
        f.data.fill(n);
        f.time = Duration::from_millis(10 * u64::from(n));
        f
    }

    fn read(keep: Keep, capacity: usize) -> (Vec<u8>, SourceStats) {
        let (mut feeder, mut source) = loopback("t", capacity, keep, LONG);
        for n in 0..5 {
            assert_eq!(feeder.push(&mut frame(n)).unwrap(), usize::from(n) < capacity);
        }
        drop(feeder);
        let frames = check_contract(&mut source);
        assert!(frames.iter().all(|f| f.time == Duration::from_millis(10 * u64::from(f.data[0]))));
        (frames.iter().map(|f| f.data[0]).collect(), source.stats())
    }

    #[test]
    fn a_full_queue_keeps_what_it_was_told_to() {
        let stats = |delivered, dropped| SourceStats { delivered, dropped, ..SourceStats::default() };
        assert_eq!(read(Keep::Newest, 3), (vec![2, 3, 4], stats(3, 2)));
        assert_eq!(read(Keep::Oldest, 3), (vec![0, 1, 2], stats(3, 2)));
        assert_eq!(read(Keep::Oldest, 5), (vec![0, 1, 2, 3, 4], stats(5, 0)));
    }

    #[test]
    fn silence_times_out_and_the_stream_is_over() {
        let (mut feeder, mut source) = loopback("t", 2, Keep::Newest, Duration::from_millis(20));
        feeder.push(&mut frame(1)).unwrap();
        assert_eq!(source.next_frame(&mut Frame::default()).unwrap(), Next::Frame);
        assert!(source.next_frame(&mut Frame::default()).unwrap_err().to_string().contains("t: no frame was pushed"));
        feeder.push(&mut frame(2)).unwrap();
        assert_eq!(source.next_frame(&mut Frame::default()).unwrap(), Next::End);
    }

    #[test]
    fn bad_pushes_are_refused() {
        let (mut feeder, source) = loopback("t", 2, Keep::Newest, LONG);
        feeder.push(&mut frame(2)).unwrap();
        assert!(feeder.push(&mut frame(1)).unwrap_err().to_string().contains("stamped 10ms follows one stamped 20ms"));
        let mut short = frame(3);
        short.data.pop();
        assert!(feeder.push(&mut short).is_err());
        drop(source);
        assert!(feeder.push(&mut frame(3)).unwrap_err().to_string().contains("nobody reads"));
    }

    #[test]
    fn frames_cross_threads_and_buffers_go_round() {
        let (mut feeder, mut source) = loopback("t", 4, Keep::Oldest, LONG);
        let feed = std::thread::spawn(move || {
            let mut f = frame(0);
            for n in 1..=200 {
                while {
                    f.reshape(4, 2, PixelFormat::Gray8, Range::Full).unwrap();
                    f.data.fill(n);
                    f.time = Duration::from_millis(u64::from(n));
                    !feeder.push(&mut f).unwrap()
                } {
                    std::thread::yield_now();
                }
            }
        });
        let frames = check_contract(&mut source);
        feed.join().unwrap();
        assert_eq!(frames.iter().map(|f| f.data[7]).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    }
}
