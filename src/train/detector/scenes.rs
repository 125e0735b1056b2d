//! Pictures in which faces are marked: zips of JPEG pictures, each with one JSON line a picture.
//!
//! A line has `file`, `faces` and `ignore`. A face has `box` (left, top, width, height), `pts`
//! (image-left eye, image-right eye, nose, image-left and image-right corner of the mouth; ten
//! numbers, or null), and `yaw` in degrees, which may be missing. What lies in `ignore` may be a
//! face.

use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::train::data::bounded;
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Most bytes of the lines of a zip, and of a picture's file.
const MOST_LINES_BYTES: u64 = 256 << 20;
const MOST_FILE_BYTES: u64 = 16 << 20;
/// Most pixels of a picture; all of them are kept in memory.
const MOST_PIXELS: usize = 4 << 20;

/// A face that is marked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// Left, top, width, height in pixels.
    pub rect: [f32; 4],
    /// Eyes, nose, corners of the mouth, the image-left one of two first.
    pub points: Option<[[f32; 2]; 5]>,
    /// How far the head is turned, to the image's right positive, in degrees; rough.
    pub yaw_deg: Option<f32>,
}

impl Mark {
    /// Side of the square of the same area.
    pub fn size(&self) -> f32 {
        (self.rect[2] * self.rect[3]).sqrt()
    }
}

/// A picture with its marks.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    pub name: String,
    /// Where it came from.
    pub source: String,
    pub picture: Gray,
    pub faces: Vec<Mark>,
    /// Regions that may hold faces.
    pub ignored: Vec<[f32; 4]>,
}

#[derive(Deserialize)]
struct Line {
    file: String,
    #[serde(default)]
    source: String,
    faces: Vec<Face>,
    #[serde(default)]
    ignore: Vec<[f32; 4]>,
}

#[derive(Deserialize)]
struct Face {
    r#box: [f32; 4],
    pts: Option<[f32; 10]>,
    yaw: Option<f32>,
}

impl Face {
    fn mark(&self) -> Result<Mark> {
        let numbers = self.r#box.iter().chain(self.pts.iter().flatten()).chain(&self.yaw);
        if !numbers.clone().all(|v| v.is_finite()) || self.r#box[2..].iter().any(|v| *v <= 0.0) {
            return Err(Error::input(format!("a face with the box {:?} makes no sense", self.r#box)));
        }
        let points = self.pts.map(|p| std::array::from_fn(|i| [p[2 * i], p[2 * i + 1]]));
        Ok(Mark { rect: self.r#box, points, yaw_deg: self.yaw })
    }
}

/// The pictures of the zips at `paths`: with `held_out`, those that it lists, or all others.
///
/// # Errors
/// The file, and picture or line in it, that cannot be read.
pub fn read(paths: &[PathBuf], held_out: &BTreeSet<String>, listed: bool) -> Result<Vec<Scene>> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(read_zip(path, |name| held_out.contains(name) == listed).map_err(|e| e.at(path.display()))?);
    }
    if all.is_empty() {
        let which = if listed { "listed as held out" } else { "to train on" };
        return Err(Error::input(format!("there are no pictures {which}")).remedy("check --scenes and --held-out"));
    }
    Ok(all)
}

fn read_zip(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Scene>> {
    let damaged = |e: zip::result::ZipError| Error::input("is not a readable zip").caused_by(e);
    let file = File::open(path).map_err(|e| Error::input("cannot be opened").caused_by(e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(damaged)?;
    let tables: Vec<String> = zip.file_names().filter(|n| n.ends_with(".jsonl")).map(str::to_owned).collect();
    let [table] = &tables[..] else {
        return Err(Error::input(format!("holds {} files of lines (.jsonl), not one", tables.len())));
    };
    let lines = bounded::read_from(zip.by_name(table).map_err(damaged)?, MOST_LINES_BYTES)?;
    let lines = String::from_utf8(lines).map_err(|e| Error::input(format!("{table} is not text")).caused_by(e))?;
    let mut packed = Vec::new();
    for (i, line) in lines.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let place = |e: Error| e.at(format!("{table}, line {}", i + 1));
        let line: Line =
            serde_json::from_str(line).map_err(|e| place(Error::input("is not a picture's line").caused_by(e)))?;
        if wanted(&line.file) {
            let bytes = bounded::read_from(zip.by_name(&line.file).map_err(|e| place(damaged(e)))?, MOST_FILE_BYTES);
            packed.push((bytes.map_err(place)?, line));
        }
    }
    packed.into_par_iter().map(|(bytes, line)| scene(&bytes, &line).map_err(|e| e.at(&line.file))).collect()
}

fn scene(bytes: &[u8], line: &Line) -> Result<Scene> {
    let unread = |e: image::ImageError| Error::input("cannot be read as a picture").caused_by(e);
    let reader = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|e| Error::input("cannot be read as a picture").caused_by(e))?;
    let (width, height) = reader.into_dimensions().map_err(unread)?;
    if width as usize * height as usize > MOST_PIXELS {
        return Err(Error::input(format!("{width} x {height} pixels are more than {MOST_PIXELS}")));
    }
    let picture = image::load_from_memory(bytes).map_err(unread)?.into_luma8();
    Ok(Scene {
        name: line.file.clone(),
        source: line.source.clone(),
        picture: Gray { width: width as usize, height: height as usize, data: picture.into_raw() },
        faces: line.faces.iter().map(Face::mark).collect::<Result<_>>()?,
        ignored: line.ignore.clone(),
    })
}

/// Names of a list, one a line.
///
/// # Errors
/// If it cannot be read.
pub fn names(path: &Path) -> Result<BTreeSet<String>> {
    let text = bounded::read(path, MOST_LINES_BYTES)?;
    let text = String::from_utf8(text).map_err(|e| Error::input("is not text").at(path.display()).caused_by(e))?;
    Ok(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect())
}
