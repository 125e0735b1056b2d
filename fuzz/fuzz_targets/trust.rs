//! Trust files: one that is read says the same when it is written, and its dates can be asked at any time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, SystemTime};
use vaerr::model::signature::Trust;
use vaerr::spec::TrustFile;

const FAR: Duration = Duration::from_secs(1 << 48);

fuzz_target!(|text: &str| {
    let pem = |_: &std::path::Path| Ok(include_str!("../../tests/golden/signing/test-only.pub").to_owned());
    let _ = Trust::parse("trust.toml", text, pem);
    if let Ok(file) = TrustFile::parse("trust.toml", text) {
        let written = toml::to_string(&file).expect("a trust file can be written");
        assert_eq!(TrustFile::parse("trust.toml", &written).as_ref().ok(), Some(&file));
        for key in &file.keys {
            for time in [SystemTime::UNIX_EPOCH - FAR, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + FAR] {
                assert!(!key.revoked || key.ensure_good_at(time).is_err());
            }
        }
    }
});
