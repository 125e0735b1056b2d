//! `vaerr-train lag`.

use super::{print, print_json};
use crate::Result;
use crate::train::data::record::Split;
use crate::train::run::device::DeviceKind;
use crate::train::verify::{self, LEAST_JUMP, LagPaths, LagReport};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Measures how late a bundle's students answer on recordings whose label jumps, as `render --steps` makes them.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Folder of the run of `finetune` whose best network is the teacher.
    #[arg(long, value_name = "RUN")]
    teacher: PathBuf,
    /// Folder of the bundle that holds the students.
    #[arg(long, value_name = "BUNDLE")]
    student: PathBuf,
    /// Folder of shards.
    #[arg(long, value_name = "SHARDS")]
    data: PathBuf,
    #[arg(long, value_enum, default_value = "test")]
    split: Split,
    /// Where the teacher runs.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceKind,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, stop: &AtomicBool) -> Result<()> {
    let Args { teacher, student, data, .. } = args;
    let paths = LagPaths { teacher: teacher.clone(), student: student.clone(), data: data.clone() };
    let found = verify::lag(&paths, args.split, args.device, stop, true)?;
    if args.json { print_json(&found) } else { print(&table(&found)) }
}

fn table(found: &LagReport) -> String {
    let LagReport { fps, recordings, rows } = found;
    let mut text = format!(
        "{recordings} recordings at {fps} frames a second; milliseconds from the first frame of a new face to the first reading half of \
         the way,\nover jumps of the label by {LEAST_JUMP} or more\n{:24} {:8} {:>8} {:>8} {:>8} {:>9} {:>7}\n",
        "network", "", "1st q.", "median", "3rd q.", "followed", "missed"
    );
    for row in rows {
        let ms =
            row.half_ms.map_or(["none".to_owned(), "none".into(), "none".into()], |q| q.map(|v| format!("{v:.0}")));
        let [low, median, high] = ms;
        text += &format!(
            "{:24} {:8} {low:>8} {median:>8} {high:>8} {:>9} {:>7}\n",
            row.network, row.dimension, row.followed, row.missed
        );
    }
    text
}
