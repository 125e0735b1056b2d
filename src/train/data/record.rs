//! What every data set becomes: recordings with their labels, and a report of what did not become one.

use super::resample::{self, resample};
use crate::error::{Error, Result};
use crate::render::Affect;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a recording may be used for. Ordered by how strictly it is kept from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Train,
    Valid,
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Self; 3] = [Split::Train, Split::Valid, Split::Test];

    /// As written in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }
}

/// Where the pictures are.
#[derive(Debug, Clone, PartialEq)]
pub enum Media {
    /// A video file.
    Video(PathBuf),
    /// A folder of pictures named by number; some may be missing.
    Frames(Frames),
    /// An npz file with an array of T x H x W grey.
    Array {
        file: PathBuf,
        /// Name of the array in the file.
        key: &'static str,
        /// T, H, W.
        shape: [usize; 3],
    },
    /// One picture, which is a face crop.
    Still(PathBuf),
}

/// Pictures named by number.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    pub dir: PathBuf,
    /// Number in the name of frame 0.
    pub first: u32,
    /// Digits of the number, with leading zeros.
    pub digits: usize,
    /// Without the dot.
    pub extension: String,
    /// The video that they were taken from, where it is there too: it knows how many a second they are.
    pub video: Option<PathBuf>,
}

impl Frames {
    /// File of frame `i`, from 0, whether or not it exists.
    pub fn path(&self, i: u32) -> PathBuf {
        let number = u64::from(i) + u64::from(self.first);
        self.dir.join(format!("{number:0width$}.{}", self.extension, width = self.digits))
    }
}

/// What the rows of an annotation are bound to.
#[derive(Debug, Clone, PartialEq)]
pub enum Clock {
    /// Time of each row in seconds from the start of the recording, growing.
    Seconds(Vec<f64>),
    /// Number of each row's frame, from 0, growing. The frame rate is the medium's.
    Frames(Vec<u32>),
}

/// Labels over a recording; `None` where the annotators gave none.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    pub clock: Clock,
    /// As many as the clock has.
    pub values: Vec<Option<Affect>>,
}

impl Annotation {
    /// Time of each row in seconds, given the frame rate for rows bound to frames.
    pub fn seconds(&self, fps: f64) -> Vec<f64> {
        match &self.clock {
            Clock::Seconds(times) => times.clone(),
            Clock::Frames(numbers) => numbers.iter().map(|n| f64::from(*n) / fps).collect(),
        }
    }

    fn at_frames(&self, times: &[f64]) -> Vec<Option<Affect>> {
        match &self.clock {
            Clock::Seconds(own) => resample(own, &self.values, times),
            Clock::Frames(numbers) => {
                let mut out = vec![None; times.len()];
                for (n, value) in numbers.iter().zip(&self.values) {
                    if let Some(place) = out.get_mut(*n as usize) {
                        *place = *value;
                    }
                }
                out
            }
        }
    }
}

/// Emotions that people vote for.
pub const EMOTIONS: usize = 8;

/// Shares of people who saw neutral, happiness, surprise, sadness, anger, disgust, fear or contempt in a face, in this order; their
/// sum is 1.
pub type Votes = [f32; EMOTIONS];

/// Labels of one recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// Over time.
    Series(Annotation),
    /// One pair for the whole clip.
    Clip(Affect),
    /// Votes on emotions for the whole clip, and the pair that they are graded as.
    Voted(Affect, Votes),
}

impl Labels {
    /// The label of every frame of the medium, given their times in seconds.
    ///
    /// Rows with times are interpolated as in [`resample`]; rows bound to frames go to their frame; a clip's label goes
    /// to all.
    pub fn at_frames(&self, times: &[f64]) -> Vec<Option<Affect>> {
        match self {
            Labels::Series(a) => a.at_frames(times),
            Labels::Clip(affect) | Labels::Voted(affect, _) => vec![Some(*affect); times.len()],
        }
    }

