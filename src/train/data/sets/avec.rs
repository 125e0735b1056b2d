//! The cross-cultural sub-challenges on SEWA of AVEC 2019 (Ringeval et al. 2019, arXiv 1907.11510) and AVEC 2017.
//!
//! A file's columns are found by the names in its header, so their order does not matter. Where AVEC 2019 keeps its
//! videos is not known to us: they are found by name. AVEC 2017's label columns are taken to be those of 2019; a file
//! without them is refused. Neither says who a person is: every file is taken for a person of its own, as the official
//! splits are.

use super::files::{self, Index, VIDEO, name, stem};
use super::{Dataset, Options};
use crate::error::Result;
use crate::render::Affect;
use crate::train::data::record::{Annotation, Clock, Labels, Loaded, Media, Recording, Split};
use crate::train::data::table::{Delimiter, Table, read_text};
use std::path::Path;

const LICENCE: &str = "SEWA's agreement: research and education only, no commercial use, no passing on";

/// German, Hungarian and Chinese.
pub const AVEC2019: Dataset = Dataset {
    name: "avec2019",
    about: "AVEC 2019 CES: SEWA in German, Hungarian and Chinese, 10 Hz",
    get: "ask the AVEC 2019 organisers with SEWA's end user licence agreement signed",
    licence: LICENCE,
    layout: "labels/{Train|Devel|Test}_{DE|HU|CN}_NN.csv and videos of the same names in any folder",
    opener: |root, _| open(root, &["DE", "HU", "CN"]),
};

/// German alone.
pub const AVEC2017: Dataset = Dataset {
    name: "avec2017",
    about: "AVEC 2017: SEWA in German, 10 Hz",
    get: "ask the AVEC 2017 organisers with SEWA's end user licence agreement signed",
    licence: LICENCE,
    layout: "labels/{Train,Devel}_NN.csv and video/*.avi",
    opener: |root, _: &Options| open(root, &[]),
};

/// Files handed out of each part.
const OFFICIAL: [(&str, &str, usize); 7] = [
    ("Train", "DE", 34),
    ("Train", "HU", 34),
    ("Devel", "DE", 14),
    ("Devel", "HU", 14),
    ("Test", "DE", 16),
    ("Test", "HU", 18),
    ("Test", "CN", 70),
];

/// Part and culture of `Train_DE_01`, or of `Train_01` if there are no cultures.
fn parse<'a>(stem: &'a str, cultures: &[&str]) -> Option<(Split, &'a str)> {
    let (part, rest) = stem.split_once('_')?;
    let (culture, number) = if cultures.is_empty() { ("", rest) } else { rest.split_once('_')? };
    let split = match part {
        "Train" => Split::Train,
        "Devel" => Split::Valid,
        "Test" => Split::Test,
        _ => return None,
    };
    let known = cultures.is_empty() || cultures.contains(&culture);
    (known && number.parse::<u32>().is_ok()).then_some((split, culture))
}

fn open(root: &Path, cultures: &[&str]) -> Result<Loaded> {
    let labels = root.join("labels");
    let mut loaded = Loaded::default();
    if !labels.is_dir() {
        return Ok(loaded);
    }
    let videos = Index::by_stem(root, VIDEO)?;
    let csv = files::listed(&labels, &["csv"])?;
    for file in &csv {
        match parse(stem(file), cultures) {
            Some((split, _)) => loaded.push(file, recording(file, split, &videos)),
            None => loaded.leave_out(file, "is not named like a recording of this set"),
        }
    }
    for (part, culture, official) in OFFICIAL.iter().filter(|(_, c, _)| cultures.contains(c)) {
        let start = format!("{part}_{culture}_");
        let n = csv.iter().filter(|f| name(f).starts_with(&start)).count();
        if n > 0 && n != *official {
            loaded.remark(&labels, format!("{n} files of {part} {culture}, {official} were handed out"));
        }
    }
    Ok(loaded)
}

fn recording(file: &Path, split: Split, videos: &Index) -> Result<Recording> {
    let id = stem(file).to_owned();
    let annotation = annotation(file)?;
    let media = Media::Video(videos.one(&id)?.to_owned());
    Ok(Recording { subject: None, group: id.clone(), id, split, media, fps: None, labels: Labels::Series(annotation) })
}

