//! `vaerr models`.

use super::bundle::{self, TrustArgs};
use super::{Outcome, print_json, print_text};
use crate::engine::{self, Choice, EngineEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::model::admission::{Finding, Verdict};
use crate::model::signature::Trust;
use crate::model::{Bundle, Format, Head, Precision, Student, read_student_file};
use crate::spec::HEADS;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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
    /// Check signature, version, certificate, digests and a trial step on every engine; exit code 1 if anything fails.
    Check {
        /// Folder of the bundle; the shipped one if not given.
        dir: Option<PathBuf>,
        #[command(flatten)]
        trust: TrustArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
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
        #[command(flatten)]
        trust: TrustArgs,
        /// Convert a bundle though its signature, version or certificate fails.
        #[arg(long)]
        allow_unverified: bool,
    },
}

fn convert(student: &Student, to: Format, out: &Path) -> Result<Outcome> {
    let bytes = to.write(student)?;
    std::fs::write(out, bytes).map_err(|e| Error::io("cannot be written").at(out.display()).caused_by(e))?;
    Ok(Outcome::Done)
}

fn list(root: &Path, json: bool) -> Result<Outcome> {
    let mut rows = vec![("(shipped)".to_owned(), Head::shipped())];
    rows.extend(Bundle::list(root).into_iter().map(|(dir, b)| (dir.display().to_string(), b)));
    if json {
        let row = |(place, b): &(String, Result<Head>)| match b {
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

/// What a check of a bundle found.
pub(super) struct Checked {
    place: String,
    /// Check, outcome, what exactly.
    rows: Vec<(String, Mark, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Held,
    /// Nothing to check, or let pass.
    None,
    /// Not tried, because something before it failed.
    Skipped,
    Failed,
}

impl Mark {
    fn of(held: bool) -> Self {
        if held { Mark::Held } else { Mark::Failed }
    }

    fn word(self) -> &'static str {
        match self {
            Mark::Held => "ok",
            Mark::None => "none",
            Mark::Skipped => "skipped",
            Mark::Failed => "FAILED",
        }
    }
}

impl Checked {
    fn add(&mut self, check: impl Into<String>, mark: Mark, what: impl Into<String>) {
        self.rows.push((check.into(), mark, what.into()));
    }

    /// Whether nothing failed.
    pub(super) fn good(&self) -> bool {
        self.rows.iter().all(|(_, mark, _)| *mark != Mark::Failed)
    }

    fn failed(&self, name: &str) -> bool {
        self.rows.iter().any(|(check, mark, _)| check == name && *mark == Mark::Failed)
    }

    fn skip_engines(&mut self) {
        self.add("engines", Mark::Skipped, "not tried: a model that fails a check runs on none");
    }

    /// A line a check, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|(check, mark, what)| format!("{:<7} {check}: {what}", mark.word())).collect()
    }

    fn json(&self) -> serde_json::Value {
        let row = |(check, mark, what): &(String, Mark, String)| serde_json::json!({"check": check, "outcome": mark.word().to_lowercase(), "what": what});
        serde_json::json!({"place": self.place, "ok": self.good(), "checks": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}

/// Checks what was opened: signature, version, certificate, digests, and a trial step on every engine. Files whose signature failed
/// are not read, and engines are not stepped on what failed anywhere.
pub(super) fn check(opened: Result<Head>, trust: Option<&Trust>) -> Checked {
    let mut done = Checked { place: String::new(), rows: Vec::new() };
    let head = match opened {
        Ok(head) => head,
        Err(e) => {
            done.add("digests", Mark::Failed, e.to_string());
            return done;
        }
    };
    done.place = head.place().to_owned();
    for (name, finding) in Verdict::of(&head, trust, SystemTime::now()).findings() {
        match finding {
            Finding::Held(what) => done.add(*name, Mark::Held, what),
            Finding::NotAsked(why) => done.add(*name, Mark::None, why),
            Finding::Failed(e) => done.add(*name, Mark::Failed, e.to_string()),
        }
    }
    if done.failed("signature") {
        done.add("digests", Mark::Skipped, "not tried: the signature failed, so the files are not read");
        done.skip_engines();
        return done;
    }
    match head.load() {
        Ok(bundle) => check_files(&bundle, &mut done),
        Err(e) => {
            done.add("digests", Mark::Failed, e.to_string());
            done.skip_engines();
        }
    }
    done
}

/// What the files give: those that are made from others, and the engines' steps.
fn check_files(bundle: &Bundle, done: &mut Checked) {
    done.add("digests", Mark::Held, format!("manifest, lengths and SHA-256 of {} files", bundle.names().count()));
    for (format, name) in Format::ALL.into_iter().filter_map(|f| Some((f, f.derived_file()?))) {
        let Some(file) = bundle.file(name) else { continue };
        let made = bundle.student(Precision::Int8).and_then(|s| format.write(&s));
        done.add(name, Mark::of(made.is_ok_and(|bytes| bytes == file)), "what student-int8.onnx gives");
    }
    if !done.good() {
        return done.skip_engines();
    }
    for entry in engine::ENGINES.iter().filter(|e| (e.unavailable)().is_none()) {
        for precision in [Precision::Fp32, Precision::Int8].into_iter().filter(|p| bundle.has(*p)) {
            let (mark, what) = tried(bundle, entry, precision);
            done.add(format!("engine {} {}", entry.name, precision.name()), mark, what);
        }
    }
}

fn tried(bundle: &Bundle, entry: &EngineEntry, precision: Precision) -> (Mark, String) {
    match ((entry.gap)(precision), trial_step(bundle, entry.name, precision)) {
        (None, Ok(())) => (Mark::Held, "a trial step".into()),
        (Some(gap), Err(e)) if e.kind() == ErrorKind::Unsupported => (Mark::None, gap.into()),
        (Some(gap), Ok(())) => (Mark::Failed, format!("it runs, though it is listed as a gap: {gap}")),
        (_, Err(e)) => (Mark::Failed, e.to_string()),
    }
}

/// `models check`.
fn check_folder(dir: Option<&Path>, trust: &TrustArgs, json: bool) -> Result<Outcome> {
    if let Some(missing) = dir.filter(|d| !d.is_dir()) {
        return Err(Error::usage("there is no such folder").at(missing.display()));
    }
    let done = check(bundle::open(dir), trust.load()?.as_ref());
    if json { print_json(&done.json()) } else { print_text(&(done.lines().join("\n") + "\n")) }?;
    Ok(if done.good() { Outcome::Done } else { Outcome::CheckFailed })
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    match &args.action {
        Action::List { root, json } => list(root, *json),
        Action::Check { dir, trust, json } => check_folder(dir.as_deref(), trust, *json),
        Action::Show { dir, json } => {
            let bundle = bundle::open(dir.as_deref())?.load()?;
            if *json {
                print_json(&serde_json::to_value(bundle.manifest()).unwrap_or_default())?;
            } else {
                print_text(&String::from_utf8_lossy(bundle.file("card.md").unwrap_or_default()))?;
            }
            Ok(Outcome::Done)
        }
        Action::Convert { dir, to, precision, out, trust, allow_unverified } => {
            let student = match dir {
                Some(file) if file.is_file() => read_student_file(file)?,
                dir => {
                    let admitted = bundle::admit(bundle::open(dir.as_deref())?, trust, *allow_unverified)?;
                    admitted.bundle.student(super::precision(precision)?)?
                }
            };
            convert(&student, *to, out)
        }
    }
}
