//! `model.sig`: whatever holds under a key that signed two known statements is one of the two.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use std::time::SystemTime;
use vaerr::model::signature::{Statement, Trust, verify};

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let text = "format = 1\n[[key]]\nname = \"test\"\npath = \"test-only.pub\"\n";
    let pem = include_str!("../../tests/golden/signing/test-only.pub");
    Trust::parse("trust.toml", text, |_| Ok(pem.to_owned())).expect("a trust file")
});

static SIGNED: LazyLock<Statement> = LazyLock::new(|| {
    let file = include_bytes!("../../tests/golden/signing/model/model.sig");
    verify(file, &TRUST, SystemTime::UNIX_EPOCH).expect("a signature that holds").statement
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = verify(bytes, &TRUST, SystemTime::UNIX_EPOCH) {
        assert_eq!(signed.statement, *SIGNED);
    }
});
