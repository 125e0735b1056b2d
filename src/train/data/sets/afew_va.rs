//! AFEW-VA (Kossaifi et al. 2017): short film clips, every frame rated.
//!
//! A clip is a folder `NNN` with `NNN.json` and a picture for every key of its `frames`. Not known to us: the pictures'
//! extension (png and jpg are looked for) and the frame rate (rows are bound to frames; `prepare` must be told). Who acts is read from a string
//! `actor` at the top of the JSON if there is one; if not, each clip counts as a person of its own. There is no
//! official split.

use super::files::{list, name};
use super::{Dataset, Options};
use crate::error::{Error, Result};
use crate::render::Affect;
use crate::train::data::record::{Annotation, Clock, Frames, Labels, Loaded, Media, Recording, Split};
use crate::train::data::resample::Scale;
use crate::train::data::split;
use crate::train::data::table::read_text;
use std::collections::BTreeMap;
use std::path::Path;

/// All clips.
pub const DATASET: Dataset = Dataset {
    name: "afew-va",
    about: "AFEW-VA: 600 film clips, every frame rated",
    get: "ask for it at ibug.doc.ic.ac.uk/resources/afew-va-database",
    licence: "non-commercial research only; no passing on",
    layout: "NNN/NNN.json and NNN/00000.png",
    opener: open,
};

/// The raters' scale.
const SCALE: Scale = Scale { low: -10.0, high: 10.0 };

/// Points of a face.
const LANDMARKS: usize = 68;

#[derive(serde::Deserialize)]
struct Clip {
    actor: Option<String>,
    frames: BTreeMap<String, Frame>,
}

#[derive(serde::Deserialize)]
struct Frame {
    landmarks: Vec<[f64; 2]>,
    valence: f64,
    arousal: f64,
}

fn open(root: &Path, options: &Options) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    for dir in list(root)?.into_iter().filter(|d| d.is_dir()) {
        let id = name(&dir);
        if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) {
            let file = dir.join(format!("{id}.json"));
            loaded.push(&file, recording(&dir, id, &file));
        }
    }
    split::by_group(&mut loaded.recordings, options.seed, options.shares);
    Ok(loaded)
}

fn recording(dir: &Path, id: &str, file: &Path) -> Result<Recording> {
    let text = read_text(file)?;
    let clip: Clip = serde_json::from_str(&text)
        .map_err(|e| Error::input("is malformed").at(format!("{}:{}", file.display(), e.line())).caused_by(e))?;
    let bad = |key: &str, what: String| Error::input(what).at(format!("{}: frame {key}", file.display()));
    // Keys are sorted as numbers: as text, "10" would come before "9".
    let mut rows = Vec::with_capacity(clip.frames.len());
    for (key, frame) in &clip.frames {
        let number: u32 = key.parse().map_err(|_| bad(key, "is not named by a number".to_owned()))?;
        let affect = affect(frame).map_err(|what| bad(key, what))?;
        rows.push((number, affect, key));
    }
    rows.sort_by_key(|r| r.0);
    let Some((_, _, key)) = rows.first() else {
        return Err(Error::input("holds no frames").at(file.display()));
    };
    let extension = extension(dir, key)?;
    let frames = Frames { dir: dir.to_owned(), first: 0, digits: key.len(), extension, video: None };
    if let Some((_, _, key)) = rows.iter().find(|r| !frames.path(r.0).is_file()) {
        return Err(bad(key, "has no picture of its name".to_owned()));
    }
    let subject = clip.actor.filter(|a| !a.trim().is_empty());
    Ok(Recording {
        id: id.to_owned(),
        group: subject.clone().unwrap_or_else(|| format!("clip {id}")),
        subject,
        split: Split::Train,
        media: Media::Frames(frames),
        fps: None,
        labels: Labels::Series(Annotation {
            clock: Clock::Frames(rows.iter().map(|r| r.0).collect()),
            values: rows.iter().map(|r| Some(r.1)).collect(),
        }),
    })
}

fn affect(frame: &Frame) -> std::result::Result<Affect, String> {
    if frame.landmarks.len() != LANDMARKS {
        return Err(format!("has {} landmarks, expected {LANDMARKS}", frame.landmarks.len()));
    }
    let one = |what: &str, v: f64| match SCALE.range().contains(&v) {
        true => Ok(SCALE.map(v)),
        false => Err(format!("{what} is {v}, expected a number from -10 to 10")),
    };
    Ok(Affect { arousal: one("arousal", frame.arousal)?, valence: one("valence", frame.valence)? })
}

