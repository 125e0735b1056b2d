//! Layer 3: frame sources behind one trait. A source is one file here and one scheme in [`open`].

pub mod contract;
pub mod faulty;
pub mod ffmpeg;
pub mod folder;
mod huffman;
pub mod loopback;
mod rate;
pub mod recording;
mod showinfo;
pub mod sound;
pub mod synthetic;
pub mod unpack;
#[cfg(feature = "v4l2")]
pub mod v4l2;
pub mod wait;
pub mod y4m;

pub use rate::rate;

use crate::error::{Error, Result};
use crate::frame::Frame;
use std::time::Duration;

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

/// Opens what the user named.
///
/// `synthetic[:...]`, `v4l2:/dev/videoN` (a camera, with the feature `v4l2`), `-` (YUV4MPEG2 on standard input; an error once nothing came for [`TIMEOUT`]), a folder of pictures, a picture, a `.y4m` file, or any other
/// video file through ffmpeg. `fps` times pictures, which carry no time of their own.
///
/// # Errors
/// Whatever the source refuses, naming it.
pub fn open(input: &str, fps: f64) -> Result<Box<dyn FrameSource>> {
    let path = std::path::Path::new(input);
    if input == "synthetic" || input.starts_with("synthetic:") {
        return Ok(Box::new(synthetic::Synthetic::parse(input)?));
    }
    if input.starts_with("v4l2:") {
        return camera(input);
    }
    if input == "-" {
        return standard_input();
    }
    if path.is_dir() || folder::is_picture(path) {
        return Ok(Box::new(folder::Folder::open(path, fps)?));
    }
    if path.extension().is_some_and(|e| e == "y4m") {
        let file = std::fs::File::open(path).map_err(|e| Error::input("cannot be opened").at(input).caused_by(e))?;
        return Ok(Box::new(y4m::Y4m::new(file, input)?));
    }
    Ok(Box::new(ffmpeg::Video::open(path)?))
}

/// YUV4MPEG2 from descriptor 0, past the buffer of [`std::io::Stdin`], which poll(2) cannot see into.
fn standard_input() -> Result<Box<dyn FrameSource>> {
    use std::os::fd::AsFd;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let timed = wait::Timed::new(std::fs::File::from(stdin), TIMEOUT);
    Ok(Box::new(y4m::Y4m::new(timed, "standard input")?))
}

#[cfg(feature = "v4l2")]
fn camera(input: &str) -> Result<Box<dyn FrameSource>> {
    Ok(Box::new(v4l2::Camera::open(input)?))
}

#[cfg(not(feature = "v4l2"))]
fn camera(input: &str) -> Result<Box<dyn FrameSource>> {
    Err(Error::unsupported("this build has no cameras").at(input).remedy(
        "build with `--features v4l2`, or pipe: ffmpeg -f v4l2 -i /dev/video0 -pix_fmt yuv420p -f yuv4mpegpipe - | vaerr run --input -",
    ))
}

/// Reads a source to its end, checking the contract of [`FrameSource`] on the way.
#[cfg(test)]
pub(crate) fn check_contract(source: &mut dyn FrameSource) -> Vec<Frame> {
    contract::check(source, usize::MAX).unwrap()
}
