//! Cameras through Video4Linux2.

use super::timeline::Timeline;
use super::unpack::{Layout, Packing, unpack};
use super::wait::{self, Waited};
use super::{FrameSource, Next, SourceInfo, SourceStats};
use crate::error::{Error, Result};
use crate::frame::{Frame, Range};
use crate::stop::Stop;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};
use v4l::buffer::{Flags, Metadata, Type};
use v4l::capability::Flags as Can;
use v4l::io::mmap::Stream;
use v4l::io::traits::{CaptureStream, Stream as _};
use v4l::v4l_sys::{v4l2_capability, v4l2_format, v4l2_streamparm};
use v4l::{Device, v4l2};

/// Longest wait for a picture.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Buffers shared with the driver.
const BUFFERS: u32 = 4;
const FORM: &str = "expected v4l2:/dev/videoN[,size=WxH][,fps=F], e.g. v4l2:/dev/video0,size=640x480";

/// What to ask of a camera; it answers with the nearest it can do.
#[derive(Debug, Clone, PartialEq)]
struct Wish {
    path: String,
    size: (u32, u32),
    fps: u32,
}

impl Wish {
    fn parse(spec: &str) -> Result<Self> {
        let mut items = spec.strip_prefix("v4l2:").unwrap_or(spec).split(',');
        let device = items.next().unwrap_or_default();
        let numbered = !device.is_empty() && device.bytes().all(|b| b.is_ascii_digit());
        let path = if numbered { format!("/dev/video{device}") } else { device.to_owned() };
        if path.is_empty() || path.contains('\0') {
            return Err(Error::usage("names no device").at(spec).remedy(FORM));
        }
        let mut wish = Self { path, size: (640, 480), fps: 30 };
        for item in items {
            let bad = || Error::usage(format!("bad setting `{item}`")).at(spec).remedy(FORM);
            let within = |s: &str, high: u32| s.parse().ok().filter(|n| (1..=high).contains(n)).ok_or_else(bad);
            match item.split_once('=').ok_or_else(bad)? {
                ("size", value) => {
                    let (w, h) = value.split_once('x').ok_or_else(bad)?;
                    wish.size = (within(w, 16_384)?, within(h, 16_384)?);
                }
                ("fps", value) => wish.fps = within(value, 1000)?,
                _ => return Err(bad()),
            }
        }
        Ok(wish)
    }
}

/// Puts what the kernel said into the user's terms.
fn failure(e: io::Error, doing: &str, path: &str) -> Error {
    let (what, remedy) = match e.raw_os_error() {
        Some(libc::ENOENT) => ("there is no such device", "plug the camera in; `ls /dev/video*` lists what there is"),
        Some(libc::EACCES | libc::EPERM) => (
            "this user may not use the camera",
            "add the user to group video: `sudo usermod -aG video $USER`, log in anew",
        ),
        Some(libc::EBUSY) => ("the camera is in use by another program", "end that program; `fuser DEVICE` names it"),
        Some(libc::ENODEV | libc::ENXIO) => ("the camera is gone", "check its plug and start again"),
        Some(libc::ENOTTY | libc::ENOTDIR | libc::EISDIR) => ("is not a video device", "expected one of /dev/video*"),
        _ => return Error::device(format!("{doing} failed")).at(path).caused_by(e),
    };
    Error::device(what).at(path).caused_by(e).remedy(remedy)
}

/// A kernel structure with every byte zero.
///
/// # Safety
/// `T` must be a plain C structure for which all zeros is a value.
unsafe fn zeroed<T>() -> T {
    // SAFETY: promised by the caller.
    unsafe { std::mem::zeroed() }
}

/// One ioctl on an argument it reads and writes.
///
/// # Safety
/// `T` must be the structure that `request` takes.
unsafe fn ioctl<T>(device: &Device, request: v4l2::vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
    // SAFETY: the pointer is valid for the call, and the caller promises the type.
    unsafe { v4l2::ioctl(device.handle().fd(), request, std::ptr::from_mut(argument).cast()) }
}

/// Refuses what cannot stream single-plane pictures.
fn check(device: &Device, path: &str) -> Result<String> {
    // SAFETY: a C structure of integers and byte arrays, and the one VIDIOC_QUERYCAP takes.
    let caps = unsafe {
        let mut caps: v4l2_capability = zeroed();
        ioctl(device, v4l2::vidioc::VIDIOC_QUERYCAP, &mut caps).map_err(|e| failure(e, "asking what it is", path))?;
        caps
    };
    let of_node = if caps.device_caps == 0 { caps.capabilities } else { caps.device_caps };
    let can = Can::from(of_node);
    if !can.contains(Can::VIDEO_CAPTURE | Can::STREAMING) {
        return Err(Error::unsupported("this node delivers no pictures that can be streamed")
            .at(path)
            .remedy("a camera often has several nodes: try the next /dev/videoN"));
    }
    let card = caps.card.iter().take_while(|&&b| b != 0).map(|&b| char::from(b)).collect();
    Ok(card)
}

