//! The Sigstore bundle (media type version 0.3) and the DSSE envelope (version 1.0) in it.

use crate::error::{Error, Result};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SigstoreBundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: KeyHint,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

/// SHA-256 of the public key's PEM text, in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

/// What a signature file holds, not yet believed.
pub(super) struct Opened {
    pub hint: String,
    pub payload: Vec<u8>,
    /// ECDSA signature in DER.
    pub signature: Vec<u8>,
}

/// Takes the file apart. Fields that the format lets a writer add are refused, because nothing here would check them.
pub(super) fn read(file: &[u8]) -> Result<Opened> {
    if file.len() as u64 > super::MOST_BYTES {
        return Err(malformed(format!("{} bytes, at most {}", file.len(), super::MOST_BYTES)));
    }
    let bundle: SigstoreBundle = serde_json::from_slice(file).map_err(|e| malformed(e.to_string()))?;
    let SigstoreBundle { media_type, verification_material: material, dsse_envelope: envelope } = bundle;
    expect("mediaType", &media_type, MEDIA_TYPE)?;
    expect("payloadType", &envelope.payload_type, PAYLOAD_TYPE)?;
    if !material.tlog_entries.is_empty() {
        return Err(malformed("it leans on a transparency log, which needs a network"));
    }
    let [Signature { sig, keyid }] = &envelope.signatures[..] else {
        return Err(malformed(format!("{} signatures, expected one", envelope.signatures.len())));
    };
    expect("keyid", keyid, "")?;
    let decode =
        |name: &str, text: &str| Base64::decode_vec(text).map_err(|e| malformed(format!("{name} is not base64: {e}")));
    Ok(Opened {
        hint: material.public_key.hint,
        payload: decode("payload", &envelope.payload)?,
        signature: decode("sig", sig)?,
    })
}

/// The file for a signed payload, in one line without an end, as the public tool writes it.
pub(super) fn write(payload: &[u8], signature: &[u8], hint: &str) -> Result<Vec<u8>> {
    let bundle = SigstoreBundle {
        media_type: MEDIA_TYPE.into(),
        verification_material: Material { public_key: KeyHint { hint: hint.into() }, tlog_entries: Vec::new() },
        dsse_envelope: Envelope {
            payload: Base64::encode_string(payload),
            payload_type: PAYLOAD_TYPE.into(),
            signatures: vec![Signature { sig: Base64::encode_string(signature), keyid: String::new() }],
        },
    };
    serde_json::to_vec(&bundle).map_err(|e| Error::model("cannot be written").caused_by(e))
}

/// DSSE's pre-authentication encoding: what the key signs.
pub(super) fn pae(payload: &[u8]) -> Vec<u8> {
    let mut text = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    text.extend_from_slice(payload);
    text
}

fn expect(name: &str, found: &str, wanted: &str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let start: String = found.chars().take(80).collect();
    Err(malformed(format!("{name} is {start:?}, expected {wanted:?}")))
}

pub(super) fn malformed(why: impl Into<String>) -> Error {
    Error::model(format!("is not a signature that can be read: {}", why.into()))
        .remedy("have the bundle signed again: vaerr-train sign, or model_signing sign key")
}
