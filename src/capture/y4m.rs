//! YUV4MPEG2, from a file, standard input or a program's pipe.

use super::timeline::Timeline;
use super::wait::{Patience, is_stop};
use super::{FrameSource, Next, SourceInfo, SourceStats};
use crate::error::{Error, Result};
use crate::frame::{Frame, PixelFormat, Range};
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

/// Longest header line accepted, in bytes.
const LINE_BYTES: u64 = 4096;

struct Header {
    width: usize,
    height: usize,
    format: PixelFormat,
    range: Range,
    fps: f64,
}

fn parse_header(line: &str) -> std::result::Result<Header, String> {
    let mut tags = line.split_ascii_whitespace();
    if tags.next() != Some("YUV4MPEG2") {
        return Err("does not begin with YUV4MPEG2".into());
    }
    let mut h = Header { width: 0, height: 0, format: PixelFormat::Yuv420p, range: Range::Limited, fps: 25.0 };
    for tag in tags {
        let Some((at, _)) = tag.char_indices().nth(1) else { continue };
        let (key, value) = tag.split_at(at);
        let bad = || format!("header tag {tag:?} is malformed");
        match key {
            "W" => h.width = value.parse().map_err(|_| bad())?,
            "H" => h.height = value.parse().map_err(|_| bad())?,
            "F" => {
                let (n, d) = value.split_once(':').ok_or_else(bad)?;
                let (n, d): (f64, f64) = (n.parse().map_err(|_| bad())?, d.parse().map_err(|_| bad())?);
                if n > 0.0 && d > 0.0 && (0.01..=1000.0).contains(&(n / d)) {
                    h.fps = n / d;
                }
            }
            "C" => match value {
                "420" | "420jpeg" | "420mpeg2" | "420paldv" => h.format = PixelFormat::Yuv420p,
                "mono" => h.format = PixelFormat::Gray8,
                _ => return Err(format!("colour space {value} is not supported, only 420 and mono at 8 bits")),
            },
            "X" if value == "COLORRANGE=FULL" => h.range = Range::Full,
            _ => {}
        }
    }
    if h.width == 0 || h.height == 0 {
        return Err("the header lacks W or H".into());
    }
    Ok(h)
}

/// A YUV4MPEG2 stream; time is `index / F`, or what a frame's `XTIME_NS` tag says, judged by a [`Timeline`].
pub struct Y4m<R> {
    reader: BufReader<R>,
    header: Header,
    info: SourceInfo,
    stats: SourceStats,
    over: bool,
    line: Vec<u8>,
    /// `line` holds the next frame's mark already.
    ahead: bool,
    /// The times of a stream whose frames bear tags.
    tagged: Option<Timeline>,
    patience: Patience,
}

impl<R: Read + Send> Y4m<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// An empty stream, another format, or a size no frame can have.
    pub fn new(reader: R, name: &str) -> Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let mut line = Vec::new();
        let read = (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line);
        read.map_err(|e| if is_stop(&e) { Error::interrupted("stopped") } else { unreadable(e, name) })?;
        if line.is_empty() {
            return Err(Error::input("is empty").at(name).remedy("expected a YUV4MPEG2 stream"));
        }
        let text = String::from_utf8_lossy(&line);
        let remedy = "convert with `ffmpeg -i IN -pix_fmt yuv420p -f yuv4mpegpipe OUT.y4m`";
        let header = parse_header(&text)
            .map_err(|what| Error::input(format!("is no readable YUV4MPEG2: {what}")).at(name).remedy(remedy))?;
        Frame::default().reshape(header.width, header.height, header.format, header.range)?;
        let info = SourceInfo { name: name.to_owned(), fps: Some(header.fps), frames: None, live: false };
        let (stats, patience) = (SourceStats::default(), Patience::default());
        Ok(Self { reader, header, info, stats, over: false, line, ahead: false, tagged: None, patience })
    }

    /// The same, renewing the time of the [`super::wait::Timed`] reader that it reads from at each frame.
    pub fn renewing(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Reads the next frame's line, which is empty at the end.
    fn read_line(&mut self) -> std::io::Result<()> {
        if !std::mem::take(&mut self.ahead) {
            self.line.clear();
            (&mut self.reader).take(LINE_BYTES).read_until(b'\n', &mut self.line)?;
        }
        Ok(())
    }

    /// Reads one frame; `None` at the end, else its time stamp, if it carries one.
    fn read(&mut self, frame: &mut Frame) -> std::result::Result<Option<Mark>, Trouble> {
        self.read_line().map_err(Trouble::Io)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        if !self.line.starts_with(b"FRAME") || self.line.last() != Some(&b'\n') {
            return Err(Trouble::Damage("no FRAME mark where one was expected"));
        }
        self.reader.read_exact(&mut frame.data).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Trouble::Damage("the stream ends within a frame"),
            _ => Trouble::Io(e),
        })?;
        Ok(Some(mark(&self.line)))
    }

    /// The time of the frame just read, number `index`, whose own stamp is `mark`.
    fn time(&mut self, index: u64, mark: Mark) -> Duration {
        let nominal = |frames: u64| Duration::from_secs_f64(frames as f64 / self.header.fps);
        if mark.is_none() && self.tagged.is_none() {
            return nominal(index);
        }
        let mut line = self.tagged.take().unwrap_or_else(|| {
            let line = Timeline::from_zero(nominal(1));
            if index == 0 { line } else { line.after(nominal(index - 1)) }
        });
        let doubtful = mark.is_some_and(|m| line.doubts(m));
        let following = if doubtful { self.look_ahead() } else { None };
        let time = line.place(mark, following);
        self.stats.odd_stamps = line.odd();
        self.tagged = Some(line);
        time
    }

    /// The stamp of the next frame, whose line is read for it.
    fn look_ahead(&mut self) -> Mark {
        self.patience.renew();
        self.read_line().ok()?;
        self.ahead = true;
        mark(&self.line)
    }
}

