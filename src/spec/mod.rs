//! Layer 0: the data contracts. Plain data with `validate()`; no I/O, no devices, no arithmetic on frames.

pub mod certificate;
mod crop;
pub mod detector;
mod manifest;
mod output;
mod reading;
mod student;
mod target;
mod trust;

pub use certificate::Certificate;
pub use crop::CropRule;
pub use detector::Range;
pub use manifest::{Calibration, FileEntry, Manifest, Metrics, SplitMetrics};
pub use output::{BINS, HEADS, Head, bin_center, bin_of, bin_width};
pub use reading::{FaceState, NoFace, Reading, utc};
pub use student::{ConvSpec, StudentSpec};
pub use target::{Camera, Cuda, Defaults, KERNEL_SMS, OLDEST_CUDA, Target};
pub use trust::{TRUST_FORMAT, TrustFile, TrustedKey};
