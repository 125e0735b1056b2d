//! FER+ (Barsoum et al. 2016, arXiv 1608.01041): 48x48 grey stills with ten people's votes.

use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::render::Affect;
use crate::train::data::bounded;
use crate::train::data::record::Votes;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Human mean (valence, arousal) of neutral, happiness, surprise, sadness, anger, disgust, fear, contempt on
/// AffectNet's validation set, n = 500 each (Mollahosseini et al., arXiv 1708.03985).
pub const CLASS_MEANS: [(f64, f64); 8] = [
    (-0.03, -0.02),
    (0.67, 0.08),
    (0.18, 0.70),
    (-0.63, -0.27),
    (-0.43, 0.55),
    (-0.68, 0.45),
    (-0.12, 0.76),
    (-0.51, 0.58),
];

/// What a user may call the data in a card or a record.
pub const LABELS: &str =
    "proxy labels: FER+ votes averaged over AffectNet class means, not ratings of arousal and valence";

/// Most bytes of `label.csv`, of a picture's file, and of all pictures decoded.
const MOST_TABLE_BYTES: u64 = 16 << 20;
const MOST_FILE_BYTES: u64 = 4 << 20;
const MOST_PIXELS: usize = 1 << 30;
/// Most pixels of a picture's side.
const MOST_SIDE_PX: u32 = 1024;

/// One picture with its graded label.
#[derive(Debug, Clone, PartialEq)]
pub struct Still {
    /// File name within the split, e.g. `fer0028638.png`.
    pub name: String,
    /// 48x48 grey.
    pub image: Gray,
    /// In [-1, 1].
    pub arousal: f32,
    /// In [-1, 1].
    pub valence: f32,
}

/// A split as read, with what was left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    pub stills: Vec<Still>,
    /// Pictures whose unknown and not-a-face votes reach half.
    pub undecided: usize,
}

/// Where a split's files are.
enum Store {
    Folder(PathBuf),
    Zip(Box<zip::ZipArchive<File>>, PathBuf),
}

impl Store {
    fn open(path: &Path) -> Result<Self> {
        let missing = "expected a folder or zip in the FERPlus layout, with label.csv and PNG pictures";
        if path.is_dir() {
            return Ok(Store::Folder(path.to_owned()));
        }
        let file = File::open(path)
            .map_err(|e| Error::input("cannot open the data set").at(path.display()).remedy(missing).caused_by(e))?;
        let archive = zip::ZipArchive::new(file)
            .map_err(|e| Error::input("not a readable zip").at(path.display()).remedy(missing).caused_by(e))?;
        Ok(Store::Zip(Box::new(archive), path.to_owned()))
    }

    /// The path of `label.csv` without its name.
    fn root(&self) -> Result<String> {
        match self {
            Store::Folder(_) => Ok(String::new()),
            Store::Zip(archive, path) => archive
                .file_names()
                .find_map(|n| n.strip_suffix("label.csv"))
                .map(str::to_owned)
                .ok_or_else(|| Error::input("holds no label.csv").at(path.display())),
        }
    }

    /// A file of at most `most` bytes, whatever the zip says of it.
    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>> {
        match self {
            Store::Folder(dir) => bounded::read(&dir.join(name), most),
            Store::Zip(archive, path) => {
                let place = format!("{}:{name}", path.display());
                let file = archive.by_name(name).map_err(|e| Error::input("cannot be read").at(&place).caused_by(e))?;
                bounded::read_from(file, most).map_err(|e| e.at(&place))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Store::Folder(p) | Store::Zip(_, p) => p.display().to_string(),
        }
    }
}

/// Reads a split: `label.csv` (no header: name, box, votes for eight classes, unknown, not-a-face) and its pictures.
///
/// # Errors
/// Names the file and line of the first malformed row, or the picture that cannot be decoded or is too large.
pub fn load(path: &Path) -> Result<Split> {
    let mut store = Store::open(path)?;
    let root = store.root()?;
    let place = format!("{}:{root}label.csv", store.name());
    let text = String::from_utf8(store.read(&format!("{root}label.csv"), MOST_TABLE_BYTES)?)
        .map_err(|e| Error::input("is not UTF-8").at(&place).caused_by(e))?;
    let (mut split, mut names, mut pixels) = (Split::default(), BTreeSet::new(), 0);
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let (name, label) = parse_row(line).map_err(|what| Error::input(what).at(format!("{place}:{}", i + 1)))?;
        let Some((Affect { arousal, valence }, _)) = label else {
            split.undecided += 1;
            continue;
        };
        let at = |e: Error| e.at(format!("{place}:{}", i + 1));
        if !names.insert(name.clone()) {
            return Err(at(Error::input(format!("names {name} once more"))));
        }
        let bytes = store.read(&format!("{root}{name}"), MOST_FILE_BYTES)?;
        let image = decode(&bytes).map_err(|e| e.at(format!("{}:{root}{name}", store.name())))?;
        pixels += image.data.len();
        if pixels > MOST_PIXELS {
            return Err(at(Error::input(format!("its pictures up to here have more than {MOST_PIXELS} pixels"))));
        }
        split.stills.push(Still { name, image, arousal, valence });
    }
    if split.stills.is_empty() {
        return Err(Error::input("holds no usable picture").at(place));
    }
    Ok(split)
}

