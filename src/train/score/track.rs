//! One video's predictions or labels, from the files of any system.

use crate::error::{Error, Result};
use crate::train::data::record::{Clock, Labels, Recording};
use crate::train::data::sets::files::{list, stem};
use crate::train::data::table::{Delimiter, Row, TIME, Table, read_text};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

/// Values over a video.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Track {
    /// Seconds, growing, if the file has times.
    pub times: Option<Vec<f64>>,
    /// Frame numbers from 0, growing, if the file has them.
    pub frames: Option<Vec<u64>>,
    /// Arousal and valence of each row; NaN where there is none.
    pub values: [Vec<f64>; 2],
    /// What the reader had to choose.
    pub remark: Option<String>,
}

/// Which side of the comparison a file is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// May leave [-1, 1]. With several faces, the one with the id given, or else the one with the most readings.
    Prediction { face: Option<u32> },
    /// Must lie in [-1, 1].
    Label,
}

/// One line of a file.
struct Line {
    /// The video, where one file holds several.
    video: Option<String>,
    time: Option<f64>,
    frame: Option<u64>,
    face: Option<u32>,
    values: [f64; 2],
}

/// Extensions of files that are read in a folder.
const READ: [&str; 4] = ["csv", "txt", "tsv", "jsonl"];

/// Reads a file or all files of a folder; keys are file stems, or the folders named in a column `image_location`.
///
/// # Errors
/// A malformed file, two tracks of one name, nothing to read.
pub fn read(path: &Path, side: Side) -> Result<BTreeMap<String, Track>> {
    let known = |p: &Path| p.extension().and_then(|e| e.to_str()).is_some_and(|e| READ.contains(&e));
    let files = if path.is_dir() { list(path)? } else { vec![path.to_owned()] };
    let mut tracks = BTreeMap::new();
    for file in files.iter().filter(|f| f.is_file() && (known(f) || !path.is_dir())) {
        for (video, track) in read_file(file, side)? {
            if tracks.insert(video.clone(), track).is_some() {
                return Err(Error::input(format!("{video} is there twice")).at(file.display()));
            }
        }
    }
    if tracks.is_empty() {
        let what = if path.exists() { "holds no file to score" } else { "does not exist" };
        return Err(Error::input(what).at(path.display()).remedy("expected .csv, .txt, .tsv or .jsonl"));
    }
    Ok(tracks)
}

/// The labels of a data set's recording.
pub fn of_recording(r: &Recording) -> Track {
    let Labels::Series(a) = &r.labels else {
        let affect = r.labels.values().next().unwrap_or_default();
        return Track {
            values: [vec![f64::from(affect.arousal)], vec![f64::from(affect.valence)]],
            ..Track::default()
        };
    };
    let dimension = |pick: fn(&crate::render::Affect) -> f32| {
        a.values.iter().map(|v| v.as_ref().map_or(f64::NAN, |v| f64::from(pick(v)))).collect()
    };
    let (times, frames) = match &a.clock {
        Clock::Seconds(t) => (Some(t.clone()), None),
        Clock::Frames(n) => (None, Some(n.iter().map(|n| u64::from(*n)).collect())),
    };
    Track { times, frames, values: [dimension(|v| v.arousal), dimension(|v| v.valence)], remark: None }
}

fn read_file(file: &Path, side: Side) -> Result<Vec<(String, Track)>> {
    let text = read_text(file)?;
    let place = file.display().to_string();
    let lines = match file.extension().and_then(|e| e.to_str()) {
        Some("jsonl") => json_lines(&text, &place, side)?,
        _ => table_lines(&text, &place, side)?,
    };
    if lines.is_empty() {
        return Err(Error::input("holds no rows").at(place));
    }
    let mut videos: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in lines {
        videos.entry(line.video.clone().unwrap_or_else(|| stem(file).to_owned())).or_default().push(line);
    }
    videos.into_iter().map(|(video, lines)| Ok((video, track(lines, side, &place)?))).collect()
}

