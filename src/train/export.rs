//! From a finished run to a model bundle.

use super::data::ferplus::{self, Still};
use super::evaluate::{Evaluation, evaluate, predict};
use super::fit::{FitConfig, hold_out, load_net, read_progress};
use super::fold::fold;
use super::quantize;
use crate::error::{Error, Result};
use crate::model::{Bundle, Student, onnx, tflite};
use crate::spec::{Calibration, CropRule, Manifest, Metrics, SplitMetrics, StudentSpec};
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Pictures that set the activation ranges.
const CALIBRATION_PICTURES: usize = 256;

/// What `quantize` leaves in the run's folder beside the two graphs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quantized {
    pub calibration: Calibration,
    pub epoch: usize,
    pub config: FitConfig,
    /// As in [`super::fit::Progress`].
    #[serde(default)]
    pub epochs_before: usize,
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| Error::io("cannot be written").at(path.display()).caused_by(e))
}

fn read(path: &Path, remedy: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e).remedy(remedy))
}

fn json<T: serde::de::DeserializeOwned>(path: &Path, remedy: &str) -> Result<T> {
    serde_json::from_slice(&read(path, remedy)?)
        .map_err(|e| Error::input("is malformed").at(path.display()).caused_by(e))
}

/// Folds the run's best network, fits the temperatures on the held-out pictures, and writes `student.onnx`,
/// `student-int8.onnx` and `quantized.json` into the run's folder.
///
/// # Errors
/// If the run has no finished epoch, or the training split is not the one it was trained on.
pub fn quantize_run(run: &Path, train: &Path) -> Result<Quantized> {
    let progress = read_progress(run)?;
    let (spec, rule) = (StudentSpec::nano(), CropRule::FERPLUS);
    let net = load_net(&run.join("best.bpk"), &spec, &Device::flex())?;
    let mut student = fold(&net.valid(), &spec)?;
    let (stills, held) = hold_out(ferplus::load(train)?.stills, &progress.config);
    log::info!("fitting temperatures on {} held-out pictures", held.len());
    let calibration = quantize::temperatures(&predict(&student, &rule, &held)?, &held);
    quantize::apply_temperatures(&mut student, &calibration);
    let pictures = &stills[..stills.len().min(CALIBRATION_PICTURES)];
    let int8 = quantize::quantize(&student, &quantize::activation_ranges(&student, &rule, pictures)?)?;
    write(&run.join("student.onnx"), &onnx::write_student(&student))?;
    write(&run.join("student-int8.onnx"), &onnx::write_student(&int8))?;
    let done = Quantized {
        calibration,
        epoch: progress.best_epoch,
        config: progress.config,
        epochs_before: progress.epochs_before,
    };
    let text = serde_json::to_vec_pretty(&done).map_err(|e| Error::io("cannot write the record").caused_by(e))?;
    write(&run.join("quantized.json"), &text)?;
    Ok(done)
}

/// Measures both students on the validation split and writes the bundle `out`; `version` is the manifest's.
///
/// # Errors
/// If the run is not quantised, or `out` exists.
pub fn export(run: &Path, valid: &Path, out: &Path, version: u32) -> Result<Manifest> {
    let remedy = "run `vaerr-train quantize` first";
    let done: Quantized = json(&run.join("quantized.json"), remedy)?;
    let (fp32, int8) = (read(&run.join("student.onnx"), remedy)?, read(&run.join("student-int8.onnx"), remedy)?);
    let rule = CropRule::FERPLUS;
    let split = ferplus::load(valid)?;
    let measure = |bytes: &[u8]| -> Result<Evaluation> {
        let student: Student = onnx::read_student(bytes)?;
        Ok(evaluate(&predict(&student, &rule, &split.stills)?, &split.stills))
    };
    let (full, small) = (measure(&fp32)?, measure(&int8)?);
    let name = out.file_name().and_then(|n| n.to_str()).unwrap_or("student").to_owned();
    let manifest = Manifest {
        format: 1,
        version,
        licence: "research use: trained on FER+".into(),
        summary: "Causal student trained from scratch on FER+ stills and rendered clips".into(),
        student: StudentSpec::nano(),
        crop: rule,
        calibration: done.calibration,
        metrics: Metrics {
            split: split_name(&split.stills, split.undecided),
            seed: done.config.seed,
            fp32: full.metrics,
            int8: small.metrics,
        },
        files: BTreeMap::new(),
        name,
    };
    let card = card(&manifest, &done, &small);
    let lite = tflite::write_student(&onnx::read_student(&int8)?);
    let files =
        [("student.onnx", fp32), ("student-int8.onnx", int8), (Manifest::TFLITE, lite), ("card.md", card.into_bytes())];
    Bundle::write(out, manifest.clone(), &files.into_iter().map(|(n, b)| (n.to_owned(), b)).collect())?;
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

fn card(manifest: &Manifest, done: &Quantized, int8: &Evaluation) -> String {
    let mut t = String::new();
    let s = &manifest.student;
    let _ = writeln!(
        t,
        "# {}\n\n{}. {} parameters, {:.1} million multiply-accumulates a frame, {} crops of {} px.\n\n\
         ## Licence and data\n\n{}. The pictures of FER2013 were gathered for a 2013 challenge and are for research; the \
         FER+ votes are MIT. Rendered clips come from this project's own renderer.\n\n\
         Labels: {}. No person rated arousal or valence.\n\n\
         ## Training\n\nSeed {}, best of {} epochs by held-out CCC: epoch {}{}; loss 6 of SS-VAERR; {:.0} % of the training \
         pictures held out for that choice and for the temperatures ({:.3} arousal, {:.3} valence).\n\n\
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
        done.config.seed,
        done.config.epochs,
        done.epoch,
        match done.epochs_before {
            0 => String::new(),
            n => format!(" (a warm restart of a network trained for {n} epochs)"),
        },
        100.0 * done.config.held_out,
        done.calibration.arousal_temperature,
        done.calibration.valence_temperature,
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
