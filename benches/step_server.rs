//! Our engines behind a line protocol, for `benches/against.py`, `tests/outside/layers.py` and `export.py`: one command a line, one answer a line,
//! `ok ...` or `error ...`. Started as `step_server serve BUNDLE`; does nothing without `serve`, as under `cargo bench`.
//!
//! | command | answer |
//! |---|---|
//! | `engines` | keys of what runs here: an engine's name, or `simd:` and an instruction set |
//! | `step KEY N K` | nanoseconds of each of K steps of a batch of N, after the CPU time of all of them |
//! | `frame KEY K` | the same of K frames of 640x480 through the whole pipeline |
//! | `layers RINGS OUT` | writes every layer of the reference for each u8 ring of a file, ring after ring, layer after layer, u8 |
//! | `tflite OUT` | writes the int8 student as a TensorFlow Lite file |
//! | `student FILE` | takes the student in a file of any format from here on; or that of the bundle, for `fp32` and `int8` |
//! | `write FORMAT OUT` | writes the student in a format |
//! | `stream RINGS OUT` | steps the reference from a zero state through all u8 rings of a file; writes logits, then the state, of each step, f32 |

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use vaerr::capture::{FrameSource, Next, synthetic::Synthetic};
use vaerr::engine::reference::{Reference, Trace};
use vaerr::engine::simd::{Isa, Simd};
use vaerr::engine::{ENGINES, Engine, Stream};
use vaerr::error::{Error, Result};
use vaerr::frame::Frame;
use vaerr::model::{Bundle, Format, Precision, Student, Trunk, read_student, tflite};
use vaerr::pipeline::Pipeline;
use vaerr::spec::HEADS;

struct Server {
    bundle: Bundle,
    student: Student,
    /// Engines are opened once, so that every round finds them warm.
    engines: HashMap<String, Box<dyn Engine>>,
    pipelines: HashMap<String, (Pipeline, Frame)>,
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a live timespec, which is all that the call writes.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Times `count` calls: the CPU time of all, then each call's wall time, in nanoseconds.
fn time(count: usize, mut call: impl FnMut() -> Result<()>) -> Result<String> {
    let mut each = vec![0; count];
    let start = cpu_time();
    for ns in &mut each {
        let from = Instant::now();
        call()?;
        *ns = from.elapsed().as_nanos();
    }
    let total = (cpu_time() - start).as_nanos();
    Ok(each.iter().fold(total.to_string(), |line, ns| format!("{line} {ns}")))
}

/// What can be timed here. Several instruction sets of `simd`, the one that it chooses first.
fn keys() -> Vec<String> {
    let available = ENGINES.iter().filter(|e| (e.unavailable)().is_none() && (e.gap)(Precision::Int8).is_none());
    let names = |name: &'static str| match name {
        "simd" => Isa::available().map(|i| format!("simd:{}", i.name())).collect(),
        _ => vec![name.to_owned()],
    };
    available.flat_map(|e| names(e.name)).collect()
}

fn open(student: &Student, key: &str) -> Result<Box<dyn Engine>> {
    let unknown = || Error::usage(format!("there is nothing named {key:?} here"));
    if let Some(isa) = key.strip_prefix("simd:") {
        let isa = Isa::available().find(|i| i.name() == isa).ok_or_else(unknown)?;
        return Ok(Box::new(Simd::open_with(student, isa)?));
    }
    (ENGINES.iter().find(|e| e.name == key).ok_or_else(unknown)?.open)(student)
}

impl Server {
    fn step(&mut self, key: &str, batch: usize, count: usize) -> Result<String> {
        if !self.engines.contains_key(key) {
            self.engines.insert(key.to_owned(), open(&self.student, key)?);
        }
        let engine = self.engines.get_mut(key).ok_or_else(|| Error::usage("no engine"))?;
        let spec = &self.student.spec;
        let len = spec.ring * spec.size_px * spec.size_px;
        let rings: Vec<Vec<u8>> =
            (0..batch).map(|b| (0..len).map(|k| ((k * 31 + b * 7) % 251) as u8).collect()).collect();
        let (mut hidden, mut logits) = (vec![vec![0.0; spec.hidden]; batch], vec![[0.0; HEADS]; batch]);
        let joined = rings.iter().zip(&mut hidden).zip(&mut logits);
        let mut streams: Vec<Stream> = joined.map(|((ring, hidden), logits)| Stream { ring, hidden, logits }).collect();
        time(count, || match &mut streams[..] {
            [one] => engine.step(one.ring, one.hidden, one.logits),
            many => engine.step_batch(many),
        })
    }

