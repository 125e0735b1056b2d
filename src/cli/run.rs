//! `vaerr run`.

use super::bundle::{Admitted, ModelArgs};
use super::outputs::{OutputArgs, Outputs};
use super::{Outcome, interruptible};
use crate::capture::turned::{Flip, Turn};
use crate::capture::{self, Options, Pictures};
use crate::engine::{self, Choice, ENGINES};
use crate::error::{Error, Result};
use crate::metrics::Agreement;
use crate::model::Precision;
use crate::pipeline::{self, Pipeline, TruthPairs};
use crate::session::{Finder, failover};
use crate::spec::Range;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// What to read: `synthetic[:seed=N,seconds=S,fps=F,people=P,size=WxH]` (a rendered face with
    /// known arousal and valence), `v4l2:/dev/videoN[,size=WxH][,fps=F]` (a camera, in builds with
    /// the feature v4l2), a video file (needs the program ffmpeg, but for .y4m), a folder of
    /// pictures, a picture, or `-` or a named pipe for YUV4MPEG2. Behind any of them: `,stream=N`
    /// (which video of a file, from 0), `,flip=h|v` and `,turn=90|180|270` (for cameras mounted
    /// otherwise: mirrored, then turned clockwise).
    #[arg(long, default_value = "synthetic", value_name = "X")]
    input: OsString,
    /// What pictures are: `stills`, each by itself, the default; or `film`, its frames in the order
    /// of their numbers.
    #[arg(long = "as", value_name = "KIND", value_parser = ["stills", "film"])]
    pictures: Option<String>,
    /// As `,stream=N` behind the input.
    #[arg(long, value_name = "N")]
    stream: Option<usize>,
    /// As `,flip=` behind the input.
    #[arg(long, value_name = "h|v")]
    flip: Option<Flip>,
    /// As `,turn=` behind the input.
    #[arg(long, value_name = "90|180|270")]
    turn: Option<Turn>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Say more on standard error, such as which engines this build or machine lacks.
    #[arg(long, short)]
    verbose: bool,
    #[arg(long, default_value = "auto", help = engine_help())]
    engine: String,
    /// Arithmetic: fp32 or int8; the engine's own choice if not given.
    #[arg(long)]
    precision: Option<String>,
    /// Leave out the output filter (a causal first-order low-pass that lags by 0.12 s).
    #[arg(long)]
    raw: bool,
    /// How far away faces are found: near, room or hall. Pictures are searched with their longer
    /// side at 160, 320 or 640 pixels; the cost grows with the area.
    #[arg(long, default_value = "room", value_name = "R")]
    range: Range,
    /// Search every Nth frame of a film, for slow boards; faces are followed by their look in
    /// between.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=250))]
    detect_every: u32,
    /// Degrees that the camera sees along the picture's longer side: to say how many metres away
    /// faces are found.
    #[arg(long, value_name = "DEGREES")]
    fov: Option<f32>,
    /// Frames a second of a film of pictures, which carry no time of their own; 25 if not given.
    /// Implies `--as film`.
    #[arg(long)]
    fps: Option<f64>,
}

/// Of sources that do not say.
const DEFAULT_FPS: f64 = 25.0;
/// Fewer readings against the designed emotion give no concordance worth a word: five seconds at 25
/// a second.
const ENOUGH_FOR_CCC: usize = 125;
const SLOW: &str =
    "leave `--engine` and `--precision` out for int8 on our kernels, or build with --features tract for fp32";

fn engine_help() -> String {
    let names: Vec<&str> = engine::ENGINES.iter().map(|e| e.name).collect();
    format!(
        "Engine: auto, or one of {}. A named engine runs or fails; auto takes the first that opens, says why each was passed over, and goes on with the next where one fails in mid-stream",
        names.join(", ")
    )
}

/// Says the smallest face that is found.
fn say_range(args: &Args, long_px: usize) {
    let away = args.fov.map(|fov| format!(", up to {:.1} m away at {fov} degrees", args.range.farthest_m(fov)));
    eprintln!(
        "vaerr: range {}: faces from {:.0} pixels{}",
        args.range.name(),
        args.range.least_px(long_px),
        away.unwrap_or_default()
    );
}

struct Request {
    choice: Choice,
    precision: Option<Precision>,
    pictures: Pictures,
}