    /// Whether a medium of `frames` frames is long enough. One label step and one frame may be wanting.
    ///
    /// # Errors
    /// The medium ends before its labels; says by how much.
    pub fn ensure_fits(&self, frames: usize, fps: f64) -> Result<()> {
        let Labels::Series(a) = self else { return Ok(()) };
        let times = a.seconds(fps);
        let (Some(last), end_s) = (times.last(), frames as f64 / fps) else { return Ok(()) };
        let slack_s = resample::step(&times).unwrap_or(0.0).max(1.0 / fps) + 1.0 / fps;
        if *last > end_s + slack_s {
            return Err(Error::input(format!(
                "is shorter than its labels: {frames} frames end at {end_s:.2} s, the labels at {last:.2} s"
            )));
        }
        Ok(())
    }

    /// Rows with a value and all rows; a clip is one row.
    pub fn counts(&self) -> (usize, usize) {
        match self {
            Labels::Series(a) => (a.values.iter().flatten().count(), a.values.len()),
            Labels::Clip(_) | Labels::Voted(..) => (1, 1),
        }
    }

    /// The votes on emotions, where people were asked for them.
    pub fn votes(&self) -> Option<Votes> {
        match self {
            Labels::Voted(_, votes) => Some(*votes),
            Labels::Series(_) | Labels::Clip(_) => None,
        }
    }

    /// The values there are.
    pub fn values(&self) -> impl Iterator<Item = Affect> {
        let (series, clip) = match self {
            Labels::Series(a) => (&a.values[..], None),
            Labels::Clip(affect) | Labels::Voted(affect, _) => (&[][..], Some(*affect)),
        };
        series.iter().copied().flatten().chain(clip)
    }
}

/// One person in one video.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Unique within its set.
    pub id: String,
    /// The person, where the set says who.
    pub subject: Option<String>,
    /// What must not be split: the subject, or else the recording or session it stems from.
    pub group: String,
    pub split: Split,
    pub media: Media,
    /// Frames a second where the set fixes it; `None` to ask the medium.
    pub fps: Option<f64>,
    pub labels: Labels,
}

/// A file and what is to be said of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Note {
    pub file: String,
    pub why: String,
}

/// What became of the files that gave no recording, or gave less than they hold.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Report {
    /// Malformed files, missing companions.
    pub bad: Vec<Note>,
    /// Left out by rule.
    pub left_out: Vec<Note>,
    /// Used, with a remark.
    pub remarks: Vec<Note>,
}

/// A data set as read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    pub recordings: Vec<Recording>,
    pub report: Report,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text alone where it names the file itself.
        if self.why.starts_with(&self.file) {
            return f.write_str(&self.why);
        }
        write!(f, "{}: {}", self.file, self.why)
    }
}

fn note(file: impl AsRef<Path>, why: impl ToString) -> Note {
    Note { file: file.as_ref().display().to_string(), why: why.to_string() }
}

impl Loaded {
    /// Takes a recording, or notes why `file` gave none.
    pub fn push(&mut self, file: &Path, recording: Result<Recording>) {
        match recording {
            Ok(r) => self.recordings.push(r),
            Err(e) => self.report.bad.push(note(file, e)),
        }
    }

    /// Notes a file left out by rule.
    pub fn leave_out(&mut self, file: impl AsRef<Path>, why: impl ToString) {
        self.report.left_out.push(note(file, why));
    }

    /// Notes something about a file that is used.
    pub fn remark(&mut self, file: impl AsRef<Path>, why: impl ToString) {
        self.report.remarks.push(note(file, why));
    }

    /// Sorts by id, notes ids that occur twice as bad, and keeps people apart: a recording whose group is also in
    /// a stricter split (test before valid before train) is left out.
    pub fn settle(mut self) -> Self {
        self.recordings.sort_by(|a, b| (&a.id, a.split).cmp(&(&b.id, b.split)));
        let mut strictest: BTreeMap<String, Split> = BTreeMap::new();
        for r in &self.recordings {
            let split = strictest.entry(r.group.clone()).or_insert(r.split);
            *split = r.split.max(*split);
        }
        let mut seen = BTreeSet::new();
        for r in std::mem::take(&mut self.recordings) {
            let strict = strictest.get(&r.group).copied().unwrap_or(r.split);
            if strict != r.split {
                let why = format!("{} is also in {}, so it is kept out of {}", r.group, strict.name(), r.split.name());
                self.leave_out(&r.id, why);
            } else if !seen.insert(r.id.clone()) {
                self.report.bad.push(note(&r.id, "occurs twice"));
            } else {
                self.recordings.push(r);
            }
        }
        self
    }