/// Means "not annotated" in Aff-Wild2.
const MISSING: f64 = -5.0;

fn range(side: Side) -> RangeInclusive<f64> {
    match side {
        Side::Prediction { .. } => TIME,
        Side::Label => -1.0..=1.0,
    }
}

fn table_lines(text: &str, place: &str, side: Side) -> Result<Vec<Line>> {
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let table = Table::parse(text, place, Delimiter::of(first))?;
    let dimensions = [table.column("arousal")?, table.column("valence")?];
    let any = |names: &[&str]| names.iter().find_map(|n| table.find(n));
    let time = any(&["time_s", "timestamp", "time", "frametime"]);
    let (frame, face, image) = (any(&["frame"]), any(&["face"]), any(&["image_location"]));
    let cell = |row: &Row, column: usize| -> Result<f64> {
        let text = row.cells[column];
        if text.is_empty() || text.eq_ignore_ascii_case("nan") || text.parse() == Ok(MISSING) {
            return Ok(f64::NAN);
        }
        table.number(row, column, &range(side))
    };
    let whole = |row: &Row, column: usize| table.number(row, column, &(0.0..=1e15)).map(|v| v as u64);
    let one = |row: &Row| -> Result<Line> {
        let (mut video, mut number) = (None, frame.map(|c| whole(row, c)).transpose()?);
        if let Some(image) = image {
            let (name, picture) = image_location(row.cells[image])
                .ok_or_else(|| table.error(row, format!("{:?} is not like video/00001.jpg", row.cells[image])))?;
            (video, number) = (Some(name), Some(picture));
        }
        let face = match face.map(|c| row.cells[c]) {
            None | Some("none" | "") => None,
            Some(id) => {
                Some(id.parse().map_err(|_| table.error(row, format!("face is {id:?}, expected a number or none")))?)
            }
        };
        Ok(Line {
            video,
            time: time.map(|c| table.number(row, c, &TIME)).transpose()?,
            frame: number,
            face,
            values: [cell(row, dimensions[0])?, cell(row, dimensions[1])?],
        })
    };
    table.rows.iter().map(one).collect()
}

/// Video and frame, from 0, of `video/00001.jpg`.
fn image_location(cell: &str) -> Option<(String, u64)> {
    let (video, picture) = cell.rsplit_once('/')?;
    let number: u64 = stem(Path::new(picture)).parse().ok()?;
    Some((video.to_owned(), number.checked_sub(1)?))
}

fn json_lines(text: &str, place: &str, side: Side) -> Result<Vec<Line>> {
    #[derive(serde::Deserialize)]
    struct Reading {
        time_s: Option<f64>,
        frame: Option<u64>,
        face: Option<serde_json::Value>,
        arousal: Option<f64>,
        valence: Option<f64>,
    }
    let one = |(i, line): (usize, &str)| {
        let at = |e: Error| e.at(format!("{place}:{}", i + 1));
        let r: Reading = serde_json::from_str(line).map_err(|e| at(Error::input("is not a reading").caused_by(e)))?;
        let value = |name: &str, v: Option<f64>| match v {
            None => Ok(f64::NAN),
            Some(v) if range(side).contains(&v) => Ok(v),
            Some(v) => Err(at(Error::input(format!("{name} is {v}, expected a number from -1 to 1")))),
        };
        Ok(Line {
            video: None,
            time: r.time_s,
            frame: r.frame,
            face: r.face.and_then(|f| f.as_u64()).and_then(|f| u32::try_from(f).ok()),
            values: [value("arousal", r.arousal)?, value("valence", r.valence)?],
        })
    };
    text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(one).collect()
}

