//! Board files: one that is read says the same when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::spec::Target;

fuzz_target!(|text: &str| {
    if let Ok(target) = Target::parse("board.toml", text) {
        let written = toml::to_string(&target).expect("a board file can be written");
        assert_eq!(Target::parse("board.toml", &written).as_ref().ok(), Some(&target));
    }
});
