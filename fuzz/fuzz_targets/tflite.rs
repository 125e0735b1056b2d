//! TensorFlow Lite: a file that is read is what its student is written as, and the student has every other format too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    if let Some(mark) = file.get_mut(4..8) {
        mark.copy_from_slice(b"TFL3");
    }
    if let Ok(student) = vaerr::model::read_student(&file) {
        assert_eq!(vaerr::model::tflite::write_student(&student), file);
        vaerr_fuzz::assert_reads_back(&student);
    }
});
