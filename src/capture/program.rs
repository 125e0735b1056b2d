//! Other programs: started so that Ctrl-C does not reach them, waited for never for ever, and heard out.

use crate::error::{Error, Result};
use crate::stop::Stop;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Most bytes of a program's output that are kept.
const MOST_BYTES: u64 = 1 << 20;

/// What a program gave.
pub(super) struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// The error of a program that does not start; `name` is what was to be read.
pub(super) fn unavailable(program: &str, name: &str, e: std::io::Error) -> Error {
    Error::dependency(format!("the program {program} cannot be started, and video files need it"))
        .at(name)
        .caused_by(e)
        .remedy("install ffmpeg, on Debian and Ubuntu with `apt-get install ffmpeg`")
}

/// Starts it with standard output and error piped, in a process group of its own.
pub(super) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Waits until it has ended; `None` if it has not by then or the user wishes to stop.
pub(super) fn wait(child: &mut Child, limit: Duration, stop: &Stop) -> Option<ExitStatus> {
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
pub(super) fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// How it ended, where that was not well.
pub(super) fn ending(status: ExitStatus) -> Option<String> {
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
pub(super) fn ask(command: &mut Command, name: &str, limit: Duration, stop: &Stop) -> Result<Output> {
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
    fn an_answer_is_given_with_how_it_ended() {
        let o = shell("echo out; echo err >&2; exit 3", 10_000, &Stop::default()).ok().unwrap();
        assert_eq!((o.stdout.as_slice(), o.stderr.as_str()), (&b"out\n"[..], "err\n"));
        assert_eq!(ending(o.status).unwrap(), "ended with exit status 3");
        let killed = shell("kill -9 $$", 10_000, &Stop::default()).ok().unwrap();
        assert!(ending(killed.status).unwrap().contains("signal 9"));
    }

    #[test]
    fn a_program_that_hangs_is_given_up_and_one_that_is_missing_named() {
        let e = shell("sleep 60", 50, &Stop::default()).err().unwrap();
        assert!(e.to_string().contains("gave no answer") && e.kind() == ErrorKind::Dependency, "{e}");
        let stop = Stop::default();
        stop.ask();
        assert_eq!(shell("sleep 60", 60_000, &stop).err().unwrap().kind(), ErrorKind::Interrupted);
        let e = ask(&mut Command::new("no-such-program"), "clip", LOOK, &Stop::default()).err().unwrap();
        assert!(e.to_string().contains("no-such-program cannot be started"), "{e}");
    }
}
