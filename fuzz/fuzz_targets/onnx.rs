//! ONNX: a student that is read can be written in every format and reads back equal, and a detector as ONNX.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(student) = vaerr::model::onnx::read_student(bytes) {
        vaerr_fuzz::assert_reads_back(&student);
    }
    if let Ok(detector) = vaerr::model::onnx::read_detector(bytes) {
        let again = vaerr::model::onnx::read_detector(&vaerr::model::onnx::write_detector(&detector));
        assert!(again.is_ok_and(|d| d == detector));
    }
});
