//! The contract of [`FrameSource`] as a check that any source's tests can run.

use super::{FrameSource, Next, TIMEOUT};
use crate::error::{Error, Result};
use crate::frame::Frame;
use std::time::{Duration, Instant};

/// Allowance for a loaded machine on top of a source's time-out.
const SLACK: Duration = Duration::from_secs(5);

fn breach(source: &dyn FrameSource, what: String) -> Error {
    Error::input(format!("breaks the contract of sources: {what}")).at(&source.info().name)
}

fn ask(source: &mut dyn FrameSource, frame: &mut Frame) -> Result<Result<Next>> {
    let start = Instant::now();
    let answer = source.next_frame(frame);
    let took = start.elapsed();
    if took > TIMEOUT + SLACK {
        return Err(breach(source, format!("a call took {:.1} s", took.as_secs_f64())));
    }
    Ok(answer)
}

/// Reads at most `most` frames and gives them, checking on the way that
/// every frame's bytes match its shape; numbers count from 0 without gaps; times never fall; the count of delivered
/// frames is right; no call takes longer than [`TIMEOUT`] (and some slack); and, where the stream ends or fails
/// before `most`, that no frame ever follows.
///
/// A source's own errors are no breach: the frames before one are given.
///
/// # Errors
/// The first breach, in words.
pub fn check(source: &mut dyn FrameSource, most: usize) -> Result<Vec<Frame>> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut frame = Frame::default();
    while frames.len() < most {
        if !matches!(ask(source, &mut frame)?, Ok(Next::Frame)) {
            for _ in 0..2 {
                if matches!(ask(source, &mut frame)?, Ok(Next::Frame)) {
                    return Err(breach(source, format!("a frame came after the end, at {}", frames.len())));
                }
            }
            break;
        }
        frame.validate().map_err(|e| breach(source, e.to_string()))?;
        if frame.index != frames.len() as u64 {
            return Err(breach(source, format!("frame {} has number {}", frames.len(), frame.index)));
        }
        if frames.last().is_some_and(|last| last.time > frame.time) {
            return Err(breach(source, format!("time falls at frame {}", frame.index)));
        }
        frames.push(frame.clone());
    }
    let counted = source.stats().delivered;
    if counted != frames.len() as u64 {
        return Err(breach(source, format!("{counted} frames counted, {} delivered", frames.len())));
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{SourceInfo, SourceStats};
    use crate::frame::{PixelFormat, Range};

    /// Gives the listed (number, milliseconds, bytes to cut), then an error, then what `after` says.
    struct Scripted(std::vec::IntoIter<(u64, u64, usize)>, SourceInfo, SourceStats, bool);

    impl FrameSource for Scripted {
        fn info(&self) -> &SourceInfo {
            &self.1
        }
        fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
            let Some((index, ms, cut)) = self.0.next() else {
                if std::mem::take(&mut self.3) {
                    self.0 = vec![(0, 0, 0)].into_iter();
                }
                return Err(Error::device("over"));
            };
            frame.reshape(4, 4, PixelFormat::Gray8, Range::Full)?;
            frame.data.truncate(16 - cut);
            (frame.index, frame.time) = (index, Duration::from_millis(ms));
            self.2.delivered += 1;
            Ok(Next::Frame)
        }
        fn stats(&self) -> SourceStats {
            self.2
        }
    }

    fn found(script: Vec<(u64, u64, usize)>, revive: bool, miscount: u64) -> Result<Vec<Frame>> {
        let info = SourceInfo { name: "script".into(), fps: None, frames: None, live: false };
        let stats = SourceStats { delivered: miscount, ..SourceStats::default() };
        check(&mut Scripted(script.into_iter(), info, stats, revive), 100)
    }

    #[test]
    fn every_kind_of_breach_is_found() {
        assert_eq!(found(vec![(0, 0, 0), (1, 40, 0), (2, 40, 0)], false, 0).unwrap().len(), 3);
        for (script, revive, miscount, want) in [
            (vec![(1, 0, 0)], false, 0, "frame 0 has number 1"),
            (vec![(0, 9, 0), (1, 8, 0)], false, 0, "time falls at frame 1"),
            (vec![(0, 0, 3)], false, 0, "has 13 bytes, expected 16"),
            (vec![(0, 0, 0)], true, 0, "after the end, at 1"),
            (vec![(0, 0, 0)], false, 1, "2 frames counted, 1 delivered"),
        ] {
            let e = found(script, revive, miscount).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
    }
}
