//! `vaerr-train quantize`.

use super::settings::Settings;
use super::{print, print_json};
use crate::metrics::Agreement;
use crate::train::quantize::{
    Calibrate, Equalise, Method, QuantizeConfig, QuantizePaths, Quantized, RecurrentWeights, WeightRange, quantize_run,
};
use crate::train::run::config;
use crate::{Error, Result};
use clap::ValueEnum;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

#[derive(clap::Args)]
pub(super) struct Quantize {
    /// Folder of the run, which gets student.onnx, student-int8.onnx and quantized.json.
    #[arg(long, required_unless_present = "print_config")]
    run: Option<PathBuf>,
    /// Quantise this fp32 student.onnx instead of the run's best network.
    #[arg(long, value_name = "FILE")]
    student: Option<PathBuf>,
    /// FER+ training split: calibrate on its first pictures, judge on those that the training held out.
    #[arg(long, value_name = "SPLIT", conflicts_with = "data")]
    train: Option<PathBuf>,
    /// Shards: calibrate on the training split, judge on the validation split; may be given several times.
    #[arg(long, value_name = "SHARDS")]
    data: Vec<PathBuf>,
    /// FER+ split to compare the two students on, instead of what the training held out.
    #[arg(long, value_name = "SPLIT")]
    valid: Option<PathBuf>,
    /// By calibration, or by training in int8 from there; short for --set method=NAME.
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// Continue a training in int8 from its last checkpoint.
    #[arg(long)]
    resume: bool,
    /// Ranges of activations; short for --set ptq.calibrate=NAME.
    #[arg(long, value_enum)]
    calibrate: Option<Calibrate>,
    /// Scales of weights; short for --set ptq.weights=NAME.
    #[arg(long, value_enum)]
    weights: Option<WeightRange>,
    /// Equalise the channels of consecutive layers first; short for --set ptq.equalise=NAME.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "activations")]
    equalise: Option<Equalise>,
    /// Short for --set ptq.bias_correction=BOOL.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    bias_correction: Option<bool>,
    /// Weights of the GRU; short for --set ptq.gru=NAME.
    #[arg(long, value_enum)]
    gru: Option<RecurrentWeights>,
    /// Weights of the head; short for --set ptq.head=NAME.
    #[arg(long, value_enum)]
    head: Option<RecurrentWeights>,
    /// Print the record as JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// `key=NAME`, as the option's value is written.
fn named<T: ValueEnum>(key: &str, value: Option<T>) -> Option<String> {
    value.and_then(|v| v.to_possible_value()).map(|v| format!("{key}=\"{}\"", v.get_name()))
}

impl Quantize {
    fn config(&self) -> Result<QuantizeConfig> {
        let own: Vec<String> = [
            named("method", self.method),
            named("ptq.calibrate", self.calibrate),
            named("ptq.weights", self.weights),
            named("ptq.equalise", self.equalise),
            self.bias_correction.map(|on| format!("ptq.bias_correction={on}")),
            named("ptq.gru", self.gru),
            named("ptq.head", self.head),
        ]
        .into_iter()
        .flatten()
        .collect();
        self.settings.over(&QuantizeConfig::default(), &own)
    }

    pub(super) fn run(&self, stop: &AtomicBool) -> Result<()> {
        let settings = self.config()?;
        if self.settings.print_config {
            return print(&config::print(&settings)?);
        }
        let paths = QuantizePaths {
            run: self.run.clone().ok_or_else(|| Error::usage("--run is needed"))?,
            student: self.student.clone(),
            stills: self.train.clone(),
            shards: self.data.clone(),
            valid: self.valid.clone(),
        };
        let done = quantize_run(&settings, &paths, self.resume, stop, true)?;
        if self.json { print_json(&done) } else { print(&table(&done)) }
    }
}

fn table(done: &Quantized) -> String {
    let mut text = format!("{:8} {:>9} {:>8} {:>10}\n", "part", "range", "SQNR dB", "saturated");
    let cell = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
    for p in &done.parts {
        let range = cell(p.range.map(f64::from), 3);
        let _ = writeln!(text, "{:8} {range:>9} {:>8} {:>10}", p.name, cell(p.sqnr_db, 1), cell(p.saturated, 6));
    }
    if let Some(t) = &done.trained {
        let _ = writeln!(
            text,
            "\ntrained in int8: best epoch {} of {}, mean CCC on held-out data {:.4}, as calibrated {:.4}",
            t.best_epoch, t.epochs, t.best_ccc, t.calibrated_ccc
        );
    }
    let held = &done.held_out;
    let _ = writeln!(text, "\n{}:\n{:6} {:>11} {:>11}", held.data, "", "CCC arousal", "CCC valence");
    let row = |name: &str, [a, v]: [Agreement; 2]| format!("{name:6} {:11.4} {:11.4}\n", a.ccc, v.ccc);
    text += &row("fp32", held.fp32);
    text += &row("int8", held.int8);
    let _ = writeln!(
        text,
        "values differ by at most {:.4}, root mean square {:.4}",
        held.largest_difference, held.rms_difference
    );
    text
}
