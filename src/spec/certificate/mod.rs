//! `certificate.json`: what a bundle's students were found to keep of their teacher, and whether that is enough.
//!
//! It names the digests of the graphs that it is of, so it holds for those alone. Gates and verdict are stated and follow from the figures; a file in
//! which they do not is refused. It cannot tell figures that were made up from ones that were measured: for that a bundle is
//! signed.

mod figures;
mod gates;
mod protocol;

#[cfg(test)]
mod tests;

pub use figures::{
    Confidence, ConfidenceBin, DimensionFigures, EngineCheck, Group, GroupScores, Grouping, Measured, PerDimension,
    Scores, SetFigures, StudentScores, WorstVideo, retained,
};
pub use gates::{Gate, Outcome};
pub use protocol::{Limits, Protocol};

use super::{CropRule, FileEntry, Manifest};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `format` says.
const FORMAT: &str = "vaerr-certificate";
/// The version that is read and written.
const VERSION: u32 = 1;

/// The students that were verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certified {
    /// Name of the bundle.
    pub name: String,
    /// Every graph of the bundle: its files but the card.
    pub files: BTreeMap<String, FileEntry>,
    /// The crops that they were shown.
    pub crop: CropRule,
}

/// The full model that they were compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    /// SHA-256 of `best.bpk`.
    pub weights_sha256: String,
    /// SHA-256 of the run's settings.
    pub settings_sha256: String,
    /// Trainable values.
    pub parameters: usize,
    /// It reads every so-manieth frame; students read all and are compared on those.
    pub every: usize,
}

/// What the verification ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Of this program, and of the libraries that compute, by package.
    pub versions: BTreeMap<String, String>,
    /// Instruction set of the CPU's int8 kernels.
    pub instruction_set: String,
    /// Engine that gave the fp32 figures.
    pub fp32_engine: String,
    /// Engine that gave the int8 figures.
    pub int8_engine: String,
    /// Engines that were not compared, and why.
    pub engines_left_out: BTreeMap<String, String>,
}

/// The whole file. There is no time stamp in it: the same data, files, settings and machine give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// `vaerr-certificate`.
    pub format: String,
    /// 1.
    pub version: u32,
    /// Whether every gate that applies passes.
    pub verdict: Outcome,
    pub student: Certified,
    pub teacher: Teacher,
    pub protocol: Protocol,
    pub environment: Environment,
    pub gates: Vec<Gate>,
    /// One for each folder of shards; gates hold on each.
    pub sets: Vec<SetFigures>,
    pub engines: Vec<EngineCheck>,
}

fn ensure_digest(name: &str, digest: &str) -> Result<()> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digest.len() == 64 && digest.bytes().all(hex) {
        return Ok(());
    }
    Err(Error::model(format!("{name} is not 64 lower-case hexadecimal digits")))
}

/// What to do about a certificate that does not hold.
const AGAIN: &str = "verify the bundle again with `vaerr-train verify`";

impl Certificate {
    /// Name of the file in a bundle's folder.
    pub const FILE: &'static str = "certificate.json";

    /// A certificate with the verdict that its figures give.
    pub fn new(
        student: Certified,
        teacher: Teacher,
        protocol: Protocol,
        environment: Environment,
        sets: Vec<SetFigures>,
        engines: Vec<EngineCheck>,
    ) -> Self {
        let (format, version, verdict, gates) = (FORMAT.to_owned(), VERSION, Outcome::Fail, Vec::new());
        Self { format, version, verdict, student, teacher, protocol, environment, gates, sets, engines }.judged()
    }

