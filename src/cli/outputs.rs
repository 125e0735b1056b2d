//! Where the readings and pictures of `vaerr run` go.

use super::apart;
use crate::display::{self, View};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;
use crate::sink::{self, JsonLines, Lines, Live, Outlet, Sink};
use crate::spec::Reading;
use crate::stop::Stop;
use std::ffi::OsStr;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct OutputArgs {
    /// Write readings to this file: .jsonl or .csv. A file that is there is replaced once the first reading is.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Go on with the file of --out instead of replacing it.
    #[arg(long, requires = "out")]
    pub append: bool,
    /// Print readings as JSON lines on standard output.
    #[arg(long)]
    pub json: bool,
    /// Draw the readings on a copy of the frames: a video (.mp4, .mkv, .mov, .avi, .webm; needs the program ffmpeg) or a
    /// folder of PNG pictures. Frames are written only if this asks for it.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub annotate: Option<PathBuf>,
    /// Show the frames with the readings drawn on a Linux framebuffer: `fb:/dev/fb0`.
    #[arg(long, value_name = "fb:DEVICE")]
    pub display: Option<String>,
    /// Print a line a reading even where standard output is a terminal (else a live view).
    #[arg(long, conflicts_with = "json")]
    pub plain: bool,
    /// Print nothing but the summary.
    #[arg(long, short)]
    pub quiet: bool,
}

impl OutputArgs {
    /// Whether readings go to standard output.
    pub fn stdout(&self) -> bool {
        self.json || !self.quiet
    }

    /// Refuses what cannot be before anything is opened: formats that do not exist, and outputs that are the input or one another.
    pub fn validate(&self, input: &OsStr) -> Result<()> {
        if let Some(out) = &self.out {
            sink::format(out)?;
        }
        if let Some(path) = &self.annotate {
            display::is_video(path)?;
        }
        apart::check(input, self)
    }
}

/// The open outputs of a run.
pub struct Outputs {
    sinks: Vec<Box<dyn Sink>>,
    views: Vec<Box<dyn View>>,
    stop: Stop,
}

/// The worst of several outcomes: a failure, else a reader that went away. The failures beside it are said.
fn worst(all: impl Iterator<Item = Result<()>>) -> Result<()> {
    let mut worst = Ok(());
    for e in all.filter_map(Result::err) {
        match &worst {
            Err(first) if Error::kind(first) != ErrorKind::Interrupted => log::error!("{e}"),
            _ => worst = Err(e),
        }
    }
    worst
}

impl Outputs {
    /// Opens them; `fps` is the source's rate.
    pub fn open(args: &OutputArgs, fps: f64, stop: &Stop) -> Result<Self> {
        let mut views = Vec::new();
        if let Some(path) = &args.annotate {
            views.push(display::annotate(path, fps, stop)?);
        }
        if let Some(target) = &args.display {
            views.push(display::display(target)?);
        }
        let mut sinks = Vec::new();
        if let Some(path) = &args.out {
            sinks.push(sink::open(path, args.append, stop)?);
        }
        if args.stdout() {
            sinks.push(printed(args, Outlet::stdout(stop)?));
        }
        Ok(Self { sinks, views, stop: stop.clone() })
    }

    /// Takes a frame with its readings; every output gets them, even if another fails. False if the run is to stop.
    pub fn take(&mut self, frame: &Frame, readings: &[Reading]) -> Result<bool> {
        let sinks = self.sinks.iter_mut().map(|sink| {
            readings.iter().try_for_each(|r| sink.write(r))?;
            sink.frame_done()
        });
        match worst(sinks.chain(self.views.iter_mut().map(|view| view.show(frame, readings)))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                log::info!("{e}");
                Ok(false)
            }
            done => done.map(|()| !self.stop.asked()),
        }
    }

    /// Completes all of them. `ended`: the stream came to its end by itself.
    pub fn finish(&mut self, ended: bool) -> Result<()> {
        let sinks = self.sinks.iter_mut().map(|sink| {
            let done = if ended { sink.ended() } else { Ok(()) };
            done.and(sink.finish())
        });
        match worst(sinks.chain(self.views.iter_mut().map(|view| view.finish()))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }
}

/// Readings on standard output, in the form asked for.
fn printed(args: &OutputArgs, to: Outlet) -> Box<dyn Sink> {
    if args.json {
        Box::new(JsonLines::new(to))
    } else if !args.plain && sink::can_draw() {
        Box::new(Live::new(Box::new(to), std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())))
    } else {
        Box::new(Lines::new(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_a_reader_that_went_away() {
        let gone = || Err(Error::interrupted("gone"));
        let full = || Err(Error::io("full"));
        let kind = |all: Vec<Result<()>>| worst(all.into_iter()).err().map(|e| e.kind());
        assert_eq!(kind(vec![Ok(()), Ok(())]), None);
        assert_eq!(kind(vec![gone(), Ok(())]), Some(ErrorKind::Interrupted));
        assert_eq!(kind(vec![gone(), full(), gone()]), Some(ErrorKind::Io));
    }
}
