//! Bundles: the shipped one holds, damaged ones are refused with a reason.

use std::path::Path;
use vaerr::ErrorKind;
use vaerr::model::{Bundle, Precision};

fn shipped() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/vaerr-nano"))
}

fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(shipped()).unwrap().flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

#[test]
fn the_shipped_bundle_loads_in_both_precisions_and_is_the_embedded_one() {
    let bundle = Bundle::load(shipped()).unwrap();
    for p in [Precision::Fp32, Precision::Int8] {
        assert_eq!(bundle.student(p).unwrap().precision(), p);
    }
    assert_eq!(Bundle::shipped().unwrap().manifest(), bundle.manifest());
}

#[test]
fn a_flipped_bit_in_any_file_is_named() {
    for name in ["student.onnx", "student-int8.onnx", "card.md"] {
        let dir = copy();
        let path = dir.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let e = Bundle::load(dir.path()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Model);
        assert!(e.to_string().contains(name) && e.to_string().contains("damaged"), "{e}");
    }
}

#[test]
fn missing_files_and_folders_are_named() {
    let dir = copy();
    std::fs::remove_file(dir.path().join("student.onnx")).unwrap();
    let e = Bundle::load(dir.path()).unwrap_err().to_string();
    assert!(e.contains("student.onnx") && e.contains("cannot be read"), "{e}");
    let e = Bundle::load(&dir.path().join("nowhere")).unwrap_err().to_string();
    assert!(e.contains("nowhere") && e.contains("vaerr models list"), "{e}");
}

#[test]
fn an_unknown_manifest_key_is_refused() {
    let dir = copy();
    let path = dir.path().join("manifest.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("surprise = 1\n{text}")).unwrap();
    assert!(Bundle::load(dir.path()).unwrap_err().to_string().contains("surprise"));
}

#[test]
fn an_unsupported_operator_is_named() {
    let bytes = Bundle::load(shipped()).unwrap().file("student.onnx").unwrap().to_vec();
    // "Relu" and "Tanh" have the same length, so the file stays well formed.
    let at = bytes.windows(4).position(|w| w == b"Relu").unwrap();
    let mut changed = bytes.clone();
    changed[at..at + 4].copy_from_slice(b"Tanh");
    let e = vaerr::model::onnx::read_student(&changed).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.to_string().contains("Tanh") && e.to_string().contains("vaerr-train export"), "{e}");
}

#[test]
fn truncated_graphs_are_errors_not_panics() {
    let bytes = Bundle::load(shipped()).unwrap().file("student-int8.onnx").unwrap().to_vec();
    for end in (0..bytes.len()).step_by(bytes.len() / 60) {
        assert!(vaerr::model::onnx::read_student(&bytes[..end]).is_err());
    }
}

#[test]
fn a_build_without_the_fp32_student_refuses_it_with_a_remedy_and_checks_the_rest() {
    let bundle = Bundle::shipped().unwrap();
    assert!(bundle.has(Precision::Int8));
    assert_eq!(bundle.has(Precision::Fp32), cfg!(feature = "fp32-model"));
    if !cfg!(feature = "fp32-model") {
        let e = bundle.student(Precision::Fp32).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.to_string().contains("embedded vaerr-nano/student.onnx: is left out"), "{e}");
        assert_eq!(
            vaerr::engine::open(&bundle, &vaerr::engine::Choice::Auto, None).unwrap().engine.precision(),
            Precision::Int8
        );
    }
}
