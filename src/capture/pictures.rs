//! Pictures: unrelated stills, or the frames of a film.
//!
//! A picture is known by its content, whatever its name. It is turned upright by its EXIF orientation. Its size is
//! looked at before it is decoded.

use super::{FrameSource, Next, SourceInfo, SourceStats};
use crate::error::{Error, Result};
use crate::frame::{Frame, MAX_AREA_PX, MAX_SIDE_PX, PixelFormat, Range};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Endings by which a file is taken for a picture even if its content is none.
const ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif"];
/// Formats that are read.
const FORMATS: [ImageFormat; 6] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Gif];
/// Bytes at a file's beginning that tell what it is.
const HEAD_BYTES: u64 = 32;
/// Largest file that is read as a picture, in bytes.
const FILE_BYTES: u64 = 256 << 20;
/// Most bytes that a decoder may ask for: those of three a pixel in the largest frame.
const DECODED_BYTES: u64 = 3 * MAX_AREA_PX as u64;
/// A picture of more pixels is kept in grey, which is all that faces are read from, so that memory stays below 200 MB.
const COLOUR_PX: usize = 32 << 20;
/// From this many numbered pictures of one size on, a folder looks like a film.
const FILM: usize = 8;

/// Whether the path ends like a picture.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// The format that a plain file's first bytes tell, of those that are read.
fn format_of(path: &Path) -> Option<ImageFormat> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    image::guess_format(&head).ok().filter(|f| FORMATS.contains(f))
}

/// Whether a plain file is a picture, by content or ending; of GIFs, those with one picture alone.
pub fn is_still(path: &Path) -> bool {
    match format_of(path) {
        Some(ImageFormat::Gif) => !moves(path),
        Some(_) => true,
        None => is_picture(path),
    }
}

/// Whether a GIF has more than one picture.
fn moves(path: &Path) -> bool {
    use image::AnimationDecoder;
    let Ok(file) = File::open(path) else { return false };
    let Ok(mut gif) = image::codecs::gif::GifDecoder::new(BufReader::new(file)) else { return false };
    gif.set_limits(limits()).is_ok() && gif.into_frames().take(2).filter(Result::is_ok).count() == 2
}

fn limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX as u32);
    limits.max_image_height = Some(MAX_SIDE_PX as u32);
    limits.max_alloc = Some(DECODED_BYTES);
    limits
}

/// The pictures of a folder in natural order, or a single one; one that cannot be read is left out and counted.
#[derive(Debug)]
pub struct Pictures {
    paths: std::vec::IntoIter<PathBuf>,
    /// Frames a second of a film; stills have none.
    fps: Option<f64>,
    info: SourceInfo,
    stats: SourceStats,
}

impl Pictures {
    /// The frames of a film: time is `index / fps`.
    ///
    /// # Errors
    /// A folder that cannot be listed or holds no picture.
    pub fn film(path: &Path, fps: f64) -> Result<Self> {
        Self::open(path, Some(fps))
    }

    /// Unrelated stills: each frame bears its file's name, and time 0.
    ///
    /// # Errors
    /// As [`Pictures::film`].
    pub fn stills(path: &Path) -> Result<Self> {
        let stills = Self::open(path, None)?;
        if is_sequence(stills.paths.as_slice()) {
            log::warn!(
                "{}: its pictures look like the frames of a film, and are read as unrelated stills; `--as film` with \
                 `--fps N` reads them as one",
                stills.info.name
            );
        }
        Ok(stills)
    }

    fn open(path: &Path, fps: Option<f64>) -> Result<Self> {
        let mut paths = vec![path.to_owned()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
            let entries = entries.map_err(|e| Error::input("cannot be listed").at(path.display()).caused_by(e))?;
            let plain = entries.iter().map(std::fs::DirEntry::path).filter(|p| p.is_file());
            paths = plain.filter(|p| is_picture(p) || format_of(p).is_some()).collect();
            paths.sort_by(|a, b| alphanumeric_sort::compare_path(a, b));
        }
        if paths.is_empty() {
            return Err(Error::input("holds no pictures")
                .at(path.display())
                .remedy("expected JPEG, PNG, WebP, BMP, TIFF or GIF files"));
        }
        let frames = Some(paths.len() as u64);
        let info = SourceInfo { name: path.display().to_string(), fps, frames, live: false };
        Ok(Self { paths: paths.into_iter(), fps, info, stats: SourceStats::default() })
    }
}

