//! True time stamps and complaints out of what ffmpeg prints, one line a time.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// Longest piece of a line that is looked at, in bytes.
const LINE_BYTES: u64 = 4096;

/// A frame's stamp in nanoseconds, if it has one.
pub(super) type Stamp = Option<i128>;

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    TimeBase(i128, i128),
    Frame(Option<i128>),
    Complaint(String),
    Nothing,
}

/// Reads a line printed under `-loglevel level+info`, which puts `[level]` before each message.
fn understand(line: &str) -> Said {
    if let Some((_, what)) = line.split_once("[error] ").or_else(|| line.split_once("[fatal] ")) {
        return Said::Complaint(what.trim().to_owned());
    }
    if !line.starts_with("[Parsed_showinfo") {
        return Said::Nothing;
    }
    if let Some((_, base)) = line.split_once("config in time_base: ") {
        let base = base.split(',').next().and_then(|b| b.trim().split_once('/'));
        let base = base.and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
        return base.filter(|(n, d)| *n > 0 && *d > 0).map_or(Said::Nothing, |(n, d)| Said::TimeBase(n, d));
    }
    match line.split_once(" pts:") {
        Some((_, rest)) => Said::Frame(rest.split_ascii_whitespace().next().and_then(|t| t.parse().ok())),
        None => Said::Nothing,
    }
}

/// `pts * n / d` seconds, to the nearest nanosecond.
fn nanoseconds(pts: i128, n: i128, d: i128) -> i128 {
    pts.saturating_mul(n).saturating_mul(2_000_000_000).saturating_add(d).div_euclid(d.saturating_mul(2))
}

/// Reads what ffmpeg says to its end, passing on each frame's stamp; how many complaints, and the last.
pub(super) fn listen(stderr: impl Read, stamps: &Sender<Stamp>) -> (u64, String) {
    let mut reader = BufReader::new(stderr);
    let (mut line, mut base, mut count, mut last) = (Vec::new(), None, 0, String::new());
    loop {
        line.clear();
        if !matches!((&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
            return (count, last);
        }
        match understand(&String::from_utf8_lossy(&line)) {
            Said::TimeBase(n, d) => base = Some((n, d)),
            Said::Frame(pts) => {
                let ns = pts.zip(base).map(|(pts, (n, d))| nanoseconds(pts, n, d));
                // The reader of frames may be gone; what is said must still be read, or the program would block.
                let _ = stamps.send(ns);
            }
            Said::Complaint(what) => (count, last) = (count + 1, what),
            Said::Nothing => {}
        }
    }
}

/// Times since the first frame, never falling; a missing stamp counts as one nominal frame later.
pub(super) struct Stamps {
    from: Receiver<Stamp>,
    first: Option<i128>,
    last: Option<Duration>,
}

impl Stamps {
    pub(super) fn new(from: Receiver<Stamp>) -> Self {
        Self { from, first: None, last: None }
    }

    /// The next frame's time, waiting at most `timeout`; `nominal` is the time between frames at the nominal rate.
    pub(super) fn next(&mut self, nominal: Duration, timeout: Duration) -> Duration {
        let stamp = self.from.recv_timeout(timeout).ok().flatten();
        let guess = self.last.map_or(Duration::ZERO, |last| last + nominal);
        let time = stamp.map_or(guess, |ns| {
            // Where the first frames bear no stamp, the first one that does continues from the guess.
            let first = *self.first.get_or_insert(ns.saturating_sub(guess.as_nanos() as i128));
            Duration::from_nanos(u64::try_from(ns.saturating_sub(first)).unwrap_or(0))
        });
        let time = time.max(self.last.unwrap_or_default());
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(said: &str, frames: usize) -> (Vec<u128>, u64, String) {
        let (send, from) = std::sync::mpsc::channel();
        let (count, last) = listen(said.as_bytes(), &send);
        drop(send);
        let mut stamps = Stamps::new(from);
        let wait = Duration::from_millis(1);
        ((0..frames).map(|_| stamps.next(Duration::from_millis(40), wait).as_millis()).collect(), count, last)
    }

    fn show(base: &str, pts: &[&str]) -> String {
        let head = format!("[Parsed_showinfo_1 @ 0x5] [info] config in time_base: {base}, frame_rate: 10/1\n");
        let frame = |p: &&str| format!("[Parsed_showinfo_1 @ 0x5] [info] n:   0 pts: {p:>6} pts_time:0 fmt:yuv420p\n");
        head + &pts.iter().map(frame).collect::<String>()
    }

    #[test]
    fn stamps_count_from_the_first_frame_in_the_stream_s_own_base() {
        assert_eq!(times(&show("1/90000", &["9000", "18000", "108000"]), 3).0, [0, 100, 1100]);
        assert_eq!(times(&show("1001/30000", &["-1", "0", "29"]), 3).0, [0, 33, 1001]);
    }

    #[test]
    fn missing_stamps_are_guessed_and_falling_ones_held() {
        assert_eq!(times(&show("1/1000", &["NOPTS", "500", "480", "NOPTS", "700"]), 6).0, [0, 40, 40, 80, 240, 280]);
        assert_eq!(times(&show("0/0", &["7", "8"]), 2).0, [0, 40]);
    }

    #[test]
    fn complaints_are_counted_and_the_last_kept() {
        let said = "[mov @ 0x1] [error] moov atom not found\nnoise\n[info] x\n[fatal] a.mp4: Invalid data\n";
        assert_eq!(times(said, 0), (vec![], 2, "a.mp4: Invalid data".to_owned()));
    }
}
