//! Readings as JSON lines or as lines for people, and the choice between files by their ending.

use super::append::resume;
use super::csv::Csv;
use super::{Outlet, Sink};
use crate::error::{Error, Result};
use crate::spec::Reading;
use crate::stop::Stop;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Lines kept until a frame is complete are written once they are this many bytes.
const MOST_BYTES: usize = 1 << 16;

/// Lines on their way to an [`Outlet`], whole ones only.
pub(super) struct Out {
    to: Outlet,
    /// The lines of the frame at hand; the one begun last is being written.
    pub line: Vec<u8>,
    /// Where each reading's line ends.
    ends: Vec<usize>,
    /// Readings that are written.
    readings: u64,
}

impl Out {
    pub fn new(to: Outlet) -> Self {
        Self { to, line: Vec::new(), ends: Vec::new(), readings: 0 }
    }

    pub fn name(&self) -> &str {
        self.to.name()
    }

    /// Counts the reading whose line is complete.
    pub fn ended_line(&mut self) -> Result<()> {
        self.ends.push(self.line.len());
        if self.line.len() >= MOST_BYTES { self.flush() } else { Ok(()) }
    }

    /// Replaces what the outlet held, even if nothing is to come.
    pub fn begin(&mut self) -> Result<()> {
        self.to.begin().or_else(|e| self.failed(e, 0))
    }

    pub fn flush(&mut self) -> Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        let (whole, done) = self.to.put(&self.line, &self.ends);
        self.readings += whole as u64;
        let lost = self.ends.len() - whole;
        self.line.clear();
        self.ends.clear();
        done.or_else(|e| self.failed(e, lost))
    }

    fn failed(&self, e: std::io::Error, lost: usize) -> Result<()> {
        Err(match e.kind() {
            ErrorKind::BrokenPipe => Error::interrupted("the reader went away").at(self.name()),
            ErrorKind::TimedOut => {
                log::warn!("{}: the reader stands still, {lost} readings are not delivered", self.name());
                Error::interrupted("the reader stands still").at(self.name())
            }
            _ => Error::io(format!("cannot write after {} readings", self.readings))
                .at(self.name())
                .caused_by(e)
                .remedy("free some space or write elsewhere; what was written is whole up to there"),
        })
    }
}

/// One JSON object a line, keys as in [`Reading`].
pub struct JsonLines(Out);

impl JsonLines {
    /// Writes to `to`.
    pub fn new(to: Outlet) -> Self {
        Self(Out::new(to))
    }
}

impl Sink for JsonLines {
    fn write(&mut self, r: &Reading) -> Result<()> {
        serde_json::to_writer(&mut self.0.line, r).map_err(std::io::Error::from)?;
        self.0.line.push(b'\n');
        self.0.ended_line()
    }

    fn frame_done(&mut self) -> Result<()> {
        self.0.flush()
    }

    fn ended(&mut self) -> Result<()> {
        self.0.begin()
    }

    fn finish(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// One line a reading for people.
pub struct Lines(Out);

impl Lines {
    /// Writes to `to`.
    pub fn new(to: Outlet) -> Self {
        Self(Out::new(to))
    }
}

/// A name as it may stand in a terminal.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Sink for Lines {
    fn write(&mut self, r: &Reading) -> Result<()> {
        let when = match &r.file {
            Some(file) => printable(file),
            None => format!("{:9.3} s  frame {:<6}", r.time_s, r.frame),
        };
        let held = if r.held { "  held" } else { "" };
        let mark = if r.unverified { "  unverified model" } else { "" };
        let w = &mut self.0.line;
        // Writing to a vector never fails.
        let _ = match (r.face.id(), r.valence, r.arousal, r.confidence) {
            (Some(id), Some(v), Some(a), Some(c)) => {
                writeln!(w, "{when} face {id:<3} valence {v:+.2}  arousal {a:+.2}  confidence {c:.2}{held}{mark}")
            }
            _ => writeln!(w, "{when} no face{mark}"),
        };
        self.0.ended_line()
    }

    fn frame_done(&mut self) -> Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// What a file of readings is by its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    JsonLines,
}

/// The format of a file by its ending: `.jsonl` or `.csv`.
///
/// # Errors
/// Another ending.
pub fn format(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => Ok(Format::Csv),
        Some("jsonl") => Ok(Format::JsonLines),
        _ => Err(Error::usage("cannot tell the format of the output")
            .at(path.display())
            .remedy("end its name in .jsonl or .csv")),
    }
}

/// Opens a file by its ending. What it holds stays until the first reading is there, and then is replaced, or with `append` gone on with.
///
/// # Errors
/// Another ending, a file that cannot be made, or with `append` one that holds something else than readings.
pub fn open(path: &Path, append: bool, stop: &Stop) -> Result<Box<dyn Sink>> {
    let csv = format(path)? == Format::Csv;
    let (resume, marked) = if append { resume(path, csv).map(|(r, m)| (Some(r), m))? } else { (None, None) };
    let to = Outlet::open(path, resume, stop)?;
    Ok(if csv { Box::new(Csv::new(to, marked)) } else { Box::new(JsonLines::new(to)) })
}

#[cfg(test)]
mod tests;