/// A frame's own time stamp in nanoseconds, as [`super::recording::Recording`] writes it.
type Mark = Option<i128>;

enum Trouble {
    Damage(&'static str),
    Io(std::io::Error),
}

fn mark(line: &[u8]) -> Mark {
    let text = std::str::from_utf8(line).ok()?;
    let ns = text.split_ascii_whitespace().find_map(|tag| tag.strip_prefix("XTIME_NS="))?;
    ns.parse::<u64>().ok().map(i128::from)
}

fn unreadable(e: std::io::Error, name: &str) -> Error {
    let late = e.kind() == std::io::ErrorKind::TimedOut;
    let error = Error::input("cannot be read").at(name).caused_by(e);
    if late { error.remedy("check that the program that writes it is running and writes YUV4MPEG2") } else { error }
}

impl<R: Read + Send> FrameSource for Y4m<R> {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        if self.over {
            return Ok(Next::End);
        }
        self.patience.renew();
        let h = &self.header;
        frame.reshape(h.width, h.height, h.format, h.range)?;
        let mark = match self.read(frame) {
            Ok(Some(mark)) => mark,
            Ok(None) => {
                self.over = true;
                return Ok(Next::End);
            }
            Err(Trouble::Damage(what)) => {
                self.over = true;
                self.stats.damaged += 1;
                if self.stats.delivered == 0 {
                    return Err(Error::input(format!("holds no whole picture: {what}"))
                        .at(&self.info.name)
                        .remedy("check that the program that wrote it ended well"));
                }
                log::warn!("{}: {what}; {} frames were read before it", self.info.name, self.stats.delivered);
                return Ok(Next::End);
            }
            Err(Trouble::Io(e)) if is_stop(&e) => {
                self.over = true;
                return Ok(Next::End);
            }
            Err(Trouble::Io(e)) => {
                self.over = true;
                return Err(unreadable(e, &self.info.name));
            }
        };
        frame.index = self.stats.delivered;
        frame.time = self.time(frame.index, mark);
        self.stats.delivered += 1;
        Ok(Next::Frame)
    }

    fn stats(&self) -> SourceStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::check_contract;
    use proptest::prelude::*;

    fn stream(frames: usize) -> Vec<u8> {
        let mut s = b"YUV4MPEG2 W3 H3 F10:1 Ip C420jpeg XCOLORRANGE=FULL\n".to_vec();
        for i in 0..frames {
            s.extend_from_slice(b"FRAME\n");
            s.extend_from_slice(&[i as u8; 17]);
        }
        s
    }

    #[test]
    fn odd_sized_frames_come_with_their_times() {
        let bytes = stream(3);
        let frames = check_contract(&mut Y4m::new(&bytes[..], "t").unwrap());
        assert_eq!(frames.len(), 3);
        assert_eq!((frames[2].time, frames[2].range, frames[2].data[0]), (Duration::from_millis(200), Range::Full, 2));
    }

    #[test]
    fn a_truncated_last_frame_is_counted_and_the_rest_is_read() {
        let bytes = stream(3);
        let mut source = Y4m::new(&bytes[..bytes.len() - 5], "t").unwrap();
        assert_eq!(check_contract(&mut source).len(), 2);
        assert_eq!(source.stats(), SourceStats { delivered: 2, damaged: 1, ..SourceStats::default() });
    }

