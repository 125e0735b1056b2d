//! The program ffmpeg as an encoder: fed through a socket, in a process group of its own, never waited for for ever.
//!
//! Frames travel as IVF, which is a header and twelve bytes a frame, so that each keeps its own time.

use crate::program::{Ffmpeg, file_url};
use crate::stop::{LOOK_EVERY, Stop};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Ticks a second of a video's time stamps: whole for every common rate, and few enough for every encoder.
pub const TICKS: u32 = 60_000;
/// How long the encoder may stand still, and how long once someone asked to stop.
const LIMIT: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);
/// How many [`GRACE`]s an encoder that works may take to end once someone asked to stop.
const MOST_GRACES: u32 = 8;
/// How long what it said is waited for once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Its exit status after a signal that it obeyed, the video being finished.
const SIGNALLED: i32 = 255;

/// Options of the output, whose ending says what it is; `fps`: the source's rate.
fn options(installed: Ffmpeg, ending: &str, fps: f64) -> Vec<String> {
    // Encoders of 4:2:0 want even sides.
    let mut all = vec!["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"];
    let (rate, base, x264) = (fps.to_string(), format!("1:{TICKS}"), format!("fps={fps}"));
    let last = format!("setts=duration=round({}/TB)", 1.0 / fps);
    if ending == "avi" {
        all.extend(["-r", &rate]);
    } else {
        all.push(installed.timing_option());
        all.extend(["passthrough", "-enc_time_base", &base]);
    }
    let mp4 = ["mp4", "mov"].contains(&ending);
    if mp4 && installed.version >= (4, 4) {
        // Or the last frame would be shown for a tick.
        all.extend(["-bsf:v", &last]);
    }
    if installed.x264 && (mp4 || ending == "mkv") {
        // Without a queue of frames within the encoder, a video is finished at once when someone asks to stop.
        all.extend(["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-x264-params", &x264]);
    }
    all.into_iter().map(str::to_owned).collect()
}

/// The head of a stream of RGB pictures, timed in [`TICKS`].
fn ivf_header(width: usize, height: usize) -> Vec<u8> {
    let mut head = b"DKIF\0\0\x20\0RGB\x18".to_vec();
    [width, height].iter().for_each(|side| head.extend((*side as u16).to_le_bytes()));
    [TICKS, 1, 0, 0].iter().for_each(|word| head.extend(word.to_le_bytes()));
    head
}

/// The program that makes the video `to` of RGB frames in IVF on its standard input.
pub(super) fn program(installed: Ffmpeg, to: &Path, ending: &str, fps: f64) -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostdin", "-v", "error", "-y", "-analyzeduration", "0", "-probesize", "32", "-fpsprobesize", "0"])
        .args(["-f", "ivf", "-c:v", "rawvideo", "-i", "-"])
        .args(options(installed, ending, fps))
        .arg(file_url(to));
    command
}

/// Why a video is not whole.
#[derive(Debug)]
pub enum Trouble {
    /// What the encoder said as it failed.
    Failed(String),
    /// It was told to end by a signal at the same time as we were; what it has is whole.
    Signalled,
}

/// A running encoder; it ends with this value.
#[derive(Debug)]
pub struct Encoder {
    child: Child,
    to: Option<UnixStream>,
    said: Receiver<String>,
    stop: Stop,
}

impl Encoder {
    /// Starts it, for pictures of this size.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, [width, height]: [usize; 2], stop: &Stop) -> std::io::Result<Self> {
        let (to, from) = UnixStream::pair()?;
        to.set_write_timeout(Some(LOOK_EVERY))?;
        // Ctrl-C goes to a terminal's whole process group, and is not meant for the encoder.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(from)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // The command keeps its copy of the encoder's end, and would never see the encoder go.
        command.stdin(Stdio::null());
        let (send, said) = channel();
        if let Some(mut stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                // What cannot be read of the reason is left out; the failure is reported all the same.
                let _ = (&mut stderr).take(4096).read_to_end(&mut text);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                let _ = send.send(String::from_utf8_lossy(&text).trim().to_owned());
            });
        }
        let mut encoder = Self { child, to: Some(to), said, stop: stop.clone() };
        // What hinders this hinders the first frame too, which reports it.
        let _ = encoder.write(&ivf_header(width, height));
        Ok(encoder)
    }

    /// Hands over one picture with its time in [`TICKS`].
    ///
    /// # Errors
    /// If the encoder failed, or stands still for ten seconds, or for one after someone asked to stop.
    pub fn send(&mut self, ticks: u64, rgb: &[u8]) -> Result<(), Trouble> {
        let mut header = [0; 12];
        header[..4].copy_from_slice(&(rgb.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&ticks.to_le_bytes());
        match self.write(&header).and_then(|()| self.write(rgb)) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::TimedOut => Err(self.stalled()),
            Err(_) => match self.finish() {
                Err(trouble) => Err(trouble),
                Ok(()) => Err(Trouble::Failed("it ended before the stream did".into())),
            },
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        let Some(to) = &mut self.to else { return Err(ErrorKind::BrokenPipe.into()) };
        while !bytes.is_empty() {
            let in_time = self.stop.wait(LIMIT, GRACE, || match to.write(bytes) {
                Ok(n) => {
                    bytes = &bytes[n..];
                    Ok(true)
                }
                Err(e) if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&e.kind()) => {
                    Ok(false)
                }
                Err(e) => Err(e),
            })?;
            if !in_time {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Closes its input and waits for it to end, for as long as it works.
    ///
    /// # Errors
    /// If it failed or stands still.
    pub fn finish(&mut self) -> Result<(), Trouble> {
        drop(self.to.take());
        let (mut worked, mut graces) = (work(self.child.id()), 0);
        let status = loop {
            let child = &mut self.child;
            let ended = self.stop.wait(LIMIT, GRACE, || {
                std::thread::sleep(Duration::from_millis(5));
                child.try_wait().map(|status| status.is_some())
            });
            if !matches!(ended, Ok(false)) {
                break self.child.try_wait().ok().flatten();
            }
            graces += u32::from(self.stop.asked());
            let work = work(self.child.id());
            if work == worked || graces > MOST_GRACES {
                return Err(self.stalled());
            }
            worked = work;
        };
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) if status.code() == Some(SIGNALLED) && self.stop.asked() => Err(Trouble::Signalled),
            status => {
                let said = self.said.recv_timeout(LAST_WORDS).unwrap_or_default();
                let how = status.map(|s| s.to_string()).unwrap_or_default();
                Err(Trouble::Failed(if said.is_empty() { how } else { said }))
            }
        }
    }

    /// Gives up an encoder that stands still.
    fn stalled(&mut self) -> Trouble {
        self.end();
        Trouble::Failed("it stands still and was given up".into())
    }

    fn end(&mut self) {
        drop(self.to.take());
        let _ = self.child.kill();
        let child = &mut self.child;
        // One that waits for its disk ends later.
        let _ = self.stop.wait(GRACE, GRACE, || {
            std::thread::sleep(Duration::from_millis(5));
            child.try_wait().map(|status| status.is_some())
        });
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.end();
        }
    }
}

