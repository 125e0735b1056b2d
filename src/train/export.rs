//! From a finished run to a model bundle.

use super::data::ferplus::{self, Still};
use super::evaluate::{Evaluation, evaluate, predict};
use super::quantize::Quantized;
use crate::error::{Error, Result};
use crate::model::{Bundle, Format, Student, onnx};
use crate::spec::{CropRule, Manifest, Metrics, SplitMetrics};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

fn read(path: &Path, remedy: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e).remedy(remedy))
}

fn json<T: serde::de::DeserializeOwned>(path: &Path, remedy: &str) -> Result<T> {
    serde_json::from_slice(&read(path, remedy)?)
        .map_err(|e| Error::input("is malformed").at(path.display()).caused_by(e))
}

/// Measures both students on the validation split and writes the bundle `out`: `student.onnx`, `student-int8.onnx`, the card,
/// and the int8 student in each of `formats`, all from the one graph; `version` is the manifest's.
///
/// # Errors
/// If the run is not quantised, or `out` exists.
pub fn export(run: &Path, valid: &Path, out: &Path, version: u32, formats: &[Format]) -> Result<Manifest> {
    let remedy = "run `vaerr-train quantize` first";
    let done: Quantized = json(&run.join(Quantized::FILE), remedy)?;
    let (fp32, int8) = (read(&run.join("student.onnx"), remedy)?, read(&run.join("student-int8.onnx"), remedy)?);
    let rule = CropRule::FERPLUS;
    let split = ferplus::load(valid)?;
    let measure = |bytes: &[u8]| -> Result<(Student, Evaluation)> {
        let student = onnx::read_student(bytes)?;
        let found = evaluate(&predict(&student, &rule, &split.stills)?, &split.stills);
        Ok((student, found))
    };
    let ((_, full), (student, small)) = (measure(&fp32)?, measure(&int8)?);
    let name = out.file_name().and_then(|n| n.to_str()).unwrap_or("student").to_owned();
    let manifest = Manifest {
        format: 1,
        version,
        licence: "research use: trained on FER+".into(),
        summary: "Causal student trained from scratch on FER+ stills and rendered clips".into(),
        student: student.spec.clone(),
        crop: rule,
        calibration: done.calibration,
        metrics: Metrics {
            split: split_name(&split.stills, split.undecided),
            seed: done.fit.as_ref().map_or(0, |f| f.config.seed),
            fp32: full.metrics,
            int8: small.metrics,
        },
        files: BTreeMap::new(),
        name,
    };
    let card = card(&manifest, &done, &small);
    let mut files: BTreeMap<String, Vec<u8>> =
        [("student.onnx", fp32), ("student-int8.onnx", int8), ("card.md", card.into_bytes())]
            .map(|(n, b)| (n.into(), b))
            .into();
    for format in formats {
        if let Some(name) = format.derived_file() {
            files.insert(name.into(), format.write(&student)?);
        }
    }
    Bundle::write(out, manifest.clone(), &files)?;
    Ok(manifest)
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
    let Some(fit) = &done.fit else { return String::new() };
    let before = match fit.epochs_before {
        0 => String::new(),
        n => format!(" (a warm restart of a network trained for {n} epochs)"),
    };
    format!(
        "## Training\n\nSeed {}, best of {} epochs by held-out CCC: epoch {}{before}; loss 6 of SS-VAERR; {:.0} % of the training \
         pictures held out for that choice and for the temperatures ({:.3} arousal, {:.3} valence).\n\n",
        fit.config.seed,
        fit.config.epochs,
        fit.epoch,
        100.0 * fit.config.held_out,
        done.calibration.arousal_temperature,
        done.calibration.valence_temperature
    )
}

fn card(manifest: &Manifest, done: &Quantized, int8: &Evaluation) -> String {
    let mut t = String::new();
    let s = &manifest.student;
    let _ = writeln!(
        t,
        "# {}\n\n{}. {} parameters, {:.1} million multiply-accumulates a frame, {} crops of {} px.\n\n\
         ## Licence and data\n\n{}. The pictures of FER2013 were gathered for a 2013 challenge and are for research; the \
         FER+ votes are MIT. Rendered clips come from this project's own renderer.\n\n\
         Labels: {}. No person rated arousal or valence.\n\n\
         {}\
         ## Measured\n\n{}; every picture once, concatenated, through the runtime's crop and decoding, {} steps \
         from a zero state, reference engine. CCC after Lin with population variance. The 80 % interval should cover 0.8.\n",
        manifest.name,
        manifest.summary,
        s.parameters(),
        s.macs() as f64 / 1e6,
        s.ring,
        s.size_px,
        manifest.licence,
        ferplus::LABELS,
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
    t.push_str("\nReliability of `confidence` (int8): the share of pictures with both labels within 0.25.\n\n");
    t.push_str("| mean confidence | share that held | pictures |\n|---|---|---|\n");
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
