//! Tar shards: every sample that is read is valid and has the key it was found by.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let samples = vaerr::fuzzing::shard_samples(&vaerr_fuzz::file("tar", bytes));
    for sample in samples.into_iter().flatten().flatten() {
        sample.validate().expect("what is read is valid");
        assert!(sample.labelled() <= sample.meta.frames);
    }
});
