//! Aff-Wild2, valence-arousal estimation (Kollias and Zafeiriou 2018, arXiv 1811.07770; ABAW challenges).
//!
//! Row i of an annotation, from 0, belongs to `cropped_aligned/<video>/%05d.jpg` number i + 1; pictures may be missing.
//! Frame rates are the videos' own, so rows are bound to frames; a video that lies in the tree too, in any folder, gives its
//! rate. `<video>_left` and `<video>_right` are two people of one video and stay in one split. Labels of the test part are not
//! handed out.

use super::files::{Index, VIDEO, list, listed, name, stem};
use super::{Dataset, Options};
use crate::error::{Error, Result};
use crate::render::Affect;
use crate::train::data::record::{Annotation, Clock, Frames, Labels, Loaded, Media, Recording, Split};
use crate::train::data::table::{Delimiter, Row, Table, read_text};
use std::path::{Path, PathBuf};

/// Training and validation parts.
pub const DATASET: Dataset = Dataset {
    name: "affwild2",
    about: "Aff-Wild2 VA (ABAW): videos from the web, every frame annotated",
    get: "ask for it at ibug.doc.ic.ac.uk/resources/aff-wild2 with the licence signed by a member of staff",
    licence: "non-commercial research only, under a signed licence; no passing on",
    layout: "`<n>th ABAW Annotations`/VA_Estimation_Challenge/{Train_Set,Validation_Set}/<video>.txt \
             and cropped_aligned/<video>/00001.jpg; <video>.mp4 or .avi in any folders, for the frame rate",
    opener: open,
};

/// Means "not annotated", for either dimension.
const MISSING: f64 = -5.0;

/// Folder of the pictures, some millions.
const PICTURES: &str = "cropped_aligned";

const CHALLENGE: &str = "VA_Estimation_Challenge";

/// The one challenge folder at `root`, in it, or in an annotations folder of it.
fn challenge(root: &Path) -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    let folders = list(root)?.into_iter().filter(|d| d.is_dir() && name(d) != PICTURES);
    for dir in [root.to_owned()].into_iter().chain(folders) {
        found.extend([dir.clone(), dir.join(CHALLENGE)].into_iter().filter(|d| name(d) == CHALLENGE && d.is_dir()));
    }
    found.sort();
    found.dedup();
    match &found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [a, b, ..] => Err(Error::input(format!("is there for two challenges, also as {}", b.display()))
            .at(a.display())
            .remedy("keep the annotations of one challenge under the folder")),
    }
}

fn open(root: &Path, _: &Options) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let Some(dir) = challenge(root)? else { return Ok(loaded) };
    let videos = Index::by_stem_outside(root, VIDEO, PICTURES)?;
    for (folder, split) in [("Train_Set", Split::Train), ("Validation_Set", Split::Valid)] {
        let dir = dir.join(folder);
        if !dir.is_dir() {
            loaded.leave_out(&dir, "is missing");
            continue;
        }
        for file in listed(&dir, &["txt"])? {
            let mut remarks = Vec::new();
            let recording = recording(root, &file, split, &videos, &mut remarks);
            loaded.push(&file, recording);
            remarks.into_iter().for_each(|why| loaded.remark(&file, why));
        }
    }
    Ok(loaded)
}

fn recording(root: &Path, file: &Path, split: Split, videos: &Index, remarks: &mut Vec<String>) -> Result<Recording> {
    let id = stem(file).to_owned();
    let mut values = values(file)?;
    let dir = root.join(PICTURES).join(&id);
    let (pictures, last) = pictures(&dir)?;
    let rows = values.len();
    if last != rows {
        remarks.push(format!("{rows} annotated frames, pictures up to {last}: the shorter is used"));
        values.truncate(last);
    } else if pictures < rows {
        remarks.push(format!("{} of {rows} pictures are missing", rows - pictures));
    }
    let group = id.strip_suffix("_left").or(id.strip_suffix("_right")).unwrap_or(&id).to_owned();
    let video = if videos.has(&group) { Some(videos.one(&group)?.to_owned()) } else { None };
    let clock = Clock::Frames((0..values.len()).map(|i| i as u32).collect());
    Ok(Recording {
        id,
        subject: None,
        group,
        split,
        media: Media::Frames(Frames { dir, first: 1, digits: 5, extension: "jpg".to_owned(), video }),
        fps: None,
        labels: Labels::Series(Annotation { clock, values }),
    })
}

/// How many pictures there are, and the last one's number.
fn pictures(dir: &Path) -> Result<(usize, usize)> {
    if !dir.is_dir() {
        return Err(Error::input(format!("its pictures {} are missing", dir.display())));
    }
    let numbers: Vec<usize> =
        listed(dir, &["jpg"])?.iter().filter_map(|p| stem(p).parse().ok()).filter(|n| *n > 0).collect();
    match numbers.iter().max() {
        Some(last) => Ok((numbers.len(), *last)),
        None => Err(Error::input("holds no picture, expected 00001.jpg and on").at(dir.display())),
    }
}

