//! A folder of pictures, or a single one, as a stream.

use super::{FrameSource, Next, SourceInfo, SourceStats};
use crate::error::{Error, Result};
use crate::frame::{Frame, MAX_SIDE_PX, PixelFormat, Range};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Endings of the pictures that are read.
pub const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Whether the path ends like a picture.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// Pictures in the order of their names; time is `index / fps`. One that cannot be read is left out and counted.
#[derive(Debug)]
pub struct Folder {
    paths: std::vec::IntoIter<PathBuf>,
    fps: f64,
    info: SourceInfo,
    stats: SourceStats,
}

impl Folder {
    /// The pictures in `path`, or the picture `path`.
    ///
    /// # Errors
    /// A folder that cannot be listed or holds no PNG or JPEG.
    pub fn open(path: &Path, fps: f64) -> Result<Self> {
        let mut paths = vec![path.to_owned()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path)
                .map_err(|e| Error::input("cannot be listed").at(path.display()).caused_by(e))?;
            paths = entries.flatten().map(|e| e.path()).filter(|p| is_picture(p)).collect();
            paths.sort();
        }
        if paths.is_empty() {
            return Err(Error::input("holds no pictures").at(path.display()).remedy("expected .png or .jpg files"));
        }
        let info = SourceInfo {
            name: path.display().to_string(),
            fps: Some(fps),
            frames: Some(paths.len() as u64),
            live: false,
        };
        Ok(Self { paths: paths.into_iter(), fps, info, stats: SourceStats::default() })
    }
}

/// Reads one picture.
///
/// # Errors
/// If it cannot be decoded, or is larger than a frame may be.
pub fn read(path: &Path, frame: &mut Frame) -> Result<()> {
    let fail = |e: image::ImageError| Error::input("cannot be decoded").at(path.display()).caused_by(e);
    let mut reader = image::ImageReader::open(path)?.with_guessed_format()?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX as u32);
    limits.max_image_height = Some(MAX_SIDE_PX as u32);
    reader.limits(limits);
    let picture = reader.decode().map_err(fail)?.into_rgb8();
    frame.reshape(picture.width() as usize, picture.height() as usize, PixelFormat::Rgb8, Range::Full)?;
    frame.data.copy_from_slice(&picture);
    Ok(())
}

impl FrameSource for Folder {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        for path in self.paths.by_ref() {
            match read(&path, frame) {
                Ok(()) => {
                    frame.index = self.stats.delivered;
                    frame.time = Duration::from_secs_f64(frame.index as f64 / self.fps);
                    self.stats.delivered += 1;
                    return Ok(Next::Frame);
                }
                Err(e) => {
                    self.stats.damaged += 1;
                    log::warn!("left out: {e}");
                }
            }
        }
        if self.stats.delivered == 0 {
            return Err(
                Error::input(format!("none of its {} pictures could be read", self.stats.damaged)).at(&self.info.name)
            );
        }
        Ok(Next::End)
    }

    fn stats(&self) -> SourceStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::check_contract;

    fn save(dir: &Path, name: &str, w: u32, h: u32) {
        image::RgbImage::from_pixel(w, h, image::Rgb([w as u8, 2, 3])).save(dir.join(name)).unwrap();
    }

    #[test]
    fn pictures_come_in_order_and_damaged_ones_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "b.png", 1, 1);
        save(dir.path(), "a.png", 5, 3);
        std::fs::write(dir.path().join("c.jpg"), b"no jpeg").unwrap();
        std::fs::write(dir.path().join("notes.txt"), b"ignored").unwrap();
        let mut source = Folder::open(dir.path(), 10.0).unwrap();
        let frames = check_contract(&mut source);
        assert_eq!(frames.iter().map(|f| f.width).collect::<Vec<_>>(), [5, 1]);
        assert_eq!(source.stats(), SourceStats { delivered: 2, damaged: 1, dropped: 0 });
    }

    #[test]
    fn an_empty_folder_and_unreadable_pictures_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Folder::open(dir.path(), 25.0).unwrap_err().to_string().contains("holds no pictures"));
        std::fs::write(dir.path().join("x.png"), b"").unwrap();
        let error = Folder::open(dir.path(), 25.0).unwrap().next_frame(&mut Frame::default()).unwrap_err();
        assert!(error.to_string().contains("none of its 1 pictures"));
    }

    #[test]
    fn a_picture_of_8000_by_6000_pixels_is_read() {
        let dir = tempfile::tempdir().unwrap();
        image::GrayImage::from_pixel(8000, 6000, image::Luma([9])).save(dir.path().join("big.png")).unwrap();
        assert_eq!(check_contract(&mut Folder::open(dir.path(), 1.0).unwrap())[0].data.len(), 144_000_000);
    }
}
