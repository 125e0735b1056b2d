//! Layer 3: pictures out. A [`Hud`] draws readings on any `embedded-graphics` target; a [`View`] shows whole frames.

mod canvas;
mod encoder;
mod framebuffer;
mod hud;
mod pictures;
mod video;

pub use canvas::Canvas;
pub use framebuffer::{Framebuffer, Mode};
pub use hud::{Hud, TRAIL};
pub use pictures::{Pictures, name as picture_name};
pub use video::Video;

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::spec::Reading;
use crate::stop::Stop;
use std::path::Path;

/// A frame's picture with the readings drawn on it, as every view shows it.
#[derive(Debug, Default)]
struct Composer {
    canvas: Canvas,
    hud: Hud,
}

impl Composer {
    fn compose(&mut self, frame: &Frame, readings: &[Reading]) -> Result<&Canvas> {
        self.canvas.load(frame)?;
        let Ok(()) = self.hud.draw(&mut self.canvas, readings);
        Ok(&self.canvas)
    }
}

/// Shows each frame with its readings.
pub trait View {
    /// Shows one frame. `readings`: those of this frame, one a face.
    ///
    /// # Errors
    /// A malformed frame, a full disk, a program or device that failed.
    fn show(&mut self, frame: &Frame, readings: &[Reading]) -> Result<()>;

    /// Completes files; called once, also after a failure or an interrupt.
    ///
    /// # Errors
    /// As [`View::show`].
    fn finish(&mut self) -> Result<()>;
}

/// Whether `--annotate` gives a video there, by the name's ending; else it gives a folder of pictures.
///
/// # Errors
/// An ending that is neither.
pub fn is_video(path: &Path) -> Result<bool> {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match ending.as_deref() {
        Some("mp4" | "mov" | "mkv" | "avi" | "webm") => Ok(true),
        None => Ok(false),
        Some(other) => Err(Error::usage(format!("--annotate cannot write .{other} files"))
            .at(path.display())
            .remedy("give a name ending in .mp4, .mov, .mkv, .avi or .webm, or a folder for PNG pictures")),
    }
}

/// Opens `--annotate`. `fps`: frames a second of the source.
///
/// # Errors
/// If the folder cannot be made, a video cannot be written there, or ffmpeg is missing.
pub fn annotate(path: &Path, fps: f64, stop: &Stop) -> Result<Box<dyn View>> {
    Ok(if is_video(path)? { Box::new(Video::new(path, fps, stop)?) } else { Box::new(Pictures::new(path)?) })
}

/// Opens `--display`: `fb:/dev/fbN`.
///
/// # Errors
/// An unknown scheme, or a framebuffer that cannot be used.
pub fn display(target: &str) -> Result<Box<dyn View>> {
    match target.split_once(':') {
        Some(("fb", device)) => Ok(Box::new(Framebuffer::open(Path::new(device))?)),
        _ => Err(Error::usage(format!("--display is {target:?}, expected fb:/dev/fb0"))),
    }
}