/// A square picture, whose size is looked at before its pixels.
fn decode(bytes: &[u8]) -> Result<Gray> {
    let bad = |e: image::ImageError| Error::input("cannot decode the picture").caused_by(e);
    let mut reader = image::ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| Error::input("cannot decode the picture").caused_by(e))?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE_PX), Some(MOST_SIDE_PX));
    reader.limits(limits);
    let picture = reader.decode().map_err(bad)?.into_luma8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width != height {
        return Err(Error::input(format!("is {width}x{height}, expected a square picture")));
    }
    Ok(Gray { width, height, data: picture.into_raw() })
}

/// The grade of the votes and their shares; `None` where half of them or more are for no emotion.
pub(crate) type Label = Option<(Affect, Votes)>;

/// Name and label of a row of `label.csv`; what is wrong with it.
pub(crate) fn parse_row(line: &str) -> std::result::Result<(String, Label), String> {
    // The box is quoted and holds commas itself: "(0, 0, 48, 48)".
    let (name, rest) = line.split_once(',').ok_or("expected: name, box, ten votes")?;
    let rest = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\",").ok_or("the box's quote is not closed")?.1,
        None => rest.split_once(',').ok_or("expected: name, box, ten votes")?.1,
    };
    let votes: Vec<f64> = rest
        .split(',')
        .map(|v| {
            v.trim()
                .parse::<f64>()
                .ok()
                .filter(|v| (0.0..=10.0).contains(v))
                .ok_or(format!("vote {v:?} is not a number from 0 to 10"))
        })
        .collect::<std::result::Result<_, _>>()?;
    if votes.len() != 10 {
        return Err(format!("{} votes, expected 10", votes.len()));
    }
    if name.is_empty() || name.contains(['/', '\\']) {
        return Err(format!("picture name {name:?} is not a plain file name"));
    }
    Ok((name.to_owned(), graded(&votes)))
}

