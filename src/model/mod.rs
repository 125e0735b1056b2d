//! Layer 2: model bundles. Reads and writes `student.onnx`, `student-int8.onnx` and `manifest.toml`; writes `.tflite`.

mod bundle;
pub mod onnx;
mod proto;
pub mod shipped;
mod student;
pub mod tflite;
mod tflite_schema;

pub use bundle::{Bundle, sha256_hex};
pub use student::{Conv, ConvI8, Gru, Linear, Precision, Student, Trunk};
