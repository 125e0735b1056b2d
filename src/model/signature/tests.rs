//! The format against files that the public tool made (`model_signing` 1.1.1), and against broken ones.

use super::*;
use crate::model::{folder, sha256_hex};
use base64ct::{Base64, Encoding};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/signing").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(golden(name)).unwrap()
}

/// A trust file that lists the test key.
fn trust() -> Trust {
    Trust::parse("trust.toml", "format = 1\n[[key]]\nname = \"test\"\npath = \"test-only.pub\"\n", |p| {
        Ok(text(p.to_str().unwrap()))
    })
    .unwrap()
}

fn check(file: &[u8]) -> Result<Signed> {
    verify(file, &trust(), SystemTime::UNIX_EPOCH)
}

fn refusal(file: &[u8]) -> String {
    check(file).unwrap_err().to_string()
}

/// The public tool's signature, changed at a JSON pointer.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(golden("model/model.sig")).unwrap()).unwrap();
    *bundle.pointer_mut(pointer).unwrap() = value;
    serde_json::to_vec(&bundle).unwrap()
}

/// A signature by the test key of any payload.
fn sign_payload(payload: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_pem(&text("test-only-pkcs8.key")).unwrap();
    let made = key.sign(&envelope::pae(payload)).unwrap();
    envelope::write(payload, &made, key.public().unwrap().hint()).unwrap()
}

fn digests() -> Digests {
    ["card.md", "manifest.toml", "student.onnx"]
        .into_iter()
        .map(|n| (n.to_owned(), folder::sha256_of(&golden("model").join(n), 1 << 20).unwrap()))
        .collect()
}

#[test]
fn the_public_tools_signature_holds_and_covers_its_files() {
    let signed = check(&std::fs::read(golden("model/model.sig")).unwrap()).unwrap();
    assert_eq!((signed.key.name.as_str(), signed.statement.name()), ("test", "model"));
    assert_eq!(*signed.statement.digests(), digests());
    signed.statement.ensure_covers("model", &digests()).unwrap();
}

#[test]
fn our_signature_is_the_same_each_time_and_reads_back() {
    let statement = Statement::new("model", digests()).unwrap();
    let [a, b] = ["test-only-pkcs8.key", "test-only-sec1.key"]
        .map(|k| sign(&statement, &SigningKey::from_pem(&text(k)).unwrap()).unwrap());
    assert_eq!(a, b, "both files hold one key, and its nonces come from key and message");
    assert_eq!(check(&a).unwrap().statement, statement);
}

#[test]
fn a_public_key_is_written_and_named_as_the_public_tool_does() {
    let pem = text("test-only.pub");
    let key = PublicKey::from_pem(&pem.replace('\n', "\r\n")).unwrap();
    assert_eq!((key.pem(), key.hint()), (pem.as_str(), sha256_hex(pem.as_bytes()).as_str()));
}

#[test]
fn keys_of_another_kind_are_refused() {
    for wrong in [text("p384.pub"), text("test-only-pkcs8.key"), String::new(), "-----BEGIN PUBLIC KEY-----".into()] {
        let e = PublicKey::from_pem(&wrong).unwrap_err().to_string();
        assert!(e.contains("public P-256 key"), "{e}");
    }
    for wrong in [text("test-only.pub"), text("test-only-pkcs8.key").replace("PRIVATE", "ENCRYPTED PRIVATE")] {
        let e = SigningKey::from_pem(&wrong).err().unwrap().to_string();
        assert!(e.contains("private P-256 key") && e.contains("without a password"), "{e}");
    }
}

#[test]
fn a_key_listed_twice_is_refused_because_one_entry_may_be_revoked() {
    let twice =
        "format = 1\n[[key]]\nname = \"a\"\npath = \"k\"\n[[key]]\nname = \"b\"\npath = \"k\"\nrevoked = true\n";
    let e = Trust::parse("trust.toml", twice, |_| Ok(text("test-only.pub"))).unwrap_err().to_string();
    assert!(e.contains("\"a\" and \"b\" are one key"), "{e}");
}

#[test]
fn what_differs_is_named() {
    let statement = Statement::new("model", digests()).unwrap();
    let other = sha256_hex(b"other");
    let changed = |name: &str, digest: Option<&String>| {
        let mut all = digests();
        match digest {
            Some(d) => drop(all.insert(name.into(), d.clone())),
            None => drop(all.remove(name)),
        }
        statement.ensure_covers("m", &all).unwrap_err().to_string()
    };
    assert!(changed("card.md", None).starts_with("m/card.md: was signed and is missing"));
    assert!(changed("evil.sh", Some(&other)).starts_with("m/evil.sh: is not among the signed files"));
    assert!(changed("student.onnx", Some(&other)).starts_with("m/student.onnx: is not the file that was signed"));
}

