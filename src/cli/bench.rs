//! `vaerr bench`.

use super::bundle::{Admitted, ModelArgs};
use super::{Outcome, interruptible, print_json, print_text};
use crate::bench::{self, Plan, Report, Row};
use crate::error::{Error, Result};
use std::io::{IsTerminal, Write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Engines to compare; the first is the yardstick. All that can run if not given.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    engine: Vec<String>,
    /// Streams (faces) a step; several give a table each.
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "N,...")]
    batch: Vec<usize>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Milliseconds an engine runs in each round, at least one step.
    #[arg(long, default_value_t = 50.0, value_name = "MS")]
    round_ms: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn validate(args: &Args) -> Result<()> {
    if args.batch.iter().any(|b| !(1..=64).contains(b)) {
        return Err(Error::usage("--batch takes 1 to 64 streams"));
    }
    if !(1..=100_000).contains(&args.rounds) || !(0.0..=60_000.0).contains(&args.round_ms) {
        return Err(Error::usage("--rounds takes 1 to 100000, --round-ms 0 to 60000"));
    }
    Ok(())
}

fn table(batch: usize, report: &Report) -> String {
    let mut text = format!(
        "student step, {batch} stream{}, microseconds\n{:<10} {:<5} {:>8} {:>9} {:>9} {:>9} {:>9}  ratio of medians [quartiles]\n",
        if batch == 1 { "" } else { "s" },
        "engine",
        "",
        "steps",
        "p50",
        "p95",
        "p99",
        "p99.9"
    );
    for Row { engine, precision, step_us: p, ratio } in &report.rows {
        text += &format!(
            "{engine:<10} {:<5} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>9.1}  {:.3} [{:.3} {:.3}]\n",
            precision.name(),
            p.n,
            p.p50,
            p.p95,
            p.p99,
            p.p999,
            ratio.median,
            ratio.low,
            ratio.high
        );
    }
    for (engine, why) in &report.skipped {
        text += &format!("{engine:<10} not run: {why}\n");
    }
    text
}

fn json(batch: usize, report: &Report) -> serde_json::Value {
    let row = |r: &Row| serde_json::json!({"engine": r.engine, "precision": r.precision.name(), "step_us": r.step_us, "ratio": r.ratio});
    let skipped = |(name, why): &(&str, String)| serde_json::json!({"engine": name, "why": why});
    serde_json::json!({
        "batch": batch, "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
        "skipped": report.skipped.iter().map(skipped).collect::<Vec<_>>(),
    })
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    validate(args)?;
    let stop = interruptible()?;
    let Admitted { bundle, unverified } = args.model.open()?;
    let shows = std::io::stderr().is_terminal();
    let mut all = Vec::new();
    for &batch in &args.batch {
        let plan = Plan { engines: args.engine.clone(), batch, rounds: args.rounds, round_us: args.round_ms * 1e3 };
        let report = bench::run(&bundle, &plan, |done| {
            if shows {
                let _ = write!(std::io::stderr(), "\rround {done} of {}  ", args.rounds);
            }
            !stop.asked()
        })?;
        if shows {
            let _ = write!(std::io::stderr(), "\r{:30}\r", "");
        }
        if args.json {
            all.push(json(batch, &report));
        } else {
            print_text(&(table(batch, &report) + if unverified.is_some() { "unverified model\n" } else { "" }))?;
        }
        if stop.asked() {
            break;
        }
    }
    if args.json {
        let mut all =
            serde_json::json!({"model": bundle.manifest().name, "arch": std::env::consts::ARCH, "tables": all});
        if let (Some(why), Some(fields)) = (unverified, all.as_object_mut()) {
            fields.insert("unverified".into(), why.into());
        }
        print_json(&all)?;
    }
    Ok(Outcome::Done)
}
