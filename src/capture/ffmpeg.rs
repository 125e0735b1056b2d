//! Video files through the `ffmpeg` program.
//!
//! ffmpeg rotates as the file says and writes every frame, none repeated or left out, as full-range YUV4MPEG2 into a
//! pipe; its filter `showinfo` prints each frame's true time stamp, so that a variable frame rate is kept. Threads
//! read both, so that every wait here has a time-out.

use super::showinfo::{Stamps, listen};
use super::y4m::Y4m;
use super::{FrameSource, Next, SourceInfo, SourceStats, TIMEOUT};
use crate::error::{Error, Result};
use crate::frame::Frame;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the reading thread hands over.
type Message = Result<Option<Frame>>;

/// A video file being decoded; the program ends with this value.
pub struct Video {
    child: Child,
    frames: Receiver<Message>,
    spent: SyncSender<Frame>,
    complaints: Option<JoinHandle<(u64, String)>>,
    info: SourceInfo,
    stats: SourceStats,
    over: bool,
}

/// The option that says how frames are timed; `version` is the first line of `ffmpeg -version`.
fn timing_option(version: &str) -> &'static str {
    let number = version.split_ascii_whitespace().nth(2).unwrap_or("").trim_start_matches('n');
    let mut parts = number.split(['.', '-']).map_while(|p| p.parse::<u32>().ok());
    // Builds from the repository are numbered otherwise and are new.
    match (parts.next(), parts.next()) {
        (Some(major), minor) if (major, minor.unwrap_or(0)) < (5, 1) => "-vsync",
        _ => "-fps_mode",
    }
}

/// [`timing_option`] of the installed program, asked once.
fn installed_timing_option() -> &'static str {
    static OPTION: OnceLock<&str> = OnceLock::new();
    OPTION.get_or_init(|| {
        let asked = Command::new("ffmpeg").arg("-version").stdin(Stdio::null()).output();
        timing_option(&asked.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default())
    })
}

/// Name of a file that is there and not empty.
pub(super) fn checked(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|e| Error::input("cannot be opened").at(&name).caused_by(e))?;
    if meta.len() == 0 {
        return Err(Error::input("is empty").at(&name).remedy("expected a video file"));
    }
    Ok(name)
}

/// The program with `path` as its input, saying what [`super::showinfo`] understands.
pub(super) fn program(path: &Path) -> Command {
    let mut file = std::ffi::OsString::from("file:");
    file.push(path);
    let mut program = Command::new("ffmpeg");
    program.args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-i"]).arg(file);
    program
}

/// The error of a program that does not start.
pub(super) fn unavailable(name: &str, e: std::io::Error) -> Error {
    Error::dependency("the program ffmpeg cannot be started, and video files need it")
        .at(name)
        .caused_by(e)
        .remedy("install it, on Debian and Ubuntu with `apt-get install ffmpeg`")
}

