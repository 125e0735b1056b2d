//! `vaerr-train shards`.

use super::{print, print_json};
use crate::train::data::record::Split;
use crate::train::shards::{Checked, Reader};
use crate::{Error, Result};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Shards {
    /// Read everything: lengths and SHA-256 of the shards, types, shapes and ranges of the arrays, counts; fails at anything wrong.
    Check {
        /// Folder of shards.
        folder: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One line a sample.
    List {
        /// Folder of shards.
        folder: PathBuf,
        /// Only this split.
        #[arg(long, value_enum)]
        split: Option<Split>,
        /// Print JSON, one sample a line.
        #[arg(long)]
        json: bool,
    },
}

fn markdown(checked: &Checked) -> String {
    let mut text =
        "| split | shards | samples | recordings | people | frames | hours | labelled | black | with audio |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for p in &checked.parts {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {:.2} | {} | {} | {} |\n",
            p.split.name(),
            p.shards,
            p.samples,
            p.recordings,
            p.people,
            p.frames,
            p.seconds / 3600.0,
            p.labelled,
            p.black,
            p.with_audio
        ));
    }
    text
}

pub(super) fn run(command: &Shards) -> Result<()> {
    match command {
        Shards::Check { folder, json } => {
            let checked = Reader::open(folder)?.check()?;
            if *json { print_json(&checked) } else { print(&markdown(&checked)) }
        }
        Shards::List { folder, split, json } => {
            let reader = Reader::open(folder)?;
            for split in Split::ALL.into_iter().filter(|s| split.is_none_or(|only| only == *s)) {
                for meta in reader.metas(split)? {
                    if *json {
                        let line = serde_json::to_string(&meta);
                        print(&(line.map_err(|e| Error::io("cannot be written").caused_by(e))? + "\n"))?;
                        continue;
                    }
                    let audio = meta.audio.as_ref().map_or("no audio", |a| &a.name);
                    let (name, person, length_s) = (split.name(), meta.person(), meta.frames as f64 / meta.fps);
                    print(&format!(
                        "{name} {} {} part {} of {person}: {} frames at {}, {length_s:.1} s from {:.1} s, {audio}\n",
                        meta.key, meta.video, meta.part, meta.frames, meta.fps, meta.start_s
                    ))?;
                }
            }
            Ok(())
        }
    }
}
