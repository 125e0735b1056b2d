//! Layer 2: finds faces and follows them.

mod detect;
mod track;

pub use detect::{Detection, Detector, SeetaDetector};
pub use track::{TrackedFace, Tracker};