fn extension(dir: &Path, key: &str) -> Result<String> {
    let found = ["png", "jpg", "jpeg"].into_iter().find(|e| dir.join(format!("{key}.{e}")).is_file());
    found.map(str::to_owned).ok_or_else(|| Error::input(format!("its picture {key}.png is missing")).at(dir.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, affect, by_id, rows};
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn frame(arousal: f64, valence: f64) -> Value {
        json!({"landmarks": vec![[1.5, 2.5]; 68], "valence": valence, "arousal": arousal})
    }

    fn clip(tree: &Tree, id: &str, actor: &str, frames: &[(&str, Value)]) {
        let map: serde_json::Map<String, Value> = frames.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let mut top = json!({"video_id": id, "frames": map});
        if !actor.is_empty() {
            top["actor"] = actor.into();
        }
        tree.file(&format!("{id}/{id}.json"), top.to_string());
        for (key, _) in frames {
            tree.file(&format!("{id}/{key}.png"), "");
        }
    }

    fn one() -> Tree {
        let tree = Tree::new();
        clip(&tree, "001", "A", &[("00000", frame(5.0, -2.5)), ("00001", frame(-10.0, 10.0))]);
        tree
    }

    #[test]
    fn ratings_are_divided_by_ten_and_keep_their_places() {
        let tree = one();
        let loaded = tree.open("afew-va");
        let r = by_id(&loaded, "001");
        assert_eq!(rows(r), [affect(0.5, -0.25), affect(-1.0, 1.0)]);
        let Media::Frames(frames) = &r.media else { panic!("{:?}", r.media) };
        assert!(frames.path(1).ends_with("001/00001.png") && frames.path(1).is_file());
        assert_eq!((r.subject.as_deref(), r.fps), (Some("A"), None));
    }

    #[test]
    fn frames_are_sorted_as_numbers() {
        let tree = Tree::new();
        let keys: Vec<String> = (0..12).map(|i| i.to_string()).collect();
        let frames: Vec<(&str, Value)> =
            keys.iter().enumerate().map(|(i, k)| (&k[..], frame(i as f64 / 2.0, 0.0))).collect();
        clip(&tree, "002", "", &frames);
        let loaded = tree.open("afew-va");
        let arousal: Vec<f32> = rows(by_id(&loaded, "002")).iter().flatten().map(|a| a.arousal).collect();
        assert!(arousal.windows(2).all(|w| w[0] < w[1]), "{arousal:?}");
        assert_eq!(by_id(&loaded, "002").group, "clip 002");
    }

    #[test]
    fn actors_do_not_cross_splits() {
        let tree = Tree::new();
        for i in 0..20 {
            clip(&tree, &format!("{i:03}"), &format!("actor {}", i / 2), &[("00000", frame(0.0, 0.0))]);
        }
        let loaded = tree.open("afew-va");
        let groups = |s| loaded.recordings.iter().filter(|r| r.split == s).map(|r| &r.group).collect::<BTreeSet<_>>();
        let [train, valid, test] = Split::ALL.map(groups);
        assert_eq!((train.len(), valid.len(), test.len()), (6, 2, 2));
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    }

    #[test]
    fn malformed_clips_are_named() {
        let good = json!({"frames": {"00000": frame(1.0, 2.0)}}).to_string();
        let with = |key: &str, f: Value| json!({"frames": {key: f}}).to_string();
        let text = |mut f: Value, key: &str, v: Value| {
            f[key] = v;
            with("00000", f)
        };
        one().each_is_bad(
            "afew-va",
            "001/001.json",
            &good,
            &[
                ("", "001.json:1: is malformed"),
                ("{\"frames\": {\n\"00000\": 3}}", "001.json:2: is malformed"),
                ("{}", "missing field `frames`"),
                ("{\"frames\": {}}", "001.json: holds no frames"),
                (&with("first", frame(0.0, 0.0)), "frame first: is not named by a number"),
                (&with("00007", frame(0.0, 0.0)), "its picture 00007.png is missing"),
                (&with("00000", frame(10.5, 0.0)), "frame 00000: arousal is 10.5, expected a number from -10 to 10"),
                (&text(frame(0.0, 0.0), "valence", "high".into()), "invalid type: string \"high\""),
                (&text(frame(0.0, 0.0), "landmarks", json!([[1.0, 2.0]])), "frame 00000: has 1 landmarks, expected 68"),
            ],
        );
        let tree = one();
        tree.remove("001/00001.png");
        assert!(tree.open("afew-va").report.bad[0].why.contains("frame 00001: has no picture"));
        tree.remove("001/001.json");
        assert!(tree.open("afew-va").report.bad[0].why.contains("001.json: cannot be read"));
    }
}