/// Reads `valence,arousal` and a pair for every frame.
fn values(file: &Path) -> Result<Vec<Option<Affect>>> {
    let text = read_text(file)?;
    let table = Table::parse(&text, &file.display().to_string(), Delimiter::Char(','))?;
    let (valence, arousal) = (table.column("valence")?, table.column("arousal")?);
    table.ensure_rows()?;
    let one = |row: &Row, column: usize| -> Result<Option<f32>> {
        if row.cells[column].parse() == Ok(MISSING) {
            return Ok(None);
        }
        Ok(Some(table.number(row, column, &(-1.0..=1.0))? as f32))
    };
    let pair = |row| {
        let (arousal, valence) = (one(row, arousal)?, one(row, valence)?);
        Ok(arousal.zip(valence).map(|(arousal, valence)| Affect { arousal, valence }))
    };
    table.rows.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, affect, by_id, rows};
    use super::*;

    const SETS: &str = "6th ABAW Annotations/VA_Estimation_Challenge";

    fn add(tree: &Tree, set: &str, video: &str, text: &str, pictures: std::ops::RangeInclusive<u32>) {
        tree.file(&format!("{SETS}/{set}/{video}.txt"), text);
        for n in pictures {
            tree.file(&format!("cropped_aligned/{video}/{n:05}.jpg"), "");
        }
    }

    fn one(text: &str, pictures: std::ops::RangeInclusive<u32>) -> Tree {
        let tree = Tree::new();
        add(&tree, "Train_Set", "v1", text, pictures);
        add(&tree, "Validation_Set", "v2", "valence,arousal\n0.1,0.2\n", 1..=1);
        tree
    }

    #[test]
    fn valence_comes_first_and_either_missing_code_drops_the_frame() {
        let text = "valence,arousal\n-0.5,0.25\n-5,0.1\n0.1,-5\n-5,-5.0\n0.75,-1\n";
        let tree = one(text, 1..=5);
        let loaded = tree.open("affwild2");
        let r = by_id(&loaded, "v1");
        assert_eq!(rows(r), [affect(0.25, -0.5), None, None, None, affect(-1.0, 0.75)]);
        assert_eq!((r.split, by_id(&loaded, "v2").split), (Split::Train, Split::Valid));
        let Media::Frames(frames) = &r.media else { panic!("{:?}", r.media) };
        assert!(frames.path(0).ends_with("cropped_aligned/v1/00001.jpg") && frames.path(4).is_file());
        assert!(loaded.report.remarks.is_empty() && loaded.report.bad.is_empty());
    }

    #[test]
    fn the_shorter_of_labels_and_pictures_is_used_and_said() {
        let text = "valence,arousal\n0,0\n0,0\n0,0\n";
        for (pictures, kept, remark) in [
            (1..=2, 2, "3 annotated frames, pictures up to 2"),
            (1..=5, 3, "3 annotated frames, pictures up to 5"),
            (2..=3, 3, "1 of 3 pictures are missing"),
        ] {
            let loaded = one(text, pictures).open("affwild2");
            assert_eq!(rows(by_id(&loaded, "v1")).len(), kept);
            assert!(loaded.report.remarks[0].why.contains(remark), "{:?}", loaded.report.remarks);
        }
    }

    #[test]
    fn the_video_of_the_pictures_is_found_in_any_folder_and_refused_if_it_is_there_twice() {
        let tree = one("valence,arousal\n0,0\n", 1..=1);
        add(&tree, "Train_Set", "v3_left", "valence,arousal\n0,0\n", 1..=1);
        tree.file("batch1/v3.mp4", "").file("cropped_aligned/v1/v1.mp4", "");
        let loaded = tree.open("affwild2");
        let video = |id: &str| match &by_id(&loaded, id).media {
            Media::Frames(frames) => frames.video.clone(),
            other => panic!("{other:?}"),
        };
        assert!(video("v3_left").unwrap().ends_with("batch1/v3.mp4"));
        assert_eq!(video("v1"), None, "what lies among the pictures is not looked at");
        tree.file("batch2/v3.avi", "");
        assert!(tree.open("affwild2").report.bad[0].why.contains("is there twice"));
    }

    #[test]
    fn both_people_of_a_video_stay_in_one_split() {
        let tree = one("valence,arousal\n0,0\n", 1..=1);
        add(&tree, "Train_Set", "v9_left", "valence,arousal\n0.5,0\n", 1..=1);
        add(&tree, "Validation_Set", "v9_right", "valence,arousal\n-0.5,0\n", 1..=1);
        let loaded = tree.open("affwild2");
        assert!(loaded.recordings.iter().all(|r| r.id != "v9_left"));
        assert_eq!(by_id(&loaded, "v9_right").group, "v9");
        assert!(loaded.report.left_out[0].why.contains("v9 is also in valid"));
    }

    #[test]
    fn malformed_files_are_named_with_their_line() {
        let good = "valence,arousal\n0.1,0.2\n0.3,0.4\n";
        let tree = one(good, 1..=2);
        tree.each_is_bad(
            "affwild2",
            &format!("{SETS}/Train_Set/v1.txt"),
            good,
            &[
                ("", "v1.txt: is empty"),
                ("valence,arousal\n", "v1.txt: holds no rows"),
                ("0.1,0.2\n0.3,0.4\n", "has no column valence"),
                ("valence,arousal\n0.1,0.2,0.3\n", "v1.txt:2: has 3 columns, expected 2 (valence, arousal)"),
                ("valence,arousal\n0.1,0.2\n0.1,x\n", "v1.txt:3: arousal is \"x\""),
                ("valence,arousal\n0.1,0.2\n-4,0\n", "v1.txt:3: valence is \"-4\", expected a number from -1 to 1"),
            ],
        );
        tree.file(&format!("{SETS}/Train_Set/v3.txt"), good);
        assert!(tree.open("affwild2").report.bad[0].why.contains("its pictures"));
    }

    #[test]
    fn annotations_of_two_challenges_are_refused() {
        let tree = one("valence,arousal\n0,0\n", 1..=1);
        tree.file("5th ABAW Annotations/VA_Estimation_Challenge/Train_Set/v1.txt", "valence,arousal\n0,0\n");
        let e = Dataset::named("affwild2").unwrap().open(tree.path(), &Options::default()).unwrap_err().to_string();
        assert!(e.contains("is there for two challenges"), "{e}");
    }
}
