//! Layer 6: the command line of `vaerr`. Arguments as typed become validated ones here; one file a subcommand.
//!
//! Exit codes: 0 done, 1 a check failed, 2 an error. What people read goes to standard error, data to standard output.

mod bench;
mod bundle;
mod doctor;
mod kernels;
mod models;
mod run;
pub mod targets;
#[cfg(feature = "train")]
pub mod trainer;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Precision;
use crate::stop::Stop;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Reads arousal and valence from faces in video, frame by frame, on this machine alone.
///
/// What it gives is how a reaction *looks*, not what a person feels. Frames stay in memory; only numbers leave. It must not
/// be used on people at work or in education (EU AI Act, Art. 5(1)(f)), and people must be told that it runs (Art. 50(3)).
#[derive(Parser)]
#[command(name = "vaerr", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read a camera picture stream, a video, pictures, or the built-in rendered face.
    Run(run::Args),
    /// Time the engines on this machine side by side.
    Bench(bench::Args),
    /// List, check, show or convert model bundles.
    Models(models::Args),
    /// List the boards this program is built for, or show one.
    Targets(targets::Args),
    /// Compile CUDA kernels ahead for a board, or see those kept on this machine.
    Kernels(kernels::Args),
    /// Say what this machine and this build can do.
    Doctor(doctor::Args),
}

/// Whether the command's checks held.
enum Outcome {
    Done,
    CheckFailed,
}

/// Whether the program was started with `signal` ignored, as by `nohup` or in the background of a plain shell.
fn ignored(signal: i32) -> bool {
    // SAFETY: all zeros is a value of this C structure; the call only writes it, and changes no handler.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// A wish to stop that the first Ctrl-C, SIGTERM or SIGHUP makes; the second ends the program at once, should a device
/// not give way. A signal that was ignored from the start stays so.
fn interruptible() -> Result<Stop> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| !ignored(*s)) {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.flag())?;
        signal_hook::flag::register(signal, stop.flag())?;
    }
    Ok(stop)
}

fn precision(text: &str) -> Result<Precision> {
    match text {
        "fp32" => Ok(Precision::Fp32),
        "int8" => Ok(Precision::Int8),
        other => Err(Error::usage(format!("--precision is {other:?}, expected fp32 or int8"))),
    }
}

fn print_json(value: &serde_json::Value) -> Result<()> {
    print_text(&format!("{value:#}\n"))
}

/// Prints to standard output; a reader that went away is [`ErrorKind::Interrupted`].
fn print_text(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
        std::io::ErrorKind::BrokenPipe => Error::interrupted("the reader went away"),
        _ => Error::io("cannot write to standard output").caused_by(e),
    })
}

/// Runs the program.
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).format_timestamp(None).init();
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Targets(args) => targets::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    };
    match done {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Err(e) if e.kind() == ErrorKind::Interrupted => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("vaerr: {e}");
            ExitCode::from(2)
        }
    }
}
