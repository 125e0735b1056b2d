//! `manifest.toml` of a model bundle.

use super::{Certificate, CropRule, StudentSpec};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The bundle format this build reads and writes.
pub const FORMAT: u32 = 1;

/// A model bundle's contents, contracts and evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Bundle format, [`FORMAT`].
    pub format: u32,
    /// Name of the bundle, the folder's name by custom.
    pub name: String,
    /// Grows with each release of the bundle of this name, so that a machine can refuse an older one; 0 in bundles that
    /// name none.
    #[serde(default)]
    pub version: u32,
    /// What it may be used for, e.g. `research use: trained on FER+`.
    pub licence: String,
    /// One sentence on what it is.
    pub summary: String,
    /// The network's shape.
    pub student: StudentSpec,
    /// The crop rule it was trained with.
    pub crop: CropRule,
    /// How the bins were calibrated.
    pub calibration: Calibration,
    /// What was measured, on which split.
    pub metrics: Metrics,
    /// File name -> length and SHA-256. Always `student.onnx`, `student-int8.onnx`, `card.md`; at will `student-int8.tflite`.
    /// Never [`Manifest::BESIDE`], which lie beside them.
    pub files: BTreeMap<String, FileEntry>,
}

/// Length and digest of a file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Temperatures that divide the bin logits before the softmax (Guo et al. 2017, arXiv 1706.04599).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// For the arousal bins, > 0.
    pub arousal_temperature: f32,
    /// For the valence bins, > 0.
    pub valence_temperature: f32,
}

/// Figures of both students on one validation split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Which pictures or clips, which labels, how many.
    pub split: String,
    /// The training seed.
    pub seed: u64,
    /// The fp32 student.
    pub fp32: SplitMetrics,
    /// The int8 student.
    pub int8: SplitMetrics,
}

/// CCC (Lin 1989, population variance, concatenated), bias and gain, calibration.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitMetrics {
    pub ccc_arousal: f64,
    pub ccc_valence: f64,
    pub bias_arousal: f64,
    pub bias_valence: f64,
    /// Standard deviation of the prediction over that of the label.
    pub gain_arousal: f64,
    pub gain_valence: f64,
    /// Expected calibration error of `confidence`, ten equal-width bins.
    pub ece: f64,
    /// Share of labels inside the 80 % interval.
    pub coverage_arousal: f64,
    pub coverage_valence: f64,
}

impl Manifest {
    /// Files that every bundle holds.
    pub const FILES: [&'static str; 3] = ["student.onnx", "student-int8.onnx", "card.md"];

    /// The int8 student for TensorFlow Lite runtimes, which a bundle may hold; it can be made from `student-int8.onnx` at any time.
    pub const TFLITE: &'static str = "student-int8.tflite";

    /// Files of a bundle's folder that the manifest does not list: itself, the certificate, the signature.
    pub const BESIDE: [&'static str; 3] = ["manifest.toml", Certificate::FILE, "model.sig"];

    /// The files of a bundle have no more bytes together, so that forged lengths cannot fill a machine's memory.
    pub const MOST_BYTES: u64 = 64 << 20;

    /// Checks every field that a reader relies on.
    pub fn validate(&self) -> Result<()> {
        if self.format != FORMAT {
            return Err(Error::unsupported(format!("bundle format {}, this build reads {FORMAT}", self.format))
                .remedy("use the vaerr release that wrote the bundle, or export it again"));
        }
        self.student.validate()?;
        self.crop.validate()?;
        if self.crop.size_px != self.student.size_px {
            return Err(Error::model(format!(
                "crop.size_px {} differs from student.size_px {}",
                self.crop.size_px, self.student.size_px
            )));
        }
        let Calibration { arousal_temperature: a, valence_temperature: v } = self.calibration;
        for (name, t) in [("arousal", a), ("valence", v)] {
            if !(0.01..=100.0).contains(&t) {
                return Err(Error::model(format!("calibration.{name}_temperature is {t}, expected 0.01 to 100")));
            }
        }
        if let Some(name) = Self::FILES.iter().find(|n| !self.files.contains_key(**n)) {
            return Err(Error::model(format!("files lacks {name}")));
        }
        self.files.iter().try_for_each(|(name, entry)| entry.validate(name))?;
        let whole = self.files.values().fold(0u64, |sum, entry| sum.saturating_add(entry.bytes));
        if whole > Self::MOST_BYTES {
            return Err(Error::model(format!("files have {whole} bytes together, at most {}", Self::MOST_BYTES)));
        }
        Ok(())
    }
}

impl FileEntry {
    fn validate(&self, name: &str) -> Result<()> {
        if name.contains(['/', '\\']) || name.starts_with('.') || Manifest::BESIDE.contains(&name) {
            return Err(Error::model(format!("files names {name}, expected plain file names")));
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::model(format!("files.{name}.sha256 is not 64 hexadecimal digits")));
        }
        Ok(())
    }
}
