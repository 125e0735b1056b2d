//! RECOLA (Ringeval et al. 2013): French remote collaboration, 25 frames a second, first five minutes annotated.
//!
//! Not known to us: where the original keeps its videos (found by name), and which of its participants were AVEC 2016's
//! train and development people, so the original is split by a seeded hash of participants into three. AVEC 2016 hands
//! out labels for train and dev alone: dev becomes validation and nothing is test, since one set must not be both;
//! `dev_is_test` makes dev the test set and takes validation people from train.

use super::files::{self, Index, VIDEO, stem};
use super::series::{self, Series};
use super::{Dataset, Options};
use crate::error::{Error, Result};
use crate::train::data::record::{Labels, Loaded, Media, Recording, Split};
use crate::train::data::split::{self, Shares};
use crate::train::data::table::{Delimiter, Table, read_text};
use std::path::{Path, PathBuf};

const FPS: f64 = 25.0;
const LICENCE: &str = "academic research only, under a signed agreement; no commercial use, no passing on";

/// As handed out by the University of Fribourg.
pub const ORIGINAL: Dataset = Dataset {
    name: "recola",
    about: "RECOLA: remote collaboration in French, six raters, 25 Hz",
    get: "sign the end user licence agreement at diuf.unifr.ch/main/diva/recola",
    licence: LICENCE,
    layout: "RECOLA-Annotation/emotional_behaviour/{arousal|valence}/P16.csv and videos P16.mp4 in any folder",
    opener: open_original,
};

/// As handed out for AVEC 2016.
pub const AVEC2016: Dataset = Dataset {
    name: "avec2016",
    about: "RECOLA as of AVEC 2016: gold standard of nine training and nine development people, 25 Hz",
    get: "ask the AVEC 2016 organisers with RECOLA's end user licence agreement signed",
    licence: LICENCE,
    layout: "ratings_gold_standard/{arousal|valence}/{train|dev}_N.arff and recordings_video/*.mp4",
    opener: open_avec2016,
};

/// Pairs files of the same name in `arousal` and `valence` below `dir`.
fn load(
    root: &Path,
    dir: &Path,
    extension: &str,
    read: &dyn Fn(&Path) -> Result<Series>,
    known: &dyn Fn(&str) -> bool,
) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let [arousal_dir, valence_dir] = ["arousal", "valence"].map(|d| dir.join(d));
    if !arousal_dir.is_dir() || !valence_dir.is_dir() {
        return Ok(loaded);
    }
    let videos = Index::by_stem(root, VIDEO)?;
    let mut names: Vec<PathBuf> = Vec::new();
    for d in [&arousal_dir, &valence_dir] {
        names.extend(files::listed(d, &[extension])?.iter().filter_map(|p| p.file_name()).map(PathBuf::from));
    }
    names.sort();
    names.dedup();
    for name in names {
        let file = arousal_dir.join(&name);
        if !known(stem(&name)) {
            loaded.leave_out(&file, "is not named like a recording of this set");
            continue;
        }
        let mut remark = None;
        let recording = read(&file).and_then(|arousal| {
            let (annotation, unlike) = series::pair(arousal, &read(&valence_dir.join(&name))?);
            remark = unlike;
            let id = stem(&name).to_owned();
            let media = Media::Video(videos.one(&id)?.to_owned());
            let labels = Labels::Series(annotation);
            Ok(Recording {
                subject: Some(id.clone()),
                group: id.clone(),
                id,
                split: Split::Train,
                media,
                fps: Some(FPS),
                labels,
            })
        });
        loaded.push(&file, recording);
        remark.into_iter().for_each(|why| loaded.remark(&file, why));
    }
    Ok(loaded)
}

fn numbered(name: &str, start: &str) -> bool {
    name.strip_prefix(start).is_some_and(|n| n.parse::<u32>().is_ok())
}

fn open_original(root: &Path, options: &Options) -> Result<Loaded> {
    let dir = root.join("RECOLA-Annotation/emotional_behaviour");
    // The raters' names carry trailing spaces in the header; the table trims them.
    let read = |path: &Path| Series::rated(path, Delimiter::Char(';'), &options.annotators);
    let mut loaded = load(root, &dir, "csv", &read, &|name| numbered(name, "P"))?;
    split::by_group(&mut loaded.recordings, options.seed, options.shares);
    Ok(loaded)
}

