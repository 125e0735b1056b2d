//! The bundle that travels inside the program, so that it runs from any folder without a download.

use super::{Bundle, Format, Head, onnx};
use crate::error::{Error, Result};
use crate::spec::{Certificate, Manifest};

macro_rules! shipped {
    ($file:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/vaerr-nano/", $file)).as_slice()
    };
}

/// Name of the embedded bundle.
pub const NAME: &str = "vaerr-nano";

/// What errors call it.
pub(super) const PLACE: &str = "embedded vaerr-nano";

pub(super) const MANIFEST: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/vaerr-nano/manifest.toml"));

/// One of its files; `None` for one that is left out on purpose.
pub(super) fn read(name: &str, _most: u64) -> Result<Option<Vec<u8>>> {
    match name {
        #[cfg(feature = "fp32-model")]
        "student.onnx" => Ok(Some(shipped!("student.onnx").to_vec())),
        #[cfg(not(feature = "fp32-model"))]
        "student.onnx" => Ok(None),
        "student-int8.onnx" => Ok(Some(shipped!("student-int8.onnx").to_vec())),
        "card.md" => Ok(Some(shipped!("card.md").to_vec())),
        Certificate::FILE => Ok(Some(shipped!("certificate.json").to_vec())),
        // The signature covers files that may be left out here; who trusts the program trusts what it carries.
        name if Manifest::BESIDE.contains(&name) => Ok(None),
        // Not carried, because they can be made; the manifest's digests hold them to what was exported.
        _ => match Format::of_derived(name) {
            Some(format) => format.write(&onnx::read_student(shipped!("student-int8.onnx"))?).map(Some),
            None => Err(Error::model("is not embedded").at(name)),
        },
    }
}

impl Bundle {
    /// The embedded bundle, checked like one on disk.
    ///
    /// # Errors
    /// If it is damaged, which would be a fault of the build.
    pub fn shipped() -> Result<Self> {
        Head::shipped()?.load()
    }
}
