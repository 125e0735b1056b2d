//! Layer 3: frame sources behind one trait. A source is one file here and one scheme in [`open`].

pub mod contract;
pub mod faulty;
pub mod ffmpeg;
mod huffman;
pub mod loopback;
pub mod pictures;
mod probe;
pub mod recording;
pub(crate) mod showinfo;
pub mod sound;
pub mod synthetic;
pub mod timeline;
pub mod turned;
pub mod unpack;
#[cfg(feature = "v4l2")]
pub mod v4l2;
pub mod wait;
pub mod y4m;

pub use probe::rate;

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::stop::Stop;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};
use turned::{Flip, Turn, Turned};
use wait::{Timed, Waited};

/// What a source knows before its first frame.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// What the user asked for, e.g. `clip.mp4` or `v4l2:/dev/video0`.
    pub name: String,
    /// Nominal frames a second, if known.
    pub fps: Option<f64>,
    /// Number of frames, if known in advance.
    pub frames: Option<u64>,
    /// True for a camera: frames that are not taken in time are lost.
    pub live: bool,
}

/// What happened to a source's frames so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Frames handed out.
    pub delivered: u64,
    /// Frames that could not be decoded and were left out.
    pub damaged: u64,
    /// Frames the device dropped.
    pub dropped: u64,
    /// Time stamps that were frozen, set back or wild; time went on at the stream's rate.
    pub odd_stamps: u64,
}

/// Outcome of asking for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// `frame` holds the next picture.
    Frame,
    /// The stream is over; asking again gives `End` again.
    End,
}

/// The designed emotion of a rendered face, in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// The person, from 0.
    pub person: u32,
    /// Centre of the face in pixels of the frame.
    pub center: [f32; 2],
    pub arousal: f32,
    pub valence: f32,
}

/// A stream of pictures with time stamps.
///
/// Contract (checked by [`contract::check`]): time stamps never decrease, `index`
/// counts from 0 without gaps in delivery order, after `End` or an error every further call gives `End`
/// or an error, no call waits longer than the source's time-out, and a warm source allocates nothing.
pub trait FrameSource: Send {
    /// What is known of the stream.
    fn info(&self) -> &SourceInfo;

    /// Writes the next picture into `frame`, reusing its buffer.
    ///
    /// # Errors
    /// An unreadable stream, a device failure or a time-out.
    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next>;

    /// Counters so far.
    fn stats(&self) -> SourceStats;

    /// The designed emotions in the last frame, for rendered sources.
    fn truth(&self) -> &[Truth] {
        &[]
    }
}

/// Longest wait for a frame from a device or program.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How pictures are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pictures {
    /// Each by itself.
    Stills,
    /// As the frames of a film at this rate.
    Film(f64),
}

/// How to open a source.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a folder of pictures is, or a single picture.
    pub pictures: Pictures,
    /// Which of a file's video streams, from 0; the default one if not given.
    pub stream: Option<usize>,
    pub flip: Option<Flip>,
    /// After the flip.
    pub turn: Option<Turn>,
    /// Ends every wait.
    pub stop: Stop,
}

impl Default for Options {
    fn default() -> Self {
        Self { pictures: Pictures::Stills, stream: None, flip: None, turn: None, stop: Stop::default() }
    }
}

impl Options {
    /// Takes `stream=N`, `flip=h|v` and `turn=90|180|270` off the end of an input's name.
    fn take_settings<'a>(&mut self, input: &'a str) -> Result<&'a str> {
        let mut rest = input;
        while let Some((before, setting)) = rest.rsplit_once(',') {
            match setting.split_once('=') {
                Some(("stream", n)) => {
                    let bad = |_| Error::usage(format!("stream is {n:?}, expected a number from 0")).at(input);
                    self.stream = Some(n.parse().map_err(bad)?);
                }
                Some(("flip", how)) => self.flip = Some(how.parse().map_err(|e: Error| e.at(input))?),
                Some(("turn", how)) => self.turn = Some(how.parse().map_err(|e: Error| e.at(input))?),
                _ => break,
            }
            rest = before;
        }
        Ok(rest)
    }
}

/// Opens what the user named.
///
/// `synthetic[:...]`, `v4l2:/dev/videoN`, `/dev/videoN` or `N` (a camera, with the feature `v4l2`), `-`, `/dev/stdin` or a named
/// pipe (YUV4MPEG2; an error once no whole frame came for [`TIMEOUT`]), a folder of pictures, a picture, a `.y4m` file, or any
/// other video file through ffmpeg. Behind any of them `,stream=N`, `,flip=h|v` and `,turn=90|180|270` go before `options`.
///
/// # Errors
/// Whatever the source refuses, naming it; [`crate::ErrorKind::Interrupted`] if the user wishes to stop meanwhile.
pub fn open(input: &OsStr, options: &Options) -> Result<Box<dyn FrameSource>> {
    let mut options = options.clone();
    let named = match input.to_str() {
        Some(text) if !Path::new(text).exists() => OsStr::new(options.take_settings(text)?),
        _ => input,
    };
    let source = open_plain(named, &options)?;
    if options.flip.is_none() && options.turn.is_none() {
        return Ok(source);
    }
    Ok(Box::new(Turned::new(source, options.flip, options.turn)))
}