/// Takes the first packing the camera agrees to.
fn negotiate(device: &Device, wish: &Wish) -> Result<Layout> {
    for packing in Packing::ALL {
        let want = u32::from_le_bytes(*packing.fourcc());
        // SAFETY: a C structure of integers in a union, all plain; `pix` is the member for this type, set before the
        // call and filled by it.
        let pix = unsafe {
            let mut format: v4l2_format = zeroed();
            format.type_ = Type::VideoCapture as u32;
            (format.fmt.pix.width, format.fmt.pix.height, format.fmt.pix.pixelformat) =
                (wish.size.0, wish.size.1, want);
            match ioctl(device, v4l2::vidioc::VIDIOC_S_FMT, &mut format) {
                Ok(()) => format.fmt.pix,
                // A driver may refuse what it does not know instead of answering with something else.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => continue,
                Err(e) => return Err(failure(e, "setting the picture format", &wish.path)),
            }
        };
        if pix.pixelformat == want {
            let (width, height, stride) = (pix.width as usize, pix.height as usize, pix.bytesperline as usize);
            let range = range(packing, pix.quantization, pix.colorspace);
            return Ok(Layout { width, height, stride, packing, range });
        }
    }
    Err(Error::unsupported("the camera offers none of YUYV, GREY, NV12, YU12, MJPEG")
        .at(&wish.path)
        .remedy("convert: ffmpeg -f v4l2 -i DEVICE -pix_fmt yuv420p -f yuv4mpegpipe - | vaerr run --input -"))
}

/// What luma means, by the kernel's numbers: quantization 1 is full and 2 limited; by default the JPEG colour
/// space (7) is full, other video limited. Grey cameras use every value unless they say otherwise.
fn range(packing: Packing, quantization: u32, colorspace: u32) -> Range {
    match (quantization, packing) {
        (1, _) => Range::Full,
        (2, _) => Range::Limited,
        (_, Packing::Grey | Packing::Jpeg) => Range::Full,
        _ if colorspace == 7 => Range::Full,
        _ => Range::Limited,
    }
}

/// Asks for a frame rate; what the camera says it will do, if it says.
fn set_rate(device: &Device, fps: u32) -> Option<f64> {
    // SAFETY: a C structure of integers in a union, all plain; `capture` is the member for this type.
    let per = unsafe {
        let mut p: v4l2_streamparm = zeroed();
        p.type_ = Type::VideoCapture as u32;
        (p.parm.capture.timeperframe.numerator, p.parm.capture.timeperframe.denominator) = (1, fps);
        ioctl(device, v4l2::vidioc::VIDIOC_S_PARM, &mut p).ok()?;
        p.parm.capture.timeperframe
    };
    (per.numerator > 0 && per.denominator > 0).then(|| f64::from(per.denominator) / f64::from(per.numerator))
}

/// Turns the driver's stamps and numbers into times since the first frame and counts of lost frames.
#[derive(Debug)]
struct Clock {
    line: Timeline,
    /// Stamp and arrival of the frame before.
    last: Option<(Duration, Duration)>,
    sequence: Option<u32>,
}

impl Clock {
    fn new(fps: Option<f64>) -> Self {
        let nominal = Duration::from_secs_f64(1.0 / fps.unwrap_or(30.0));
        Self { line: Timeline::new(nominal), last: None, sequence: None }
    }

    /// Time of a frame stamped `stamp` that came at `arrival`, and how many frames were lost before it.
    ///
    /// A stamp far ahead is wild if the frame did not take half as long to come.
    fn read(&mut self, stamp: Duration, arrival: Duration, sequence: u32) -> (Duration, u64) {
        let ns = |d: Duration| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX);
        let (before, came) = self.last.replace((stamp, arrival)).unwrap_or((stamp, arrival));
        let quick = arrival.saturating_sub(came) < stamp.saturating_sub(before) / 2;
        let following = (self.line.doubts(ns(stamp)) && quick).then(|| ns(before));
        let time = self.line.place(Some(ns(stamp)), following);
        // Some drivers leave the number at 0, or start it anew.
        let lost = self.sequence.map_or(0, |s| u64::from(sequence.saturating_sub(s.saturating_add(1))));
        self.sequence = Some(sequence);
        (time, lost)
    }
}

