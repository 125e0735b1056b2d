//! Digests and versions: what a certificate was issued for, and with what.

use crate::engine::simd::Isa;
use crate::error::{Error, Result};
use crate::model::{Bundle, sha256_hex};
use crate::session::shipped_detector_digest;
use crate::spec::certificate::{Certified, Environment, Teacher, graphs};
use crate::train::data::record::Split;
use crate::train::finetune::{Kept, Predictor};
use crate::train::full::FullNet;
use crate::train::run::BEST;
use crate::train::run::checkpoint::digest;
use crate::train::shards::{Index, Reader};
use burn::module::Module;
use std::collections::BTreeMap;
use std::path::Path;

/// The exact versions that this program was built with.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Packages that compute figures, where they are built in.
const COMPUTING: [(&str, bool); 4] = [
    ("burn", true),
    ("tract-onnx", cfg!(feature = "tract")),
    ("tflitec", cfg!(feature = "tflite")),
    ("cudarc", cfg!(feature = "cuda")),
];

/// The version of `package` in a lock file.
fn locked(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|l| *l != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"').map(str::to_owned)
}

/// This program's version, those of the libraries that compute, and the digest of the detector by
/// which users of the bundle will see faces.
pub fn versions() -> BTreeMap<String, String> {
    let libraries = COMPUTING.into_iter().filter(|(_, built)| *built);
    let known = libraries.filter_map(|(name, _)| Some((name.to_owned(), locked(LOCK, name)?)));
    let own = [("vaerr", env!("CARGO_PKG_VERSION").to_owned()), ("detector", shipped_detector_digest())];
    known.chain(own.map(|(name, version)| (name.to_owned(), version))).collect()
}

/// What is run on.
pub fn environment(fp32: &str, int8: &str, engines_left_out: BTreeMap<String, String>) -> Environment {
    Environment {
        versions: versions(),
        instruction_set: Isa::best().name().to_owned(),
        fp32_engine: fp32.to_owned(),
        int8_engine: int8.to_owned(),
        engines_left_out,
    }
}

/// The bundle's graphs and crop rule.
pub fn student(bundle: &Bundle) -> Certified {
    let manifest = bundle.manifest();
    Certified { name: manifest.name.clone(), files: graphs(manifest), crop: manifest.crop }
}

/// The run's best weights and its settings.
///
/// # Errors
/// If the weights cannot be read.
pub fn teacher(run: &Path, net: &FullNet, kept: &Kept, predictor: &Predictor) -> Result<Teacher> {
    let settings = serde_json::to_vec(kept).map_err(|e| Error::input("cannot be digested").caused_by(e))?;
    Ok(Teacher {
        weights_sha256: digest(&run.join(BEST))?,
        settings_sha256: sha256_hex(&settings),
        parameters: net.num_params(),
        every: predictor.every,
    })
}

/// The digest of a folder's `index.json`, after the split's shards were found to be those that it names.
///
/// # Errors
/// A shard that is not, or cannot be read.
pub fn index(reader: &Reader, split: Split) -> Result<String> {
    reader.index().shards(split).iter().try_for_each(|shard| reader.ensure_held(shard))?;
    digest(&reader.folder().join(Index::FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock =
            "[[package]]\nname = \"ab\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"a\"\nversion = \"0.9.0\"\n";
        assert_eq!(locked(lock, "a").as_deref(), Some("0.9.0"));
        assert_eq!(locked(lock, "b"), None);
        let found = versions();
        assert_eq!(found["burn"], "0.22.1");
        assert_eq!(found.contains_key("tract-onnx"), cfg!(feature = "tract"));
        assert_eq!(found["vaerr"], env!("CARGO_PKG_VERSION"));
        assert_eq!(found["detector"], shipped_detector_digest());
    }
}