/// Whether the names count up by one from picture to picture, and the pictures are of one size.
fn is_sequence(paths: &[PathBuf]) -> bool {
    let number = |path: &PathBuf| {
        let stem = path.file_stem()?.to_str()?;
        let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (name, number) = stem.split_at(stem.len() - digits);
        Some((name.to_owned(), number.parse::<u64>().ok()?))
    };
    let Some(numbers) = paths.iter().map(number).collect::<Option<Vec<_>>>() else { return false };
    let counts_up = numbers.windows(2).all(|w| w[0].0 == w[1].0 && w[0].1.checked_add(1) == Some(w[1].1));
    let size = |path: &PathBuf| ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok();
    let shown = [paths.first(), paths.get(paths.len() / 2), paths.last()].map(|p| p.and_then(size));
    paths.len() >= FILM && counts_up && shown[0].is_some() && shown.iter().all(|s| *s == shown[0])
}

/// Reads one picture, upright.
///
/// # Errors
/// If it cannot be decoded, is cut short, or is larger than a frame may be.
pub fn read(path: &Path, frame: &mut Frame) -> Result<()> {
    decode(path, frame).map_err(|e| e.at(path.display()))
}

fn decode(path: &Path, frame: &mut Frame) -> Result<()> {
    let fail = |e: image::ImageError| Error::input("cannot be decoded").caused_by(e);
    let meta = std::fs::metadata(path).map_err(|e| Error::input("cannot be opened").caused_by(e))?;
    if !meta.is_file() {
        return Err(Error::input("is no plain file").remedy("a picture is read from a file"));
    }
    if meta.len() > FILE_BYTES {
        return Err(Error::input(format!("has {} bytes, a picture may have {FILE_BYTES}", meta.len())));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::input("cannot be read").caused_by(e))?;
    decode_bytes(&bytes, frame).map_err(|e| match e {
        Undecoded::Image(e) => fail(e),
        Undecoded::Other(e) => e,
    })
}

/// Why bytes gave no picture.
pub(super) enum Undecoded {
    Image(image::ImageError),
    Other(Error),
}

impl From<image::ImageError> for Undecoded {
    fn from(e: image::ImageError) -> Self {
        Self::Image(e)
    }
}

impl From<Error> for Undecoded {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

/// Decodes a picture that is in memory.
pub(super) fn decode_bytes(bytes: &[u8], frame: &mut Frame) -> std::result::Result<(), Undecoded> {
    let format = image::guess_format(bytes)?;
    if !FORMATS.contains(&format) {
        return Err(Error::unsupported(format!("is {format:?}"))
            .remedy("JPEG, PNG, WebP, BMP, TIFF and GIF are read")
            .into());
    }
    let reader = || ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let (w, h) = reader().into_dimensions()?;
    Frame::check_size(w as usize, h as usize)?;
    let mut limited = reader();
    limited.limits(limits());
    let mut decoder = limited.into_decoder()?;
    if decoder.total_bytes() > DECODED_BYTES {
        return Err(Error::input(format!(
            "{w}x{h} pixels of {:?} take more memory than a picture may",
            decoder.color_type()
        ))
        .remedy("save it with 8 bits a value")
        .into());
    }
    if format == ImageFormat::Jpeg && !is_whole_jpeg(bytes) {
        return Err(Error::input("is cut short").remedy("copy it again").into());
    }
    let upright = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    if upright != Orientation::NoTransforms {
        picture.apply_orientation(upright);
    }
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let (format, data) = match picture {
        DynamicImage::ImageLuma8(gray) => (PixelFormat::Gray8, gray.into_raw()),
        other => (PixelFormat::Rgb8, other.into_rgb8().into_raw()),
    };
    (frame.width, frame.height, frame.format, frame.range, frame.data) = (w, h, format, Range::Full, data);
    if w * h > COLOUR_PX {
        frame.drop_colour();
    }
    Ok(())
}

/// Whether a JPEG's picture comes to an end: decoders take one that is cut short for whole, and fill it up.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    let mut in_scan = false;
    loop {
        let Some(skip) = bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == 0xFF)) else { return false };
        at += skip;
        let Some(marker) = bytes.get(at + 1) else { return false };
        match marker {
            0xFF => at += 1,
            0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
            &END_OF_IMAGE => return in_scan,
            other => {
                in_scan |= *other == START_OF_SCAN;
                let Some([high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([*high, *low])).max(2);
            }
        }
    }
}

