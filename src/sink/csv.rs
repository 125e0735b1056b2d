//! Readings as comma-separated values.

use super::file::Out;
use super::{Outlet, Sink};
use crate::error::{Error, Result};
use crate::spec::{FaceState, Reading, utc};
use std::io::Write;

macro_rules! columns {
    ($more:literal) => {
        concat!(
            "time_s,frame,face,box_x,box_y,box_w,box_h,arousal,valence,confidence,",
            "arousal_low,arousal_high,valence_low,valence_high,engine,latency_us,source,time,file,roll_deg,held",
            $more
        )
    };
}

/// The header.
pub const HEADER: &str = columns!("");
/// The header of readings of an unverified model.
pub const MARKED: &str = columns!(",unverified");

/// Comma-separated values with a header, quoted as RFC 4180 says; box and interval take four columns each, absent values
/// are empty. A stream of unverified readings has the further column `unverified`.
pub struct Csv {
    out: Out,
    /// Whether the column `unverified` is there, once the header is written.
    marked: Option<bool>,
}

impl Csv {
    /// Writes to `to`. `marked`: of the header that is there already, whether it has the column `unverified`.
    pub fn new(to: Outlet, marked: Option<bool>) -> Self {
        Self { out: Out::new(to), marked }
    }

    /// Writes the header if it is not there; gives whether it has the column `unverified`.
    fn header(&mut self, unverified: bool) -> bool {
        *self.marked.get_or_insert_with(|| {
            self.out.line.extend_from_slice(if unverified { MARKED } else { HEADER }.as_bytes());
            self.out.line.push(b'\n');
            unverified
        })
    }
}

impl Sink for Csv {
    fn write(&mut self, r: &Reading) -> Result<()> {
        let marked = self.header(r.unverified);
        if r.unverified && !marked {
            return Err(Error::usage("--append: it has no column unverified, and the model runs unverified")
                .at(self.out.name())
                .remedy("write to another file"));
        }
        // Writing to a vector never fails.
        let _ = row(&mut self.out.line, r, marked);
        self.out.ended_line()
    }

    fn frame_done(&mut self) -> Result<()> {
        self.out.flush()
    }

    fn ended(&mut self) -> Result<()> {
        self.header(false);
        self.out.begin()
    }

    fn finish(&mut self) -> Result<()> {
        self.out.flush()
    }
}

fn row(w: &mut Vec<u8>, r: &Reading, marked: bool) -> std::io::Result<()> {
    write!(w, "{:.6},{},", r.time_s, r.frame)?;
    match r.face {
        FaceState::Id(id) => write!(w, "{id}")?,
        FaceState::None(_) => write!(w, "none")?,
    }
    cells(w, r.r#box.as_ref().map(|b| &b[..]), 4)?;
    for value in [r.arousal, r.valence, r.confidence] {
        cells(w, value.as_ref().map(std::slice::from_ref), 1)?;
    }
    cells(w, r.interval.as_ref().map(|i| i.as_flattened()), 4)?;
    write!(w, ",{},{},", r.engine, r.latency_us)?;
    text(w, &r.source);
    write!(w, ",{},", r.time.and_then(utc).unwrap_or_default())?;
    text(w, r.file.as_deref().unwrap_or_default());
    cells(w, r.roll_deg.as_ref().map(std::slice::from_ref), 1)?;
    write!(w, ",{}", r.held)?;
    if marked { writeln!(w, ",{}", r.unverified) } else { writeln!(w) }
}

/// `n` cells, empty where there are no values.
fn cells(w: &mut Vec<u8>, values: Option<&[f32]>, n: usize) -> std::io::Result<()> {
    (0..n).try_for_each(|i| match values.and_then(|v| v.get(i)) {
        Some(v) => write!(w, ",{v}"),
        None => write!(w, ","),
    })
}

/// A cell of any text.
fn text(w: &mut Vec<u8>, cell: &str) {
    if cell.contains(['"', ',', '\n', '\r']) {
        w.push(b'"');
        w.extend(cell.replace('"', "\"\"").bytes());
        w.push(b'"');
    } else {
        w.extend_from_slice(cell.as_bytes());
    }
}

/// Whether `line` is a row that lacks nothing, by its cells and the last of them.
pub(super) fn is_row(line: &[u8], marked: bool) -> bool {
    let (mut cells, mut inside) = (1, false);
    for byte in line {
        inside ^= *byte == b'"';
        cells += usize::from(*byte == b',' && !inside);
    }
    let columns = if marked { MARKED } else { HEADER }.split(',').count();
    !inside && cells == columns && (line.ends_with(b",true") || line.ends_with(b",false"))
}
