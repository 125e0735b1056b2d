//! `certificate.json`: one that holds is written to bytes that give it back, and never holds for another bundle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::model::Bundle;
use vaerr::spec::Certificate;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(certificate) = Certificate::parse(bytes) {
        let written = certificate.to_bytes().expect("a valid certificate can be written");
        assert_eq!(Certificate::parse(&written).as_ref().ok(), Some(&certificate));
        let manifest = Bundle::shipped().expect("the shipped bundle").manifest().clone();
        if certificate.ensure_for(&manifest).is_ok() {
            assert_eq!(certificate.student.files, vaerr::spec::certificate::graphs(&manifest));
        }
    }
});
