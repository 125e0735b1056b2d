//! `vaerr-train quantize`: a run's best network, or an exported fp32 student, becomes int8.

use super::data::{Data, Judged};
use super::offset::{apply_offsets, offsets};
use super::ptq::{PartReport, Ptq, PtqConfig, ptq, round_recurrent};
use super::qat::{QatConfig, QatStart, qat};
use super::temperature::{apply_temperatures, temperatures};
use crate::error::{Error, Result};
use crate::metrics::Agreement;
use crate::model::{Student, onnx, read_student_file};
use crate::spec::{Calibration, CropRule, StudentSpec};
use crate::train::data::ferplus;
use crate::train::data::record::Split;
use crate::train::distil;
use crate::train::fit::{FitConfig, hold_out, load_net, read_progress};
use crate::train::fold::fold;
use crate::train::run::checkpoint::{self, replace_file};
use crate::train::run::ranks::Alone;
use crate::train::shards::Reader;
use burn::module::Module;
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// How a student becomes int8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// By calibration alone.
    #[default]
    Ptq,
    /// By calibration, then training in int8.
    Qat,
}

/// Every setting of `quantize`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantizeConfig {
    pub method: Method,
    /// Move the values of a run's network so that they are unbiased on the validation split, the mean of its sets.
    pub centre: bool,
    pub ptq: PtqConfig,
    /// Of [`Method::Qat`].
    pub qat: QatConfig,
}

impl QuantizeConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.ptq.validate()?;
        self.qat.validate()
    }
}

/// What `quantize` reads and writes.
#[derive(Debug, Clone, Default)]
pub struct QuantizePaths {
    /// Folder that gets `student.onnx`, `student-int8.onnx` and `quantized.json`; that of a run of `fit` or `distil`, unless `student`
    /// is given.
    pub run: PathBuf,
    /// A folded fp32 student as ONNX, instead of the run's best network.
    pub student: Option<PathBuf>,
    /// FER+ split to calibrate and judge on, folder or zip.
    pub stills: Option<PathBuf>,
    /// Folders of shards to calibrate and judge on, instead; empty for none.
    pub shards: Vec<PathBuf>,
    /// FER+ split to compare the two students on, instead of what training held out. It decides nothing.
    pub valid: Option<PathBuf>,
}

/// The training by `fit` that a student comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitOrigin {
    pub config: FitConfig,
    pub epoch: usize,
    /// As in [`crate::train::fit::Progress`].
    pub epochs_before: usize,
}

/// The distillation that a student comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DistilOrigin {
    pub kept: distil::Kept,
    pub epoch: usize,
}

/// Where a student comes from; neither for one given as a file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Origin {
    pub fit: Option<FitOrigin>,
    pub distil: Option<DistilOrigin>,
}

impl Origin {
    /// Seed of the training, where it is known.
    pub fn seed(&self) -> Option<u64> {
        let fit = self.fit.as_ref().map(|f| f.config.seed);
        fit.or(self.distil.as_ref().map(|d| d.kept.config.run.seed))
    }
}

/// Both students on held-out data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    pub data: String,
    /// Arousal, valence; all frames concatenated.
    pub fp32: [Agreement; 2],
    pub int8: [Agreement; 2],
    /// Of the decoded values of the two students, over frames and dimensions.
    pub largest_difference: f64,
    pub rms_difference: f64,
}

/// `quantized.json`: what `quantize` leaves in the run's folder beside the two graphs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantized {
    pub settings: QuantizeConfig,
    pub origin: Origin,
    /// Fitted here and multiplied into the head; ones for a student given as a file, which has its own in it.
    pub calibration: Calibration,
    /// Added to the logits of arousal and valence by [`QuantizeConfig::centre`].
    #[serde(default)]
    pub offsets: [f32; 2],
    /// Of the calibration.
    pub parts: Vec<PartReport>,
    /// Of the training in int8, if there was one.
    pub trained: Option<Trained>,
    pub held_out: HeldOut,
}

/// What training in int8 came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    pub epochs: usize,
    pub best_epoch: usize,
    /// Mean CCC on what the training held out: of the student as calibrated, and of the best epoch.
    pub calibrated_ccc: f64,
    pub best_ccc: f64,
}

impl Quantized {
    /// Name in the run's folder.
    pub const FILE: &'static str = "quantized.json";
}

/// The student to be quantised, and where it comes from.
fn origin(paths: &QuantizePaths) -> Result<(Student, Origin)> {
    if let Some(file) = &paths.student {
        return Ok((read_student_file(file)?, Origin::default()));
    }
    if checkpoint::find(&paths.run).is_some() {
        let (student, kept, epoch) = distil::best(&paths.run)?;
        return Ok((student, Origin { distil: Some(DistilOrigin { kept, epoch }), fit: None }));
    }
    let progress = read_progress(&paths.run).map_err(|e| {
        e.remedy("give the folder of a run of `vaerr-train fit` or `vaerr-train distil`, or a file by --student")
    })?;
    let spec = progress.config.spec()?;
    let net = load_net(&paths.run.join("best.bpk"), &spec, &Device::flex())?;
    let fit = FitOrigin { epoch: progress.best_epoch, epochs_before: progress.epochs_before, config: progress.config };
    Ok((fold(&net.valid(), &spec)?, Origin { fit: Some(fit), distil: None }))
}