impl Video {
    /// Starts decoding `path`.
    ///
    /// # Errors
    /// A missing or empty file, or a missing `ffmpeg`; what ffmpeg itself refuses shows at the first frame.
    pub fn open(path: &Path) -> Result<Self> {
        let name = checked(path)?;
        let mut child = program(path)
            .args(["-map", "0:v:0", "-vf", "scale=out_range=full,showinfo=checksum=0"])
            .args([installed_timing_option(), "passthrough", "-pix_fmt", "yuvj420p", "-strict", "-1"])
            .args(["-f", "yuv4mpegpipe", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| unavailable(&name, e))?;
        // Unbounded: ffmpeg may print many stamps before it hands over the first small frames.
        let (said, stamps) = channel();
        let complaints = child.stderr.take().map(|s| std::thread::spawn(move || listen(s, &said)));
        let (send, frames) = sync_channel(2);
        let (spent, recycled) = sync_channel(4);
        if let Some(stdout) = child.stdout.take() {
            let name = name.clone();
            std::thread::spawn(move || decode(stdout, &name, Stamps::new(stamps), &send, &recycled));
        }
        let info = SourceInfo { name, fps: None, frames: None, live: false };
        Ok(Self { child, frames, spent, complaints, info, stats: SourceStats::default(), over: false })
    }

    /// Ends the program; gives how many complaints it made, and the last.
    fn end(&mut self) -> (u64, String) {
        self.over = true;
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.complaints.take().and_then(|c| c.join().ok()).unwrap_or_default()
    }
}

fn decode(
    stdout: impl Read + Send,
    name: &str,
    mut stamps: Stamps,
    send: &SyncSender<Message>,
    recycled: &Receiver<Frame>,
) {
    let mut source = match Y4m::new(stdout, name) {
        Ok(source) => source,
        Err(e) => {
            let _ = send.send(Err(e));
            return;
        }
    };
    let nominal = Duration::from_secs_f64(1.0 / source.info().fps.unwrap_or(25.0));
    loop {
        let mut frame = recycled.try_recv().unwrap_or_default();
        let next = source.next_frame(&mut frame);
        if matches!(next, Ok(Next::Frame)) {
            frame.time = stamps.next(nominal, TIMEOUT / 2);
        }
        let message = next.map(|next| (next == Next::Frame).then_some(frame));
        let last = !matches!(message, Ok(Some(_)));
        if send.send(message).is_err() || last {
            return;
        }
    }
}

impl FrameSource for Video {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        if self.over {
            return Ok(Next::End);
        }
        match self.frames.recv_timeout(TIMEOUT) {
            Ok(Ok(Some(mut next))) => {
                std::mem::swap(frame, &mut next);
                let _ = self.spent.try_send(next);
                self.stats.delivered += 1;
                Ok(Next::Frame)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                Err(Error::input(format!("ffmpeg gave no frame for {} s", TIMEOUT.as_secs())).at(&self.info.name))
            }
            Ok(Ok(None)) | Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                let (count, last) = self.end();
                if self.stats.delivered == 0 {
                    return Err(Error::input(format!("no picture could be decoded: {last}"))
                        .at(&self.info.name)
                        .remedy("check that it is a whole video file"));
                }
                if count > 0 {
                    self.stats.damaged += count;
                    log::warn!("{}: {count} decoding errors, the last: {last}", self.info.name);
                }
                Ok(Next::End)
            }
        }
    }

    fn stats(&self) -> SourceStats {
        self.stats
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        if !self.over {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::check_contract;
    use crate::error::ErrorKind;

    /// Makes a test video, or says why the test is passed over; `VAERR_REQUIRE_FFMPEG=1` forbids that.
    fn video(dir: &Path, name: &str, extra: &[&str]) -> Option<std::path::PathBuf> {
        let path = dir.join(name);
        let source = ["-v", "error", "-f", "lavfi", "-i", "testsrc=duration=1:size=162x120:rate=10"];
        match Command::new("ffmpeg").args(source).args(extra).arg(&path).status() {
            Ok(s) if s.success() => Some(path),
            other => {
                assert!(std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required: {other:?}");
                println!("passed over: no ffmpeg");
                None
            }
        }
    }

    #[test]
    fn common_containers_decode_to_every_frame() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "a.avi", "a.mkv", "a.mov"] {
            let Some(path) = video(dir.path(), name, &["-c:v", "mpeg4"]) else { return };
            let frames = check_contract(&mut Video::open(&path).unwrap());
            assert_eq!((frames.len(), frames[0].width, frames[0].height), (10, 162, 120), "{name}");
        }
    }

    #[test]
    fn a_variable_frame_rate_keeps_its_times() {
        let dir = tempfile::tempdir().unwrap();
        let gaps = ["-vf", "select='not(eq(mod(n,3),1))'", "-vsync", "0", "-c:v", "mpeg4"];
        for name in ["v.mkv", "v.mp4"] {
            let Some(path) = video(dir.path(), name, &gaps) else { return };
            let frames = check_contract(&mut Video::open(&path).unwrap());
            let times: Vec<u128> = frames.iter().map(|f| f.time.as_millis()).collect();
            assert_eq!(times, [0, 200, 300, 500, 600, 800, 900], "{name}");
        }
    }

    /// The luma of a frame, turned by a quarter.
    fn turned(f: &Frame, clockwise: bool) -> Vec<u8> {
        let (w, h) = (f.width, f.height);
        let at = |x: usize, y: usize| if clockwise { (h - 1 - x) * w + y } else { x * w + (w - 1 - y) };
        (0..w).flat_map(|y| (0..h).map(move |x| (x, y))).map(|(x, y)| f.data[at(x, y)]).collect()
    }

    #[test]
    fn a_rotation_in_the_file_is_honoured() {
        let dir = tempfile::tempdir().unwrap();
        let Some(plain) = video(dir.path(), "p.mp4", &["-c:v", "mpeg4"]) else { return };
        let path = dir.path().join("r.mp4");
        let ffmpeg = |before: &[&str], after: &[&str]| {
            let c = &mut Command::new("ffmpeg");
            c.args(["-v", "error", "-y"])
                .args(before)
                .arg("-i")
                .arg(&plain)
                .args(["-c", "copy"])
                .args(after)
                .arg(&path);
            c.stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        // The first form is for programs from version 6 on. Versions differ in which way the angle counts.
        assert!(ffmpeg(&["-display_rotation", "90"], &[]) || ffmpeg(&[], &["-metadata:s:v", "rotate=90"]));
        let upright = check_contract(&mut Video::open(&plain).unwrap());
        let rotated = check_contract(&mut Video::open(&path).unwrap());
        assert_eq!((rotated.len(), rotated[0].width, rotated[0].height), (10, 120, 162));
        let alike = |cw| upright.iter().zip(&rotated).all(|(a, b)| turned(a, cw) == b.data[..120 * 162]);
        assert!(alike(true) || alike(false));
    }

    #[test]
    fn a_change_of_size_within_the_stream_loses_no_frame() {
        let dir = tempfile::tempdir().unwrap();
        let Some(a) = video(dir.path(), "a.ts", &["-c:v", "mpeg2video"]) else { return };
        let Some(b) = video(dir.path(), "b.ts", &["-c:v", "mpeg2video", "-s", "320x240"]) else { return };
        let both = dir.path().join("ab.ts");
        std::fs::write(&both, [std::fs::read(a).unwrap(), std::fs::read(b).unwrap()].concat()).unwrap();
        let frames = check_contract(&mut Video::open(&both).unwrap());
        assert!((18..=20).contains(&frames.len()), "{}", frames.len());
        assert!(frames.iter().all(|f| (f.width, f.height) == (162, 120)));
    }

    #[test]
    fn an_mp4_without_its_index_is_refused_in_ffmpeg_s_words() {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = video(dir.path(), "cut.mp4", &["-c:v", "mpeg4"]) else { return };
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let e = Video::open(&path).unwrap().next_frame(&mut Frame::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Input);
        let text = e.to_string();
        assert!(text.contains("cut.mp4: no picture could be decoded: ") && text.contains("whole video file"), "{text}");
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
            assert_eq!(timing_option(version), want, "{version}");
        }
    }

    #[test]
    fn a_file_cut_in_half_gives_the_frames_before_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = video(dir.path(), "a.avi", &["-c:v", "mjpeg"]) else { return };
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let n = check_contract(&mut Video::open(&path).unwrap()).len();
        assert!((2..9).contains(&n), "{n}");
    }

    #[test]
    fn what_is_no_video_is_refused_with_the_file_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text.mp4");
        std::fs::write(&text, "not a video\n".repeat(50)).unwrap();
        let empty = dir.path().join("empty.mp4");
        std::fs::write(&empty, "").unwrap();
        assert!(Video::open(&empty).err().unwrap().to_string().contains("empty.mp4: is empty"));
        assert!(Video::open(&dir.path().join("none.mp4")).err().unwrap().to_string().contains("cannot be opened"));
        match Video::open(&text) {
            Err(e) => assert_eq!(e.kind(), ErrorKind::Dependency),
            Ok(mut v) => {
                let e = v.next_frame(&mut Frame::default()).unwrap_err().to_string();
                assert!(e.contains("text.mp4: no picture could be decoded"), "{e}");
                assert_eq!(v.next_frame(&mut Frame::default()).unwrap(), Next::End);
            }
        }
    }
}
