//! The formats that students are written in: one student, one way to each format, one way back.

use super::{Precision, Student, folder, onnx, packed, tflite, tflite_read};
use crate::error::{Error, Result};
use crate::spec::Manifest;
use std::path::Path;
use std::str::FromStr;

/// A format of a student's file. [`read_student`] reads all of them back to an equal student.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ONNX, int8 in QDQ form.
    Onnx,
    /// ONNX, int8 as QLinearConv; there is none for fp32.
    Qlinear,
    /// TensorFlow Lite, schema version 3, operators that release 2.9 reads.
    Tflite,
    /// The flat file of [`packed`].
    Packed,
}

impl Format {
    /// In the order of lists.
    pub const ALL: [Self; 4] = [Self::Onnx, Self::Qlinear, Self::Tflite, Self::Packed];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Qlinear => "onnx-qlinear",
            Self::Tflite => "tflite",
            Self::Packed => "packed",
        }
    }

    /// The file of a bundle that holds the int8 student in this format, where it is made from `student-int8.onnx`.
    pub fn derived_file(self) -> Option<&'static str> {
        match self {
            Self::Onnx => None,
            Self::Qlinear => Some("student-int8.qlinear.onnx"),
            Self::Tflite => Some(Manifest::TFLITE),
            Self::Packed => Some("student-int8.packed"),
        }
    }

    /// The format of a derived file.
    pub fn of_derived(file: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.derived_file() == Some(file))
    }

    /// Serialises a student.
    ///
    /// # Errors
    /// If the format has no such precision.
    pub fn write(self, student: &Student) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Onnx => onnx::write_student(student),
            Self::Qlinear if student.precision() == Precision::Fp32 => {
                return Err(
                    Error::unsupported("QLinearConv is for int8, the student is fp32").remedy("write it as onnx")
                );
            }
            Self::Qlinear => onnx::write_student_as(student, onnx::Form::Qlinear),
            Self::Tflite => tflite::write_student(student),
            Self::Packed => packed::write_student(student),
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|f| f.name() == text);
        found.ok_or_else(|| Error::usage(format!("{text:?} is no format")).remedy(format!("choose of {}", names())))
    }
}

/// Reads a student's file in any of the formats.
///
/// # Errors
/// If it cannot be read, has more bytes than a whole bundle may have, or as [`read_student`]; each names the file.
pub fn read_student_file(path: &Path) -> Result<Student> {
    let bytes = folder::read_at_most(path, Manifest::MOST_BYTES)?;
    read_student(&bytes).map_err(|e| Error::new(e.kind(), "cannot be used").at(path.display()).caused_by(e))
}

/// Reads a student in any of the formats, told apart by what the file begins with.
///
/// # Errors
/// As each format's reader.
pub fn read_student(bytes: &[u8]) -> Result<Student> {
    if bytes.starts_with(packed::MAGIC) {
        return packed::read_student(bytes);
    }
    if bytes.get(4..8) == Some(&tflite_read::MARK[..]) {
        return tflite_read::read_student(bytes);
    }
    onnx::read_student(bytes)
}
