//! What finds faces in single pictures.

use crate::error::Result;
use crate::frame::Gray;
use crate::spec::detector::Detection;

/// Score from which a face that is followed is seen again.
pub const KEEP_SCORE: f32 = 0.5;
/// Score from which a detection may be a new face: above it there are 0.1 false faces a picture
/// (`models/detector/card.md`).
pub const LEAST_SCORE: f32 = 0.71;
/// Score from which a single detection in a film begins a track.
pub const SURE_SCORE: f32 = 0.81;

/// Finds faces in single pictures.
pub trait Detector: Send {
    /// Replaces `found` with the faces of `picture`, in its pixels, none twice, the surest first.
    ///
    /// # Errors
    /// If the detector fails.
    fn detect(&mut self, picture: &Gray, found: &mut Vec<Detection>) -> Result<()>;
}
