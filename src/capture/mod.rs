//! Layer 3: frame sources behind one trait. A source is one file here and one scheme in [`open`].

pub mod synthetic;

use crate::error::Result;
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
/// Contract (held by `tests/it/sources.rs` for every source): time stamps never decrease, `index`
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
