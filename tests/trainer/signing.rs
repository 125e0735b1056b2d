//! From a new key to a bundle that the runtime knows by it.

use crate::{refuse, succeed, trainer};
use std::path::Path;
use std::process::Command;
use vaerr::spec::TrustFile;

#[test]
fn a_new_key_signs_a_bundle_that_the_runtime_then_knows_by_the_trust_file_printed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("bundle")).unwrap();
    for name in ["manifest.toml", "student.onnx", "student-int8.onnx", "card.md"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/vaerr-nano").join(name);
        std::fs::copy(from, dir.path().join("bundle").join(name)).unwrap();
    }
    // `keygen dev.key > trust.toml` leaves a trust file.
    let made = trainer(&["keygen", &at("dev.key"), "--name", "development"]).output().unwrap();
    let (entry, said) = [made.stdout, made.stderr].map(|t| String::from_utf8(t).unwrap()).into();
    assert_eq!(TrustFile::parse("trust.toml", &entry).unwrap().keys[0].name, "development");
    assert!(said.contains("readable by you alone") && said.contains("dev.key.pub"), "{said}");
    assert!(!entry.contains("PRIVATE"), "{entry}");
    std::fs::write(at("trust.toml"), entry).unwrap();
    assert!(refuse(&mut trainer(&["keygen", &at("dev.key")])).contains("exists already"));

    let said = succeed(&mut trainer(&["sign", "--key", &at("dev.key"), &at("bundle")]));
    assert!(said.starts_with("vaerr-nano version 3: 4 files signed by the key "), "{said}");
    let check = Command::new(env!("CARGO_BIN_EXE_vaerr"))
        .args(["models", "check", &at("bundle"), "--trust", &at("trust.toml")])
        .output()
        .unwrap();
    let lines = String::from_utf8(check.stdout).unwrap();
    assert!(lines.contains("ok      signature: by the key \"development\", over every file"), "{lines}");

    let said = refuse(&mut trainer(&["sign", "--key", &at("dev.key.pub"), &at("bundle")]));
    assert!(said.contains("dev.key.pub: is not a private P-256 key"), "{said}");
    std::fs::write(at("bundle/card.md"), "another card").unwrap();
    assert!(refuse(&mut trainer(&["sign", "--key", &at("dev.key"), &at("bundle")])).contains("card.md: is damaged"));
}
