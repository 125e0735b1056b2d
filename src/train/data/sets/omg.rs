//! OMG-Emotion (Barros et al. 2018, arXiv 1803.05434): monologues on the web, one rating an utterance.
//!
//! Arousal is rated from 0 to 1 and valence from -1 to 1; arousal is mapped onto [-1, 1] (2a - 1) so that its ends mean
//! what they mean in the other sets. CCC does not change if both sides are mapped alike; RMSE and bias double. Not
//! known to us: where a user's download tool puts the utterances (`<video>/<utterance>` is looked for in any folder).
//! Who speaks is not said; utterances of one video stay together. `omg_TestVideos_WithLabels.csv`, handed out after the
//! challenge, is the test part if it is there.

use super::files::{Index, VIDEO, stem};
use super::{Dataset, Options};
use crate::error::{Error, Result};
use crate::render::Affect;
use crate::train::data::record::{Labels, Loaded, Media, Recording, Split};
use crate::train::data::resample::Scale;
use crate::train::data::table::{Delimiter, Row, TIME, Table, read_text};
use std::path::Path;

/// Training, validation and, where handed out, test.
pub const DATASET: Dataset = Dataset {
    name: "omg",
    about: "OMG-Emotion: monologues on the web, one rating an utterance",
    get: "labels and a download tool at github.com/knowledgetechnologyuhh/OMGEmotionChallenge; videos from the web",
    licence: "research only; the videos belong to their makers",
    layout: "omg_{Train,Validation}Videos.csv and <video>/<utterance>.mp4, in any folders",
    opener: open,
};

const PARTS: [(&str, Split); 3] = [
    ("omg_TrainVideos", Split::Train),
    ("omg_ValidationVideos", Split::Valid),
    ("omg_TestVideos_WithLabels", Split::Test),
];

const AROUSAL: Scale = Scale { low: 0.0, high: 1.0 };

fn open(root: &Path, _: &Options) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let tables = Index::by_stem(root, &["csv"])?;
    let videos = Index::by_folder_and_stem(root, VIDEO)?;
    for (part, split) in PARTS {
        if !tables.has(part) {
            continue;
        }
        let file = tables.one(part)?;
        if let Err(e) = part_of(file, split, &videos, &mut loaded) {
            loaded.push(file, Err(e));
        }
    }
    Ok(loaded)
}

/// Columns of a part by name.
struct Columns {
    start: usize,
    end: usize,
    video: usize,
    utterance: usize,
    arousal: usize,
    valence: usize,
}

fn part_of(file: &Path, split: Split, videos: &Index, loaded: &mut Loaded) -> Result<()> {
    let text = read_text(file)?;
    let table = Table::parse(&text, &file.display().to_string(), Delimiter::Char(','))?;
    table.ensure_rows()?;
    let columns = Columns {
        start: table.column("start")?,
        end: table.column("end")?,
        video: table.column("video")?,
        utterance: table.column("utterance")?,
        arousal: table.column("arousal")?,
        valence: table.column("valence")?,
    };
    for row in &table.rows {
        loaded.push(file, recording(&table, row, &columns, split, videos));
    }
    Ok(())
}