fn open_avec2016(root: &Path, options: &Options) -> Result<Loaded> {
    let known = |name: &str| numbered(name, "train_") || numbered(name, "dev_");
    let mut loaded = load(root, &root.join("ratings_gold_standard"), "arff", &gold_standard, &known)?;
    let (mut train, mut dev): (Vec<_>, Vec<_>) =
        loaded.recordings.into_iter().partition(|r| r.id.starts_with("train_"));
    let dev_split = if options.dev_is_test { Split::Test } else { Split::Valid };
    dev.iter_mut().for_each(|r| r.split = dev_split);
    if options.dev_is_test {
        split::by_group(&mut train, options.seed, Shares { test: 0.0, ..options.shares });
    }
    train.extend(dev);
    loaded.recordings = train;
    Ok(loaded)
}

/// Reads the attributes `frameTime` (seconds) and `GoldStandard` of an ARFF file.
fn gold_standard(path: &Path) -> Result<Series> {
    let place = path.display().to_string();
    let text = read_text(path)?;
    let mut names = Vec::new();
    let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.is_empty());
    let mut data = false;
    for (_, line) in lines.by_ref() {
        let mut words = line.split_whitespace();
        match words.next().unwrap_or("").to_ascii_lowercase().as_str() {
            "@attribute" => names.push(words.next().unwrap_or("").trim_matches(['\'', '"']).to_owned()),
            "@data" => {
                data = true;
                break;
            }
            _ => {}
        }
    }
    if !data {
        return Err(Error::input("has no @data line, expected an ARFF file").at(place));
    }
    let rows = lines.filter(|(_, l)| !l.starts_with('%'));
    let table = Table::from_lines(names, rows, &place, Delimiter::Char(','))?;
    let (time, gold) = (table.column("frameTime")?, table.column("GoldStandard")?);
    table.ensure_rows()?;
    let value = |row| table.number(row, gold, &(-1.0..=1.0)).map(Some);
    Ok(Series { times: table.times(time)?, values: table.rows.iter().map(value).collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, affect, by_id, rows};
    use super::*;

    const HEAD: &str = "time;FM1 ;FM2 ;FM3 ;FF1 ;FF2 ;FF3\n";

    fn ratings(first: f32, others: f32) -> String {
        let row = |i| format!("{:.2};{first}{}\n", f64::from(i) * 0.04, format!(";{others}").repeat(5));
        HEAD.to_owned() + &(0..50).map(row).collect::<String>()
    }

    fn original(people: &[u32]) -> Tree {
        let tree = Tree::new();
        for p in people {
            tree.file(&format!("RECOLA-Annotation/emotional_behaviour/arousal/P{p}.csv"), ratings(0.8, 0.2))
                .file(&format!("RECOLA-Annotation/emotional_behaviour/valence/P{p}.csv"), ratings(-0.6, 0.0))
                .file(&format!("RECOLA-Video-recordings/P{p}.mp4"), "");
        }
        tree
    }

    #[test]
    fn the_target_is_the_mean_of_six_raters_whose_names_carry_spaces() {
        let tree = original(&[16]);
        let loaded = tree.open("recola");
        let r = by_id(&loaded, "P16");
        let Some(first) = rows(r)[0] else { panic!("no value") };
        assert!((first.arousal - 0.3).abs() < 1e-6 && (first.valence + 0.1).abs() < 1e-6, "{first:?}");
        assert_eq!((rows(r).len(), r.fps, r.subject.as_deref()), (50, Some(25.0), Some("P16")));
        let options = Options { annotators: vec!["FM1".into()], ..Options::default() };
        assert_eq!(rows(by_id(&tree.open_with("recola", &options), "P16"))[0], affect(0.8, -0.6));
    }

    #[test]
    fn validation_and_test_are_different_people() {
        let loaded = original(&(16..39).collect::<Vec<_>>()).open("recola");
        let people = |s| loaded.recordings.iter().filter(|r| r.split == s).count();
        assert_eq!(Split::ALL.map(people), [17, 3, 3]);
    }

    #[test]
    fn malformed_ratings_are_named_with_their_line() {
        let tree = original(&[16]);
        let case = |rest: &str| format!("{HEAD}0.00;0;0;0;0;0;0\n{rest}");
        tree.each_is_bad(
            "recola",
            "RECOLA-Annotation/emotional_behaviour/valence/P16.csv",
            &ratings(0.1, 0.1),
            &[
                ("", "valence/P16.csv: is empty"),
                (HEAD, "valence/P16.csv: holds no rows"),
                (&case("0.04;0;0;0;0;0\n"), "valence/P16.csv:3: has 6 columns, expected 7"),
                (&case("0.04;0;0;0;?;0;0\n"), "valence/P16.csv:3: FF1 is \"?\""),
                (&case("0.04;0;0;0;0;0;2\n"), "valence/P16.csv:3: FF3 is \"2\""),
                (&case("0.00;0;0;0;0;0;0\n"), "valence/P16.csv:3: time 0"),
            ],
        );
        tree.remove("RECOLA-Annotation/emotional_behaviour/arousal/P16.csv");
        assert!(tree.open("recola").report.bad[0].why.contains("arousal/P16.csv: cannot be read"));
        let tree = original(&[16]);
        tree.remove("RECOLA-Video-recordings/P16.mp4");
        assert!(tree.open("recola").report.bad[0].why.contains("P16.(mp4"));
    }

    fn arff(name: &str, value: f32) -> String {
        let row = |i| format!("'{name}',{:.2},{value}\n", f64::from(i) * 0.04);
        "@relation GOLDSTANDARD\n\n@attribute Instance_name string\n@attribute frameTime numeric\n@attribute GoldStandard numeric\n\n\
         @data\n\n% a remark\n"
            .to_owned()
            + &(0..50).map(row).collect::<String>()
    }

    fn avec2016() -> Tree {
        let tree = Tree::new();
        for name in (1..=9).flat_map(|n| [format!("train_{n}"), format!("dev_{n}")]) {
            tree.file(&format!("ratings_gold_standard/arousal/{name}.arff"), arff(&name, 0.4))
                .file(&format!("ratings_gold_standard/valence/{name}.arff"), arff(&name, -0.2))
                .file(&format!("recordings_video/{name}.mp4"), "");
        }
        tree.file("ratings_gold_standard/arousal/train_all.arff", "");
        tree
    }

    #[test]
    fn development_is_validation_or_test_and_never_both() {
        let tree = avec2016();
        let count = |loaded: &Loaded| Split::ALL.map(|s| loaded.recordings.iter().filter(|r| r.split == s).count());
        let loaded = tree.open("avec2016");
        assert_eq!(count(&loaded), [9, 9, 0]);
        assert_eq!(rows(by_id(&loaded, "dev_3"))[49], affect(0.4, -0.2));
        assert!(loaded.report.left_out[0].file.ends_with("train_all.arff"));
        let strict = tree.open_with("avec2016", &Options { dev_is_test: true, ..Options::default() });
        assert_eq!(count(&strict), [8, 1, 9]);
        assert!(strict.recordings.iter().all(|r| r.id.starts_with("dev_") == (r.split == Split::Test)));
    }

    #[test]
    fn malformed_arff_files_are_named_with_their_line() {
        let head = arff("x", 0.0).lines().take(7).collect::<Vec<_>>().join("\n");
        let case = |rest: &str| format!("{head}\n{rest}");
        avec2016().each_is_bad(
            "avec2016",
            "ratings_gold_standard/arousal/dev_1.arff",
            &arff("dev_1", 0.1),
            &[
                ("", "has no @data line"),
                (&head, "holds no rows"),
                ("@attribute frameTime numeric\n@data\n0.0\n", "has no column GoldStandard"),
                (&case("'dev_1',0.0\n"), "dev_1.arff:8: has 2 columns, expected 3"),
                (&case("'dev_1',0.0,x\n"), "dev_1.arff:8: GoldStandard is \"x\""),
                (&case("'dev_1',0.0,-1.2\n"), "dev_1.arff:8: GoldStandard is \"-1.2\""),
                (&case("'dev_1',0.04,0\n'dev_1',0.0,0\n"), "dev_1.arff:9: time 0 does not come after 0.04"),
            ],
        );
    }
}
