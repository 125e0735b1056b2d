//! `vaerr models`.

use super::{Outcome, bundle, print_json, print_text};
use crate::engine::{self, Choice};
use crate::error::Result;
use crate::model::{Bundle, Precision};
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

/// Checks a bundle; the lines say what held.
pub(super) fn check(bundle: &Bundle) -> (Vec<String>, bool) {
    let mut lines =
        vec![format!("ok      {}: manifest, lengths and SHA-256 of {} files", bundle.place(), bundle.names().count())];
    let mut good = true;
    for entry in engine::ENGINES.iter().filter(|e| (e.unavailable)().is_none()) {
        for precision in [Precision::Fp32, Precision::Int8].into_iter().filter(|p| bundle.has(*p)) {
            let spec = &bundle.manifest().student;
            let trial = engine::open(bundle, &Choice::Named(entry.name.into()), Some(precision)).and_then(|mut o| {
                let ring = vec![spec.input_zero_point; spec.ring * spec.size_px * spec.size_px];
                let (mut hidden, mut logits) = (vec![0.0; spec.hidden], [0.0; HEADS]);
                o.engine.step(&ring, &mut hidden, &mut logits)?;
                Ok(logits.iter().chain(&hidden).all(|v| v.is_finite()))
            });
            let what = format!("engine {} {}", entry.name, precision.name());
            let failed = match trial {
                Ok(true) => None,
                Ok(false) => Some("gives values that are not finite".to_owned()),
                Err(e) => Some(e.to_string()),
            };
            good &= failed.is_none();
            lines.push(failed.map_or(format!("ok      {what}: a trial step"), |why| format!("FAILED  {what}: {why}")));
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
    }
}