#[test]
fn a_malformed_envelope_is_refused_with_the_reason() {
    let good = with("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.3+json"));
    assert!(check(&good).is_ok());
    let deep = [&br#"{"verificationMaterial":{"tlogEntries":"#[..], &[b'['; 100_000]].concat();
    for (file, wants) in [
        (with("/mediaType", json!("application/json")), "mediaType is"),
        (with("/dsseEnvelope/payloadType", json!("text/plain")), "payloadType is"),
        (with("/dsseEnvelope/payload", json!("e30*")), "payload is not base64"),
        (with("/dsseEnvelope/payload", json!("e30")), "payload is not base64"),
        (with("/dsseEnvelope/signatures", json!([])), "0 signatures, expected one"),
        (with("/dsseEnvelope/signatures/0/sig", json!("????")), "sig is not base64"),
        (with("/dsseEnvelope/signatures/0/keyid", json!("x")), "keyid is"),
        (with("/verificationMaterial/tlogEntries", json!([{}])), "transparency log"),
        (with("/verificationMaterial", json!({"certificate": {}})), "certificate"),
        (with("/verificationMaterial/publicKey", json!({})), "hint"),
        (good[..good.len() - 1].to_vec(), "EOF"),
        (Vec::new(), "EOF"),
        (b"\xff\xfe".to_vec(), "expected value"),
        (deep, "recursion limit"),
        (vec![b' '; (MOST_BYTES + 1) as usize], "at most 1048576"),
    ] {
        let e = refusal(&file);
        assert!(e.contains("not a signature that can be read") && e.contains(wants), "{wants}: {e}");
    }
}

#[test]
fn signatures_that_are_none_do_not_hold() {
    let zero = [0x30, 6, 2, 1, 0, 2, 1, 0];
    let order = [
        "30460221",
        "00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        "0221",
        "00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    ]
    .concat();
    let order: Vec<u8> =
        (0..order.len()).step_by(2).map(|i| u8::from_str_radix(&order[i..i + 2], 16).unwrap()).collect();
    let bundle: Value = serde_json::from_slice(&std::fs::read(golden("model/model.sig")).unwrap()).unwrap();
    let der = Base64::decode_vec(bundle.pointer("/dsseEnvelope/signatures/0/sig").unwrap().as_str().unwrap()).unwrap();
    let fixed = p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes().to_vec();
    let longer = [&der[..], &[0]].concat();
    for (what, bytes) in [
        ("r and s of zero", &zero[..]),
        ("r and s of the group's order", &order),
        ("64 bytes, not DER", &fixed),
        ("a byte left over", &longer),
        ("cut short", &der[..der.len() - 1]),
        ("empty", &[]),
    ] {
        let e = refusal(&with("/dsseEnvelope/signatures/0/sig", json!(Base64::encode_string(bytes))));
        assert!(e.contains("does not hold"), "{what}: {e}");
    }
    assert!(check(&with("/dsseEnvelope/signatures/0/sig", json!(Base64::encode_string(&der)))).is_ok());
}

#[test]
fn an_unknown_key_is_refused_before_anything_is_believed() {
    let hint = "0".repeat(64);
    let e = refusal(&with("/verificationMaterial/publicKey/hint", json!(hint)));
    assert!(e.contains("trust.toml does not list") && e.contains(&hint) && e.contains("trusted here: test"), "{e}");
}

#[test]
fn a_signed_statement_of_another_kind_is_refused() {
    let payload: Value = serde_json::from_slice(&Statement::new("m", digests()).unwrap().write().unwrap()).unwrap();
    let but = |pointer: &str, value: Value| {
        let mut changed = payload.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        refusal(&sign_payload(&serde_json::to_vec(&changed).unwrap()))
    };
    assert!(check(&sign_payload(&serde_json::to_vec(&payload).unwrap())).is_ok());
    for (pointer, value, wants) in [
        ("/_type", json!("https://in-toto.io/Statement/v0.1"), "_type is"),
        ("/predicateType", json!("https://model_signing/Digests/v0.1"), "predicateType is"),
        ("/predicate/serialization/method", json!("shards"), "method is"),
        ("/predicate/serialization/hash_type", json!("blake3"), "hash_type is"),
        ("/predicate/serialization/allow_symlinks", json!(true), "symbolic links"),
        ("/predicate/resources/0/digest", json!("00"), "not a SHA-256"),
        ("/predicate/resources/0/digest", json!("A".repeat(64)), "not a SHA-256"),
        ("/predicate/resources/0/digest", json!("é".repeat(32)), "not a SHA-256"),
        ("/predicate/resources/0/digest", json!("0".repeat(64)), "root digest"),
        ("/predicate/resources/0/algorithm", json!("md5"), "digest by \"md5\""),
        ("/predicate/resources/1/name", json!("card.md"), "lists card.md twice"),
        ("/subject", json!([]), "0 subjects"),
        ("/predicate", json!({}), "in-toto statement"),
    ] {
        let e = but(pointer, value);
        assert!(e.contains(wants), "{pointer}: {e}");
    }
    assert!(refusal(&sign_payload(b"{")).contains("in-toto statement"));
}

#[test]
fn unknown_fields_of_the_predicate_are_ignored_as_version_one_says() {
    let mut payload: Value = serde_json::from_slice(&Statement::new("m", digests()).unwrap().write().unwrap()).unwrap();
    payload["predicate"]["card"] = json!({"author": "x"});
    assert!(check(&sign_payload(&serde_json::to_vec(&payload).unwrap())).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(check(&bytes).is_err());
        prop_assert!(PublicKey::from_pem(&String::from_utf8_lossy(&bytes)).is_err());
        prop_assert!(Statement::read(&bytes).is_err());
    }

    #[test]
    fn any_changed_byte_of_a_signature_is_refused(at in any::<prop::sample::Index>(), mask in 1u8..) {
        let mut file = std::fs::read(golden("model/model.sig")).unwrap();
        let at = at.index(file.len());
        file[at] ^= mask;
        prop_assert!(check(&file).is_err(), "byte {at} changed by {mask:#x}");
    }
}