    /// Reads and validates the bytes of a file.
    ///
    /// # Errors
    /// Another format or version, malformed or unknown fields, or what [`Certificate::validate`] refuses.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let malformed = |e| Error::model("is not a certificate").caused_by(e).remedy(AGAIN);
        let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
        ensure_format(&head.format, head.version)?;
        let read: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        read.validate()?;
        Ok(read)
    }

    /// The bytes of the file; [`Certificate::parse`] gives the same certificate back, to the bit.
    ///
    /// # Errors
    /// What [`Certificate::validate`] refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.validate()?;
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|e| Error::model("cannot be written as JSON").caused_by(e))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Refuses a certificate that contradicts itself: figures out of range, gates or a verdict that do not follow from the figures
    /// and limits. A certificate that says it failed is valid.
    ///
    /// # Errors
    /// Names the field or gate.
    pub fn validate(&self) -> Result<()> {
        ensure_format(&self.format, self.version)?;
        self.ensure_origins()?;
        self.protocol.validate().map_err(|e| Error::model("has settings that none can have").caused_by(e))?;
        for set in &self.sets {
            set.validate(&self.protocol)
                .map_err(|e| Error::model("has impossible figures").at(&set.name).caused_by(e))?;
        }
        for check in &self.engines {
            check.validate().map_err(|e| e.at(format!("engine {}", check.engine)))?;
        }
        self.ensure_engines()?;
        self.ensure_gates()
    }

    /// Refuses a certificate that did not pass, or was issued for other files than `manifest` names.
    ///
    /// # Errors
    /// What [`Certificate::validate`] refuses; the first gate that failed; the file, or the crop rule, that differs.
    pub fn ensure_for(&self, manifest: &Manifest) -> Result<()> {
        self.validate()?;
        if let Some(gate) = self.gates.iter().find(|g| g.outcome == Outcome::Fail) {
            return Err(Error::model(format!("says that the student failed the gate {}", gate.name)).remedy(AGAIN));
        }
        self.ensure_of(manifest)
    }

    /// Refuses a certificate that was issued for other files than `manifest` names, whatever its verdict.
    ///
    /// # Errors
    /// The file, or the crop rule, that differs.
    pub fn ensure_of(&self, manifest: &Manifest) -> Result<()> {
        let other = |what: String| Err(Error::model(what).remedy(AGAIN));
        let graphs = graphs(manifest);
        for name in graphs.keys().chain(self.student.files.keys()) {
            if self.student.files.get(name) != graphs.get(name) {
                return other(format!("is of another model: it was issued for another {name} than the bundle holds"));
            }
        }
        if self.student.crop != manifest.crop {
            return other("was issued for another crop rule than the bundle's".into());
        }
        Ok(())
    }

    fn ensure_origins(&self) -> Result<()> {
        ensure_digest("teacher.weights_sha256", &self.teacher.weights_sha256)?;
        ensure_digest("teacher.settings_sha256", &self.teacher.settings_sha256)?;
        for (name, entry) in &self.student.files {
            ensure_digest(&format!("student.files.{name}.sha256"), &entry.sha256)?;
        }
        match ["student.onnx", "student-int8.onnx"].into_iter().find(|f| !self.student.files.contains_key(*f)) {
            Some(name) => Err(Error::model(format!("student.files lacks {name}"))),
            None => self.student.crop.validate(),
        }
    }

    /// The engines that gave the figures must have been compared with the reference, unless they are it.
    fn ensure_engines(&self) -> Result<()> {
        let used = [("fp32", &self.environment.fp32_engine), ("int8", &self.environment.int8_engine)];
        for (precision, engine) in used {
            let compared = self.engines.iter().any(|c| c.engine == *engine && c.precision == precision);
            if engine != "reference" && !compared {
                let what = format!("has {precision} figures of the engine {engine}, which it does not compare");
                return Err(Error::model(what).remedy(AGAIN));
            }
        }
        Ok(())
    }

    fn ensure_gates(&self) -> Result<()> {
        if self.sets.is_empty() {
            return Err(Error::model("holds no figures: sets is empty").remedy(AGAIN));
        }
        let want = self.judge();
        let differs = |(a, b): (&Gate, &Gate)| (a != b).then(|| b.name.clone());
        let odd = self.gates.iter().zip(&want).find_map(differs);
        let odd = odd.or_else(|| (self.gates.len() != want.len()).then(|| "the number of gates".into()));
        let odd = odd.or_else(|| (self.verdict != Self::verdict_of(&want)).then(|| "the verdict".into()));
        match odd {
            Some(name) => Err(Error::model(format!("was changed: {name} does not follow from its figures"))
                .remedy("do not trust this bundle; verify it again with `vaerr-train verify`")),
            None => Ok(()),
        }
    }
}

fn ensure_format(format: &str, version: u32) -> Result<()> {
    if (format, version) == (FORMAT, VERSION) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "format is {format:?}, version {version}; this build reads {FORMAT:?}, version {VERSION}"
    ))
    .remedy("use the vaerr release that wrote it, or verify the bundle again"))
}

/// The files of a bundle that compute.
pub fn graphs(manifest: &Manifest) -> BTreeMap<String, FileEntry> {
    manifest.files.iter().filter(|(name, _)| *name != "card.md").map(|(n, e)| (n.clone(), e.clone())).collect()
}
