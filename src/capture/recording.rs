//! A copy of every frame that passes, as YUV4MPEG2.

use super::{FrameSource, Next, SourceInfo, SourceStats, Truth};
use crate::error::{Error, Result};
use crate::frame::{Frame, Gray, PixelFormat, Range};
use std::io::{BufWriter, Write};
use std::path::Path;

type Shape = (usize, usize, PixelFormat, Range);

/// A source that writes what it hands out.
///
/// `Gray8` and `Yuv420p` frames are written as they are; of `Rgb8` and `Yuyv`, which YUV4MPEG2 at 4:2:0 cannot hold
/// exactly, the full-range luma is, which is all that faces are read from. Each frame carries its time stamp to the
/// nanosecond in an `XTIME_NS` tag, so that [`super::y4m::Y4m`] plays it back exactly; other programs read the nominal
/// rate. No write error touches the frames that pass: writing stops, and [`Recording::finish`] tells.
#[derive(Debug)]
pub struct Recording<S, W: Write> {
    inner: S,
    writer: Option<BufWriter<W>>,
    name: String,
    shape: Option<Shape>,
    gray: Gray,
    written: u64,
    failure: Option<Error>,
}

impl<S: FrameSource> Recording<S, std::fs::File> {
    /// Records into a new file, over an old one.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(inner: S, path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = std::fs::File::create(path).map_err(|e| Error::io("cannot be written").at(&name).caused_by(e))?;
        Ok(Self::new(inner, file, &name))
    }
}

impl<S: FrameSource, W: Write + Send> Recording<S, W> {
    /// Records into `writer`, called `name` in errors.
    pub fn new(inner: S, writer: W, name: &str) -> Self {
        let writer = Some(BufWriter::with_capacity(1 << 16, writer));
        let (shape, gray) = (None, Gray::default());
        Self { inner, writer, name: name.to_owned(), shape, gray, written: 0, failure: None }
    }

    /// Frames written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the recording and gives the number of its frames; what passes from now on is not written.
    ///
    /// # Errors
    /// The first write error, or a picture whose size or format differs from the first one's.
    pub fn finish(&mut self) -> Result<u64> {
        if let Some(Err(e)) = self.writer.take().map(|mut w| w.flush()) {
            let e = Error::io("cannot be written").at(&self.name).caused_by(e);
            self.failure.get_or_insert(e);
        }
        self.failure.take().map_or(Ok(self.written), Err)
    }

    fn header(&mut self, shape: Shape) -> std::io::Result<()> {
        let Some(w) = &mut self.writer else { return Ok(()) };
        let (width, height, format, range) = shape;
        let fps = self.inner.info().fps.filter(|f| (0.01..=1000.0).contains(f)).unwrap_or(25.0);
        // Millionths keep 30000/1001 apart from 29.97 and fit the 32 bits that readers use.
        let (n, d) = if fps.fract() == 0.0 { (fps, 1) } else { ((fps * 1e6).round(), 1_000_000) };
        let colour = if format == PixelFormat::Yuv420p { "420jpeg" } else { "mono" };
        let full = format != PixelFormat::Yuv420p && format != PixelFormat::Gray8 || range == Range::Full;
        let range = if full { "FULL" } else { "LIMITED" };
        writeln!(w, "YUV4MPEG2 W{width} H{height} F{n}:{d} Ip A1:1 C{colour} XCOLORRANGE={range}")
    }

    fn write(&mut self, frame: &Frame) -> Result<()> {
        let shape = (frame.width, frame.height, frame.format, frame.range);
        let fail = |name: &str, e: std::io::Error| Error::io("cannot be written").at(name).caused_by(e);
        if self.shape.is_none() {
            self.header(shape).map_err(|e| fail(&self.name, e))?;
        }
        if *self.shape.get_or_insert(shape) != shape {
            let what = format!("the picture became {}x{} {:?} at frame {}", shape.0, shape.1, shape.2, frame.index);
            return Err(Error::unsupported(what).at(&self.name).remedy("the recording holds what came before"));
        }
        frame.validate()?;
        let bytes = match frame.format {
            PixelFormat::Gray8 | PixelFormat::Yuv420p => &frame.data,
            PixelFormat::Rgb8 | PixelFormat::Yuyv => {
                frame.luma_into(&mut self.gray)?;
                &self.gray.data
            }
        };
        let Some(w) = &mut self.writer else { return Ok(()) };
        writeln!(w, "FRAME XTIME_NS={}", frame.time.as_nanos())
            .and_then(|()| w.write_all(bytes))
            .map_err(|e| fail(&self.name, e))?;
        self.written += 1;
        Ok(())
    }
}

