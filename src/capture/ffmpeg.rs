//! Video files through the `ffmpeg` program.
//!
//! ffmpeg rotates as the file says, resamples a variable frame rate to the file's nominal one, and writes
//! full-range YUV4MPEG2 into a pipe; a thread reads it so that every wait here has a time-out.

use super::y4m::Y4m;
use super::{FrameSource, Next, SourceInfo, SourceStats, TIMEOUT};
use crate::error::{Error, Result};
use crate::frame::Frame;
use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

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

/// Reads what ffmpeg says: how many lines of errors, and the last.
fn listen(mut stderr: ChildStderr) -> (u64, String) {
    let mut text = Vec::new();
    let _ = stderr.by_ref().take(1 << 16).read_to_end(&mut text);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    let text = String::from_utf8_lossy(&text);
    (text.lines().count() as u64, text.lines().last().unwrap_or("").trim().to_owned())
}

impl Video {
    /// Starts decoding `path`.
    ///
    /// # Errors
    /// A missing or empty file, or a missing `ffmpeg`; what ffmpeg itself refuses shows at the first frame.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let meta = std::fs::metadata(path).map_err(|e| Error::input("cannot be opened").at(&name).caused_by(e))?;
        if meta.len() == 0 {
            return Err(Error::input("is empty").at(&name).remedy("expected a video file"));
        }
        let mut file = std::ffi::OsString::from("file:");
        file.push(path);
        let mut child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(file)
            .args(["-map", "0:v:0", "-vf", "scale=out_range=full", "-pix_fmt", "yuvj420p", "-strict", "-1"])
            .args(["-f", "yuv4mpegpipe", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| {
                Error::dependency("the program ffmpeg cannot be started, and video files need it")
                    .at(&name)
                    .caused_by(e)
                    .remedy("install it, on Debian and Ubuntu with `apt-get install ffmpeg`")
            })?;
        let complaints = child.stderr.take().map(|s| std::thread::spawn(move || listen(s)));
        let (send, frames) = sync_channel(2);
        let (spent, recycled) = sync_channel(4);
        if let Some(stdout) = child.stdout.take() {
            let name = name.clone();
            std::thread::spawn(move || decode(stdout, &name, &send, &recycled));
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

fn decode(stdout: impl Read + Send, name: &str, send: &SyncSender<Message>, recycled: &Receiver<Frame>) {
    let mut source = match Y4m::new(stdout, name) {
        Ok(source) => source,
        Err(e) => {
            let _ = send.send(Err(e));
            return;
        }
    };
    loop {
        let mut frame = recycled.try_recv().unwrap_or_default();
        let message = source.next_frame(&mut frame).map(|next| (next == Next::Frame).then_some(frame));
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
