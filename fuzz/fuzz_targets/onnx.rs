//! ONNX: a student that is read can be written in every format and reads back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(student) = vaerr::model::onnx::read_student(bytes) {
        vaerr_fuzz::assert_reads_back(&student);
    }
});
