//! SEWA DB (Kossaifi et al. 2019, arXiv 1901.02839), as handed out and as SS-VAERR's code reads it.
//!
//! A clip `SVH_C5_S144_P287_VC1_003201_003701` is tag, culture, a number S, a number P, recording, first and last
//! frame. In every id we know P is 2S or 2S - 1: S looks like a session of two people and P like a person. Splits keep
//! all of one S together, which keeps people apart whichever of the two names them; the subject is given as culture and
//! S.
//!
//! Not known to us, and so not relied on: in which folders annotations and videos lie (both are found by name), the
//! unit of the time stamps (read as seconds from the clip's start), whether files have a header (read either way), and whether raw annotations may leave [-1, 1] (then
//! the file is refused).

use super::files::{Index, VIDEO, name, stem};
use super::series::{self, Series};
use super::{Dataset, Heard, Options, npz};
use crate::error::{Error, Result};
use crate::train::data::record::{Labels, Loaded, Media, Recording, Split};
use crate::train::data::split;
use crate::train::data::table::{Delimiter, Table, read_text};
use std::path::Path;

const GET: &str = "register at db.sewaproject.eu and sign its end user licence agreement";
const LICENCE: &str = "research and education only, under a signed agreement; no commercial use, no passing on";

/// As handed out.
pub const RAW: Dataset = Dataset {
    name: "sewa",
    about: "SEWA DB: webcam conversations, six cultures, continuous annotation",
    get: GET,
    licence: LICENCE,
    layout: "<clip>_{Arousal|Valence}_{A|V|AV}_Aligned.csv and a video <clip>.avi or .mp4, in any folders",
    opener: open_raw,
};

/// As SS-VAERR's code reads it.
pub const VAERR: Dataset = Dataset {
    name: "sewa-vaerr",
    about: "SEWA DB as SS-VAERR's code reads it: grey face crops in npz files, labels with 20 bins",
    get: GET,
    licence: LICENCE,
    layout: "{train|val|test}/<clip>/<clip>.npz and <clip>_{Arousal|Valence}_{A|V|AV}_Aligned_0.csv in any folders",
    opener: open_vaerr,
};

/// What a clip's id says.
struct Clip {
    session: String,
    frames: f64,
}

impl Clip {
    fn parse(id: &str) -> Result<Self> {
        let wrong = || {
            Error::input(format!("{id:?} is not a clip's name, expected one like SVH_C5_S144_P287_VC1_003201_003701"))
        };
        let parts: Vec<&str> = id.split('_').collect();
        let &[_, culture, s, p, _, first, last] = &parts[..] else { return Err(wrong()) };
        let numbered = |part: &str, letter| part.strip_prefix(letter).and_then(|n| n.parse::<u32>().ok());
        let frame = |part: &str| part.parse::<u32>().map_err(|_| wrong());
        let (first, last) = (frame(first)?, frame(last)?);
        let cultured = numbered(culture, 'C').is_some_and(|c| (1..=6).contains(&c));
        if !cultured || numbered(s, 'S').is_none() || numbered(p, 'P').is_none() || last <= first {
            return Err(wrong());
        }
        Ok(Self { session: format!("{culture}_{s}"), frames: f64::from(last - first) })
    }

    /// 50 or 25 frames a second, whichever the length of the annotation bears out within 5 %.
    fn fps(&self, span_s: f64) -> Option<f64> {
        [50.0, 25.0].into_iter().find(|fps| (self.frames / fps / span_s - 1.0).abs() < 0.05)
    }
}

fn letters(heard: Heard) -> &'static str {
    match heard {
        Heard::Audio => "A",
        Heard::Video => "V",
        Heard::Both => "AV",
    }
}

type ReadSeries<'a> = &'a dyn Fn(&Path) -> Result<Series>;
type FindMedia<'a> = &'a dyn Fn(&str) -> Result<(Media, Split)>;