impl<S: FrameSource, W: Write + Send> FrameSource for Recording<S, W> {
    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        let next = self.inner.next_frame(frame);
        if matches!(next, Ok(Next::Frame)) && self.failure.is_none() {
            if let Err(e) = self.write(frame) {
                log::error!("recording stops after {} frames: {e}", self.written);
                self.failure = Some(e);
            }
        } else if let Some(Err(e)) = self.writer.as_mut().map(Write::flush) {
            // At the end, and when the source fails, what passed must be on disk.
            let e = Error::io("cannot be written").at(&self.name).caused_by(e);
            self.failure.get_or_insert(e);
        }
        next
    }

    fn stats(&self) -> SourceStats {
        self.inner.stats()
    }

    fn truth(&self) -> &[Truth] {
        self.inner.truth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::check_contract;
    use crate::capture::faulty::{Faulty, Plan};
    use crate::capture::loopback::{Keep, loopback};
    use crate::capture::synthetic::Synthetic;
    use crate::capture::y4m::Y4m;
    use std::time::Duration;

    fn synthetic(plan: Plan) -> Faulty<Synthetic> {
        Faulty::new(Synthetic::parse("synthetic:seconds=1,fps=10,size=33x17,people=0").unwrap(), plan)
    }

    /// Frames through the loopback and a recording; what passed and what was recorded.
    fn recorded(frames: Vec<Frame>) -> (Vec<Frame>, Vec<Frame>) {
        let (mut feeder, source) = loopback("t", frames.len(), Keep::Oldest, Duration::from_secs(5));
        for mut f in frames {
            feeder.push(&mut f).unwrap();
        }
        drop(feeder);
        let mut out = Vec::new();
        let mut recording = Recording::new(source, &mut out, "out.y4m");
        let passed = check_contract(&mut recording);
        assert_eq!(recording.finish().unwrap(), passed.len() as u64);
        drop(recording);
        (passed, check_contract(&mut Y4m::new(&out[..], "t").unwrap()))
    }

    fn frames(format: PixelFormat, range: Range) -> Vec<Frame> {
        let make = |i: u64| {
            let mut f = Frame::default();
            f.reshape(5, 3, format, range).unwrap();
            f.data.iter_mut().enumerate().for_each(|(k, b)| *b = (k as u64 * 37 + i * 11) as u8);
            f.time = Duration::from_nanos(i * i * 33_366_701);
            f
        };
        (0..4).map(make).collect()
    }

    #[test]
    fn grey_and_420_come_back_bit_for_bit_with_their_times() {
        for format in [PixelFormat::Gray8, PixelFormat::Yuv420p] {
            for range in [Range::Full, Range::Limited] {
                let (passed, replayed) = recorded(frames(format, range));
                assert_eq!(passed.len(), 4);
                for (a, b) in passed.iter().zip(&replayed) {
                    assert_eq!((a.format, a.range, &a.data, a.time), (b.format, b.range, &b.data, b.time));
                }
            }
        }
    }

    #[test]
    fn of_other_formats_the_luma_comes_back_exactly() {
        for (format, range) in [(PixelFormat::Rgb8, Range::Full), (PixelFormat::Yuyv, Range::Limited)] {
            let (passed, replayed) = recorded(frames(format, range));
            for (a, b) in passed.iter().zip(&replayed) {
                let (mut x, mut y) = (Gray::default(), Gray::default());
                a.luma_into(&mut x).unwrap();
                b.luma_into(&mut y).unwrap();
                assert_eq!((x, a.time), (y, b.time));
            }
            assert_eq!(replayed.len(), 4);
        }
    }

    #[test]
    fn a_failing_source_loses_no_recorded_frame() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("r.y4m");
        let source = synthetic(Plan { fail_at: Some(6), ..Plan::default() });
        let mut recording = Recording::create(source, &path).unwrap();
        assert_eq!(check_contract(&mut recording).len(), 6);
        // Before `finish`: the error itself made it flush.
        let file = std::fs::File::open(&path).unwrap();
        assert_eq!(check_contract(&mut Y4m::new(file, "t").unwrap()).len(), 6);
        assert_eq!(recording.finish().unwrap(), 6);
    }

    /// Fails once `left` bytes are written, as a full disk does.
    struct Full {
        left: usize,
    }

    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            let n = buf.len().min(self.left);
            self.left -= n;
            if n == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_reported_and_every_frame_still_passes() {
        let mut recording = Recording::new(synthetic(Plan::default()), Full { left: 1500 }, "out.y4m");
        assert_eq!(check_contract(&mut recording).len(), 10);
        assert!(recording.finish().unwrap_err().to_string().contains("out.y4m: cannot be written"));
    }

    #[test]
    fn a_change_of_size_ends_the_recording_and_not_the_stream() {
        let mut all = frames(PixelFormat::Gray8, Range::Full);
        all[2].reshape(4, 4, PixelFormat::Gray8, Range::Full).unwrap();
        let (mut feeder, source) = loopback("t", 4, Keep::Oldest, Duration::from_secs(5));
        all.iter_mut().for_each(|f| assert!(feeder.push(f).unwrap()));
        drop(feeder);
        let mut recording = Recording::new(source, Vec::new(), "out.y4m");
        assert_eq!(check_contract(&mut recording).len(), 4);
        assert_eq!(recording.written(), 2);
        assert!(recording.finish().unwrap_err().to_string().contains("became 4x4 Gray8 at frame 2"));
    }
}
