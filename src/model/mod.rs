//! Layer 2: model bundles. Reads and writes `student.onnx`, `student-int8.onnx` and `manifest.toml`.

mod student;

pub use student::{Conv, ConvI8, Gru, Linear, Precision, Student, Trunk};