    #[test]
    fn time_tags_win_over_the_rate_and_time_goes_on_past_odd_ones() {
        let mut bytes = b"YUV4MPEG2 W1 H1 F10:1 Cmono\n".to_vec();
        for tag in ["", " XTIME_NS=250000000", " Ip XTIME_NS=200000000", " XTIME_NS=x", " XTIME_NS=1000000000"] {
            bytes.extend_from_slice(format!("FRAME{tag}\n.").as_bytes());
        }
        let frames = check_contract(&mut Y4m::new(&bytes[..], "t").unwrap());
        assert_eq!(frames.iter().map(|f| f.time.as_millis()).collect::<Vec<_>>(), [0, 250, 350, 450, 1000]);
    }

    #[test]
    fn a_stream_without_one_whole_picture_is_an_error() {
        let bytes = stream(1);
        let mut source = Y4m::new(&bytes[..bytes.len() - 5], "t").unwrap();
        let e = source.next_frame(&mut Frame::default()).unwrap_err().to_string();
        assert!(e.contains("t: holds no whole picture: the stream ends within a frame"), "{e}");
        assert_eq!(source.next_frame(&mut Frame::default()).unwrap(), Next::End);
    }

    #[test]
    fn time_does_not_fall_where_tags_begin_in_mid_stream() {
        // At 300 frames a second the rounded steps are a nanosecond less than the rate after a few frames.
        let mut bytes = b"YUV4MPEG2 W1 H1 F30000:100 Cmono\n".to_vec();
        (0..17).for_each(|_| bytes.extend_from_slice(b"FRAME\n."));
        bytes.extend_from_slice(b"FRAME XTIME_NS=0\n.FRAME\n.");
        let mut source = Y4m::new(&bytes[..], "t").unwrap();
        assert_eq!(check_contract(&mut source).len(), 19);
    }

    #[test]
    fn a_wild_tag_is_told_from_a_gap_by_the_one_after_it() {
        let times = |tags: &[u64]| {
            let mut bytes = b"YUV4MPEG2 W1 H1 F10:1 Cmono\n".to_vec();
            tags.iter().for_each(|t| bytes.extend_from_slice(format!("FRAME XTIME_NS={t}000000\n.").as_bytes()));
            let mut source = Y4m::new(&bytes[..], "t").unwrap();
            let frames = check_contract(&mut source);
            (frames.iter().map(|f| f.time.as_millis()).collect::<Vec<_>>(), source.stats().odd_stamps)
        };
        assert_eq!(times(&[0, 100, 30_000, 300, 400]), (vec![0, 100, 200, 300, 400], 1));
        assert_eq!(times(&[0, 100, 30_000, 30_100]), (vec![0, 100, 30_000, 30_100], 0));
    }

    #[test]
    fn a_feeder_that_falls_silent_is_an_error_and_not_an_end() {
        use crate::capture::wait::Timed;
        use crate::stop::Stop;
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().unwrap();
        let bytes = stream(2);
        writer.write_all(&bytes[..bytes.len() - 5]).unwrap();
        let timed = Timed::new(reader, Duration::from_millis(50), &Stop::default());
        let mut source = Y4m::new(timed, "standard input").unwrap();
        let mut frame = Frame::default();
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
        let e = source.next_frame(&mut frame).unwrap_err().to_string();
        assert!(e.contains("standard input: cannot be read: nothing whole came for 0.1 s (check that"), "{e}");
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::End);
        let (silent, _held) = std::io::pipe().unwrap();
        assert!(
            Y4m::new(Timed::new(silent, Duration::from_millis(20), &Stop::default()), "-")
                .err()
                .unwrap()
                .to_string()
                .contains("nothing whole came")
        );
    }

    #[test]
    fn bad_headers_say_what_is_wrong() {
        let error = |b: &[u8]| Y4m::new(b, "in.y4m").err().unwrap().to_string();
        assert!(error(b"").contains("in.y4m: is empty"));
        assert!(error(b"RIFF....").contains("does not begin with YUV4MPEG2"));
        assert!(error(b"YUV4MPEG2 W3\n").contains("lacks W or H"));
        assert!(error(b"YUV4MPEG2 W3 H3 C444\n").contains("444"));
        assert!(error(b"YUV4MPEG2 W99999 H99999\n").contains("99999x99999"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Y4m::new(&tail[..], "t");
            let mut bytes = b"YUV4MPEG2 W2 H2 F25:1 ".to_vec();
            bytes.extend_from_slice(&tail);
            if let Ok(mut source) = Y4m::new(&bytes[..], "t") {
                check_contract(&mut source);
            }
        }
    }
}
