//! Layer 2: finds faces and follows them.

mod crop_rule;
mod detect;
mod follow;
mod matching;
mod pace;
mod pose;
pub mod roll;
mod stills;
mod track;

pub use crop_rule::{CropRuleFit, crop_rule_from};
pub use detect::{Detector, KEEP_SCORE, LEAST_SCORE, SURE_SCORE};
pub use pose::Pose;
pub use roll::{RollEstimator, RollModel};
pub use track::{HOLD, MAX_FACES, TrackedFace, Tracker};
