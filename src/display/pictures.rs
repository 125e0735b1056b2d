//! Annotated copies as a folder of pictures.

use super::{Composer, View};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::spec::Reading;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};

/// One PNG a frame, named by the frame's number.
pub struct Pictures {
    folder: PathBuf,
    composer: Composer,
    png: Vec<u8>,
}

impl Pictures {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::io("cannot make the folder").at(folder.display()).caused_by(e))?;
        Ok(Self { folder: folder.into(), composer: Composer::default(), png: Vec::new() })
    }
}

/// Name of a frame's picture.
pub fn name(index: u64) -> String {
    format!("{index:06}.png")
}

/// Gives `path` the content, or leaves what is there: no part of it ever stands under that name.
fn write_whole(path: &Path, write: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> io::Result<()> {
    let part = path.with_extension("png.part");
    let done = std::fs::File::create(&part).and_then(|mut file| write(&mut file));
    let done = done.and_then(|()| std::fs::rename(&part, path));
    if done.is_err() {
        // What hindered the writing is the news.
        let _ = std::fs::remove_file(&part);
    }
    done
}

impl View for Pictures {
    fn show(&mut self, frame: &Frame, readings: &[Reading]) -> Result<()> {
        let c = self.composer.compose(frame, readings)?;
        let path = self.folder.join(name(frame.index));
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::io("cannot write the picture")
                .at(path.display())
                .caused_by(e)
                .remedy("free some space or write elsewhere; the pictures before it are whole")
        };
        self.png.clear();
        let (to, format) = (&mut Cursor::new(&mut self.png), image::ImageFormat::Png);
        let (width, height) = (c.width as u32, c.height as u32);
        image::write_buffer_with_format(to, &c.rgb, width, height, image::ColorType::Rgb8, format)
            .map_err(|e| failed(e.into()))?;
        write_whole(&path, |file| file.write_all(&self.png)).map_err(|e| failed(e.into()))
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_whole_leaves_the_old_file_and_no_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("000000.png");
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let torn = |file: &mut std::fs::File| {
            file.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        assert_eq!(write_whole(&path, torn).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(names(), 0);
        write_whole(&path, |file| file.write_all(b"whole")).unwrap();
        write_whole(&path, torn).unwrap_err();
        assert_eq!((names(), std::fs::read(&path).unwrap()), (1, b"whole".to_vec()));
    }
}