impl FrameSource for Pictures {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        for path in self.paths.by_ref() {
            match read(&path, frame) {
                Ok(()) => {
                    frame.index = self.stats.delivered;
                    frame.time = self.fps.map_or(Duration::ZERO, |f| Duration::from_secs_f64(frame.index as f64 / f));
                    let name = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                    frame.file = self.fps.is_none().then(|| Arc::from(name()));
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

    fn widths(frames: &[Frame]) -> Vec<usize> {
        frames.iter().map(|f| f.width).collect()
    }

    #[test]
    fn pictures_come_in_order_and_damaged_ones_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "b.png", 1, 1);
        save(dir.path(), "a.png", 5, 3);
        std::fs::write(dir.path().join("c.jpg"), b"no jpeg").unwrap();
        std::fs::write(dir.path().join("notes.txt"), b"ignored").unwrap();
        let mut source = Pictures::film(dir.path(), 10.0).unwrap();
        let frames = check_contract(&mut source);
        assert_eq!(widths(&frames), [5, 1]);
        assert_eq!(source.stats(), SourceStats { delivered: 2, damaged: 1, ..SourceStats::default() });
        assert_eq!((frames[1].time, &frames[1].file), (Duration::from_millis(100), &None));
    }

    #[test]
    fn numbers_in_names_count_as_numbers_and_stills_bear_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for n in [1, 2, 9, 10, 11] {
            save(dir.path(), &format!("img{n}.png"), n, 1);
        }
        let frames = check_contract(&mut Pictures::stills(dir.path()).unwrap());
        assert_eq!(widths(&frames), [1, 2, 9, 10, 11]);
        assert_eq!(frames[3].file.as_deref(), Some("img10.png"));
        assert!(frames.iter().all(|f| f.time.is_zero()));
    }

