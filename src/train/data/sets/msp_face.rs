//! MSP-Face (Vidal et al. 2020): people talking to a camera on the web; one rating a clip.
//!
//! Not known to us: in which folders clips lie (found by name), how the label file spells validation (`Validation`,
//! `Valid`, `Development` and `Dev` are taken), and how it marks an unknown speaker: a `SpkrID` that is no number is
//! taken as unknown, and all clips of that web video (the first number of the name) stay together.

use super::files::{Index, VIDEO, stem};
use super::{Dataset, Options};
use crate::error::{Error, Result};
use crate::render::Affect;
use crate::train::data::record::{Labels, Loaded, Media, Recording, Split};
use crate::train::data::resample::Scale;
use crate::train::data::table::read_text;
use serde_json::{Map, Value};
use std::path::Path;

/// The labelled part.
pub const DATASET: Dataset = Dataset {
    name: "msp-face",
    about: "MSP-Face: people talking to a camera on the web, one rating a clip",
    get: "sign the licence of the MSP lab, University of Texas at Dallas (github.com/ecs-utdallas, MSP-Face)",
    licence: "academic use only, under a signed licence; no passing on",
    layout: "labels_concensus.json (so spelt) and MSP-FACE_NNNN_NNNN.mp4 in any folders",
    opener: open,
};

/// The raters' scale.
const SCALE: Scale = Scale { low: 1.0, high: 7.0 };

/// So spelt in the set.
const LABELS: &str = "labels_concensus";

fn open(root: &Path, _: &Options) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let json = Index::by_stem(root, &["json"])?;
    if !json.has(LABELS) {
        return Ok(loaded);
    }
    let file = json.one(LABELS)?;
    let text = read_text(file)?;
    let place = file.display().to_string();
    let clips: Map<String, Value> = match serde_json::from_str(&text) {
        Ok(clips) => clips,
        Err(e) => {
            // serde_json says line and column.
            let wrong = Error::input("is not a JSON object of clips").at(format!("{place}:{}", e.line())).caused_by(e);
            loaded.push(file, Err(wrong));
            return Ok(loaded);
        }
    };
    let videos = Index::by_stem(root, VIDEO)?;
    for (clip, entry) in &clips {
        let at = |e: Error| Error::new(e.kind(), e.to_string()).at(format!("{place}: {clip}"));
        match entry_of(entry).and_then(|e| Ok((split(e)?, e))) {
            Ok((Some(split), entry)) => loaded.push(file, recording(clip, entry, split, &videos).map_err(at)),
            Ok((None, entry)) => loaded.leave_out(clip, format!("is in the part {}", entry["Split_Set"])),
            Err(e) => loaded.push(file, Err(at(e))),
        }
    }
    Ok(loaded)
}

/// The one object of a clip's list.
fn entry_of(entry: &Value) -> Result<&Map<String, Value>> {
    match entry.as_array().map(Vec::as_slice) {
        Some([Value::Object(one)]) => Ok(one),
        _ => Err(Error::input("is not a list of one object")),
    }
}

fn text<'a>(entry: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    match entry.get(key) {
        Some(Value::String(s)) => Ok(s),
        Some(other) => Err(Error::input(format!("{key} is {other}, expected a string"))),
        None => Err(Error::input(format!("has no {key}"))),
    }
}

/// `None` for a part that is neither for training nor for tests.
fn split(entry: &Map<String, Value>) -> Result<Option<Split>> {
    Ok(match text(entry, "Split_Set")?.to_ascii_lowercase().as_str() {
        "train" => Some(Split::Train),
        "validation" | "valid" | "development" | "dev" => Some(Split::Valid),
        "test" => Some(Split::Test),
        _ => None,
    })
}

fn rating(entry: &Map<String, Value>, key: &str) -> Result<f32> {
    let cell = text(entry, key)?;
    let value = cell.trim().parse::<f64>().ok().filter(|v| SCALE.range().contains(v));
    value.map(|v| SCALE.map(v)).ok_or_else(|| Error::input(format!("{key} is {cell:?}, expected a number from 1 to 7")))
}