/// One row a frame: the values of the chosen face, or NaN where it is not there.
fn track(lines: Vec<Line>, side: Side, place: &str) -> Result<Track> {
    let mut readings: BTreeMap<u32, usize> = BTreeMap::new();
    lines.iter().filter_map(|l| l.face).for_each(|f| *readings.entry(f).or_default() += 1);
    let most = readings.iter().max_by_key(|(id, n)| (**n, std::cmp::Reverse(**id))).map(|(id, _)| *id);
    let (asked, chosen) = match side {
        Side::Prediction { face: Some(face) } => (true, Some(face)),
        _ => (false, most),
    };
    let remark = match chosen {
        Some(face) if readings.len() > 1 && !asked => {
            Some(format!("{} faces; face {face}, with the most readings, is scored", readings.len()))
        }
        _ => None,
    };
    let mut rows: Vec<Line> = Vec::with_capacity(lines.len());
    for mut line in lines {
        let wanted = readings.is_empty() || line.face == chosen;
        if !wanted {
            line.values = [f64::NAN; 2];
        }
        match rows.last_mut().filter(|last| !readings.is_empty() && last.frame.is_some() && last.frame == line.frame) {
            Some(last) if wanted => *last = line,
            Some(_) => {}
            None => rows.push(line),
        }
    }
    let dimension = |d: usize| rows.iter().map(|l| l.values[d]).collect();
    let times: Option<Vec<f64>> = rows.iter().map(|l| l.time).collect();
    let frames: Option<Vec<u64>> = rows.iter().map(|l| l.frame).collect();
    let grows = times.as_ref().is_none_or(|t| t.windows(2).all(|w| w[0] < w[1]))
        && frames.as_ref().is_none_or(|f| f.windows(2).all(|w| w[0] < w[1]));
    if !grows {
        return Err(Error::input("its times or frame numbers do not grow from row to row").at(place));
    }
    Ok(Track { times, frames, values: [dimension(0), dimension(1)], remark })
}