    #[test]
    fn content_tells_what_a_picture_is_and_not_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let picture = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(7, 5, image::Rgb([9, 90, 200])));
        let names = ["a.jpg", "b.png", "c.webp", "d.bmp", "e", "f.dat"];
        let formats = ["webp", "jpeg", "png", "tiff", "gif", "bmp"];
        for (name, format) in names.into_iter().zip(formats) {
            picture.save_with_format(dir.path().join(name), ImageFormat::from_extension(format).unwrap()).unwrap();
        }
        let frames = check_contract(&mut Pictures::stills(dir.path()).unwrap());
        assert_eq!(frames.len(), 6);
        for f in &frames {
            assert_eq!((f.width, f.height), (7, 5));
            let found = [f.data[0], f.data[1], f.data[2]];
            assert!(found.iter().zip([9, 90, 200]).all(|(a, b)| a.abs_diff(b) < 6), "{found:?}");
        }
        for name in names {
            assert!(is_still(&dir.path().join(name)), "{name}");
        }
    }

    #[test]
    fn a_moving_gif_is_no_still() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gif");
        let mut gif = image::codecs::gif::GifEncoder::new(File::create(&path).unwrap());
        let frame = |v| image::Frame::new(image::RgbaImage::from_pixel(4, 4, image::Rgba([v, v, v, 255])));
        gif.encode_frames([frame(1), frame(200)]).unwrap();
        drop(gif);
        assert!(!is_still(&path));
    }

    /// A JPEG of `w` x `h`, its left half dark, with this EXIF orientation.
    fn turned_jpeg(w: u32, h: u32, orientation: u8) -> Vec<u8> {
        let picture = image::GrayImage::from_fn(w, h, |x, _| image::Luma([if x < w / 2 { 20 } else { 220 }]));
        let mut plain = Vec::new();
        picture.write_to(&mut std::io::Cursor::new(&mut plain), ImageFormat::Jpeg).unwrap();
        let tiff =
            [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation, 0, 0, 0, 0, 0, 0]].concat();
        let exif = [b"Exif\0\0".as_slice(), &tiff].concat();
        let segment = [&[0xFF, 0xE1][..], &(exif.len() as u16 + 2).to_be_bytes(), &exif].concat();
        [&plain[..2], &segment, &plain[2..]].concat()
    }

    #[test]
    fn every_exif_orientation_is_turned_upright() {
        // Where the dark half lies once upright: left, right, top or bottom.
        let sides = ["left", "right", "right", "left", "top", "top", "bottom", "bottom"];
        for (orientation, want) in (1..=8).zip(sides) {
            let mut frame = Frame::default();
            assert!(decode_bytes(&turned_jpeg(32, 16, orientation), &mut frame).is_ok());
            let across = orientation > 4;
            assert_eq!((frame.width, frame.height), if across { (16, 32) } else { (32, 16) }, "{orientation}");
            let at = |x: usize, y: usize| frame.data[y * frame.width + x] < 120;
            let (w, h) = (frame.width - 1, frame.height - 1);
            let dark = match (at(0, 0), at(w, 0), at(0, h)) {
                (true, false, true) => "left",
                (false, true, false) => "right",
                (true, true, false) => "top",
                (false, false, true) => "bottom",
                other => panic!("{orientation}: {other:?}"),
            };
            assert_eq!(dark, want, "{orientation}");
        }
    }

    #[test]
    fn a_jpeg_that_is_cut_short_is_damaged_at_every_length() {
        let whole = turned_jpeg(64, 48, 1);
        assert!(is_whole_jpeg(&whole));
        assert!(is_whole_jpeg(&[&whole[..], b"trailer"].concat()));
        for n in 0..whole.len() - 1 {
            assert!(!is_whole_jpeg(&whole[..n]), "{n}");
        }
    }

    #[test]
    fn an_empty_folder_and_unreadable_pictures_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Pictures::stills(dir.path()).unwrap_err().to_string().contains("holds no pictures"));
        std::fs::write(dir.path().join("x.png"), b"").unwrap();
        let error = Pictures::stills(dir.path()).unwrap().next_frame(&mut Frame::default()).unwrap_err();
        assert!(error.to_string().contains("none of its 1 pictures"));
    }

    #[test]
    fn a_picture_of_8000_by_6000_pixels_is_read() {
        let dir = tempfile::tempdir().unwrap();
        image::GrayImage::from_pixel(8000, 6000, image::Luma([9])).save(dir.path().join("big.png")).unwrap();
        let frames = check_contract(&mut Pictures::film(dir.path(), 1.0).unwrap());
        assert_eq!((frames[0].data.len(), frames[0].format), (48_000_000, PixelFormat::Gray8));
    }

    #[test]
    fn a_small_file_that_claims_a_large_picture_is_refused_before_it_is_decoded() {
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, 16_000, 16_000);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Sixteen);
        let mut writer = encoder.write_header().unwrap();
        writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).unwrap();
        drop(writer);
        let mut frame = Frame::default();
        let Err(Undecoded::Other(e)) = decode_bytes(&png, &mut frame) else { panic!("it was read") };
        assert!(e.to_string().contains("16000x16000"), "{e}");
        assert_eq!(frame.data.capacity(), 0);
    }

    #[test]
    fn a_sequence_is_told_from_a_holiday() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (7..16).map(|n| dir.path().join(format!("frame{n:03}.png"))).collect();
        paths.iter().for_each(|p| image::GrayImage::new(6, 4).save(p).unwrap());
        assert!(is_sequence(&paths));
        assert!(!is_sequence(&paths[..4]), "too few");
        assert!(!is_sequence(&[&paths[..5], &paths[6..]].concat()), "a number is missing");
        image::GrayImage::new(6, 5).save(&paths[8]).unwrap();
        assert!(!is_sequence(&paths), "of two sizes");
    }
}