/// The driver's monotonic stamp; arrival where it gives none.
fn stamp(meta: &Metadata, opened: Instant) -> Duration {
    let monotonic = meta.flags & Flags::TIMESTAMP_MASK == Flags::TIMESTAMP_MONOTONIC;
    match (u64::try_from(meta.timestamp.sec), u64::try_from(meta.timestamp.usec)) {
        (Ok(s), Ok(us)) if monotonic => Duration::from_secs(s) + Duration::from_micros(us),
        _ => opened.elapsed(),
    }
}

/// How long ago the monotonic clock showed `stamp`; nothing where that is no such stamp.
fn age(stamp: Duration) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec that the call fills.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) } != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let now = Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0));
    now.checked_sub(stamp).filter(|age| *age < TIMEOUT).unwrap_or_default()
}

/// A camera, streaming through four buffers shared with the driver.
pub struct Camera {
    device: Device,
    stream: Option<Stream<'static>>,
    layout: Layout,
    path: String,
    info: SourceInfo,
    stats: SourceStats,
    clock: Clock,
    opened: Instant,
    stop: Stop,
}

impl Camera {
    /// Opens `v4l2:/dev/videoN[,size=WxH][,fps=F]` (or `v4l2:N`) and starts it; by default 640x480 at 30 frames a
    /// second are asked for. The camera may answer with another size and rate.
    ///
    /// # Errors
    /// A device that is missing, busy, forbidden, no camera, or offers no packing of [`Packing`].
    pub fn open(spec: &str, stop: &Stop) -> Result<Self> {
        let wish = Wish::parse(spec)?;
        let path = &wish.path;
        let device = Device::with_path(path).map_err(|e| failure(e, "opening", path))?;
        let card = check(&device, path)?;
        let layout = negotiate(&device, &wish)?;
        let fps = set_rate(&device, wish.fps);
        let fail = |e| failure(e, "starting the stream", path);
        let mut stream = Stream::with_buffers(&device, Type::VideoCapture, BUFFERS).map_err(fail)?;
        stream.set_timeout(TIMEOUT);
        // `Stream::next` gives buffer 0 to the driver; the others must be with it before, so that every wait can
        // happen here, where a signal does not upset the stream's own account of buffers.
        for index in 1..BUFFERS as usize {
            match stream.queue(index) {
                // The driver gave fewer buffers than asked for.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
                done => done.map_err(fail)?,
            }
        }
        stream.start().map_err(fail)?;
        log::info!("{path}: {card}, {:?} {}x{}, {fps:?} frames a second", layout.packing, layout.width, layout.height);
        let info = SourceInfo { name: spec.to_owned(), fps, frames: None, live: true };
        let path = wish.path;
        let (stats, clock, opened) = (SourceStats::default(), Clock::new(fps), Instant::now());
        Ok(Self { device, stream: Some(stream), layout, path, info, stats, clock, opened, stop: stop.clone() })
    }

    /// One buffer into `frame`; `None` once the user wishes to stop, `false` if it was damaged.
    fn take(&mut self, frame: &mut Frame, deadline: Instant) -> Result<Option<bool>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        // SAFETY: the descriptor lives as long as `self.device`, which outlives this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(self.device.handle().fd()) };
        let fail = |e| failure(e, "reading a picture", &self.path);
        let waited = wait::readable(fd, deadline, &self.stop).map_err(fail)?;
        if waited == Waited::Stopped {
            return Ok(None);
        }
        if waited == Waited::Late {
            return Err(Error::device(format!("no picture came for {} s", TIMEOUT.as_secs()))
                .at(&self.path)
                .remedy("check that the camera is plugged in and not asleep, or ask for fewer frames a second"));
        }
        let (bytes, meta) = stream.next().map_err(fail)?;
        let (stamp, arrival) = (stamp(meta, self.opened), self.opened.elapsed());
        let (time, lost) = self.clock.read(stamp, arrival, meta.sequence);
        self.stats.dropped += lost;
        self.stats.odd_stamps = self.clock.line.odd();
        if meta.flags.contains(Flags::ERROR) {
            return Ok(Some(false));
        }
        let used = bytes.get(..meta.bytesused as usize).unwrap_or(bytes);
        if let Err(e) = unpack(&self.layout, used, frame) {
            log::debug!("{}: left out: {e}", self.path);
            return Ok(Some(false));
        }
        (frame.time, frame.index) = (time, self.stats.delivered);
        // The driver's clock is the monotonic one: how long ago the picture was taken, by the wall clock now.
        frame.taken = SystemTime::now().checked_sub(age(stamp));
        Ok(Some(true))
    }

    /// Stops the driver and lets its buffers go.
    fn close(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        if let Err(e) = stream.stop()
            && e.raw_os_error() != Some(libc::ENODEV)
        {
            log::warn!("{}: stopping failed: {e}", self.path);
            // Its destructor would stop it once more and panic on the same error; the kernel frees the buffers
            // with the descriptor.
            std::mem::forget(stream);
        }
    }
}

