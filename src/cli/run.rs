//! `vaerr run`.

use super::bundle::{Admitted, ModelArgs};
use super::{Outcome, interruptible};
use crate::capture;
use crate::display::{self, View};
use crate::engine::{self, Choice};
use crate::error::{Error, Result};
use crate::metrics::Agreement;
use crate::model::Precision;
use crate::pipeline::{self, Pipeline, TruthPairs};
use crate::session::failover;
use crate::sink::{self, JsonLines, Lines, Live, Sink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(clap::Args)]
pub struct Args {
    /// What to read: `synthetic[:seed=N,seconds=S,fps=F,people=P,size=WxH]` (a rendered face with known arousal and
    /// valence), `v4l2:/dev/videoN[,size=WxH][,fps=F]` (a camera, in builds with the feature v4l2), a video file (needs
    /// the program ffmpeg, but for .y4m), a folder of pictures, a picture, or `-` for YUV4MPEG2 on standard input.
    #[arg(long, default_value = "synthetic", value_name = "X")]
    input: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Write readings to this file: .jsonl or .csv.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print readings as JSON lines on standard output.
    #[arg(long)]
    json: bool,
    /// Draw the readings on a copy of the frames: a video (.mp4, .mkv, .mov, .avi, .webm; needs the program ffmpeg) or a
    /// folder of PNG pictures. Frames are written only if this asks for it.
    #[arg(long, value_name = "FILE|FOLDER")]
    annotate: Option<PathBuf>,
    /// Show the frames with the readings drawn on a Linux framebuffer: `fb:/dev/fb0`.
    #[arg(long, value_name = "fb:DEVICE")]
    display: Option<String>,
    /// Print a line a reading even where standard output is a terminal (else a live view).
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Print nothing but the summary.
    #[arg(long, short)]
    quiet: bool,
    #[arg(long, default_value = "auto", help = engine_help())]
    engine: String,
    /// Arithmetic: fp32 or int8; the engine's own choice if not given.
    #[arg(long)]
    precision: Option<String>,
    /// Leave out the output filter (a causal first-order low-pass that lags by 0.12 s).
    #[arg(long)]
    raw: bool,
    /// Frames a second of pictures, which carry no time of their own.
    #[arg(long, default_value_t = 25.0)]
    fps: f64,
}

fn engine_help() -> String {
    let names: Vec<&str> = engine::ENGINES.iter().map(|e| e.name).collect();
    format!(
        "Engine: auto, or one of {}. A named engine runs or fails; auto takes the first that opens, says why each was passed over, and goes on with the next where one fails in mid-stream",
        names.join(", ")
    )
}

struct Request {
    choice: Choice,
    precision: Option<Precision>,
}

fn validate(args: &Args) -> Result<Request> {
    if !(0.01..=1000.0).contains(&args.fps) {
        return Err(Error::usage(format!("--fps is {}, expected 0.01 to 1000", args.fps)));
    }
    let precision = args.precision.as_deref().map(super::precision).transpose()?;
    let choice = if args.engine == "auto" { Choice::Auto } else { Choice::Named(args.engine.clone()) };
    Ok(Request { choice, precision })
}

fn sinks(args: &Args) -> Result<Vec<Box<dyn Sink>>> {
    let mut all: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(path) = &args.out {
        all.push(sink::open(path)?);
    }
    let stdout = || Box::new(std::io::stdout());
    if args.json {
        all.push(Box::new(JsonLines::new(stdout(), "standard output")));
    } else if !args.quiet && !args.plain && sink::can_draw() {
        all.push(Box::new(Live::new(stdout(), std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()))));
    } else if !args.quiet {
        all.push(Box::new(Lines::new(stdout(), "standard output")));
    }
    Ok(all)
}

/// The picture outputs; `fps` is the source's.
fn views(args: &Args, fps: f64) -> Result<Vec<Box<dyn View>>> {
    let mut all = Vec::new();
    if let Some(path) = &args.annotate {
        all.push(display::annotate(path, fps)?);
    }
    if let Some(target) = &args.display {
        all.push(display::display(target)?);
    }
    Ok(all)
}

/// Runs the source to its end or until the user stops it.
pub(super) fn run(args: &Args) -> Result<Outcome> {
    let request = validate(args)?;
    let stop = interruptible()?;
    let Admitted { bundle, unverified } = args.model.open()?;
    let bundle = Arc::new(bundle);
    let started = failover::open(&bundle, &request.choice, request.precision)?;
    for (name, why) in &started.passed_over {
        eprintln!("vaerr: engine {name} passed over: {why}");
    }
    eprintln!(
        "vaerr: model {}, engine {} {}, input {}",
        bundle.manifest().name,
        started.failover.name(),
        started.failover.precision().map_or("", Precision::name),
        args.input
    );
    let mut source = capture::open(&args.input, args.fps)?;
    let mut views = views(args, source.info().fps.unwrap_or(args.fps))?;
    let mut sinks = sinks(args)?;
    let mut pipeline =
        Pipeline::new(started.failover, bundle.manifest(), !args.raw)?.marked_unverified(unverified.is_some());
    let mut pairs = TruthPairs::default();
    let done = pipeline::run(source.as_mut(), &mut pipeline, |frame, readings, truth| {
        for sink in &mut sinks {
            readings.iter().try_for_each(|r| sink.write(r))?;
        }
        views.iter_mut().try_for_each(|v| v.show(frame, readings))?;
        pairs.add(readings, truth);
        Ok(!stop.load(Ordering::Relaxed))
    });
    // What was read before a failure is kept.
    let finished = sinks.iter_mut().try_for_each(|s| s.finish());
    let shown = views.iter_mut().try_for_each(|v| v.finish());
    let tally = pipeline.engines().tally();
    if tally.eventful() {
        eprintln!("vaerr: {tally}");
    }
    let counts = done?;
    finished?;
    shown?;
    let stats = source.stats();
    eprintln!(
        "vaerr: {} frames, {} with a face, {} readings; {} damaged, {} dropped{}",
        counts.frames,
        counts.with_face,
        counts.readings,
        stats.damaged,
        stats.dropped,
        if unverified.is_some() { "; unverified model" } else { "" }
    );
    if !pairs.predicted[0].is_empty() {
        let [a, v] = [0, 1].map(|d| Agreement::of(&pairs.predicted[d], &pairs.designed[d]));
        eprintln!(
            "vaerr: against the designed emotion, {} readings: correlation valence {:.3}, arousal {:.3}; CCC valence {:.3}, arousal {:.3}",
            v.n, v.pearson, a.pearson, v.ccc, a.ccc
        );
    }
    Ok(Outcome::Done)
}
