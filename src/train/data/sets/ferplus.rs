//! FER+ (Barsoum et al. 2016, arXiv 1608.01041): grey stills of 48 pixels with ten people's votes.
//!
//! Each split is a folder with `label.csv` and its pictures, which are face crops. The labels are a proxy
//! ([`ferplus::LABELS`]). Who is in a picture is not known, so each counts as a person of its own.

use super::{Dataset, Options};
use crate::error::{Error, Result};
use crate::train::data::ferplus;
use crate::train::data::record::{Labels, Loaded, Media, Recording, Split};
use crate::train::data::table::read_text;
use std::path::Path;

/// The splits that are unpacked.
pub const DATASET: Dataset = Dataset {
    name: "ferplus",
    about: "FER+: 35,000 grey stills; proxy labels from votes on emotions",
    get: "pictures of FER2013 (Kaggle), votes from the repository FERPlus of Microsoft, joined by its script",
    licence: "votes MIT; pictures for research only",
    layout: "FER2013Train/label.csv and FER2013Train/ferNNNNNNN.png, likewise FER2013Valid and FER2013Test",
    opener: open,
};

const FOLDERS: [(&str, Split); 3] =
    [("FER2013Train", Split::Train), ("FER2013Valid", Split::Valid), ("FER2013Test", Split::Test)];

fn open(root: &Path, _: &Options) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    for (folder, split) in FOLDERS {
        let dir = root.join(folder);
        if !dir.is_dir() {
            continue;
        }
        let file = dir.join("label.csv");
        match read_text(&file) {
            Ok(text) => pictures(&dir, &file, &text, split, &mut loaded),
            Err(e) => loaded.push(&file, Err(e)),
        }
    }
    Ok(loaded)
}

fn pictures(dir: &Path, file: &Path, text: &str, split: Split, loaded: &mut Loaded) {
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let place = format!("{}:{}", file.display(), i + 1);
        match ferplus::parse_row(line) {
            Err(what) => loaded.push(file, Err(Error::input(what).at(place))),
            Ok((name, None)) => loaded.leave_out(dir.join(name), "half of its votes or more are for no emotion"),
            Ok((name, Some((affect, votes)))) => {
                let path = dir.join(&name);
                if path.is_file() {
                    loaded.push(file, Ok(still(&path, &name, split, Labels::Voted(affect, votes))));
                } else {
                    loaded.push(file, Err(Error::input(format!("its picture {name} is missing")).at(place)));
                }
            }
        }
    }
}

fn still(path: &Path, name: &str, split: Split, labels: Labels) -> Recording {
    let id = Path::new(name).file_stem().map_or(name.into(), |s| s.to_string_lossy()).into_owned();
    Recording { group: id.clone(), id, subject: None, split, media: Media::Still(path.to_owned()), fps: None, labels }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, by_id};
    use super::*;

    const HAPPY: &str = "fer1.png,\"(0, 0, 48, 48)\",5,5,0,0,0,0,0,0,0,0\n";

    fn tree() -> Tree {
        let tree = Tree::new();
        tree.file("FER2013Train/label.csv", HAPPY).file("FER2013Train/fer1.png", "");
        let rows =
            "fer2.png,\"(0, 0, 48, 48)\",0,10,0,0,0,0,0,0,0,0\nfer3.png,\"(0, 0, 48, 48)\",0,0,0,0,0,0,0,0,0,10\n";
        tree.file("FER2013Valid/label.csv", rows).file("FER2013Valid/fer2.png", "").file("FER2013Valid/fer3.png", "");
        tree
    }

    #[test]
    fn pictures_are_recordings_of_one_frame_in_their_splits() {
        let tree = tree();
        let loaded = tree.open("ferplus");
        let r = by_id(&loaded, "fer1");
        let Labels::Voted(affect, votes) = &r.labels else { panic!("{:?}", r.labels) };
        assert!((affect.valence - 0.32).abs() < 1e-6 && (affect.arousal - 0.03).abs() < 1e-6);
        assert_eq!(votes[..3], [0.5, 0.5, 0.0]);
        assert!(matches!(&r.media, Media::Still(p) if p.ends_with("FER2013Train/fer1.png")));
        assert_eq!((r.split, by_id(&loaded, "fer2").split), (Split::Train, Split::Valid));
        assert_eq!((loaded.recordings.len(), loaded.report.left_out.len(), loaded.report.bad.len()), (2, 1, 0));
    }

    #[test]
    fn malformed_rows_and_missing_pictures_are_named() {
        tree().each_is_bad(
            "ferplus",
            "FER2013Train/label.csv",
            HAPPY,
            &[
                ("fer1.png", "label.csv:1: expected"),
                ("\nfer1.png,\"(0, 0, 48, 48)\",1,2\n", "label.csv:2: 2 votes, expected 10"),
                (&HAPPY.replace("fer1", "fer9"), "its picture fer9.png is missing"),
            ],
        );
        let tree = tree();
        tree.remove("FER2013Valid/label.csv");
        assert!(tree.open("ferplus").report.bad[0].why.contains("label.csv: cannot be read"));
    }
}
