//! The in-toto statement of a signature, as if a key had signed it: one that is read says the same when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::fuzzing::{read_statement, write_statement};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = read_statement(bytes) {
        let written = write_statement(&statement).expect("a statement can be written");
        assert_eq!(read_statement(&written).as_ref().ok(), Some(&statement));
        statement.ensure_covers("bundle", statement.digests()).expect("a statement covers its own files");
    }
});