/// Names of `a` that are not in `b`.
pub fn missing<T, U>(a: &BTreeMap<String, T>, b: &BTreeMap<String, U>) -> BTreeSet<String> {
    a.keys().filter(|k| !b.contains_key(*k)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Side = Side::Prediction { face: None };

    fn written(name: &str, text: &str, side: Side) -> Result<BTreeMap<String, Track>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, side)
    }

    fn one(name: &str, text: &str, side: Side) -> Track {
        written(name, text, side).unwrap().into_values().next().unwrap()
    }

    fn shown(v: &[f64]) -> String {
        format!("{v:?}")
    }

    #[test]
    fn files_of_every_system_give_arousal_then_valence() {
        let avec = "name;timestamp;arousal;valence;liking\n'x';0.0;0.1;-0.1;0\n'x';0.1;0.2;-0.2;0\n";
        let t = one("x.csv", avec, ANY);
        assert_eq!((t.times, t.values), (Some(vec![0.0, 0.1]), [vec![0.1, 0.2], vec![-0.1, -0.2]]));
        let t = one("x.txt", "valence,arousal\n-0.1,0.1\n-5,0.2\n", Side::Label);
        assert_eq!((shown(&t.values[0]), shown(&t.values[1])), ("[0.1, 0.2]".into(), "[-0.1, NaN]".into()));
        let jsonl = "{\"time_s\":0.0,\"frame\":0,\"face\":1,\"arousal\":0.1,\"valence\":-0.1,\"engine\":\"e\"}\n\
                     {\"time_s\":0.04,\"frame\":1,\"face\":\"none\",\"arousal\":null,\"valence\":null}\n";
        let t = one("x.jsonl", jsonl, ANY);
        assert_eq!((t.frames, shown(&t.values[0])), (Some(vec![0, 1]), "[0.1, NaN]".into()));
    }

    #[test]
    fn our_own_sinks_are_read() {
        use crate::spec::{FaceState, Reading};
        let dir = tempfile::tempdir().unwrap();
        for name in ["r.csv", "r.jsonl"] {
            let path = dir.path().join(name);
            let mut sink = crate::sink::open(&path).unwrap();
            for (frame, arousal) in [(0, Some(0.5)), (1, None)] {
                let face = arousal.map_or(FaceState::NONE, |_| FaceState::Id(1));
                let valence = arousal.map(|_| -0.25);
                let (time_s, engine) = (frame as f64 * 0.04, "reference");
                let reading = Reading {
                    time_s,
                    frame,
                    face,
                    arousal,
                    valence,
                    engine,
                    latency_us: 1,
                    unverified: true,
                    ..Reading::default()
                };
                sink.write(&reading).unwrap();
            }
            sink.finish().unwrap();
            let t = read(&path, ANY).unwrap().into_values().next().unwrap();
            assert_eq!((t.times, t.frames), (Some(vec![0.0, 0.04]), Some(vec![0, 1])), "{name}");
            assert_eq!(shown(&t.values[1]), "[-0.25, NaN]", "{name}");
        }
    }

    #[test]
    fn one_file_may_hold_many_videos() {
        let text = "image_location,valence,arousal\nv1/00001.jpg,-0.1,0.1\nv1/00003.jpg,-0.2,0.2\nv2/00001.jpg,0,0\n";
        let tracks = written("all.txt", text, ANY).unwrap();
        assert_eq!(tracks.len(), 2);
        assert_eq!((&tracks["v1"].frames, &tracks["v1"].values[0]), (&Some(vec![0, 2]), &vec![0.1, 0.2]));
    }

    #[test]
    fn of_several_faces_the_one_with_the_most_readings_counts() {
        let text = "time_s,frame,face,arousal,valence\n0,0,1,0.1,0\n0,0,2,0.9,0\n0.1,1,2,0.8,0\n0.2,2,none,,\n0.3,3,1,0.3,0\n0.3,3,2,0.7,0\n";
        let t = one("x.csv", text, ANY);
        assert_eq!((shown(&t.values[0]), t.frames), ("[0.9, 0.8, NaN, 0.7]".into(), Some(vec![0, 1, 2, 3])));
        assert!(t.remark.unwrap().contains("2 faces; face 2"));
        let t = one("x.csv", text, Side::Prediction { face: Some(1) });
        assert_eq!((shown(&t.values[0]), t.remark), ("[0.1, NaN, NaN, 0.3]".into(), None));
    }

    #[test]
    fn malformed_files_are_named_with_their_line() {
        for (name, text, side, want) in [
            ("x.csv", "", ANY, "x.csv: is empty"),
            ("x.csv", "arousal,valence\n", ANY, "holds no rows"),
            ("x.csv", "arousal,joy\n1,1\n", ANY, "has no column valence"),
            ("x.csv", "arousal,valence\n0,0\n0\n", ANY, "x.csv:3: has 1 columns"),
            ("x.csv", "arousal,valence\n0,high\n", ANY, "x.csv:2: valence is \"high\""),
            ("x.csv", "arousal,valence\n0,1.2\n", Side::Label, "x.csv:2: valence is \"1.2\""),
            ("x.csv", "time,arousal,valence\n1,0,0\n0,0,0\n", ANY, "do not grow"),
            ("x.csv", "image_location,arousal,valence\n1.jpg,0,0\n", ANY, "is not like video/00001.jpg"),
            ("x.jsonl", "{}\nnonsense\n", ANY, "x.jsonl:2: is not a reading"),
            ("x.jsonl", "{\"arousal\": 2.0}\n", Side::Label, "x.jsonl:1: arousal is 2"),
        ] {
            let e = written(name, text, side).unwrap_err().to_string();
            assert!(e.contains(want), "{text:?}: {e}");
        }
        assert!(read(Path::new("/nowhere/x.csv"), ANY).is_err());
        assert_eq!(one("x.csv", "arousal,valence\n0,1.2\n", ANY).values[1], [1.2]);
    }
}
