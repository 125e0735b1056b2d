//! Layer 1: other programs, ffmpeg above all: started so that Ctrl-C does not reach them, waited for never for ever, and heard out.

use crate::error::{Error, Result};
use crate::stop::Stop;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Most bytes of a program's output that are kept.
const MOST_BYTES: u64 = 1 << 20;

/// Longest wait for `ffmpeg -version`.
const VERSION: Duration = Duration::from_secs(10);

/// What the installed ffmpeg can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ffmpeg {
    pub version: (u32, u32),
    /// It encodes H.264 through libx264.
    pub x264: bool,
}

impl Ffmpeg {
    /// By the output of `ffmpeg -version`.
    pub(crate) fn of(said: &str) -> Self {
        let number = said.split_ascii_whitespace().nth(2).unwrap_or("").trim_start_matches('n');
        let mut parts = number.split(['.', '-']).map_while(|p| p.parse::<u32>().ok());
        // Builds from the repository are numbered otherwise and are new.
        let version = parts.next().map_or((u32::MAX, 0), |major| (major, parts.next().unwrap_or(0)));
        Self { version, x264: said.contains("--enable-libx264") }
    }

    /// The installed program, asked once; `name` is what it is needed for.
    ///
    /// # Errors
    /// If it cannot be started, does not answer within ten seconds, or does not work, in its own words.
    pub(crate) fn installed(name: &str, stop: &Stop) -> Result<Self> {
        static PROGRAM: OnceLock<Ffmpeg> = OnceLock::new();
        if let Some(known) = PROGRAM.get() {
            return Ok(*known);
        }
        let answer = ask(Command::new("ffmpeg").arg("-version"), name, VERSION, stop)?;
        if let Some(how) = ending(answer.status) {
            let said = answer.stderr.trim();
            return Err(Error::dependency(format!("the program ffmpeg does not work: it {how}: {said}"))
                .at(name)
                .remedy("install it anew; `ffmpeg -version` must end well"));
        }
        Ok(*PROGRAM.get_or_init(|| Self::of(&String::from_utf8_lossy(&answer.stdout))))
    }

    /// The option that says how frames are timed.
    pub(crate) fn timing_option(self) -> &'static str {
        if self.version < (5, 1) { "-vsync" } else { "-fps_mode" }
    }
}

/// ffmpeg's name for a file, whatever characters the path begins with or holds.
pub(crate) fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// What a program gave.
pub(crate) struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// The error of a program that does not start; `name` is what was to be read.
pub(crate) fn unavailable(program: &str, name: &str, e: std::io::Error) -> Error {
    Error::dependency(format!("the program {program} cannot be started, and video files need it"))
        .at(name)
        .caused_by(e)
        .remedy("install ffmpeg, on Debian and Ubuntu with `apt-get install ffmpeg`")
}

/// Starts it with standard output and error piped, in a process group of its own.
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Waits until it has ended; `None` if it has not by then or the user wishes to stop.
pub(crate) fn wait(child: &mut Child, limit: Duration, stop: &Stop) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline && !stop.asked() => std::thread::sleep(LOOK),
            _ => return None,
        }
    }
}

/// Ends it at once.
pub(crate) fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// How it ended, where that was not well.
pub(crate) fn ending(status: ExitStatus) -> Option<String> {
    match (status.signal(), status.code()) {
        (_, Some(0)) => None,
        (Some(libc::SIGKILL), _) => Some("was killed by signal 9, as by a machine that is out of memory".into()),
        (Some(signal), _) => Some(format!("was ended by signal {signal}")),
        (None, code) => Some(format!("ended with exit status {}", code.unwrap_or(-1))),
    }
}

fn collect(from: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<u8>>> {
    let mut from = from?;
    Some(std::thread::spawn(move || {
        let mut kept = Vec::new();
        let _ = (&mut from).take(MOST_BYTES).read_to_end(&mut kept);
        // The rest must still be read, or the program would block.
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        kept
    }))
}

/// Runs it to its end, for a short answer about `name`.
///
/// # Errors
/// If it cannot be started or does not end within `limit`; [`crate::ErrorKind::Interrupted`] if the user wishes to stop.
pub(crate) fn ask(command: &mut Command, name: &str, limit: Duration, stop: &Stop) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = spawn(command).map_err(|e| unavailable(&program, name, e))?;
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let ended = wait(&mut child, limit, stop);
    let Some(status) = ended else {
        kill(&mut child);
        if stop.asked() {
            return Err(Error::interrupted("stopped"));
        }
        return Err(Error::dependency(format!("the program {program} gave no answer for {} s", limit.as_secs()))
            .at(name)
            .remedy(format!("see whether `{program} -version` ends")));
    };
    let said = |h: Option<JoinHandle<Vec<u8>>>| h.and_then(|h| h.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: said(stdout), stderr: String::from_utf8_lossy(&said(stderr)).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn shell(script: &str, limit_ms: u64, stop: &Stop) -> Result<Output> {
        ask(Command::new("sh").args(["-c", script]), "clip", Duration::from_millis(limit_ms), stop)
    }

    #[test]
    fn the_timing_option_fits_the_version() {
        for (version, want) in [
            ("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright", "-vsync"),
            ("ffmpeg version 5.0 Copyright", "-vsync"),
            ("ffmpeg version 5.1.9-0+deb12u1 Copyright", "-fps_mode"),
            ("ffmpeg version n7.1 Copyright", "-fps_mode"),
            ("ffmpeg version N-112233-gabcdef Copyright", "-fps_mode"),
            ("", "-fps_mode"),
        ] {
            assert_eq!(Ffmpeg::of(version).timing_option(), want, "{version}");
        }
    }

    #[test]
    fn an_answer_is_given_with_how_it_ended() {
        let o = shell("echo out; echo err >&2; exit 3", 10_000, &Stop::default()).ok().unwrap();
        assert_eq!((o.stdout.as_slice(), o.stderr.as_str()), (&b"out\n"[..], "err\n"));
        assert_eq!(ending(o.status).unwrap(), "ended with exit status 3");
        let killed = shell("kill -9 $$", 10_000, &Stop::default()).ok().unwrap();
        assert!(ending(killed.status).unwrap().contains("signal 9"));
    }

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let e = shell("sleep 60", 50, &Stop::default()).err().unwrap();
        assert!(e.to_string().contains("gave no answer") && e.kind() == ErrorKind::Dependency, "{e}");
        let stop = Stop::default();
        stop.ask();
        assert_eq!(shell("sleep 60", 60_000, &stop).err().unwrap().kind(), ErrorKind::Interrupted);
    }

    #[test]
    fn a_missing_program_is_named() {
        let e = ask(&mut Command::new("no-such-program"), "clip", LOOK, &Stop::default()).err().unwrap();
        assert!(e.to_string().contains("no-such-program cannot be started"), "{e}");
    }
}
