//! `vaerr models`.

use super::{Outcome, bundle, print_json, print_text};
use crate::engine::{self, Choice};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Bundle, Format, Precision, read_student};
use crate::spec::HEADS;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List the shipped bundle and those below a folder.
    List {
        #[arg(default_value = "models")]
        root: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Check digests, graphs and a trial step on every engine; exit code 1 if anything fails.
    Check {
        /// Folder of the bundle; the shipped one if not given.
        dir: Option<PathBuf>,
    },
    /// Print the model card.
    Show {
        /// Folder of the bundle; the shipped one if not given.
        dir: Option<PathBuf>,
        /// Print the manifest as JSON instead.
        #[arg(long)]
        json: bool,
    },
    /// Write a bundle's student, or one in a file of any of the formats, in another format.
    Convert {
        /// Folder of the bundle, or a student's file; the shipped bundle if not given.
        dir: Option<PathBuf>,
        /// onnx, onnx-qlinear (int8 convolutions as QLinearConv), tflite (TensorFlow Lite or LiteRT) or packed (one flat file).
        #[arg(long)]
        to: Format,
        /// fp32 or int8, of a bundle.
        #[arg(long, default_value = "int8")]
        precision: String,
        /// File to write; an existing one is replaced.
        #[arg(long)]
        out: PathBuf,
    },
}

fn convert(from: Option<&PathBuf>, to: Format, precision: &str, out: &Path) -> Result<Outcome> {
    let student = match from {
        Some(file) if file.is_file() => {
            let bytes = std::fs::read(file).map_err(|e| Error::io("cannot be read").at(file.display()).caused_by(e))?;
            read_student(&bytes).map_err(|e| Error::new(e.kind(), "cannot be used").at(file.display()).caused_by(e))?
        }
        dir => bundle(dir)?.student(super::precision(precision)?)?,
    };
    let bytes = to.write(&student)?;
    std::fs::write(out, bytes).map_err(|e| Error::io("cannot be written").at(out.display()).caused_by(e))?;
    Ok(Outcome::Done)
}

fn list(root: &Path, json: bool) -> Result<Outcome> {
    let mut rows = vec![("(shipped)".to_owned(), Bundle::shipped())];
    rows.extend(Bundle::list(root).into_iter().map(|(dir, b)| (dir.display().to_string(), b)));
    if json {
        let row = |(place, b): &(String, Result<Bundle>)| match b {
            Ok(b) => serde_json::json!({"place": place, "name": b.manifest().name, "licence": b.manifest().licence}),
            Err(e) => serde_json::json!({"place": place, "error": e.to_string()}),
        };
        print_json(&rows.iter().map(row).collect())?;
        return Ok(Outcome::Done);
    }
    for (place, b) in &rows {
        print_text(&match b {
            Ok(b) => format!("{place}: {}, {}\n", b.manifest().name, b.manifest().licence),
            Err(e) => format!("{place}: unusable: {e}\n"),
        })?;
    }
    Ok(Outcome::Done)
}

/// Opens the engine and steps it on an empty picture.
fn trial_step(bundle: &Bundle, engine: &str, precision: Precision) -> Result<()> {
    let spec = &bundle.manifest().student;
    let mut opened = engine::open(bundle, &Choice::Named(engine.into()), Some(precision))?;
    let ring = vec![spec.input_zero_point; spec.ring * spec.size_px * spec.size_px];
    let (mut hidden, mut logits) = (vec![0.0; spec.hidden], [0.0; HEADS]);
    opened.engine.step(&ring, &mut hidden, &mut logits)?;
    if logits.iter().chain(&hidden).all(|v| v.is_finite()) {
        return Ok(());
    }
    Err(Error::model("gives values that are not finite"))
}

/// Checks a bundle; the lines say what held.
pub(super) fn check(bundle: &Bundle) -> (Vec<String>, bool) {
    let mut lines =
        vec![format!("ok      {}: manifest, lengths and SHA-256 of {} files", bundle.place(), bundle.names().count())];
    let mut good = true;
    for (format, file) in Format::ALL.into_iter().filter_map(|f| Some((f, bundle.file(f.derived_file()?)?))) {
        let made = bundle.student(Precision::Int8).and_then(|s| format.write(&s));
        let agrees = made.is_ok_and(|bytes| bytes == file);
        good &= agrees;
        let (mark, name) = (if agrees { "ok     " } else { "FAILED " }, format.derived_file().unwrap_or_default());
        lines.push(format!("{mark} {name}: what student-int8.onnx gives"));
    }
    for entry in engine::ENGINES.iter().filter(|e| (e.unavailable)().is_none()) {
        for precision in [Precision::Fp32, Precision::Int8].into_iter().filter(|p| bundle.has(*p)) {
            let what = format!("engine {} {}", entry.name, precision.name());
            let (line, held) = match ((entry.gap)(precision), trial_step(bundle, entry.name, precision)) {
                (None, Ok(())) => (format!("ok      {what}: a trial step"), true),
                (Some(gap), Err(e)) if e.kind() == ErrorKind::Unsupported => (format!("none    {what}: {gap}"), true),
                (Some(gap), Ok(())) => (format!("FAILED  {what}: it runs, though it is listed as a gap: {gap}"), false),
                (_, Err(e)) => (format!("FAILED  {what}: {e}"), false),
            };
            good &= held;
            lines.push(line);
        }
    }
    (lines, good)
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    match &args.action {
        Action::List { root, json } => list(root, *json),
        Action::Check { dir } => {
            let (lines, good) = check(&bundle(dir.as_ref())?);
            print_text(&(lines.join("\n") + "\n"))?;
            Ok(if good { Outcome::Done } else { Outcome::CheckFailed })
        }
        Action::Show { dir, json } => {
            let bundle = bundle(dir.as_ref())?;
            if *json {
                print_json(&serde_json::to_value(bundle.manifest()).unwrap_or_default())?;
            } else {
                print_text(&String::from_utf8_lossy(bundle.file("card.md").unwrap_or_default()))?;
            }
            Ok(Outcome::Done)
        }
        Action::Convert { dir, to, precision, out } => convert(dir.as_ref(), *to, precision, out),
    }
}
