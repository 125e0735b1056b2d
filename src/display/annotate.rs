//! Annotated copies: a video through the program ffmpeg, or a folder of pictures.

use super::{Composer, View};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::spec::Reading;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Frames a source may be late before the gap is no longer filled with copies; a stream that pauses longer is cut short.
const MOST_COPIES: u64 = 250;

/// One PNG a frame, named by the frame's number.
pub struct Pictures {
    folder: PathBuf,
    composer: Composer,
}

impl Pictures {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::io("cannot make the folder").at(folder.display()).caused_by(e))?;
        Ok(Self { folder: folder.into(), composer: Composer::default() })
    }
}

impl View for Pictures {
    fn show(&mut self, frame: &Frame, readings: &[Reading]) -> Result<()> {
        let c = self.composer.compose(frame, readings)?;
        let path = self.folder.join(format!("{:06}.png", frame.index));
        image::save_buffer(&path, &c.rgb, c.width as u32, c.height as u32, image::ColorType::Rgb8).map_err(|e| {
            Error::io("cannot write the picture")
                .at(path.display())
                .caused_by(e)
                .remedy("free some space or write elsewhere")
        })
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// ffmpeg's name for a file whatever characters the path begins with or holds.
fn file_url(path: &Path) -> std::ffi::OsString {
    let mut url = std::ffi::OsString::from("file:");
    url.push(path);
    url
}

/// H.264 (or what the container prefers) at a constant rate; frames are repeated or left out to keep the stream's time.
pub struct Video {
    path: PathBuf,
    fps: f64,
    composer: Composer,
    encoder: Option<Encoder>,
    /// Frames written.
    written: u64,
}

struct Encoder {
    child: Child,
    size: (usize, usize),
}

impl Video {
    /// The encoder starts with the first frame, whose size the video takes.
    ///
    /// # Errors
    /// If the folder of `path` does not exist, or `fps` is not a rate.
    pub fn new(path: &Path, fps: f64) -> Result<Self> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(missing) = folder.filter(|f| !f.is_dir()) {
            return Err(Error::usage("there is no such folder to write a video to").at(missing.display()));
        }
        if !(0.01..=1000.0).contains(&fps) {
            return Err(Error::usage(format!("{fps} frames a second, expected 0.01 to 1000")).at(path.display()));
        }
        Ok(Self { path: path.into(), fps, composer: Composer::default(), encoder: None, written: 0 })
    }

    fn start(&self, size: (usize, usize)) -> Result<Encoder> {
        let child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s"])
            .arg(format!("{}x{}", size.0, size.1))
            .args(["-r", &self.fps.to_string(), "-i", "-"])
            // Encoders of 4:2:0 want even sides.
            .args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"])
            .arg(file_url(&self.path))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| {
                Error::unsupported("--annotate writes videos through the program ffmpeg, which cannot be started")
                    .caused_by(e)
                    .remedy("install ffmpeg (Debian: apt-get install ffmpeg), or annotate a folder of pictures")
            })?;
        Ok(Encoder { child, size })
    }

    /// What the encoder said when it failed.
    fn failure(&self, mut child: Child) -> Error {
        drop(child.stdin.take());
        let mut said = String::new();
        if let Some(stderr) = child.stderr.take() {
            // What cannot be read of the reason is left out; the failure is reported all the same.
            let _ = stderr.take(4096).read_to_string(&mut said);
        }
        let _ = child.wait();
        Error::io(format!("ffmpeg could not write the video: {}", said.trim()))
            .at(self.path.display())
            .remedy("free some space, or choose another ending")
    }
}

impl View for Video {
    fn show(&mut self, frame: &Frame, readings: &[Reading]) -> Result<()> {
        self.composer.compose(frame, readings)?;
        let size = (frame.width, frame.height);
        if self.encoder.is_none() {
            self.encoder = Some(self.start(size)?);
        }
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        if encoder.size != size {
            return Err(Error::input(format!(
                "frame {} is {}x{}, the video is {}x{}",
                frame.index, size.0, size.1, encoder.size.0, encoder.size.1
            ))
            .at(self.path.display())
            .remedy("annotate a folder of pictures instead"));
        }
        let due = (frame.time.as_secs_f64() * self.fps).round() as u64 + 1;
        let copies = due.saturating_sub(self.written).min(MOST_COPIES);
        for _ in 0..copies {
            let sent = encoder.child.stdin.as_mut().map_or(Ok(()), |to| to.write_all(&self.composer.canvas.rgb));
            if sent.is_err() {
                let failed = self.encoder.take();
                return Err(failed.map_or_else(|| Error::io("ffmpeg went away"), |e| self.failure(e.child)));
            }
        }
        self.written = self.written.max(due);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        drop(encoder.child.stdin.take());
        match encoder.child.wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.failure(encoder.child)),
        }
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        if let Err(e) = self.finish() {
            log::error!("{e}");
        }
    }
}