impl FrameSource for Camera {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        let deadline = Instant::now() + TIMEOUT;
        while self.stream.is_some() {
            match self.take(frame, deadline) {
                Ok(Some(true)) => {
                    self.stats.delivered += 1;
                    return Ok(Next::Frame);
                }
                Ok(Some(false)) => self.stats.damaged += 1,
                Ok(None) => break,
                Err(e) => {
                    self.close();
                    return Err(e);
                }
            }
        }
        Ok(Next::End)
    }

    fn stats(&self) -> SourceStats {
        self.stats
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn specs_are_parsed_and_bad_ones_named() {
        let wish = |path: &str, size, fps| Wish { path: path.to_owned(), size, fps };
        assert_eq!(Wish::parse("v4l2:/dev/video3").unwrap(), wish("/dev/video3", (640, 480), 30));
        assert_eq!(Wish::parse("v4l2:2,size=320x240,fps=15").unwrap(), wish("/dev/video2", (320, 240), 15));
        for bad in
            ["v4l2:", "v4l2:0,size=3", "v4l2:0,size=0x9", "v4l2:0,fps=0", "v4l2:0,fps", "v4l2:0,depth=8", "v4l2:a\0b"]
        {
            assert_eq!(Wish::parse(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }

    #[test]
    fn what_is_missing_or_no_camera_is_refused_with_a_remedy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (path, want) in [
            ("/dev/no-such-video", "/dev/no-such-video: there is no such device"),
            ("/dev/null", "/dev/null: is not a video device"),
            (file.path().to_str().unwrap(), "is not a video device"),
            ("/dev", "is not a video device"),
        ] {
            let e = Camera::open(&format!("v4l2:{path}"), &Stop::default()).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::Device);
            assert!(e.to_string().contains(want) && e.remedy_text().is_some(), "{e}");
        }
    }

    #[test]
    fn kernel_errors_are_put_in_the_users_terms() {
        for (code, want) in [
            (libc::EACCES, "add the user to group video"),
            (libc::EBUSY, "in use by another program"),
            (libc::ENODEV, "the camera is gone"),
            (libc::EIO, "reading failed"),
        ] {
            let e = failure(io::Error::from_raw_os_error(code), "reading", "/dev/video0").to_string();
            assert!(e.starts_with("/dev/video0: ") && e.contains(want), "{e}");
        }
    }

    #[test]
    fn stamps_count_from_the_first_frame_and_never_fall() {
        let mut clock = Clock::new(Some(25.0));
        let ms = Duration::from_millis;
        let found: Vec<_> = [(5000, 7), (5040, 8), (5020, 11), (5080, 0), (5120, 1)]
            .map(|(stamp, n)| clock.read(ms(stamp), ms(stamp - 4000), n))
            .into();
        assert_eq!(found, [(ms(0), 0), (ms(40), 0), (ms(80), 2), (ms(80), 0), (ms(120), 0)]);
    }

    #[test]
    fn a_wild_stamp_is_told_from_a_pause_by_when_the_frame_came() {
        let ms = Duration::from_millis;
        for (came, want, odd) in [(80, 80, 1), (30_080, 30_000, 0)] {
            let mut clock = Clock::new(Some(25.0));
            let frames = [(0, 0), (40, 40), (30_000, came)];
            let times: Vec<_> = frames.map(|(stamp, arrival)| clock.read(ms(stamp), ms(arrival), 0).0).into();
            assert_eq!((times, clock.line.odd()), (vec![ms(0), ms(40), ms(want)], odd));
        }
    }

    #[test]
    fn arrival_stands_in_for_a_missing_stamp() {
        let opened = Instant::now();
        let mut meta = Metadata { timestamp: v4l::Timestamp::new(100, 250), ..Metadata::default() };
        assert!(stamp(&meta, opened) < Duration::from_secs(50));
        meta.flags = Flags::TIMESTAMP_MONOTONIC;
        assert_eq!(stamp(&meta, opened), Duration::from_micros(100_000_250));
    }

    #[test]
    fn luma_range_follows_what_the_driver_says() {
        assert_eq!(range(Packing::Yuyv, 0, 8), Range::Limited);
        assert_eq!(range(Packing::Yuyv, 0, 7), Range::Full);
        assert_eq!(range(Packing::Yuyv, 1, 8), Range::Full);
        assert_eq!(range(Packing::Grey, 0, 0), Range::Full);
        assert_eq!(range(Packing::Grey, 2, 0), Range::Limited);
    }
}