fn recording(table: &Table, row: &Row, c: &Columns, split: Split, videos: &Index) -> Result<Recording> {
    let (start, end) = (table.number(row, c.start, &TIME)?, table.number(row, c.end, &TIME)?);
    if start < 0.0 || end <= start {
        return Err(table.error(row, format!("runs from {start} to {end} s, expected an end after its start")));
    }
    let (video, utterance) = (row.cells[c.video], stem(Path::new(row.cells[c.utterance])));
    if video.is_empty() || utterance.is_empty() {
        return Err(table.error(row, "names no video or no utterance"));
    }
    let labels = Labels::Clip(Affect {
        arousal: AROUSAL.map(table.number(row, c.arousal, &AROUSAL.range())?),
        valence: table.number(row, c.valence, &Scale::UNIT.range())? as f32,
    });
    let id = format!("{video}/{utterance}");
    let media = videos.one(&id).map_err(|e| table.error(row, Error::to_string(&e)))?;
    let media = Media::Video(media.to_owned());
    Ok(Recording { id, subject: None, group: video.to_owned(), split, media, fps: None, labels })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, by_id};
    use super::*;

    const HEAD: &str = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote\n";

    fn row(video: &str, utterance: u32, arousal: &str, valence: &str) -> String {
        format!("https://web/watch?v=x,1.5,9.25,{video},utterance_{utterance}.mp4,{arousal},{valence},4\n")
    }

    fn tree() -> Tree {
        let tree = Tree::new();
        let train = row("vid1", 1, "0.75", "-0.5") + &row("vid1", 2, "0", "1");
        tree.file("omg_TrainVideos.csv", HEAD.to_owned() + &train)
            .file("omg_ValidationVideos.csv", HEAD.to_owned() + &row("vid2", 1, "0.5", "0.25"));
        for name in ["vid1/utterance_1", "vid1/utterance_2", "vid2/utterance_1", "vid3/utterance_1"] {
            tree.file(&format!("videos/{name}.mp4"), "");
        }
        tree
    }

    #[test]
    fn arousal_from_nought_to_one_becomes_minus_one_to_one() {
        let loaded = tree().open("omg");
        let label = |id| by_id(&loaded, id).labels.clone();
        assert_eq!(label("vid1/utterance_1"), Labels::Clip(Affect { arousal: 0.5, valence: -0.5 }));
        assert_eq!(label("vid1/utterance_2"), Labels::Clip(Affect { arousal: -1.0, valence: 1.0 }));
        assert_eq!(label("vid2/utterance_1"), Labels::Clip(Affect { arousal: 0.0, valence: 0.25 }));
        let r = by_id(&loaded, "vid2/utterance_1");
        assert_eq!((r.split, &r.group[..], loaded.recordings.len()), (Split::Valid, "vid2", 3));
        assert!(matches!(&r.media, Media::Video(v) if v.ends_with("videos/vid2/utterance_1.mp4")));
    }

    #[test]
    fn the_test_part_is_read_if_it_is_there_and_videos_do_not_cross() {
        let tree = tree();
        let test = row("vid3", 1, "0.5", "0") + &row("vid2", 1, "0.5", "0");
        tree.file("omg_TestVideos_WithLabels.csv", HEAD.to_owned() + &test);
        let loaded = tree.open("omg");
        assert_eq!(by_id(&loaded, "vid3/utterance_1").split, Split::Test);
        assert_eq!(by_id(&loaded, "vid2/utterance_1").split, Split::Test);
        assert!(loaded.report.left_out[0].why.contains("vid2 is also in test"));
    }

    #[test]
    fn a_part_that_is_there_twice_is_refused_and_not_passed_over() {
        let tree = tree();
        tree.file("copy/omg_TrainVideos.csv", HEAD);
        let e = Dataset::named("omg").unwrap().open(tree.path(), &Options::default()).unwrap_err().to_string();
        assert!(e.contains("is there twice"), "{e}");
    }

    #[test]
    fn malformed_rows_are_named_with_their_line() {
        let tree = tree();
        let case = |row: &str| format!("{HEAD}{row}");
        tree.each_is_bad(
            "omg",
            "omg_ValidationVideos.csv",
            &case(&row("vid2", 1, "0.5", "0.25")),
            &[
                ("", "is empty"),
                (HEAD, "holds no rows"),
                (&row("vid2", 1, "0.5", "0.25").repeat(2), "has no column start"),
                (&case("l,1,2,vid2\n"), "omg_ValidationVideos.csv:2: has 4 columns, expected 8"),
                (
                    &case(&row("vid2", 1, "-0.1", "0")),
                    "omg_ValidationVideos.csv:2: arousal is \"-0.1\", expected a number from 0 to 1",
                ),
                (&case(&row("vid2", 1, "0.1", "calm")), "omg_ValidationVideos.csv:2: valence is \"calm\""),
                (&case(&row("vid9", 1, "0.1", "0")), "omg_ValidationVideos.csv:2: its companion vid9/utterance_1.(mp4"),
                (
                    &case(&row("vid2", 1, "0.1", "0").replace("1.5,9.25", "9,2")),
                    "omg_ValidationVideos.csv:2: runs from 9 to 2 s",
                ),
            ],
        );
    }
}
