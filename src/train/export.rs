//! From a finished run to a model bundle.

use super::data::ferplus::{self, Still};
use super::data::record::Split;
use super::evaluate::{Evaluation, evaluate};
use super::quantize::{Data, DistilOrigin, Judged, Quantized};
use super::shards::Reader;
use crate::error::{Error, Result};
use crate::model::{Bundle, Format, Student, onnx};
use crate::spec::{CropRule, Manifest, Metrics, SplitMetrics};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn read(path: &Path, remedy: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e).remedy(remedy))
}

fn json<T: serde::de::DeserializeOwned>(path: &Path, remedy: &str) -> Result<T> {
    serde_json::from_slice(&read(path, remedy)?)
        .map_err(|e| Error::input("is malformed").at(path.display()).caused_by(e))
}

/// What the students of a bundle are measured on.
#[derive(Debug, Clone)]
pub enum Measured {
    /// FER+ validation split, folder or zip.
    Stills(PathBuf),
    /// A split of shards.
    Shards(PathBuf, Split),
}

impl Measured {
    /// The data, its name for the manifest, and what the labels are.
    fn open(&self, rule: CropRule) -> Result<(Data, String, &'static str)> {
        match self {
            Measured::Stills(path) => {
                let split = ferplus::load(path)?;
                let name = split_name(&split.stills, split.undecided);
                Ok((Data::Stills { rule, train: Vec::new(), held: split.stills }, name, ferplus::LABELS))
            }
            Measured::Shards(path, split) => {
                let reader = Reader::open(path)?;
                let folder =
                    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into());
                let name = format!("{} split of {folder}, {} recordings", split.name(), reader.metas(*split)?.len());
                Ok((Data::Shards { rule, readers: vec![reader], held: *split }, name, "those of the shards"))
            }
        }
    }
}

/// On what terms a bundle goes out.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub version: u32,
    /// Of the int8 student, beside its ONNX file.
    pub formats: &'a [Format],
    /// What the bundle may be used for; for a student of `fit` that is known.
    pub licence: Option<&'a str>,
}

/// Measures both students and writes the bundle `out`: `student.onnx`, `student-int8.onnx`, the card, and the int8 student in
/// each further format, all from the one graph.
///
/// # Errors
/// If the run is not quantised, or `out` exists; a student whose data is not known and that is given no licence.
pub fn export(run: &Path, measured: &Measured, out: &Path, terms: &Terms) -> Result<Manifest> {
    let remedy = "run `vaerr-train quantize` first";
    let done: Quantized = json(&run.join(Quantized::FILE), remedy)?;
    let (fp32, int8) = (read(&run.join("student.onnx"), remedy)?, read(&run.join("student-int8.onnx"), remedy)?);
    let (licence, summary) = about(&done, terms.licence)?;
    let student = onnx::read_student(&int8)?;
    let rule = CropRule::of_side(student.spec.size_px);
    let (data, split, labels) = measured.open(rule)?;
    let measure = |student: &Student| -> Result<Evaluation> {
        let found = Judged::of(student, &data)?;
        Ok(evaluate(&found.logits, &found.labels))
    };
    let (full, small) = (measure(&onnx::read_student(&fp32)?)?, measure(&student)?);
    let manifest = Manifest {
        format: 1,
        version: terms.version,
        name: out.file_name().and_then(|n| n.to_str()).unwrap_or("student").to_owned(),
        licence,
        summary: summary.into(),
        student: student.spec.clone(),
        crop: rule,
        calibration: done.calibration,
        metrics: Metrics { split, seed: done.origin.seed().unwrap_or(0), fp32: full.metrics, int8: small.metrics },
        files: BTreeMap::new(),
    };
    let card = card(&manifest, &done, &small, labels);
    let mut files: BTreeMap<String, Vec<u8>> =
        [("student.onnx", fp32), ("student-int8.onnx", int8), ("card.md", card.into_bytes())]
            .map(|(n, b)| (n.into(), b))
            .into();
    for format in terms.formats {
        if let Some(name) = format.derived_file() {
            files.insert(name.into(), format.write(&student)?);
        }
    }
    Bundle::write(out, manifest.clone(), &files, None)?;
    Ok(manifest)
}

/// Licence and summary.
fn about(done: &Quantized, given: Option<&str>) -> Result<(String, &'static str)> {
    let summary = match (&done.origin.fit, &done.origin.distil) {
        (Some(_), _) => "Causal student trained from scratch on FER+ stills and rendered clips",
        (_, Some(_)) => "Causal student distilled from a full model",
        _ => "Causal student quantised from a file",
    };
    let known = done.origin.fit.as_ref().map(|_| "research use: trained on FER+");
    let licence = given.or(known).ok_or_else(|| {
        Error::usage("what the student may be used for is not known: it depends on the data it was trained on")
            .remedy("say it by --licence TEXT, which goes into the manifest and the card")
    })?;
    Ok((licence.to_owned(), summary))
}

fn split_name(stills: &[Still], undecided: usize) -> String {
    format!("FER+ validation, {} pictures ({undecided} undecided left out), {}", stills.len(), ferplus::LABELS)
}

fn row(text: &mut String, name: &str, m: &SplitMetrics) {
    let _ = writeln!(
        text,
        "| {name} | {:.4} | {:.4} | {:+.4} | {:+.4} | {:.3} | {:.3} | {:.4} | {:.3} | {:.3} |",
        m.ccc_arousal,
        m.ccc_valence,
        m.bias_arousal,
        m.bias_valence,
        m.gain_arousal,
        m.gain_valence,
        m.ece,
        m.coverage_arousal,
        m.coverage_valence
    );
}

