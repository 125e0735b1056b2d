//! Annotated copies as a video.

use super::encoder::{self, Encoder, TICKS, Trouble};
use super::{Canvas, Composer, View};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::program::Ffmpeg;
use crate::spec::Reading;
use crate::stop::Stop;
use image::imageops::{FilterType, overlay, resize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every frame once, at its own time, in H.264 or what the container prefers. AVI, which holds a constant rate, shows each frame
/// at the next free place of the source's rate and until the next one.
///
/// Frames of another size than the first are fitted into its size.
pub struct Video {
    place: Place,
    fps: f64,
    stop: Stop,
    composer: Composer,
    encoder: Option<Encoder>,
    size: [usize; 2],
    ffmpeg: Ffmpeg,
    /// Place of the last frame: a tick, or in AVI a number.
    last: Option<u64>,
}

impl Video {
    /// The encoder starts with the first frame, whose size the video takes. An old video stays until the new one is whole.
    ///
    /// # Errors
    /// If a file cannot be made there, `fps` is not a rate, or ffmpeg is missing.
    pub fn new(path: &Path, fps: f64, stop: &Stop) -> Result<Self> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(missing) = folder.filter(|f| !f.is_dir()) {
            return Err(Error::usage("there is no such folder to write a video to").at(missing.display()));
        }
        if !(0.01..=1000.0).contains(&fps) {
            return Err(Error::usage(format!("{fps} frames a second, expected 0.01 to 1000")).at(path.display()));
        }
        let ffmpeg = Ffmpeg::installed(&path.display().to_string(), stop).map_err(|e| {
            e.remedy("install ffmpeg (Debian: apt-get install ffmpeg), or annotate a folder of pictures")
        })?;
        let place = Place::beside(path)?;
        Ok(Self {
            place,
            fps,
            ffmpeg,
            stop: stop.clone(),
            composer: Composer::default(),
            encoder: None,
            size: [0; 2],
            last: None,
        })
    }

    fn start(&self) -> Result<Encoder> {
        let mut program = encoder::program(self.ffmpeg, self.place.written(), &self.place.ending, self.fps);
        Encoder::start(&mut program, self.size, &self.stop).map_err(|e| unavailable().caused_by(e))
    }

    /// When a frame is shown, in ticks: at its time, but never with or before the one shown last.
    fn due(&mut self, time: Duration) -> u64 {
        let steps = if self.place.ending == "avi" { self.fps } else { f64::from(TICKS) };
        let due = (time.as_secs_f64() * steps).round() as u64;
        let due = due.max(self.last.map_or(0, |last| last + 1));
        self.last = Some(due);
        (due as f64 * f64::from(TICKS) / steps).round() as u64
    }

    /// What a failure leaves behind, said.
    fn failed(&mut self, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Signalled => self.place.whole().err().unwrap_or_else(|| Error::interrupted("ffmpeg was ended")),
            Trouble::Failed(why) => Error::io(format!("ffmpeg could not write the video: {why}"))
                .at(self.place.path.display())
                .remedy(format!("free some space, or choose another ending; {}", self.place.left())),
        }
    }
}

fn unavailable() -> Error {
    Error::dependency("--annotate writes videos through the program ffmpeg, which cannot be started")
        .remedy("install ffmpeg (Debian: apt-get install ffmpeg), or annotate a folder of pictures")
}

/// The picture in another size, as large as fits, centred, black around.
fn fitted(picture: &Canvas, [width, height]: [usize; 2]) -> Option<Vec<u8>> {
    let (w, h) = (picture.width as u32, picture.height as u32);
    let rgb = image::ImageBuffer::<image::Rgb<u8>, &[u8]>::from_raw(w, h, &picture.rgb)?;
    let scale = (width as f64 / f64::from(w)).min(height as f64 / f64::from(h));
    let side = |n: u32, most: usize| ((f64::from(n) * scale).round() as u32).clamp(1, most as u32);
    let small = resize(&rgb, side(w, width), side(h, height), FilterType::Triangle);
    let mut whole = image::RgbImage::new(width as u32, height as u32);
    let gap = |side: usize, n: u32| (side as i64 - i64::from(n)) / 2;
    overlay(&mut whole, &small, gap(width, small.width()), gap(height, small.height()));
    Some(whole.into_raw())
}

