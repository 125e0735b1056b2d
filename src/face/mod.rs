//! Layer 2: finds faces and follows them.

mod crop_rule;
mod detect;
mod follow;
pub mod roll;
mod track;

pub use crop_rule::{CropRuleFit, crop_rule_from};
pub use detect::{Detection, Detector, SeetaDetector, View};
pub use roll::{RollEstimator, RollModel};
pub use track::{TrackedFace, Tracker};
