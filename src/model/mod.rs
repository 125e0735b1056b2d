//! Layer 2: model bundles and whether they may run. Reads and writes `student.onnx`, `student-int8.onnx` and `manifest.toml`; writes `.tflite`.

pub mod admission;
mod bundle;
mod folder;
pub mod onnx;
mod proto;
pub mod shipped;
pub mod signature;
mod student;
pub mod tflite;
mod tflite_schema;

pub use bundle::{Bundle, sha256_hex};
pub use student::{Conv, ConvI8, Gru, Linear, Precision, Student, Trunk};

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