impl View for Video {
    fn show(&mut self, frame: &Frame, readings: &[Reading]) -> Result<()> {
        self.composer.compose(frame, readings)?;
        let size = [frame.width, frame.height];
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None if self.last.is_some() => return Ok(()),
            None => {
                self.size = size;
                self.start()?
            }
        };
        let ticks = self.due(frame.time);
        let other = if size == self.size { None } else { fitted(&self.composer.canvas, self.size) };
        encoder.send(ticks, other.as_ref().unwrap_or(&self.composer.canvas.rgb)).map_err(|t| self.failed(t))?;
        self.encoder = Some(encoder);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        match encoder.finish() {
            Ok(()) | Err(Trouble::Signalled) => self.place.whole(),
            Err(trouble) => Err(self.failed(trouble)),
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

/// Where a video goes: beside its name until it is whole.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// In small letters.
    ending: String,
    /// Where it is written until it is whole; `None` once it is, and where it is written in place.
    part: Option<PathBuf>,
}

impl Place {
    /// A new file beside `path`. What is no file, or stands in a folder that takes no new ones, is written in place.
    fn beside(path: &Path) -> Result<Self> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let place = |part| Self { path: path.clone(), ending: ending.clone(), part };
        if path.metadata().is_ok_and(|m| !m.is_file()) {
            return Ok(place(None));
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        // What a killed run left is kept.
        let mut names = (0u32..).map(|n| match n {
            0 => path.with_extension(format!("part.{extension}")),
            n => path.with_extension(format!("part{n}.{extension}")),
        });
        let made = names.find_map(|part| match File::options().write(true).create_new(true).open(&part) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => None,
            done => Some(done.map(|_| part)),
        });
        match made {
            Some(Ok(part)) => Ok(place(Some(part))),
            _ if File::options().write(true).open(&path).is_ok() => Ok(place(None)),
            Some(Err(e)) => Err(Error::io("a video cannot be written there").at(path.display()).caused_by(e)),
            None => Err(Error::io("too many parts of videos stand beside it").at(path.display())),
        }
    }

    /// The file being written.
    fn written(&self) -> &Path {
        self.part.as_deref().unwrap_or(&self.path)
    }

    /// Gives the video its name, and the permissions of the one that it replaces.
    fn whole(&mut self) -> Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        if let Ok(old) = self.path.metadata() {
            // The video matters more than who may read it.
            let _ = std::fs::set_permissions(&part, old.permissions());
        }
        std::fs::rename(&part, &self.path).map_err(|e| {
            Error::io(format!("the video is whole but keeps the name {}", part.display()))
                .at(self.path.display())
                .caused_by(e)
        })
    }

    /// What is there of a video that is not whole, in words.
    fn left(&mut self) -> String {
        match self.part.take() {
            Some(part) if removed_if_empty(&part) => "nothing was written".to_owned(),
            Some(part) => format!("what was written is kept in {}", part.display()),
            None => "it holds what was written".to_owned(),
        }
    }
}

/// Removes an empty file; whether it did.
fn removed_if_empty(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.len() == 0) && std::fs::remove_file(file).is_ok()
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(part) = self.part.take() {
            removed_if_empty(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_another_size_is_fitted_centred_with_black_around() {
        let picture = Canvas { width: 4, height: 4, rgb: vec![200; 48] };
        let wide = fitted(&picture, [16, 8]).unwrap();
        let row: Vec<u8> = wide[..48].chunks(3).map(|p| p[0]).collect();
        assert_eq!((wide.len(), row), (384, [[0; 4], [200; 4], [200; 4], [0; 4]].concat()));
        assert_eq!(fitted(&Canvas { width: 1000, height: 1, rgb: vec![9; 3000] }, [2, 2]).unwrap().len(), 12);
    }

    #[test]
    fn an_old_video_and_the_part_of_a_killed_run_stay_until_the_new_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a.mp4"), "old").unwrap();
        std::fs::write(at("a.part.mp4"), "killed").unwrap();
        std::os::unix::fs::symlink("a.mp4", at("link.mp4")).unwrap();
        let mut place = Place::beside(&at("link.mp4")).unwrap();
        assert_eq!((place.written(), std::fs::read(at("a.mp4")).unwrap()), (&*at("a.part1.mp4"), b"old".to_vec()));
        std::fs::write(place.written(), "new").unwrap();
        place.whole().unwrap();
        assert_eq!(std::fs::read(at("link.mp4")).unwrap(), b"new");
        drop(Place::beside(&at("a.mp4")).unwrap());
        let mut place = Place::beside(&at("a.mp4")).unwrap();
        assert_eq!(place.left(), "nothing was written");
        let mut place = Place::beside(&at("a.mp4")).unwrap();
        std::fs::write(place.written(), "half").unwrap();
        assert!(place.left().ends_with("a.part1.mp4"));
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!((names, std::fs::read(at("a.part.mp4")).unwrap()), (4, b"killed".to_vec()));
    }
}
