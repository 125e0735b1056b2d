//! Verification: does a bundle's student keep what its teacher reads?
//!
//! The full model and both students read a held-out split, the students through the real engines; from the tables of
//! predictions come figures, from the figures gates, from these a [`Certificate`] and a report for people. See
//! `docs/verification.md`.

mod engines;
mod figures;
mod groups;
mod lag;
mod origins;
mod read;
mod report;
mod stream;
mod table;

#[cfg(test)]
mod tests;

pub use figures::{Source, figures};
pub use lag::{LEAST_JUMP, LagPaths, LagReport, LagRow, lag, report as lag_report};
pub use table::Video;

use crate::engine::EngineEntry;
use crate::error::{Error, Result};
use crate::model::{Bundle, Precision};
use crate::spec::Certificate;
use crate::spec::certificate::Protocol;
use crate::train::data::record::Split;
use crate::train::data::still::Census;
use crate::train::finetune::{self, Kept, Predictor};
use crate::train::full::FullNet;
use crate::train::run::device::DeviceKind;
use crate::train::shards::{self, Reader, Sample};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use stream::Pool;

/// What is verified, on what.
#[derive(Debug, Clone)]
pub struct VerifyPaths {
    /// Folder of a run of fine-tuning.
    pub teacher: PathBuf,
    /// Folder of the bundle.
    pub student: PathBuf,
    /// Folders of shards; gates must hold on each.
    pub data: Vec<PathBuf>,
    /// Where `certificate.json` goes.
    pub certificate: PathBuf,
    /// Where the report goes.
    pub report: PathBuf,
}

/// How.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    pub protocol: Protocol,
    /// Not the training split.
    pub split: Split,
    /// Engines to compare with the reference; `None` for all that run here.
    pub engines: Option<Vec<String>>,
    /// Of the teacher.
    pub device: DeviceKind,
}

/// One folder of shards and the name of its set.
struct Set {
    source: Source,
    reader: Reader,
    /// That are read.
    frames: usize,
}

/// Verifies, and writes the certificate, whatever it says, and the report. Both depend on the data, the files, the settings
/// and the machine alone: a second run writes the same bytes.
///
/// # Errors
/// Settings that make no sense, the training split, a teacher, bundle or shards that cannot be read, an engine that fails.
/// A gate that fails is none.
pub fn verify(paths: &VerifyPaths, options: &VerifyOptions, stop: &AtomicBool, show: bool) -> Result<Certificate> {
    let protocol = &options.protocol;
    protocol.validate()?;
    if options.split == Split::Train {
        return Err(Error::usage("the training split is not held out").remedy("take --split test or valid"));
    }
    let bundle = Bundle::load(&paths.student)?;
    let used = [
        (engines::of_figures(&protocol.fp32_engine, Precision::Fp32)?, Precision::Fp32),
        (engines::of_figures(&protocol.int8_engine, Precision::Int8)?, Precision::Int8),
    ];
    let chosen = engines::choose(options.engines.as_deref(), used)?;
    let teacher = finetune::best(&paths.teacher, &options.device.open(0, false)?)?;
    let sets = open(&paths.data, options.split, teacher.1.every)?;
    let bar = progress(&sets, protocol.engine_frames, show);
    let tables = tables(&bundle, &teacher, used, &sets, options.split, &bar, stop)?;
    let beginnings = beginnings(&sets, options.split, protocol.engine_frames)?;
    let checks = engines::compare(&bundle, &chosen, &beginnings, &bar, stop)?;
    bar.set_message("figures");
    let figures = sets.iter().zip(&tables).map(|(set, videos)| figures(&set.source, videos, protocol)).collect();
    let certificate = Certificate::new(
        origins::student(&bundle),
        origins::teacher(&paths.teacher, &teacher.0, &teacher.2, &teacher.1)?,
        protocol.clone(),
        origins::environment(used[0].0.name, used[1].0.name, chosen.left_out),
        figures,
        checks,
    );
    bar.finish_and_clear();
    let html = report::html(&certificate, &tables)?;
    write(&paths.certificate, &certificate.to_bytes()?)?;
    write(&paths.report, html.as_bytes())?;
    Ok(certificate)
}

/// The folders, their shards found to be those of their index, and their names, by which gates are told apart. The name of one
/// with stills says what they are read as by a teacher that reads every `every`-th frame.
fn open(folders: &[PathBuf], split: Split, every: usize) -> Result<Vec<Set>> {
    let mut sets: Vec<Set> = Vec::new();
    for folder in folders {
        let reader = Reader::open(folder)?;
        let census = Census::of(&reader, split, every)?;
        let stills = census.about().map_or(String::new(), |s| format!(" ({s})"));
        let name = reader.name() + &stills;
        if reader.index().samples(split) == 0 {
            let what = format!("holds no recording of the {} split", split.name());
            return Err(Error::input(what).at(folder.display()));
        }
        if sets.iter().any(|s| s.source.name == name) {
            return Err(Error::usage(format!("two folders of shards are called {name}"))
                .remedy("gates are named after the folders: give them different names"));
        }
        let source = Source { name, index_sha256: origins::index(&reader, split)?, split: split.name().to_owned() };
        sets.push(Set { source, reader, frames: census.frames });
    }
    if sets.is_empty() {
        return Err(Error::usage("there is no data to verify on").remedy("name a folder of shards with --data"));
    }
    Ok(sets)
}

/// A table of predictions for each set.
fn tables(
    bundle: &Bundle,
    (net, predictor, _): &(FullNet, Predictor, Kept),
    [fp32, int8]: [(&'static EngineEntry, Precision); 2],
    sets: &[Set],
    split: Split,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<Vec<Vec<Video>>> {
    let students = [bundle.student(fp32.1)?, bundle.student(int8.1)?];
    let networks = read::Networks {
        teacher: net,
        predictor,
        spec: &bundle.manifest().student,
        crop: bundle.manifest().crop,
        students: [Pool::new(&students[0], fp32.0.open), Pool::new(&students[1], int8.0.open)],
    };
    let one = |set: &Set| {
        bar.set_message(set.source.name.clone());
        networks.table(&set.reader, split, bar, stop)
    };
    sets.iter().map(one).collect()
}

/// What engines are compared on: as many frames of each set.
fn beginnings(sets: &[Set], split: Split, most: usize) -> Result<Vec<Sample>> {
    let mut all = Vec::new();
    for set in sets {
        all.extend(engines::beginnings(&set.reader, split, most.div_ceil(sets.len()))?);
    }
    Ok(all)
}

/// A bar of frames: those of three networks, and at most those of the engines' comparison in two precisions.
fn progress(sets: &[Set], engine_frames: usize, show: bool) -> ProgressBar {
    if !show {
        return ProgressBar::hidden();
    }
    let frames: usize = sets.iter().map(|s| 3 * s.frames).sum();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} frames, {per_sec}, {eta} left, {msg}");
    let bar = ProgressBar::new((frames + 2 * engine_frames) as u64);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Writes a file whole or not at all, and the folder it is in.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        let failed = |e| Error::io("cannot be made").at(folder.display()).caused_by(e);
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    shards::replace(path, bytes)
}
