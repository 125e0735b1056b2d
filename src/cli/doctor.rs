//! `vaerr doctor`.

use super::bundle::TrustArgs;
use super::{Outcome, models, print_json, print_text, targets};
use crate::engine::ENGINES;
use crate::error::Result;
use crate::model::Head;
use crate::session::shipped_detector_digest;
use crate::spec::Target;
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

/// CPU features that engines look at.
fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look {
            ($($name:tt),*) => {$(if std::arch::is_x86_feature_detected!($name) { found.push($name); })*};
        }
        look!("sse4.1", "avx2", "fma", "avxvnni", "avx512f", "avx512bw", "avx512vnni");
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! look {
            ($($name:tt),*) => {$(if std::arch::is_aarch64_feature_detected!($name) { found.push($name); })*};
        }
        look!("neon", "dotprod", "i8mm", "sve");
    }
    found.sort_unstable();
    found
}

/// Camera devices that this machine shows, and whether this build reads them.
fn cameras() -> (Vec<String>, bool) {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.strip_prefix("video").is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit())))
        .map(|n| format!("/dev/{n}"))
        .collect();
    found.sort_unstable();
    (found, cfg!(feature = "v4l2"))
}

fn board_line((model, target): (String, Option<Target>)) -> String {
    let file = target.map_or("no board file fits".into(), |t| format!("see `vaerr targets show {}`", t.name));
    format!("board: {model} ({file})\n")
}

/// The GPU that our kernels would use, or why there is none.
fn gpu() -> Result<String, String> {
    #[cfg(feature = "cuda")]
    return crate::engine::cuda::gpu();
    #[cfg(not(feature = "cuda"))]
    Err("this build does not look; rebuild with --features cuda".into())
}

fn has_ffmpeg() -> bool {
    let run = Command::new("ffmpeg")
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|s| s.success())
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let model = models::check(Head::shipped(), args.trust.load()?.as_ref());
    let (checks, good) = (model.lines(), model.good());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let engines: Vec<(&str, &str, Option<String>)> =
        ENGINES.iter().map(|e| (e.name, e.about, (e.unavailable)())).collect();
    let board = targets::here();
    if args.json {
        let engine = |(name, about, why): &(&str, &str, Option<String>)| serde_json::json!({"name": name, "about": about, "unavailable": why});
        print_json(&serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "arch": std::env::consts::ARCH, "threads": threads,
            "board": board.as_ref().map(|b| &b.0), "target": board.as_ref().and_then(|b| b.1.as_ref()).map(|t| &t.name),
            "cpu_features": cpu_features(), "engines": engines.iter().map(engine).collect::<Vec<_>>(),
            "gpu": gpu().as_ref().ok(), "no_gpu": gpu().as_ref().err(), "ffmpeg": has_ffmpeg(), "cameras": cameras().0, "reads_cameras": cameras().1, "model_ok": good, "model_checks": checks,
            "detector_sha256": shipped_detector_digest(),
        }))?;
    } else {
        let mut text = format!(
            "vaerr {} on {}, {threads} threads\n{}CPU features: {}\nGPU: {}\nvideo files: {}\ncameras: {}\nengines, in the order auto tries them:\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            board.map_or(String::new(), board_line),
            cpu_features().join(" "),
            gpu().unwrap_or_else(|why| format!("none for our kernels: {why}")),
            if has_ffmpeg() {
                "yes, through ffmpeg"
            } else {
                "only .y4m; install ffmpeg for the rest (apt-get install ffmpeg)"
            },
            match cameras() {
                (_, false) => "not in this build; rebuild with --features v4l2".into(),
                (none, true) if none.is_empty() => "none found".into(),
                (found, true) => found.join(" "),
            }
        );
        for (name, about, why) in &engines {
            text += &format!(
                "  {name:<10} {}: {about}\n",
                why.as_deref().map_or("ready".into(), |w| format!("not available ({w})"))
            );
        }
        text += &format!("face detector: SHA-256 {}\n", shipped_detector_digest());
        text += &format!("model:\n  {}\n", checks.join("\n  "));
        print_text(&text)?;
    }
    Ok(if good { Outcome::Done } else { Outcome::CheckFailed })
}