/// How the network was trained, where the record knows.
fn training(done: &Quantized) -> String {
    let calibration = &done.calibration;
    let temperatures = format!(
        "({:.3} arousal, {:.3} valence){}",
        calibration.arousal_temperature,
        calibration.valence_temperature,
        centred(done)
    );
    if let Some(DistilOrigin { kept, epoch }) = &done.origin.distil {
        let (config, terms) = (&kept.config, &kept.config.terms);
        let at = match kept.started_from.as_slice() {
            [] => None,
            [one] => Some(format!("weights with SHA-256 {one}")),
            several => Some(format!("the mean of weights with SHA-256 {}", several.join(" and "))),
        };
        let before = at.map_or(String::new(), |at| {
            format!(" The last of several steps, which began at {at}; what follows is of this step.")
        });
        let part = if config.frozen_trunk { "GRU and head alone" } else { "all of the network" };
        let stem = if config.newest_tap { ", the stem begun with the newest crop alone" } else { "" };
        let mixed = match config.mixup {
            0.0 => String::new(),
            alpha => format!(", clips mixed in pairs by shares from Beta({alpha}, {alpha})"),
        };
        let of = match terms.lateness_of {
            [1.0, 1.0] => String::new(),
            [a, v] => format!(" (arousal's x {a}, valence's x {v})"),
        };
        return format!(
            "## Training\n\nDistilled from the full model whose weights have SHA-256 {}.{before} Trained: {part}{stem}, on clips of {} s{mixed}. Seed {}, best \
             of {} epochs by mean validation CCC: epoch {epoch}; loss {} x {}, teacher's values x {}, bins x {}, features x {}, lateness x {}{of}, settling x {}, votes x {}; answers up to {} \
             frames late. Temperatures fitted on the validation split {temperatures}.\n\n",
            kept.teacher,
            config.clips.seconds,
            config.run.seed,
            config.run.epochs,
            config.loss,
            terms.labels,
            terms.values,
            terms.bins,
            terms.features,
            terms.lateness,
            terms.settling,
            terms.votes,
            kept.most
        );
    }
    let Some(fit) = &done.origin.fit else { return String::new() };
    let before = match fit.epochs_before {
        0 => String::new(),
        n => format!(" (a warm restart of a network trained for {n} epochs)"),
    };
    format!(
        "## Training\n\nSeed {}, best of {} epochs by held-out CCC: epoch {}{before}; loss 6 of SS-VAERR; {:.0} % of the training \
         pictures held out for that choice and for the temperatures {temperatures}.\n\n",
        fit.config.seed,
        fit.config.epochs,
        fit.epoch,
        100.0 * fit.config.held_out
    )
}

/// What was added to the values, if anything.
fn centred(done: &Quantized) -> String {
    match done.offsets {
        [0.0, 0.0] => String::new(),
        [arousal, valence] => format!(
            ", and {arousal:+.4} and {valence:+.4} added to the logits of arousal and valence, which makes their mean error there nought, the mean of the sets"
        ),
    }
}

/// Where the pictures of FER+ come from, for a student that learnt from them.
fn origin(done: &Quantized) -> &'static str {
    if done.origin.fit.is_none() {
        return "";
    }
    " The pictures of FER2013 were gathered for a 2013 challenge and are for research; the FER+ votes are MIT. Rendered clips come \
     from this project's own renderer."
}

fn card(manifest: &Manifest, done: &Quantized, int8: &Evaluation, labels: &str) -> String {
    let mut t = String::new();
    let s = &manifest.student;
    let _ = writeln!(
        t,
        "# {}\n\n{}. {} parameters, {:.1} million multiply-accumulates a frame, {} crops of {} px.\n\n\
         ## Licence and data\n\n{}.{}\n\n\
         Labels measured against: {labels}.\n\n\
         {}\
         ## Measured\n\n{}; all frames concatenated (a still after {} steps from a zero state), through the runtime's crop, int8 \
         kernels and decoding. CCC after Lin with population variance. The 80 % interval should cover 0.8.\n",
        manifest.name,
        manifest.summary,
        s.parameters(),
        s.macs() as f64 / 1e6,
        s.ring,
        s.size_px,
        manifest.licence,
        origin(done),
        training(done),
        manifest.metrics.split,
        super::evaluate::STEPS
    );
    t.push_str(
        "| student | CCC arousal | CCC valence | bias a. | bias v. | gain a. | gain v. | ECE | cover a. | cover v. |\n",
    );
    t.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    row(&mut t, "fp32", &manifest.metrics.fp32);
    row(&mut t, "int8", &manifest.metrics.int8);
    t.push_str("\nReliability of `confidence` (int8): the share of frames with both labels within 0.25.\n\n");
    t.push_str("| mean confidence | share that held | frames |\n|---|---|---|\n");
    for b in int8.reliability.iter().filter(|b| b.n > 0) {
        let _ = writeln!(t, "| {:.3} | {:.3} | {} |", b.confidence, b.accuracy, b.n);
    }
    t.push_str(
        "\n## Never tested\n\nRatings of arousal and valence on real video; agreement across skin tones, ages and \
         cultures; faces turned more than about 20 degrees; masks; infrared cameras. Not for use on people at work or in education \
         (EU AI Act, Art. 5(1)(f)); people must be told (Art. 50(3)).\n",
    );
    t
}