fn open_plain(input: &OsStr, options: &Options) -> Result<Box<dyn FrameSource>> {
    let path = Path::new(input);
    let text = input.to_str().unwrap_or_default();
    if text == "synthetic" || text.starts_with("synthetic:") {
        return Ok(Box::new(synthetic::Synthetic::parse(text)?));
    }
    if text.starts_with("v4l2:") || text.starts_with("/dev/video") {
        return camera(text, options);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !path.exists() {
        return camera(&format!("v4l2:{text}"), options);
    }
    if text == "-" {
        return standard_input(&options.stop);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(address(scheme));
    }
    let kind = std::fs::metadata(path)
        .map_err(|e| Error::input("cannot be opened").at(path.display()).caused_by(e))?
        .file_type();
    if kind.is_fifo() || kind.is_char_device() || kind.is_socket() {
        return special(path, &options.stop);
    }
    if kind.is_dir() || pictures::is_still(path) {
        return Ok(match options.pictures {
            Pictures::Stills => Box::new(pictures::Pictures::stills(path)?),
            Pictures::Film(fps) => Box::new(pictures::Pictures::film(path, fps)?),
        });
    }
    if path.extension().is_some_and(|e| e == "y4m") {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::input("cannot be opened").at(&name).caused_by(e))?;
        return Ok(Box::new(y4m::Y4m::new(file, &name)?));
    }
    Ok(Box::new(ffmpeg::Video::open(path, options)?))
}

/// The path of an input, without the settings behind it.
pub fn path_of(input: &OsStr) -> &Path {
    let plain = input.to_str().filter(|text| !Path::new(text).exists());
    Path::new(plain.and_then(|text| Options::default().take_settings(text).ok()).map_or(input, OsStr::new))
}

/// What to type for an address on the network. The address itself is not repeated: it may hold a password.
fn address(scheme: &str) -> Error {
    let before = if scheme == "rtsp" { "-rtsp_transport tcp " } else { "" };
    Error::unsupported(format!("{scheme}:// addresses are not read"))
        .remedy(format!("pipe it: ffmpeg {before}-i ADDRESS -pix_fmt yuv420p -f yuv4mpegpipe - | vaerr run --input -"))
}

/// YUV4MPEG2 from descriptor 0, past the buffer of [`std::io::Stdin`], which poll(2) cannot see into.
fn standard_input(stop: &Stop) -> Result<Box<dyn FrameSource>> {
    use std::os::fd::AsFd;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    piped(File::from(stdin), "standard input", stop)
}

fn piped(file: File, name: &str, stop: &Stop) -> Result<Box<dyn FrameSource>> {
    let timed = Timed::new(file, TIMEOUT, stop);
    let patience = timed.patience();
    Ok(Box::new(y4m::Y4m::new(timed, name)?.renewing(patience)))
}

/// YUV4MPEG2 from a named pipe, a shell's `<(...)`, `/dev/stdin` or another special file.
fn special(path: &Path, stop: &Stop) -> Result<Box<dyn FrameSource>> {
    use std::os::fd::{AsFd, AsRawFd};
    let name = path.display().to_string();
    let fail = |e: std::io::Error| Error::input("cannot be opened").at(&name).caused_by(e);
    // Without O_NONBLOCK, opening a pipe waits for a writer, for ever if need be.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(fail)?;
    match wait::readable(file.as_fd(), Instant::now() + TIMEOUT, stop).map_err(fail)? {
        Waited::Ready => {}
        Waited::Stopped => return Err(Error::interrupted("stopped")),
        Waited::Late => {
            return Err(Error::input(format!("nothing was written to it for {} s", TIMEOUT.as_secs()))
                .at(&name)
                .remedy("start the program that writes YUV4MPEG2 into this pipe"));
        }
    }
    // SAFETY: the descriptor is open; F_GETFL and F_SETFL take and give plain integers.
    let cleared = unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        flags >= 0 && libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) >= 0
    };
    if !cleared {
        return Err(fail(std::io::Error::last_os_error()));
    }
    piped(file, &name, stop)
}

#[cfg(feature = "v4l2")]
fn camera(input: &str, options: &Options) -> Result<Box<dyn FrameSource>> {
    Ok(Box::new(v4l2::Camera::open(input, &options.stop)?))
}

#[cfg(not(feature = "v4l2"))]
fn camera(input: &str, _: &Options) -> Result<Box<dyn FrameSource>> {
    Err(Error::unsupported("this build has no cameras").at(input).remedy(
        "build with `--features v4l2`, or pipe: ffmpeg -f v4l2 -i /dev/video0 -pix_fmt yuv420p -f yuv4mpegpipe - | vaerr run --input -",
    ))
}

/// Reads a source to its end, checking the contract of [`FrameSource`] on the way.
#[cfg(test)]
pub(crate) fn check_contract(source: &mut dyn FrameSource) -> Vec<Frame> {
    contract::check(source, usize::MAX).unwrap()
}
