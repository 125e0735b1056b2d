//! Readings as JSON lines, CSV, or lines for people.

use super::Sink;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{FaceState, Reading};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Buffered output that knows its name and how much arrived.
struct Out {
    writer: BufWriter<Box<dyn Write>>,
    name: String,
    readings: u64,
    flushed_s: f64,
}

impl Out {
    fn new(writer: Box<dyn Write>, name: &str) -> Self {
        Self { writer: BufWriter::new(writer), name: name.to_owned(), readings: 0, flushed_s: 0.0 }
    }

    fn check(&self, done: std::io::Result<()>) -> Result<()> {
        done.map_err(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Error::new(ErrorKind::Interrupted, "the reader went away").at(&self.name),
            _ => Error::io(format!("cannot write after {} readings", self.readings))
                .at(&self.name)
                .caused_by(e)
                .remedy("free some space or write elsewhere; what was written is whole up to there"),
        })
    }

    /// Counts the reading just written and flushes once a second of stream time.
    fn wrote(&mut self, done: std::io::Result<()>, time_s: f64) -> Result<()> {
        self.check(done)?;
        if time_s - self.flushed_s >= 1.0 {
            self.flush()?;
            self.flushed_s = time_s;
        }
        self.readings += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let done = self.writer.flush();
        self.check(done)
    }
}

/// One JSON object a line, keys as in [`Reading`].
pub struct JsonLines(Out);

impl JsonLines {
    /// Writes to `writer`; `name` is used in errors.
    pub fn new(writer: Box<dyn Write>, name: &str) -> Self {
        Self(Out::new(writer, name))
    }
}

impl Sink for JsonLines {
    fn write(&mut self, r: &Reading) -> Result<()> {
        let out = &mut self.0.writer;
        let done =
            serde_json::to_writer(&mut *out, r).map_err(std::io::Error::from).and_then(|()| out.write_all(b"\n"));
        self.0.wrote(done, r.time_s)
    }