/// What to calibrate and judge on. Of stills, those that the training held out are held out here.
fn data(paths: &QuantizePaths, spec: &StudentSpec, fit: Option<&FitOrigin>) -> Result<Data> {
    let rule = CropRule::of_side(spec.size_px);
    match (&paths.stills, &paths.shards[..]) {
        (Some(split), []) => {
            let config = fit.map_or_else(FitConfig::default, |f| f.config.clone());
            let (train, held) = hold_out(ferplus::load(split)?.stills, &config);
            Ok(Data::Stills { rule, train, held })
        }
        (None, shards @ [_, ..]) => Ok(Data::Shards { rule, readers: Reader::open_all(shards)?, held: Split::Valid }),
        _ => Err(Error::usage("give either stills or shards to calibrate on").remedy("--train SPLIT or --data SHARDS")),
    }
}

/// What to compare the students on: `paths.valid`, or what `data` holds out.
fn comparison(paths: &QuantizePaths, spec: &StudentSpec) -> Result<Option<Data>> {
    let Some(split) = &paths.valid else { return Ok(None) };
    let rule = CropRule::of_side(spec.size_px);
    Ok(Some(Data::Stills { rule, train: Vec::new(), held: ferplus::load(split)?.stills }))
}

/// Quantises and writes `student.onnx`, `student-int8.onnx` and `quantized.json` into the run's folder. A training in int8
/// is a run of its own in its folder `qat`, which `resume` continues.
///
/// # Errors
/// A run without a finished epoch, data that cannot be read or fits no student, a full disk, or `stop`.
pub fn quantize_run(
    config: &QuantizeConfig,
    paths: &QuantizePaths,
    resume: bool,
    stop: &AtomicBool,
    show: bool,
) -> Result<Quantized> {
    config.validate()?;
    let (mut student, origin) = origin(paths)?;
    if config.centre && origin == Origin::default() {
        return Err(Error::usage("centre is for a run's network; a student given as a file is taken as it is")
            .remedy("set centre=false, or quantise the run"));
    }
    let data = data(paths, &student.spec, origin.fit.as_ref())?;
    let mut calibration = Calibration { arousal_temperature: 1.0, valence_temperature: 1.0 };
    let mut moved = [0.0; 2];
    if origin != Origin::default() {
        let sets = Judged::of_each(&student, &data)?;
        let held = Judged::concat(&sets);
        calibration = temperatures(&held.logits, &held.labels);
        apply_temperatures(&mut student, &calibration);
        if config.centre {
            moved = offsets(&sets)?;
            apply_offsets(&mut student, moved);
        }
    }
    let rings = data.calibration(&student.spec, config.ptq.rings)?;
    let bar = bar(student.spec.convs.len(), show);
    let Ptq { equalised, int8, parts } =
        ptq(&student, &rings, &config.ptq, &|done| bar.set_position(done as u64), stop)?;
    bar.finish_and_clear();
    let (int8, parts, trained) = match config.method {
        Method::Ptq => (int8, parts, None),
        Method::Qat => {
            let ptq = Ptq { equalised, int8, parts };
            let start = QatStart { ptq: &ptq, data: &data, folder: &paths.run.join("qat") };
            let (int8, trained) = train(config, &start, resume, stop, show)?;
            (int8, ptq.parts, Some(trained))
        }
    };
    let other = comparison(paths, &student.spec)?;
    let held_out = compare(other.as_ref().unwrap_or(&data), &student, &int8)?;
    let settings = config.clone();
    let done = Quantized { settings, origin, calibration, offsets: moved, parts, trained, held_out };
    write(&paths.run, &student, &int8, &done)?;
    Ok(done)
}

fn train(
    config: &QuantizeConfig,
    start: &QatStart,
    resume: bool,
    stop: &AtomicBool,
    show: bool,
) -> Result<(Student, Trained)> {
    let mean = |student: &Student| -> Result<f64> {
        let [arousal, valence] = Judged::of(student, start.data)?.agreement();
        Ok(0.5 * (arousal.ccc + valence.ccc))
    };
    let calibrated_ccc = mean(&start.ptq.int8)?;
    let (mut int8, done) = qat(&config.qat, start, config.qat.objective()?, resume, &Alone, stop, show)?;
    // Training moves the weights off the grids that calibration had put them on.
    round_recurrent(&mut int8, &config.ptq);
    let best_ccc = mean(&int8)?;
    if best_ccc < calibrated_ccc {
        log::warn!("training in int8 did not help: mean CCC {calibrated_ccc:.4} before, {best_ccc:.4} after");
    }
    Ok((int8, Trained { epochs: done.epochs, best_epoch: done.best_epoch, calibrated_ccc, best_ccc }))
}

fn bar(layers: usize, show: bool) -> ProgressBar {
    if !show {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(layers as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} layers, {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn compare(data: &Data, fp32: &Student, int8: &Student) -> Result<HeldOut> {
    let (fp32, int8) = (Judged::of(fp32, data)?, Judged::of(int8, data)?);
    let [largest_difference, rms_difference] = int8.difference(&fp32);
    let data = data.held_name()?;
    Ok(HeldOut { data, fp32: fp32.agreement(), int8: int8.agreement(), largest_difference, rms_difference })
}

/// Each file is whole or as it was before; the record comes last.
fn write(run: &Path, student: &Student, int8: &Student, done: &Quantized) -> Result<()> {
    let text = serde_json::to_vec_pretty(done).map_err(|e| Error::io("cannot write the record").caused_by(e))?;
    std::fs::create_dir_all(run)
        .map_err(|e| Error::io("cannot make the run's folder").at(run.display()).caused_by(e))?;
    let files = [
        ("student.onnx", onnx::write_student(student)),
        ("student-int8.onnx", onnx::write_student(int8)),
        (Quantized::FILE, text),
    ];
    for (name, bytes) in files {
        let path = run.join(name);
        let failed = |e| Error::io("cannot be written").at(path.display()).caused_by(e);
        replace_file(&path, |p| std::fs::write(p, bytes).map_err(failed))?;
    }
    Ok(())
}
