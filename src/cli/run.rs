//! `vaerr run`.

use super::bundle::{Admitted, ModelArgs};
use super::outputs::{OutputArgs, Outputs};
use super::{Outcome, interruptible};
use crate::capture;
use crate::engine::{self, Choice};
use crate::error::{Error, Result};
use crate::metrics::Agreement;
use crate::model::Precision;
use crate::pipeline::{self, Pipeline, TruthPairs};
use crate::session::failover;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// What to read: `synthetic[:seed=N,seconds=S,fps=F,people=P,size=WxH]` (a rendered face with known arousal and
    /// valence), `v4l2:/dev/videoN[,size=WxH][,fps=F]` (a camera, in builds with the feature v4l2), a video file (needs
    /// the program ffmpeg, but for .y4m), a folder of pictures, a picture, or `-` for YUV4MPEG2 on standard input.
    #[arg(long, default_value = "synthetic", value_name = "X")]
    input: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    outputs: OutputArgs,
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
    args.outputs.validate(&args.input)?;
    let precision = args.precision.as_deref().map(super::precision).transpose()?;
    let choice = if args.engine == "auto" { Choice::Auto } else { Choice::Named(args.engine.clone()) };
    Ok(Request { choice, precision })
}

/// Runs the source to its end or until the user stops it.
pub(super) fn run(args: &Args) -> Result<Outcome> {
    let stop = interruptible()?;
    let request = validate(args)?;
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
    let mut outputs = Outputs::open(&args.outputs, source.info().fps.unwrap_or(args.fps), &stop)?;
    let mut pipeline =
        Pipeline::new(started.failover, bundle.manifest(), !args.raw)?.marked_unverified(unverified.is_some());
    let mut pairs = TruthPairs::default();
    let done = pipeline::run(source.as_mut(), &mut pipeline, |frame, readings, truth| {
        let go_on = outputs.take(frame, readings)?;
        pairs.add(readings, truth);
        Ok(go_on)
    });
    // What was read before a failure is kept.
    let finished = outputs.finish(done.is_ok() && !stop.asked());
    let tally = pipeline.engines().tally();
    if tally.eventful() {
        eprintln!("vaerr: {tally}");
    }
    if let (Err(_), Err(e)) = (&done, &finished) {
        eprintln!("vaerr: {e}");
    }
    let counts = done?;
    finished?;
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
