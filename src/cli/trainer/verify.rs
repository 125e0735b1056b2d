//! `vaerr-train verify`.

use super::settings::Settings;
use super::{print, print_json};
use crate::cli::Outcome;
use crate::spec::Certificate;
use crate::spec::certificate::{Gate, Limits, Outcome as GateOutcome, Protocol};
use crate::train::data::record::Split;
use crate::train::run::config;
use crate::train::run::device::DeviceKind;
use crate::train::verify::{self, VerifyOptions, VerifyPaths};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Folder of the run of `finetune` whose best network is the teacher.
    #[arg(long, value_name = "RUN", required_unless_present = "print_config")]
    teacher: Option<PathBuf>,
    /// Folder of the bundle that holds the students.
    #[arg(long, value_name = "BUNDLE", required_unless_present = "print_config")]
    student: Option<PathBuf>,
    /// Folder of shards; may be given several times, and gates must hold on each.
    #[arg(long, value_name = "SHARDS", required_unless_present = "print_config")]
    data: Vec<PathBuf>,
    /// The split to read; not the training split.
    #[arg(long, value_enum, default_value = "test")]
    split: Split,
    /// Folder for certificate.json and report.html; the bundle's own if not given, where the runtime looks for the certificate.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the report to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Engines to compare with the reference; all that run here if not given.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    engines: Option<Vec<String>>,
    /// TOML file of limits, over those of the settings: retained_ccc, bias, gain, extra_lag_s, int8_ccc_difference.
    #[arg(long, value_name = "FILE")]
    gates: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Where the teacher runs.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceKind,
    /// Print the certificate as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn protocol(&self) -> Result<Protocol> {
        let mut protocol: Protocol = self.settings.over(&Protocol::default(), &[])?;
        if let Some(file) = &self.gates {
            let limits: Limits = config::read(&protocol.limits, Some(file), &[])?;
            limits.validate().map_err(|e| e.at(file.display()))?;
            protocol.limits = limits;
        }
        Ok(protocol)
    }

    fn paths(&self) -> Result<VerifyPaths> {
        let needed = || Error::usage("--teacher and --student are needed");
        let (teacher, student) = self.teacher.clone().zip(self.student.clone()).ok_or_else(needed)?;
        let out = self.out.as_ref().unwrap_or(&student);
        let (certificate, beside) = (out.join(Certificate::FILE), out.join("report.html"));
        let report = self.report.clone().unwrap_or(beside);
        Ok(VerifyPaths { teacher, student, data: self.data.clone(), certificate, report })
    }
}

pub(super) fn run(args: &Args, stop: &AtomicBool) -> Result<Outcome> {
    let protocol = args.protocol()?;
    if args.settings.print_config {
        print(&config::print(&protocol)?)?;
        return Ok(Outcome::Done);
    }
    let paths = args.paths()?;
    let options = VerifyOptions { protocol, split: args.split, engines: args.engines.clone(), device: args.device };
    let certificate = verify::verify(&paths, &options, stop, true)?;
    if args.json {
        print_json(&certificate)?;
    } else {
        print(&summary(&certificate, &paths))?;
    }
    Ok(if certificate.verdict == GateOutcome::Pass { Outcome::Done } else { Outcome::CheckFailed })
}

fn line(gate: &Gate) -> String {
    let limit = match (gate.at_least, gate.at_most) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("at least {low}"),
        (None, high) => high.map_or(String::new(), |v| format!("at most {v}")),
    };
    let value = gate.value.map_or("none".into(), |v| format!("{v:.4}"));
    format!("{:14} {:48} {value:>10}  ({limit})\n", gate.outcome.name(), gate.name)
}

/// CCCs, gates, and where the files are.
fn summary(certificate: &Certificate, paths: &VerifyPaths) -> String {
    let mut text = String::new();
    for set in &certificate.sets {
        for (name, figures) in set.dimensions.each() {
            let [teacher, fp32, int8] =
                [&figures.teacher, &figures.fp32.scores, &figures.int8.scores].map(|s| s.ccc.value);
            text += &format!(
                "{} split of {}, {name}, {} frames concatenated: CCC teacher {teacher:.4}, fp32 {fp32:.4}, int8 {int8:.4}\n",
                set.split, set.name, figures.frames
            );
        }
    }
    certificate.gates.iter().for_each(|gate| text += &line(gate));
    let relaxed = certificate.protocol.limits.relaxed();
    if !relaxed.is_empty() {
        text += &format!("limits that ask for less than the defaults do: {}\n", relaxed.join(", "));
    }
    let verdict = if certificate.verdict == GateOutcome::Pass { "passed" } else { "FAILED" };
    text + &format!("{verdict}; {} and {}\n", paths.certificate.display(), paths.report.display())
}
