//! YUV4MPEG2: every stream that opens keeps the contract of sources.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::capture::contract;
use vaerr::capture::y4m::Y4m;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut source) = Y4m::new(bytes, "input") {
        contract::check(&mut source, usize::MAX).expect("the contract holds");
    }
});
