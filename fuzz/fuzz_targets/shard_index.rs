//! The index of a folder of shards: one that is read says the same when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::train::shards::Index;

fuzz_target!(|bytes: &[u8]| {
    let path = vaerr_fuzz::file("json", bytes);
    if let Ok(index) = Index::read(&path) {
        index.write(&path).expect("an index can be written");
        assert_eq!(Index::read(&path).as_ref().ok(), Some(&index));
    }
});