    /// The recordings and the report.
    ///
    /// # Errors
    /// No recording at all; or, unless `skip_bad`, any bad file: all are listed.
    pub fn accept(self, place: &Path, skip_bad: bool) -> Result<Self> {
        let bad = &self.report.bad;
        if !bad.is_empty() && !skip_bad {
            let list: String = bad.iter().map(|n| format!("\n  {n}")).collect();
            return Err(Error::input(format!("{} bad, {} good recordings:{list}\n", bad.len(), self.recordings.len()))
                .at(place.display())
                .remedy("mend them, or leave them out with --skip-bad"));
        }
        if self.recordings.is_empty() {
            let why = bad.first().map_or(String::new(), |n| format!("; the first of {} bad: {n}", bad.len()));
            return Err(Error::input(format!("holds no usable recording{why}")).at(place.display()));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(id: &str, group: &str, split: Split) -> Recording {
        Recording {
            id: id.into(),
            subject: None,
            group: group.into(),
            split,
            media: Media::Video(id.into()),
            fps: None,
            labels: Labels::Clip(Affect::default()),
        }
    }

    #[test]
    fn a_person_in_two_splits_is_kept_out_of_the_looser_one() {
        let mut all = Loaded::default();
        for (id, group, split) in [
            ("a", "x", Split::Train),
            ("b", "x", Split::Test),
            ("c", "y", Split::Valid),
            ("d", "y", Split::Train),
            ("e", "z", Split::Train),
        ] {
            all.push(Path::new(id), Ok(recording(id, group, split)));
        }
        let all = all.settle();
        let ids: Vec<&str> = all.recordings.iter().map(|r| &r.id[..]).collect();
        assert_eq!(ids, ["b", "c", "e"]);
        assert!(all.report.left_out[0].why.contains("x is also in test"));
    }

    #[test]
    fn bad_files_are_all_listed_and_stop_unless_skipped() {
        let mut all = Loaded::default();
        all.push(Path::new("a"), Ok(recording("a", "a", Split::Train)));
        all.push(Path::new("b.csv"), Err(Error::input("is empty").at("b.csv")));
        all.push(Path::new("c.csv"), Err(Error::input("has 2 columns").at("c.csv:7")));
        let e = all.clone().accept(Path::new("set"), false).unwrap_err().to_string();
        assert!(e.contains("\n  b.csv: is empty\n  c.csv:7: has 2 columns\n") && e.contains("--skip-bad"), "{e}");
        let kept = all.accept(Path::new("set"), true).unwrap();
        assert_eq!((kept.recordings.len(), kept.report.bad.len()), (1, 2));
        assert!(Loaded::default().accept(Path::new("set"), true).is_err());
    }

    #[test]
    fn rows_bound_to_frames_go_to_their_frames() {
        let value = |v| Some(Affect { arousal: v, valence: -v });
        let labels = Labels::Series(Annotation {
            clock: Clock::Frames(vec![0, 2, 3]),
            values: vec![value(0.1), None, value(0.3)],
        });
        assert_eq!(labels.at_frames(&[0.0, 0.04, 0.08, 0.12, 0.16]), [value(0.1), None, None, value(0.3), None]);
        assert_eq!(labels.counts(), (2, 3));
    }

    #[test]
    fn a_video_shorter_than_its_labels_is_refused() {
        let times = (0..100).map(|i| f64::from(i) * 0.1).collect();
        let labels = Labels::Series(Annotation { clock: Clock::Seconds(times), values: vec![None; 100] });
        assert!(labels.ensure_fits(500, 50.0).is_ok() && labels.ensure_fits(490, 50.0).is_ok());
        let e = labels.ensure_fits(480, 50.0).unwrap_err().to_string();
        assert!(e.contains("480 frames end at 9.60 s, the labels at 9.90 s"), "{e}");
    }

    #[test]
    fn frames_are_named_by_number() {
        let frames = Frames { dir: "v".into(), first: 1, digits: 5, extension: "jpg".into(), video: None };
        assert_eq!(frames.path(0), Path::new("v/00001.jpg"));
    }
}
