//! True time stamps and complaints out of what ffmpeg prints, one line a time.

use super::timeline::Timeline;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// Longest piece of a line that is looked at, in bytes.
const LINE_BYTES: u64 = 4096;

/// A frame's stamp in nanoseconds, if it has one.
pub(crate) type Stamp = Option<i128>;

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    TimeBase(i128, i128),
    Frame(Option<i128>),
    Complaint(String),
    /// A line without a level: not ffmpeg's own, but of what loads or ends it.
    Foreign(String),
    Nothing,
}

/// What a program said, apart from stamps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Lines that complain.
    pub complaints: u64,
    /// The last of them; without one, the last line of what loads or ends the program.
    pub last: String,
}

/// Longest line that begins with no level and is kept, in bytes.
const FOREIGN_BYTES: usize = 300;

/// Reads a line printed under `-loglevel level+info`, which puts `[level]` before each message.
fn understand(line: &str) -> Said {
    if let Some((_, what)) = line.split_once("[error] ").or_else(|| line.split_once("[fatal] ")) {
        return Said::Complaint(what.trim().to_owned());
    }
    if !line.starts_with('[') && line.contains("ffmpeg: ") {
        return Said::Foreign(line.trim().chars().take(FOREIGN_BYTES).collect());
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

/// Reads what ffmpeg says to its end, passing on each frame's stamp.
pub(crate) fn listen(stderr: impl Read, stamps: &Sender<Stamp>) -> Heard {
    let mut reader = BufReader::new(stderr);
    let (mut line, mut base, mut heard) = (Vec::new(), None, Heard::default());
    loop {
        line.clear();
        if !matches!((&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
            return heard;
        }
        match understand(&String::from_utf8_lossy(&line)) {
            Said::TimeBase(n, d) => base = Some((n, d)),
            Said::Frame(pts) => {
                let ns = pts.zip(base).map(|(pts, (n, d))| nanoseconds(pts, n, d));
                // The reader of frames may be gone; what is said must still be read, or the program would block.
                let _ = stamps.send(ns);
            }
            Said::Complaint(what) => heard = Heard { complaints: heard.complaints + 1, last: what },
            Said::Foreign(what) if heard.complaints == 0 => heard.last = what,
            Said::Foreign(_) => {}
            Said::Nothing => {}
        }
    }
}

/// Times since the first frame: a [`Timeline`] over the stamps as they come.
pub(crate) struct Stamps {
    from: Receiver<Stamp>,
    /// A stamp that was looked at before its frame.
    ahead: Option<Stamp>,
    line: Timeline,
}

impl Stamps {
    /// `fps` is the nominal rate, if known.
    pub(crate) fn new(from: Receiver<Stamp>, fps: Option<f64>) -> Self {
        let nominal = Duration::from_secs_f64(1.0 / fps.unwrap_or(25.0));
        Self { from, ahead: None, line: Timeline::new(nominal) }
    }

    /// The next frame's time, waiting at most `timeout` for its stamp, and as long for the one after where that tells a
    /// wild stamp from a gap.
    pub(crate) fn next(&mut self, timeout: Duration) -> Duration {
        let stamp = self.ahead.take().unwrap_or_else(|| self.from.recv_timeout(timeout).ok().flatten());
        if stamp.is_some_and(|s| self.line.doubts(s)) {
            self.ahead = self.from.recv_timeout(timeout).ok();
        }
        self.line.place(stamp, self.ahead.flatten())
    }

    /// Odd stamps so far.
    pub(super) fn odd(&self) -> u64 {
        self.line.odd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(said: &str, frames: usize) -> (Vec<u128>, u64, String) {
        let (send, from) = std::sync::mpsc::channel();
        let heard = listen(said.as_bytes(), &send);
        drop(send);
        let mut stamps = Stamps::new(from, Some(25.0));
        let wait = Duration::from_millis(1);
        ((0..frames).map(|_| stamps.next(wait).as_millis()).collect(), heard.complaints, heard.last)
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
    fn missing_stamps_are_guessed_and_odd_ones_go_on_at_the_rate() {
        assert_eq!(times(&show("1/1000", &["NOPTS", "500", "480", "NOPTS", "700"]), 6).0, [0, 40, 80, 120, 240, 280]);
        assert_eq!(times(&show("1/1000", &["0", "40", "30000", "120", "160"]), 5).0, [0, 40, 80, 120, 160]);
        assert_eq!(times(&show("0/0", &["7", "8"]), 2).0, [0, 40]);
    }

    #[test]
    fn complaints_are_counted_and_the_last_kept() {
        let said = "[mov @ 0x1] [error] moov atom not found\nnoise\n[info] x\n[fatal] a.mp4: Invalid data\n";
        assert_eq!(times(said, 0), (vec![], 2, "a.mp4: Invalid data".to_owned()));
    }

    #[test]
    fn what_keeps_the_program_from_loading_is_kept() {
        let said = "ffmpeg: error while loading shared libraries: libx.so.1: cannot open\n";
        assert_eq!(times(said, 0), (vec![], 0, said.trim().to_owned()));
    }
}
