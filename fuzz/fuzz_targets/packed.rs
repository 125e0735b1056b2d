//! Packed students: the input is what stands between mark and digest, which are put on here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use vaerr::model::packed;

fuzz_target!(|bytes: &[u8]| {
    let mut file = [packed::MAGIC, bytes].concat();
    let digest = Sha256::digest(&file);
    file.extend(digest);
    if let Ok(student) = packed::read_student(&file) {
        vaerr_fuzz::assert_reads_back(&student);
    }
});
