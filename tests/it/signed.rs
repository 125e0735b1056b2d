//! Bundles to sign, tamper with and judge: the shipped students with a certificate made up for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vaerr::model::Bundle;
use vaerr::model::signature::{self, SigningKey, Statement};
use vaerr::spec::certificate::{
    Certified, DimensionFigures, Environment, Measured, PerDimension, Protocol, Scores, SetFigures, StudentScores,
    Teacher, graphs,
};
use vaerr::spec::{Certificate, Manifest};

/// The private key in tests/golden/signing.
pub fn test_key() -> SigningKey {
    SigningKey::from_pem(&golden("test-only-pkcs8.key")).unwrap()
}

pub fn golden(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/signing").join(name)).unwrap()
}

/// Signs whatever is in the folder now.
pub fn sign(dir: &Path, key: &SigningKey) {
    let bundle = Bundle::load(dir).unwrap();
    let statement = Statement::new(&bundle.manifest().name, bundle.digests().unwrap()).unwrap();
    std::fs::write(dir.join("model.sig"), signature::sign(&statement, key).unwrap()).unwrap();
}

/// A copy of the shipped bundle, under `root`, as version 3, with a certificate and the test key's signature.
pub fn bundle(root: &Path) -> PathBuf {
    let dir = root.join("bundle");
    let shipped = Bundle::shipped().unwrap();
    let files = Manifest::FILES.iter().map(|n| ((*n).to_owned(), shipped.file(n).unwrap().to_vec())).collect();
    Bundle::write(&dir, Manifest { version: 3, ..shipped.manifest().clone() }, &files, None).unwrap();
    certify(&dir);
    sign(&dir, &test_key());
    dir
}

/// Puts a passing certificate into a bundle's folder.
pub fn certify(dir: &Path) {
    let manifest = Bundle::load(dir).unwrap().manifest().clone();
    std::fs::write(dir.join(Certificate::FILE), certificate(&manifest).to_bytes().unwrap()).unwrap();
}

/// A certificate with figures made up so that every gate passes.
pub fn certificate(manifest: &Manifest) -> Certificate {
    let digest = || "f".repeat(64);
    let student = Certified { name: manifest.name.clone(), files: graphs(manifest), crop: manifest.crop };
    let teacher = Teacher { weights_sha256: digest(), settings_sha256: digest(), parameters: 7, every: 1 };
    let environment = Environment {
        versions: BTreeMap::new(),
        instruction_set: "portable".into(),
        fp32_engine: "reference".into(),
        int8_engine: "reference".into(),
        engines_left_out: BTreeMap::new(),
    };
    let set = SetFigures {
        name: "people".into(),
        index_sha256: digest(),
        split: "test".into(),
        dimensions: PerDimension { arousal: dimension(), valence: dimension() },
        ..SetFigures::default()
    };
    Certificate::new(student, teacher, Protocol::default(), environment, vec![set], Vec::new())
}

fn dimension() -> DimensionFigures {
    let measured = |value| Measured { value, interval: Some([value, value]) };
    let scores = || Scores { ccc: measured(0.8), gain: measured(1.0), lag_s: Some(0.1), ..Scores::default() };
    let student = || StudentScores { scores: scores(), retained: measured(1.0), ..StudentScores::default() };
    DimensionFigures {
        frames: 10,
        videos: 2,
        moving_videos: 2,
        teacher: scores(),
        fp32: student(),
        int8: student(),
        ..DimensionFigures::default()
    }
}
