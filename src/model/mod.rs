//! Layer 2: model bundles. Reads and writes `manifest.toml` and students as ONNX, TensorFlow Lite and packed files.

mod bundle;
mod format;
pub mod onnx;
pub mod packed;
mod proto;
pub mod shipped;
mod student;
pub mod tflite;
mod tflite_read;
mod tflite_schema;

pub use bundle::{Bundle, sha256_hex};
pub use format::{Format, read_student};
pub use student::{Conv, ConvI8, Gru, Linear, Precision, Student, Trunk};