/// Reads `name;timestamp;arousal;valence;liking`.
fn annotation(file: &Path) -> Result<Annotation> {
    let text = read_text(file)?;
    let table = Table::parse(&text, &file.display().to_string(), Delimiter::Char(';'))?;
    let (time, arousal, valence) = (table.column("timestamp")?, table.column("arousal")?, table.column("valence")?);
    table.ensure_rows()?;
    let value = |row| {
        let one = |column| table.number(row, column, &(-1.0..=1.0)).map(|v| v as f32);
        Ok(Some(Affect { arousal: one(arousal)?, valence: one(valence)? }))
    };
    let values = table.rows.iter().map(value).collect::<Result<_>>()?;
    Ok(Annotation { clock: Clock::Seconds(table.times(time)?), values })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, affect, by_id, rows};
    use super::*;

    fn label(name: &str, arousal: f32) -> String {
        let rows = (0..30).map(|i| format!("'{name}';{:.6};{arousal:.6};-0.250000;0.900000\n", f64::from(i) * 0.1));
        "name;timestamp;arousal;valence;liking\n".to_owned() + &rows.collect::<String>()
    }

    fn tree(names: &[&str]) -> Tree {
        let tree = Tree::new();
        for name in names {
            tree.file(&format!("labels/{name}.csv"), label(name, 0.75)).file(&format!("video/{name}.avi"), "");
        }
        tree
    }

    #[test]
    fn official_parts_are_the_splits_and_counts_are_checked() {
        let tree = tree(&["Train_DE_01", "Train_DE_02", "Devel_HU_01", "Test_CN_70"]);
        tree.file("labels/notes.csv", "x");
        let loaded = tree.open("avec2019");
        let splits: Vec<_> = loaded.recordings.iter().map(|r| (&r.id[..], r.split)).collect();
        let (train, valid, test) = (Split::Train, Split::Valid, Split::Test);
        assert_eq!(
            splits,
            [("Devel_HU_01", valid), ("Test_CN_70", test), ("Train_DE_01", train), ("Train_DE_02", train)]
        );
        let r = by_id(&loaded, "Test_CN_70");
        assert_eq!((rows(r).len(), rows(r)[0]), (30, affect(0.75, -0.25)));
        assert!(matches!(&r.media, Media::Video(v) if v.ends_with("video/Test_CN_70.avi")));
        assert_eq!(loaded.report.left_out.len(), 1);
        assert!(loaded.report.remarks.iter().any(|n| n.why.contains("2 files of Train DE, 34 were handed out")));
    }

    #[test]
    fn columns_are_found_by_name() {
        let tree = tree(&["Train_01", "Devel_01"]);
        tree.file("labels/Train_01.csv", "name;timestamp;valence;arousal;liking\n'Train_01';0.0;-0.5;0.125;0\n");
        let loaded = tree.open("avec2017");
        assert_eq!(rows(by_id(&loaded, "Train_01")), [affect(0.125, -0.5)]);
        assert_eq!(by_id(&loaded, "Devel_01").split, Split::Valid);
        assert!(loaded.report.remarks.is_empty());
    }

    #[test]
    fn names_of_the_other_year_are_left_out() {
        let tree = tree(&["Train_01", "Train_DE_01"]);
        assert_eq!(tree.open("avec2017").report.left_out.len(), 1);
        assert_eq!(by_id(&tree.open("avec2019"), "Train_DE_01").split, Split::Train);
    }

    #[test]
    fn malformed_files_are_named_with_their_line() {
        let tree = tree(&["Train_DE_01"]);
        let head = "name;timestamp;arousal;valence;liking\n";
        let row = "'Train_DE_01';0.0;0.5;0.5;0.5\n";
        let case = |rest: &str| format!("{head}{row}{rest}");
        tree.each_is_bad(
            "avec2019",
            "labels/Train_DE_01.csv",
            &label("Train_DE_01", 0.5),
            &[
                ("", "is empty"),
                (head, "holds no rows"),
                (row, "has no column timestamp"),
                ("name;timestamp;arousal\n'x';0;0\n", "has no column valence, only name, timestamp, arousal"),
                (&case("'Train_DE_01';0.1;0.5;0.5\n"), "Train_DE_01.csv:3: has 4 columns, expected 5"),
                (&case("'Train_DE_01';0.1;x;0.5;0.5\n"), "Train_DE_01.csv:3: arousal is \"x\""),
                (&case("'Train_DE_01';0.1;0.5;-1.01;0.5\n"), "Train_DE_01.csv:3: valence is \"-1.01\""),
                (&case("'Train_DE_01';0.0;0.5;0.5;0.5\n"), "Train_DE_01.csv:3: time 0 does not come after 0"),
            ],
        );
        tree.remove("video/Train_DE_01.avi");
        assert!(tree.open("avec2019").report.bad[0].why.contains("Train_DE_01.(mp4|avi"));
    }
}