    fn frame(&mut self, key: &str, count: usize) -> Result<String> {
        if !self.pipelines.contains_key(key) {
            let mut frame = Frame::default();
            if Synthetic::parse("synthetic")?.next_frame(&mut frame)? != Next::Frame {
                return Err(Error::input("the rendered face gave no frame"));
            }
            let pipeline = Pipeline::new(open(&self.student, key)?, self.bundle.manifest(), true)?;
            self.pipelines.insert(key.to_owned(), (pipeline, frame));
        }
        let (pipeline, frame) = self.pipelines.get_mut(key).ok_or_else(|| Error::usage("no pipeline"))?;
        time(count, || {
            frame.index += 1;
            frame.time += Duration::from_millis(40);
            pipeline.process(frame).map(|_| ())
        })
    }

    fn layers(&self, rings: &Path, out: &Path) -> Result<String> {
        let Trunk::Int8(convs) = &self.student.trunk else { return Err(Error::model("the student is not int8")) };
        let spec = &self.student.spec;
        let mut reference = Reference::open(&self.student)?;
        let (mut hidden, mut logits, mut trace) = (vec![0.0; spec.hidden], [0.0; HEADS], Trace::default());
        let mut found = Vec::new();
        for ring in std::fs::read(rings)?.chunks(spec.ring * spec.size_px * spec.size_px) {
            reference.step_traced(ring, &mut hidden, &mut logits, &mut trace)?;
            for (layer, conv) in trace.layers.iter().zip(convs) {
                // A u8 times the scale, rounded once, divides back to within half a unit.
                found.extend(layer.iter().map(|v| (v / conv.output_scale).round() as u8));
            }
        }
        std::fs::write(out, &found)?;
        Ok(found.len().to_string())
    }

    fn take(&mut self, from: &str) -> Result<String> {
        self.student = match from {
            "fp32" => self.bundle.student(Precision::Fp32)?,
            "int8" => self.bundle.student(Precision::Int8)?,
            file => read_student(&std::fs::read(file)?)?,
        };
        self.engines.clear();
        self.pipelines.clear();
        let spec = &self.student.spec;
        Ok(format!("{} {} {} {}", self.student.precision().name(), spec.ring, spec.size_px, spec.hidden))
    }

    fn write(&self, format: &str, out: &Path) -> Result<String> {
        let bytes = format.parse::<Format>()?.write(&self.student)?;
        std::fs::write(out, &bytes)?;
        Ok(bytes.len().to_string())
    }

    fn stream(&self, rings: &Path, out: &Path) -> Result<String> {
        let spec = &self.student.spec;
        let mut reference = Reference::open(&self.student)?;
        let (mut hidden, mut logits, mut found) = (vec![0.0; spec.hidden], [0.0; HEADS], Vec::new());
        for ring in std::fs::read(rings)?.chunks(spec.ring * spec.size_px * spec.size_px) {
            reference.step(ring, &mut hidden, &mut logits)?;
            found.extend(logits.iter().chain(&hidden).flat_map(|v| v.to_le_bytes()));
        }
        std::fs::write(out, &found)?;
        Ok(found.len().to_string())
    }

    fn answer(&mut self, line: &str) -> Result<String> {
        let number = |text: &str| text.parse().map_err(|e| Error::usage(format!("{text:?} is no number")).caused_by(e));
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["engines"] => Ok(keys().join(" ")),
            ["step", key, batch, count] => self.step(key, number(batch)?, number(count)?),
            ["frame", key, count] => self.frame(key, number(count)?),
            ["layers", rings, out] => self.layers(Path::new(rings), Path::new(out)),
            ["tflite", out] => {
                std::fs::write(out, tflite::write_student(&self.student))?;
                Ok(String::new())
            }
            ["student", from] => self.take(from),
            ["write", format, out] => self.write(format, Path::new(out)),
            ["stream", rings, out] => self.stream(Path::new(rings), Path::new(out)),
            _ => Err(Error::usage(format!("{line:?} is no command"))),
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [serve, dir] = &arguments[..] else { return Ok(()) };
    if serve != "serve" {
        return Ok(());
    }
    let bundle = Bundle::load(Path::new(dir))?;
    let student = bundle.student(Precision::Int8)?;
    let mut server = Server { bundle, student, engines: HashMap::new(), pipelines: HashMap::new() };
    for line in std::io::stdin().lock().lines() {
        let answer = server.answer(&line?).map_or_else(|e| format!("error {e}"), |words| format!("ok {words}"));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
