//! Layer 2: model bundles and whether they may run. Reads and writes `manifest.toml`, students as
//! ONNX, TensorFlow Lite and packed files, and detectors as ONNX.

pub mod admission;
mod bundle;
mod conv;
mod detector;
mod folder;
mod format;
mod head;
pub mod onnx;
pub mod packed;
mod proto;
pub mod shipped;
pub mod signature;
mod student;
pub mod tflite;
mod tflite_read;
mod tflite_schema;

pub use bundle::{Bundle, sha256_hex};
pub use conv::{Conv, ConvI8};
pub use detector::{DetectorModel, MapHead};
pub use format::{Format, read_student, read_student_file};
pub use head::Head;
pub use student::{Gru, Linear, Precision, Student, Trunk};

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
