//! Layer 2: finds faces and follows them.

mod crop_rule;
mod detect;
mod follow;
mod matching;
mod pace;
pub mod roll;
mod stills;
mod track;

pub use crop_rule::{CropRuleFit, crop_rule_from};
pub use detect::{Detection, Detector, SeetaDetector, View};
pub use roll::{RollEstimator, RollModel};
pub use track::{HOLD, MAX_FACES, TrackedFace, Tracker};
