//! safetensors files of the authors' layout.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    vaerr_fuzz::import(&vaerr_fuzz::file("safetensors", bytes));
});