/// Processor time that a process has used so far, in the kernel's ticks; `None` where that cannot be known.
fn work(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before, in brackets, may hold blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str, stop: &Stop) -> Encoder {
        Encoder::start(Command::new("sh").args(["-c", script]), [4, 2], stop).unwrap()
    }

    fn failed(trouble: Result<(), Trouble>) -> String {
        match trouble {
            Err(Trouble::Failed(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_fit_the_installed_version_and_the_ending() {
        let old = Ffmpeg::of("ffmpeg version 4.3.9 Copyright\nconfiguration: --enable-gpl");
        assert_eq!(old, Ffmpeg { version: (4, 3), x264: false });
        let text = options(old, "mp4", 25.0).join(" ");
        assert!(text.contains("-vsync passthrough") && !text.contains("-bsf") && !text.contains("264"), "{text}");
        let new = Ffmpeg::of("ffmpeg version 5.1.9-0+deb12u1 Copyright\nconfiguration: --enable-libx264");
        let text = options(new, "mov", 12.5).join(" ");
        for want in ["-fps_mode passthrough", "setts=duration=round(0.08/TB)", "-c:v libx264", "fps=12.5"] {
            assert!(text.contains(want), "{want} is not in {text}");
        }
        assert!(options(new, "avi", 25.0).join(" ").ends_with("-r 25"));
        assert_eq!(Ffmpeg::of("ffmpeg version N-112233-gabcdef").version.0, u32::MAX);
    }

    #[test]
    fn frames_arrive_with_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let got = dir.path().join("got");
        let mut encoder = shell(&format!("cat > '{}'", got.display()), &Stop::default());
        encoder.send(7, &[1; 24]).unwrap();
        encoder.finish().unwrap();
        let bytes = std::fs::read(got).unwrap();
        let start = b"DKIF\0\0\x20\0RGB\x18\x04\0\x02\0\x60\xea\0\0\x01\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(bytes[..32], start[..]);
        assert_eq!(bytes[32..44], [24, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[44..], [1; 24]);
    }

    #[test]
    fn a_failure_is_told_in_the_encoder_s_words() {
        let mut encoder = shell("echo no room >&2; exit 3", &Stop::default());
        let whole = vec![0; 1 << 22];
        let mut sent = Ok(());
        while sent.is_ok() {
            sent = encoder.send(0, &whole);
        }
        assert_eq!(failed(sent), "no room");
        assert_eq!(failed(shell("kill -9 $$", &Stop::default()).finish()), "signal: 9 (SIGKILL)");
    }

    #[test]
    fn an_encoder_that_stands_still_is_given_up_a_second_after_the_wish_to_stop() {
        let stop = Stop::default();
        stop.ask();
        let start = Instant::now();
        let why = failed(shell("kill -STOP $$", &stop).send(0, &vec![0; 1 << 22]));
        assert!(why.contains("stands still"), "{why}");
        assert!(failed(shell("exec sleep 60", &stop).finish()).contains("stands still"));
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    }

    #[test]
    fn an_encoder_that_obeyed_the_same_signal_has_a_whole_video() {
        let stop = Stop::default();
        assert!(matches!(shell("exit 255", &stop).finish(), Err(Trouble::Failed(_))));
        stop.ask();
        assert!(matches!(shell("exit 255", &stop).finish(), Err(Trouble::Signalled)));
    }
}