/// The votes' mean of the class means, and their shares; `None` if unknown and not-a-face reach half.
fn graded(votes: &[f64]) -> Label {
    let total: f64 = votes.iter().sum();
    let faces: f64 = votes[..8].iter().sum();
    if faces <= 0.0 || total - faces >= total / 2.0 {
        return None;
    }
    let mean = |pick: fn(&(f64, f64)) -> f64| {
        (votes.iter().zip(&CLASS_MEANS).map(|(v, m)| v * pick(m)).sum::<f64>() / faces) as f32
    };
    let shares = std::array::from_fn(|k| (votes[k] / faces) as f32);
    Some((Affect { arousal: mean(|m| m.1), valence: mean(|m| m.0) }, shares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_become_the_mean_of_class_means() {
        let (name, label) = parse_row("fer1.png,\"(0, 0, 48, 48)\",5,5,0,0,0,0,0,0,0,0").unwrap();
        assert_eq!(name, "fer1.png");
        let (graded, shares) = label.unwrap();
        assert!((graded.valence - 0.32).abs() < 1e-6 && (graded.arousal - 0.03).abs() < 1e-6);
        assert_eq!(shares, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let (_, shares) = parse_row("f.png,\"(0, 0, 48, 48)\",3,0,0,0,0,0,0,3,3,1").unwrap().1.unwrap();
        assert_eq!(shares, [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5], "of those who saw an emotion");
    }

    #[test]
    fn undecided_pictures_are_left_out() {
        assert_eq!(parse_row("f.png,\"(0, 0, 48, 48)\",5,0,0,0,0,0,0,0,3,2").unwrap().1, None);
        assert!(parse_row("f.png,\"(0, 0, 48, 48)\",6,0,0,0,0,0,0,0,3,1").unwrap().1.is_some());
        assert_eq!(parse_row("f.png,\"(0, 0, 48, 48)\",0,0,0,0,0,0,0,0,0,0").unwrap().1, None);
    }

    #[test]
    fn malformed_rows_say_what_was_expected() {
        assert!(parse_row("f.png").unwrap_err().contains("expected"));
        assert!(parse_row("f.png,\"(0, 0, 48, 48)\",1,2").unwrap_err().contains("2 votes, expected 10"));
        assert!(parse_row("f.png,\"(0, 0, 48, 48)\",x,0,0,0,0,0,0,0,0,0").unwrap_err().contains("\"x\""));
        assert!(parse_row("../f.png,\"(0, 0, 48, 48)\",1,0,0,0,0,0,0,0,0,0").unwrap_err().contains("plain"));
    }

    fn png(side: u32) -> Vec<u8> {
        let mut out = std::io::Cursor::new(Vec::new());
        image::GrayImage::from_pixel(side, side, image::Luma([7])).write_to(&mut out, image::ImageFormat::Png).unwrap();
        out.into_inner()
    }

    #[test]
    fn folder_and_zip_read_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let rows = "a.png,\"(0, 0, 48, 48)\",0,10,0,0,0,0,0,0,0,0\nb.png,\"(0, 0, 48, 48)\",0,0,0,0,0,0,0,0,0,10\n";
        std::fs::write(dir.path().join("label.csv"), rows).unwrap();
        std::fs::write(dir.path().join("a.png"), png(48)).unwrap();
        let folder = load(dir.path()).unwrap();
        assert_eq!((folder.stills.len(), folder.undecided), (1, 1));

        let path = dir.path().join("split.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for (name, bytes) in [("S/label.csv", rows.as_bytes().to_vec()), ("S/a.png", png(48))] {
            zip.start_file(name, options).unwrap();
            std::io::Write::write_all(&mut zip, &bytes).unwrap();
        }
        zip.finish().unwrap();
        assert_eq!(load(&path).unwrap(), folder);
    }

    #[test]
    fn bombs_in_a_zip_are_refused_by_what_they_give_and_not_by_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split.zip");
        let row = |name: &str| format!("{name},\"(0, 0, 48, 48)\",0,10,0,0,0,0,0,0,0,0\n");
        let refused = |files: &[(&str, Vec<u8>)], want: &str| {
            let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
            for (name, bytes) in files {
                zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
                std::io::Write::write_all(&mut zip, bytes).unwrap();
            }
            zip.finish().unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() < 100_000, "it is small");
            let e = load(&path).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        };
        let blank = |bytes: u64| vec![b'\n'; bytes as usize];
        refused(&[("label.csv", blank(MOST_TABLE_BYTES + 1))], "label.csv: has more than 16777216 bytes");
        let a = || ("label.csv", row("a.png").into_bytes());
        refused(&[a(), ("a.png", blank(MOST_FILE_BYTES + 1))], "a.png: has more than 4194304 bytes");
        refused(&[a(), ("a.png", png(1025))], "a.png: cannot decode the picture");
        let twice = row("a.png").repeat(2).into_bytes();
        refused(&[("label.csv", twice), ("a.png", png(48))], "label.csv:2: names a.png once more");
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("label.csv"), "a.png,\"(0, 0, 48, 48)\",0,10,0,0,0,0,0,0,0,0\n").unwrap();
        let missing = load(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("a.png"), "{missing}");
        let none = load(&dir.path().join("nothing.zip")).unwrap_err().to_string();
        assert!(none.contains("nothing.zip") && none.contains("FERPlus layout"), "{none}");
        std::fs::write(dir.path().join("bad.zip"), b"PK nonsense").unwrap();
        assert!(load(&dir.path().join("bad.zip")).unwrap_err().to_string().contains("not a readable zip"));
    }
}
