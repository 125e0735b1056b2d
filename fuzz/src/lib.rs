//! What several targets share.

pub mod students;

use std::path::PathBuf;
use std::sync::OnceLock;
use vaerr::ErrorKind;
use vaerr::model::{Format, Precision, Student, read_student};

/// A file of this process that holds `bytes`, for readers that take a path. It is one file, written anew each time.
pub fn file(ending: &str, bytes: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
    let path = folder.path().join(format!("input.{ending}"));
    std::fs::write(&path, bytes).expect("a temporary file");
    path
}

/// Writes a student in every format and reads it back; QLinearConv alone has no fp32.
pub fn assert_reads_back(student: &Student) {
    for format in Format::ALL {
        match format.write(student) {
            Ok(bytes) => assert_eq!(read_student(&bytes).as_ref().ok(), Some(student), "as {}", format.name()),
            Err(e) => assert_eq!((e.kind(), student.precision()), (ErrorKind::Unsupported, Precision::Fp32), "{e}"),
        }
    }
}

/// Imports a checkpoint; what comes back has the shape that it says.
#[cfg(feature = "train")]
pub fn import(path: &std::path::Path) {
    use vaerr::train::full::{FullSpec, pth};
    let wanted = FullSpec { size_px: 16, width: 1, hidden: 1, layers: 1 };
    if let Ok(import) = pth::import(path, &wanted, &vaerr::fuzzing::device()) {
        import.spec.validate().expect("a shape within its ranges");
        assert_eq!(import.spec.size_px, wanted.size_px);
    }
}