/// Pairs `<clip><_Arousal...>` with `<clip><_Valence...>` and its medium.
fn load(root: &Path, heard: Heard, ending: &str, read: ReadSeries, media: FindMedia) -> Result<Loaded> {
    let annotations = Index::by_stem(root, &["csv"])?;
    let [arousal_end, valence_end] = ["Arousal", "Valence"].map(|d| format!("_{d}_{}_{ending}", letters(heard)));
    let mut loaded = Loaded::default();
    for (key, file) in annotations.iter() {
        if let Some(id) = key.strip_suffix(&valence_end) {
            if let Err(e) = annotations.one(&format!("{id}{arousal_end}")) {
                loaded.push(file, Err(e));
            }
            continue;
        }
        let Some(id) = key.strip_suffix(&arousal_end) else { continue };
        let mut remarks = Vec::new();
        let recording = annotations.one(key).and_then(|arousal| {
            let valence = annotations.one(&format!("{id}{valence_end}"))?;
            recording(id, read(arousal)?, &read(valence)?, media(id)?, &mut remarks)
        });
        loaded.push(file, recording);
        remarks.into_iter().for_each(|why| loaded.remark(file, why));
    }
    Ok(loaded)
}

fn recording(
    id: &str,
    arousal: Series,
    valence: &Series,
    (media, split): (Media, Split),
    remarks: &mut Vec<String>,
) -> Result<Recording> {
    let clip = Clip::parse(id)?;
    let span_s = arousal.span_s();
    let fps = clip.fps(span_s);
    if fps.is_none() {
        remarks.push(format!("{} frames in {span_s:.2} s are neither 25 nor 50 a second", clip.frames));
    }
    let (annotation, remark) = series::pair(arousal, valence);
    remarks.extend(remark);
    let labels = Labels::Series(annotation);
    if let (Media::Array { file, shape, .. }, Some(fps)) = (&media, fps) {
        labels.ensure_fits(shape[0], fps).map_err(|e| e.at(file.display()))?;
    }
    Ok(Recording {
        id: id.to_owned(),
        subject: Some(clip.session.clone()),
        group: clip.session,
        split,
        media,
        fps,
        labels,
    })
}

fn open_raw(root: &Path, options: &Options) -> Result<Loaded> {
    let videos = Index::by_stem(root, VIDEO)?;
    let media = |id: &str| Ok((Media::Video(videos.one(id)?.to_owned()), Split::Train));
    let read = |path: &Path| Series::rated(path, Delimiter::Char(','), &options.annotators);
    let mut loaded = load(root, options.heard, "Aligned", &read, &media)?;
    split::by_group(&mut loaded.recordings, options.seed, options.shares);
    Ok(loaded)
}

/// Key of the array in an npz file.
const KEY: &str = "arr_0";

fn open_vaerr(root: &Path, options: &Options) -> Result<Loaded> {
    let arrays = Index::by_stem(root, &["npz"])?;
    let media = |id: &str| {
        let file = arrays.one(id)?.to_owned();
        let folder = file.parent().and_then(Path::parent).map_or("", name);
        let split = match folder {
            "train" => Split::Train,
            "val" => Split::Valid,
            "test" => Split::Test,
            _ => {
                return Err(Error::input(format!(
                    "lies in {folder:?}, expected {{train|val|test}}/{id}/{}.npz",
                    stem(&file)
                ))
                .at(file.display()));
            }
        };
        let shape = npz::shape(&file, KEY)?;
        Ok((Media::Array { file, key: KEY, shape }, split))
    };
    load(root, options.heard, "Aligned_0", &binned, &media)
}

/// Bins of a label.
const BINS: usize = 20;

