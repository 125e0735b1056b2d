//! `manifest.toml`: one that is read says the same when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::model::Bundle;

fn read(text: &str) -> vaerr::Result<Bundle> {
    Bundle::from_parts("bundle", text, |_, _| Ok(None))
}

fuzz_target!(|text: &str| {
    if let Ok(bundle) = read(text) {
        let written = toml::to_string(bundle.manifest()).expect("a manifest can be written");
        let again = read(&written).expect("what was written can be read");
        // As texts, in which NaN is equal to itself.
        assert_eq!(toml::to_string(again.manifest()).as_ref(), Ok(&written));
    }
});