fn validate(args: &Args) -> Result<Request> {
    let pictures = match (args.pictures.as_deref(), args.fps) {
        (_, Some(fps)) if !(0.01..=1000.0).contains(&fps) => {
            return Err(Error::usage(format!("--fps is {fps}, expected 0.01 to 1000")));
        }
        (Some("stills"), Some(_)) => {
            return Err(
                Error::usage("--fps is the rate of a film, and stills have none").remedy("leave one of them out")
            );
        }
        (Some("film"), None) => Pictures::Film(25.0),
        (_, Some(fps)) => Pictures::Film(fps),
        (_, None) => Pictures::Stills,
    };
    if let Some(fov) = args.fov.filter(|fov| !(1.0..=170.0).contains(fov)) {
        return Err(Error::usage(format!("--fov is {fov}, expected 1 to 170 degrees")));
    }
    args.outputs.validate(&args.input)?;
    let precision = args.precision.as_deref().map(super::precision).transpose()?;
    let choice = if args.engine == "auto" { Choice::Auto } else { Choice::Named(args.engine.clone()) };
    Ok(Request { choice, precision, pictures })
}

/// The input as it may be printed: addresses may hold a password.
fn shown(input: &OsStr) -> String {
    let text = input.display().to_string();
    match text.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://..."),
        None => text,
    }
}

/// Runs the source to its end or until the user stops it.
pub(super) fn run(args: &Args) -> Result<Outcome> {
    let stop = interruptible()?;
    let request = validate(args)?;
    let Admitted { bundle, unverified } = args.model.open()?;
    let bundle = Arc::new(bundle);
    let started = failover::open(&bundle, &request.choice, request.precision)?;
    for (name, why) in &started.passed_over {
        // What this build or machine lacks is no news; an engine that is there and refuses is.
        let lacking = ENGINES.iter().any(|e| e.name == *name && (e.unavailable)().is_some());
        if lacking && !args.verbose {
            continue;
        }
        eprintln!("vaerr: engine {name} passed over: {why}");
    }
    if started.failover.name() == "reference" {
        eprintln!("vaerr: the engine reference is the naive oracle and slow: {SLOW}");
    }
    eprintln!(
        "vaerr: model {}, engine {} {}, input {}",
        bundle.manifest().name,
        started.failover.name(),
        started.failover.precision().map_or("", Precision::name),
        shown(&args.input)
    );
    let options = Options {
        pictures: request.pictures,
        stream: args.stream,
        flip: args.flip,
        turn: args.turn,
        stop: stop.clone(),
    };
    let mut source = capture::open(&args.input, &options)?;
    let mut outputs = Outputs::open(&args.outputs, source.info().fps.unwrap_or(DEFAULT_FPS), &stop)?;
    let finder = Box::new(Finder::shipped(args.range)?);
    let mut pipeline = Pipeline::finding(finder, args.detect_every, started.failover, bundle.manifest(), !args.raw)?
        .marked_unverified(unverified.is_some())
        .reading_from(&source.info().name);
    let mut pairs = TruthPairs::default();
    let done = pipeline::run(source.as_mut(), &mut pipeline, |frame, readings, truth| {
        if frame.index == 0 {
            say_range(args, frame.width.max(frame.height));
        }
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
        "vaerr: {} frames, {} with a face, {} readings; {} damaged, {} dropped{}{}",
        counts.frames,
        counts.with_face,
        counts.readings,
        stats.damaged,
        stats.dropped,
        if stats.odd_stamps > 0 { format!(", {} odd time stamps", stats.odd_stamps) } else { String::new() },
        if unverified.is_some() { "; unverified model" } else { "" }
    );
    if !pairs.predicted[0].is_empty() {
        let [a, v] = [0, 1].map(|d| Agreement::of(&pairs.predicted[d], &pairs.designed[d]));
        eprint!(
            "vaerr: against the designed emotion, {} readings: correlation valence {:.3}, arousal {:.3}",
            v.n, v.pearson, a.pearson
        );
        if v.n >= ENOUGH_FOR_CCC {
            eprint!("; CCC valence {:.3}, arousal {:.3}", v.ccc, a.ccc);
        }
        eprintln!();
    }
    Ok(Outcome::Done)
}