/// Reads time stamp, 20 one-hot bins, value; no header. How values fall into bins is not known to us, so the bins are
/// only checked to be one-hot.
fn binned(path: &Path) -> Result<Series> {
    let place = path.display().to_string();
    let text = read_text(path)?;
    let bins = (0..BINS).map(|b| format!("bin {b}"));
    let names = ["time".to_owned()].into_iter().chain(bins).chain(["value".to_owned()]).collect();
    let table = Table::without_header(&text, &place, Delimiter::Char(','), names)?;
    table.ensure_rows()?;
    let mut values = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let bins = (1..=BINS).map(|c| table.number(row, c, &(0.0..=1.0))).collect::<Result<Vec<f64>>>()?;
        let hot = bins.iter().filter(|b| **b == 1.0).count();
        if hot != 1 || bins.iter().any(|b| *b != 0.0 && *b != 1.0) {
            return Err(table.error(row, "its 20 bins are not one 1 and nineteen 0"));
        }
        values.push(Some(table.number(row, BINS + 1, &(-1.0..=1.0))?));
    }
    Ok(Series { times: table.times(0)?, values })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, affect, by_id, npz as npz_file, rows};
    use super::*;
    use std::collections::BTreeSet;

    const CLIP: &str = "SVH_C5_S144_P287_VC1_003201_003701";

    /// 100 rows over 10 s; every annotator has his own value.
    fn raw(values: [f32; 3]) -> String {
        let rows = (0..100).map(|i| format!("{:.2},{},{},{}\n", f64::from(i) * 0.1, values[0], values[1], values[2]));
        "timestamp,A1,A2,A3\n".to_owned() + &rows.collect::<String>()
    }

    fn add(tree: &Tree, clip: &str, heard: &str, arousal: [f32; 3], valence: [f32; 3]) {
        tree.file(&format!("annotations/{clip}/{clip}_Arousal_{heard}_Aligned.csv"), raw(arousal))
            .file(&format!("annotations/{clip}/{clip}_Valence_{heard}_Aligned.csv"), raw(valence));
    }

    fn one() -> Tree {
        let tree = Tree::new();
        tree.file(&format!("videos/{CLIP}.avi"), "");
        add(&tree, CLIP, "V", [0.25, 0.5, 0.75], [-0.75, -0.75, 0.0]);
        add(&tree, CLIP, "AV", [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]);
        tree
    }

    #[test]
    fn the_target_is_the_mean_of_those_who_saw_the_video_alone() {
        let tree = one();
        let loaded = tree.open("sewa");
        let r = by_id(&loaded, CLIP);
        assert_eq!((loaded.recordings.len(), rows(r).len(), rows(r)[0]), (1, 100, affect(0.5, -0.5)));
        assert_eq!((r.fps, r.subject.as_deref()), (Some(50.0), Some("C5_S144")));
        assert!(matches!(&r.media, Media::Video(v) if v.ends_with(format!("videos/{CLIP}.avi"))));
        assert!(loaded.report.bad.is_empty() && loaded.report.remarks.is_empty());
    }

    #[test]
    fn a_file_without_a_header_keeps_its_first_row() {
        let tree = one();
        let with = rows(by_id(&tree.open("sewa"), CLIP)).to_vec();
        for (dimension, values) in [("Arousal", [0.25, 0.5, 0.75]), ("Valence", [-0.75, -0.75, 0.0])] {
            let bare = raw(values).split_once('\n').unwrap().1.to_owned();
            tree.file(&format!("annotations/{CLIP}/{CLIP}_{dimension}_V_Aligned.csv"), bare);
        }
        let loaded = tree.open("sewa");
        assert_eq!(rows(by_id(&loaded, CLIP)), with);
        assert!(loaded.report.remarks.is_empty(), "{:?}", loaded.report.remarks);
    }

    #[test]
    fn annotators_and_what_they_heard_can_be_chosen() {
        let tree = one();
        let options = Options { annotators: vec!["a1".into(), "A3".into()], ..Options::default() };
        assert_eq!(rows(by_id(&tree.open_with("sewa", &options), CLIP))[99], affect(0.5, -0.375));
        let options = Options { heard: Heard::Both, ..Options::default() };
        assert_eq!(rows(by_id(&tree.open_with("sewa", &options), CLIP))[0], affect(1.0, 0.0));
        let options = Options { annotators: vec!["A9".into()], ..Options::default() };
        let bad = tree.open_with("sewa", &options).report.bad;
        assert!(bad[0].why.contains("has no column A9, only timestamp, A1, A2, A3"), "{bad:?}");
    }

    #[test]
    fn malformed_files_are_named_with_their_line() {
        let tree = one();
        let path = format!("annotations/{CLIP}/{CLIP}_Valence_V_Aligned.csv");
        let good = raw([0.1, 0.1, 0.1]);
        let file = |line: &str| format!("_Valence_V_Aligned.csv:{line}");
        tree.each_is_bad(
            "sewa",
            &path,
            &good,
            &[
                ("", "is empty"),
                ("timestamp,A1,A2,A3\n", "holds no rows"),
                ("timestamp\n0.1\n", "has no annotator's column"),
                ("timestamp,A1,A2\n0.0,0.1\n", &file("2: has 2 columns, expected 3")),
                ("timestamp,A1\n0.0,0.1\n0.1,high\n", &file("3: A1 is \"high\"")),
                ("timestamp,A1\n0.0,0.1\n0.1,1.5\n", &file("3: A1 is \"1.5\", expected a number from -1 to 1")),
                ("timestamp,A1\n0.1,0.1\n0.0,0.1\n", &file("3: time 0 does not come after")),
            ],
        );
    }

    #[test]
    fn missing_companions_and_strange_names_are_bad() {
        let tree = one();
        tree.remove(&format!("annotations/{CLIP}/{CLIP}_Valence_V_Aligned.csv"));
        assert!(tree.open("sewa").report.bad[0].why.contains("_Valence_V_Aligned.(csv) is missing"));
        let tree = one();
        tree.remove(&format!("annotations/{CLIP}/{CLIP}_Arousal_V_Aligned.csv"));
        assert!(tree.open("sewa").report.bad[0].why.contains("_Arousal_V_Aligned.(csv) is missing"));
        let tree = one();
        tree.remove(&format!("videos/{CLIP}.avi"));
        assert!(tree.open("sewa").report.bad[0].why.contains(&format!("{CLIP}.(mp4|avi")));
        let tree = Tree::new();
        tree.file("SVH_C9_S1_P1_VC1_0_500.avi", "");
        add(&tree, "SVH_C9_S1_P1_VC1_0_500", "V", [0.0; 3], [0.0; 3]);
        assert!(tree.open("sewa").report.bad[0].why.contains("is not a clip's name"));
    }

    #[test]
    fn half_speed_recordings_and_unlike_times_are_noticed() {
        let tree = one();
        let slow = "SAH_C1_S009_P018_VC1_000000_000250";
        tree.file(&format!("{slow}.mp4"), "");
        add(&tree, slow, "V", [0.0; 3], [0.0; 3]);
        let odd = "SAH_C1_S009_P017_VC1_000000_000400";
        tree.file(&format!("{odd}.mp4"), "");
        add(&tree, odd, "V", [0.0; 3], [0.0; 3]);
        tree.file(&format!("annotations/{odd}/{odd}_Valence_V_Aligned.csv"), "t,A1\n0,0\n5,0.5\n");
        let loaded = tree.open("sewa");
        assert_eq!((by_id(&loaded, slow).fps, by_id(&loaded, odd).fps), (Some(25.0), None));
        assert_eq!(rows(by_id(&loaded, odd))[10], affect(0.0, 0.1));
        let remarks: Vec<&str> = loaded.report.remarks.iter().map(|n| &n.why[..]).collect();
        assert!(
            remarks[0].contains("400 frames in 10.00 s") && remarks[1].contains("100 rows, valence 2"),
            "{remarks:?}"
        );
    }

    #[test]
    fn sessions_do_not_cross_splits() {
        let tree = Tree::new();
        for s in 1..=12 {
            for p in [2 * s - 1, 2 * s] {
                let clip = format!("SVH_C1_S{s:03}_P{p:03}_VC1_000000_000500");
                tree.file(&format!("{clip}.avi"), "");
                add(&tree, &clip, "V", [0.0; 3], [0.0; 3]);
            }
        }
        let loaded = tree.open_with("sewa", &Options { seed: 3, ..Options::default() });
        let groups = |s| loaded.recordings.iter().filter(|r| r.split == s).map(|r| &r.group).collect::<BTreeSet<_>>();
        let [train, valid, test] = Split::ALL.map(groups);
        assert_eq!((train.len(), valid.len(), test.len()), (8, 2, 2));
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
        assert_eq!(loaded.recordings.len(), 24);
    }

    /// 500 rows of 0.02 s; the value falls into bin 3.
    fn labels(value: f32) -> String {
        let bins = (0..BINS).map(|b| if b == 3 { ",1" } else { ",0" }).collect::<String>();
        (0..500).map(|i| format!("{:.2}{bins},{value}\n", f64::from(i) * 0.02)).collect()
    }

    fn vaerr() -> Tree {
        let tree = Tree::new();
        for (split, s) in [("train", 144), ("val", 145), ("test", 146)] {
            let clip = format!("SVH_C5_S{s}_P287_VC1_003201_003701");
            tree.file(&format!("{split}/{clip}/{clip}.npz"), npz_file(KEY, &[500, 2, 2], 2000))
                .file(&format!("labels/{clip}/{clip}_Arousal_V_Aligned_0.csv"), labels(0.5))
                .file(&format!("labels/{clip}/{clip}_Valence_V_Aligned_0.csv"), labels(-0.25));
        }
        tree
    }

    #[test]
    fn the_vaerr_form_keeps_its_splits_and_reads_the_value_column() {
        let loaded = vaerr().open("sewa-vaerr");
        let splits: Vec<Split> = loaded.recordings.iter().map(|r| r.split).collect();
        assert_eq!(splits, Split::ALL);
        let r = by_id(&loaded, CLIP);
        assert_eq!((rows(r).len(), rows(r)[499], r.fps), (500, affect(0.5, -0.25), Some(50.0)));
        assert!(matches!(r.media, Media::Array { shape: [500, 2, 2], key: "arr_0", .. }));
    }

    #[test]
    fn malformed_vaerr_files_are_named_with_their_line() {
        let tree = vaerr();
        let path = format!("labels/{CLIP}/{CLIP}_Arousal_V_Aligned_0.csv");
        let good = labels(0.5);
        let lines: Vec<&str> = good.lines().take(3).collect();
        tree.each_is_bad(
            "sewa-vaerr",
            &path,
            &good,
            &[
                ("", "holds no rows"),
                ("0.0,1,0.5\n", "_0.csv:1: has 3 columns, expected 22"),
                (&format!("{}\n{}\n", lines[0], lines[1].replace(",1,", ",0,")), "_0.csv:2: its 20 bins"),
                (&format!("{}\n{}\n", lines[0], lines[1].replace(",0.5", ",x")), "_0.csv:2: value is \"x\""),
                (&format!("{}\n{}\n", lines[1], lines[0]), "_0.csv:2: time 0 does not come after"),
            ],
        );
        tree.file(&format!("train/{CLIP}/{CLIP}.npz"), npz_file(KEY, &[400, 2, 2], 1600));
        let bad = tree.open("sewa-vaerr").report.bad;
        assert!(bad[0].why.contains("is shorter than its labels: 400 frames"), "{bad:?}");
    }

    #[test]
    fn a_vaerr_clip_in_two_splits_is_bad() {
        let tree = vaerr();
        tree.file(&format!("test/{CLIP}/{CLIP}.npz"), npz_file(KEY, &[500, 2, 2], 2000));
        assert!(tree.open("sewa-vaerr").report.bad[0].why.contains("is there twice"));
    }
}