fn recording(clip: &str, entry: &Map<String, Value>, split: Split, videos: &Index) -> Result<Recording> {
    let id = stem(Path::new(clip)).to_owned();
    let labels = Labels::Clip(Affect { arousal: rating(entry, "EmoAct")?, valence: rating(entry, "EmoVal")? });
    let speaker = text(entry, "SpkrID")?.trim();
    let subject = speaker.parse::<u32>().is_ok().then(|| format!("speaker {speaker}"));
    let source = id.rsplit_once('_').map_or(&id[..], |(video, _)| video);
    let group = subject.clone().unwrap_or_else(|| source.to_owned());
    let media = Media::Video(videos.one(&id)?.to_owned());
    Ok(Recording { id, subject, group, split, media, fps: None, labels })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, by_id};
    use super::*;
    use serde_json::json;

    fn entry(act: &str, val: &str, speaker: &str, set: &str) -> Value {
        json!([{"EmoClass_Major": "H", "EmoAct": act, "EmoDom": "2.0", "EmoVal": val, "SpkrID": speaker, "Gender": "Female", "Split_Set": set}])
    }

    fn tree(labels: &Value) -> Tree {
        let tree = Tree::new();
        tree.file("Labels/labels_concensus.json", labels.to_string());
        for n in 1..=6 {
            tree.file(&format!("Segments/MSP-FACE_0253_000{n}.mp4"), "");
        }
        tree
    }

    fn good() -> Value {
        json!({
            "MSP-FACE_0253_0001.mp4": entry("5.5", "2.5", "27", "Train"),
            "MSP-FACE_0253_0002.mp4": entry("7", "1.0", "28", "Validation"),
            "MSP-FACE_0253_0003.mp4": entry("4", "4", "29", "Test"),
            "MSP-FACE_0253_0004.mp4": entry("4", "4", "Unknown", "Test"),
            "MSP-FACE_0253_0005.mp4": entry("4", "4", "30", "Unlabeled"),
        })
    }

    #[test]
    fn activation_is_arousal_on_a_scale_from_one_to_seven() {
        let loaded = tree(&good()).open("msp-face");
        let label = |n: u32| by_id(&loaded, &format!("MSP-FACE_0253_000{n}")).labels.clone();
        assert_eq!(label(1), Labels::Clip(Affect { arousal: 0.5, valence: -0.5 }));
        assert_eq!(label(2), Labels::Clip(Affect { arousal: 1.0, valence: -1.0 }));
        let splits: Vec<Split> = loaded.recordings.iter().map(|r| r.split).collect();
        assert_eq!(splits, [Split::Train, Split::Valid, Split::Test, Split::Test]);
        let r = by_id(&loaded, "MSP-FACE_0253_0004");
        assert_eq!((r.subject.as_deref(), &r.group[..]), (None, "MSP-FACE_0253"));
        assert!(loaded.report.left_out[0].why.contains("Unlabeled") && loaded.report.bad.is_empty());
    }

    #[test]
    fn a_speaker_in_two_parts_is_kept_out_of_training() {
        let mut labels = good();
        labels["MSP-FACE_0253_0001.mp4"] = entry("4", "4", "29", "Train");
        let loaded = tree(&labels).open("msp-face");
        assert!(loaded.recordings.iter().all(|r| r.split != Split::Train));
        assert!(loaded.report.left_out.iter().any(|n| n.why.contains("speaker 29 is also in test")));
    }

    #[test]
    fn malformed_entries_are_named() {
        for (bad, want) in [
            (json!([]), "is not a list of one object"),
            (json!({"EmoAct": "4"}), "is not a list of one object"),
            (entry("x", "4", "1", "Train"), "EmoAct is \"x\""),
            (entry("4", "7.5", "1", "Train"), "EmoVal is \"7.5\", expected a number from 1 to 7"),
            (entry("4", "nan", "1", "Train"), "EmoVal is \"nan\""),
            (
                json!([{"EmoAct": 4.0, "EmoVal": "4", "SpkrID": "1", "Split_Set": "Train"}]),
                "EmoAct is 4.0, expected a string",
            ),
            (json!([{"EmoAct": "4", "SpkrID": "1", "Split_Set": "Train"}]), "has no EmoVal"),
            (json!([{"EmoAct": "4", "EmoVal": "4", "SpkrID": "1"}]), "has no Split_Set"),
        ] {
            let mut labels = good();
            labels["MSP-FACE_0253_0006.mp4"] = bad;
            let report = tree(&labels).open("msp-face").report;
            let why = &report.bad[0].why;
            assert!(why.contains("labels_concensus.json: MSP-FACE_0253_0006.mp4") && why.contains(want), "{why}");
            assert_eq!(report.bad.len(), 1);
        }
    }

    #[test]
    fn broken_files_and_missing_clips_are_bad() {
        let tree = tree(&good());
        tree.remove("Segments/MSP-FACE_0253_0001.mp4");
        assert!(tree.open("msp-face").report.bad[0].why.contains("MSP-FACE_0253_0001.(mp4"));
        tree.file("copy/labels_concensus.json", "{}");
        let e = Dataset::named("msp-face").unwrap().open(tree.path(), &Options::default()).unwrap_err().to_string();
        assert!(e.contains("is there twice"), "{e}");
        tree.remove("copy/labels_concensus.json");
        for (text, want) in [("", ".json:1: is not"), ("{\n\"a\": [\n", ".json:3: is not"), ("[]", ".json:1: is not")] {
            tree.file("Labels/labels_concensus.json", text);
            let bad = tree.open("msp-face").report.bad;
            assert!(bad.len() == 1 && bad[0].why.contains(want), "{bad:?}");
        }
        let windows = [b"\xEF\xBB\xBF", good().to_string().as_bytes()].concat();
        tree.file("Segments/MSP-FACE_0253_0001.mp4", "").file("Labels/labels_concensus.json", windows);
        assert!(tree.open("msp-face").report.bad.is_empty());
    }
}