    fn finish(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// Comma-separated values with a header; box and interval take four columns each, absent values are empty. A stream of
/// unverified readings has the further column `unverified`.
pub struct Csv {
    out: Out,
    /// Whether the column `unverified` is there, once the header is written.
    marked: Option<bool>,
}

const HEADER: &str = "time_s,frame,face,box_x,box_y,box_w,box_h,arousal,valence,confidence,\
arousal_low,arousal_high,valence_low,valence_high,engine,latency_us";

impl Csv {
    /// Writes to `writer`; `name` is used in errors.
    pub fn new(writer: Box<dyn Write>, name: &str) -> Self {
        Self { out: Out::new(writer, name), marked: None }
    }

    /// Writes the header if it is not there; gives whether it has the column `unverified`.
    fn header(&mut self, unverified: bool) -> std::io::Result<bool> {
        if let Some(marked) = self.marked {
            return Ok(marked);
        }
        self.marked = Some(unverified);
        writeln!(self.out.writer, "{HEADER}{}", if unverified { ",unverified" } else { "" })?;
        Ok(unverified)
    }

    fn row(&mut self, r: &Reading) -> std::io::Result<()> {
        let marked = self.header(r.unverified)?;
        let w = &mut self.out.writer;
        write!(w, "{:.6},{},", r.time_s, r.frame)?;
        match r.face {
            FaceState::Id(id) => write!(w, "{id}")?,
            FaceState::None(_) => write!(w, "none")?,
        }
        let mut cells = |values: Option<&[f32]>, n: usize| {
            (0..n).try_for_each(|i| match values.and_then(|v| v.get(i)) {
                Some(v) => write!(w, ",{v}"),
                None => write!(w, ","),
            })
        };
        cells(r.r#box.as_ref().map(|b| &b[..]), 4)?;
        for value in [r.arousal, r.valence, r.confidence] {
            cells(value.as_ref().map(std::slice::from_ref), 1)?;
        }
        cells(r.interval.as_ref().map(|i| i.as_flattened()), 4)?;
        write!(w, ",{},{}", r.engine, r.latency_us)?;
        if marked { writeln!(w, ",{}", r.unverified) } else { writeln!(w) }
    }
}

impl Sink for Csv {
    fn write(&mut self, r: &Reading) -> Result<()> {
        let done = self.row(r);
        self.out.wrote(done, r.time_s)
    }

    fn finish(&mut self) -> Result<()> {
        let done = self.header(false).map(|_| ());
        self.out.check(done)?;
        self.out.flush()
    }
}

/// One line a reading for people.
pub struct Lines(Out);

impl Lines {
    /// Writes to `writer`; `name` is used in errors.
    pub fn new(writer: Box<dyn Write>, name: &str) -> Self {
        Self(Out::new(writer, name))
    }
}

impl Sink for Lines {
    fn write(&mut self, r: &Reading) -> Result<()> {
        let w = &mut self.0.writer;
        let mark = if r.unverified { "  unverified model" } else { "" };
        let done = match (r.face.id(), r.valence, r.arousal, r.confidence) {
            (Some(id), Some(v), Some(a), Some(c)) => writeln!(
                w,
                "{:9.3} s  frame {:<6} face {id:<3} valence {v:+.2}  arousal {a:+.2}  confidence {c:.2}{mark}",
                r.time_s, r.frame
            ),
            _ => writeln!(w, "{:9.3} s  frame {:<6} no face{mark}", r.time_s, r.frame),
        };
        self.0.wrote(done, r.time_s)
    }

    fn finish(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// Opens a file by its extension: `.jsonl` or `.csv`.
///
/// # Errors
/// Another extension, or a file that cannot be made.
pub fn open(path: &Path) -> Result<Box<dyn Sink>> {
    let name = path.display().to_string();
    let kind = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if !["jsonl", "csv"].contains(&kind) {
        return Err(Error::usage("cannot tell the format of the output")
            .at(name)
            .remedy("end its name in .jsonl or .csv"));
    }
    let file = std::fs::File::create(path).map_err(|e| Error::io("cannot be written").at(&name).caused_by(e))?;
    Ok(match kind {
        "csv" => Box::new(Csv::new(Box::new(file), &name)),
        _ => Box::new(JsonLines::new(Box::new(file), &name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings() -> [Reading; 2] {
        let full = Reading {
            time_s: 0.04,
            frame: 1,
            face: FaceState::Id(1),
            r#box: Some([1.0, 2.0, 3.0, 3.0]),
            arousal: Some(0.5),
            valence: Some(-0.25),
            confidence: Some(0.75),
            interval: Some([[0.0, 1.0], [-0.5, 0.5]]),
            engine: "reference",
            latency_us: 9,
            ..Reading::default()
        };
        let none = Reading {
            time_s: 0.08,
            frame: 2,
            face: FaceState::NONE,
            r#box: None,
            arousal: None,
            valence: None,
            confidence: None,
            interval: None,
            ..full.clone()
        };
        [full, none]
    }

    fn written(name: &str) -> String {
        write(name, &readings())
    }

    fn write(name: &str, readings: &[Reading]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let mut sink = open(&path).unwrap();
        readings.iter().for_each(|r| sink.write(r).unwrap());
        sink.finish().unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn readings_of_an_unverified_model_say_so_in_every_format() {
        let marked = readings().map(|r| Reading { unverified: true, ..r });
        let json = write("r.jsonl", &marked);
        assert_eq!(json.matches(",\"unverified\":true}\n").count(), 2, "{json}");
        let csv = write("r.csv", &marked);
        assert!(csv.starts_with(&format!("{HEADER},unverified\n")), "{csv}");
        assert_eq!(csv.matches(",9,true\n").count(), 2, "{csv}");
        let (dir, mut text) = (tempfile::tempdir().unwrap(), Vec::new());
        let path = dir.path().join("lines");
        let mut lines = Lines::new(Box::new(std::fs::File::create(&path).unwrap()), "lines");
        marked.iter().for_each(|r| lines.write(r).unwrap());
        lines.finish().unwrap();
        std::io::Read::read_to_end(&mut std::fs::File::open(path).unwrap(), &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap().matches("  unverified model\n").count(), 2);
    }

    #[test]
    fn json_lines_hold_the_documented_keys() {
        assert_eq!(
            written("r.jsonl"),
            "{\"source\":\"\",\"time\":null,\"time_s\":0.04,\"frame\":1,\"face\":1,\"box\":[1.0,2.0,3.0,3.0],\"arousal\":0.5,\"valence\":-0.25,\
             \"confidence\":0.75,\"interval\":[[0.0,1.0],[-0.5,0.5]],\"engine\":\"reference\",\"latency_us\":9}\n\
             {\"source\":\"\",\"time\":null,\"time_s\":0.08,\"frame\":2,\"face\":\"none\",\"box\":null,\"arousal\":null,\"valence\":null,\
             \"confidence\":null,\"interval\":null,\"engine\":\"reference\",\"latency_us\":9}\n"
        );
    }

    #[test]
    fn csv_rows_have_as_many_cells_as_the_header() {
        let text = written("r.csv");
        let cells: Vec<usize> = text.lines().map(|l| l.split(',').count()).collect();
        assert_eq!(cells, [16, 16, 16]);
        assert!(text.contains("0.040000,1,1,1,2,3,3,0.5,-0.25,0.75,0,1,-0.5,0.5,reference,9"));
        assert!(text.contains("0.080000,2,none,,,,,,,,,,,,reference,9"));
    }

    #[test]
    fn an_unknown_extension_names_the_two_formats() {
        let e = open(Path::new("out.xml")).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::Usage);
        assert!(e.to_string().contains(".jsonl or .csv"));
    }

    #[test]
    fn a_full_disk_is_reported_with_the_file_and_what_was_lost() {
        let mut sink = JsonLines::new(Box::new(std::fs::File::create("/dev/full").unwrap()), "out.jsonl");
        sink.write(&readings()[0]).unwrap();
        let e = sink.finish().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Io);
        assert!(e.to_string().contains("out.jsonl") && e.to_string().contains("after 1 readings"), "{e}");
    }

    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_an_interruption_not_a_failure() {
        let mut sink = Lines::new(Box::new(Closed), "standard output");
        sink.write(&readings()[0]).unwrap();
        assert_eq!(sink.finish().unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
