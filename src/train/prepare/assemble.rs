//! Puts the recordings' samples together into shards, in their order.

use super::{Job, Report, Shop, Tick, spool};
use crate::error::{Error, Result};
use crate::train::data::record::{Loaded, Note};
use crate::train::shards::{Index, Writer, scan};
use std::collections::VecDeque;
use std::path::PathBuf;

fn note_of(job: &Job) -> Result<spool::Done> {
    spool::done(&job.stem)?.ok_or_else(|| Error::input("is gone").at(job.stem.with_extension("json").display()))
}

/// What became of the jobs, which are all done; the samples are not yet counted.
///
/// # Errors
/// If no job gave a sample.
pub(super) fn report(loaded: &Loaded, jobs: &[Job]) -> Result<Report> {
    let mut report = Report {
        recordings: jobs.len(),
        skipped: loaded.report.bad.clone(),
        left_out: loaded.report.left_out.clone(),
        remarks: loaded.report.remarks.clone(),
        ..Report::default()
    };
    for job in jobs {
        let done = note_of(job)?;
        let note = |why| Note { file: job.recording.id.clone(), why };
        report.skipped.extend(done.skipped.map(note));
        report.remarks.extend(done.remarks.into_iter().map(note));
        report.used += usize::from(done.parts > 0);
        report.frames += done.frames;
        report.with_face += done.with_face;
    }
    if report.used == 0 {
        let why = report.skipped.first().map_or(String::new(), |n| format!("; the first: {n}"));
        return Err(Error::input(format!("none of {} recordings can be used{why}", jobs.len())));
    }
    Ok(report)
}

/// Writes every sample that is not in a finished shard yet; `end` is called with what was written before that becomes the
/// folder's index. Recordings whose samples are all in finished shards are removed from the work folder on the way.
///
/// # Errors
/// A full disk; the run was stopped; what `end` gives.
pub(super) fn assemble(
    mut writer: Writer,
    jobs: &[Job],
    shop: &Shop,
    end: impl FnOnce(&Index) -> Result<()>,
) -> Result<Index> {
    let mut written = 0;
    let mut waiting: VecDeque<(usize, PathBuf)> = VecDeque::new();
    for job in jobs {
        let done = note_of(job)?;
        let path = job.stem.with_extension("tar");
        let finished = writer.done();
        if written + done.parts > finished && done.parts > 0 {
            for located in scan(&path)?.into_iter().skip(finished.saturating_sub(written)) {
                shop.ensure_going()?;
                let mut sample = located.read()?;
                sample.meta.fps = done.fps;
                writer.push(&sample)?;
                (shop.tick)(Tick::Sample);
            }
        }
        written += done.parts;
        waiting.push_back((written, path));
        while waiting.front().is_some_and(|(upto, _)| *upto <= writer.done()) {
            // One that is gone already, or cannot be removed, only costs room until the end.
            waiting.pop_front().map(|(_, path)| std::fs::remove_file(path));
        }
    }
    writer.finish_with(end)
}
