//! What was measured, as `certificate.json` holds it. Every number is finite; what cannot be measured is `null`.

use super::protocol::Protocol;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A number and the central 95 % of it over resampled subjects.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    pub value: f64,
    /// Low, high; `None` with fewer than two subjects.
    pub interval: Option<[f64; 2]>,
}

/// The same of arousal and of valence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerDimension<T> {
    pub arousal: T,
    pub valence: T,
}

impl<T> PerDimension<T> {
    /// Name and content of both.
    pub fn each(&self) -> [(&'static str, &T); 2] {
        [("arousal", &self.arousal), ("valence", &self.valence)]
    }
}

/// One network against the labels, in one dimension. All but two figures are over all frames concatenated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Concordance correlation coefficient (Lin 1989, population variance).
    pub ccc: Measured,
    /// Mean of the CCC of each video whose label moves; `None` where none does (stills).
    pub ccc_mean_of_videos: Option<Measured>,
    pub pearson: Measured,
    /// Root mean squared error, in units of the label.
    pub rmse: Measured,
    /// Mean prediction minus mean label.
    pub bias: Measured,
    /// Standard deviation of the prediction over that of the label.
    pub gain: Measured,
    /// Seconds by which predictions come late, over videos whose label moves; `None` where none does.
    pub lag_s: Option<f64>,
    /// Pearson's correlation at that lag.
    pub pearson_at_lag: Option<f64>,
}

/// A student in one dimension: against the labels and against its teacher, on the same frames.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentScores {
    pub scores: Scores,
    /// The student's CCC over the teacher's, both against the labels, in every resample of the same subjects (paired); 0 where
    /// the teacher's is not above 0.
    pub retained: Measured,
    /// CCC of the student's values with the teacher's.
    pub with_teacher: Measured,
    /// Share of labels inside the student's 80 % interval.
    pub coverage: f64,
}

/// One dimension of one set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimensionFigures {
    /// Frames with a label and a reading of every network; all figures are over these.
    pub frames: usize,
    pub videos: usize,
    /// Videos whose label moves; the others (stills) have no CCC and no lag of their own.
    pub moving_videos: usize,
    pub teacher: Scores,
    pub fp32: StudentScores,
    pub int8: StudentScores,
    /// CCC of the int8 student minus that of the fp32 student.
    pub int8_minus_fp32: Measured,
}

/// How far a student's `confidence` can be believed: the share of frames that it says lie within 0.25 of both labels.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// Expected calibration error over ten equal-width bins (Naeini et al. 2015).
    pub ece: f64,
    pub bins: Vec<ConfidenceBin>,
}

/// One bin of the reliability diagram; bins without frames are left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfidenceBin {
    pub frames: usize,
    /// Mean confidence.
    pub confidence: f64,
    /// Share that lay within.
    pub held: f64,
}

/// One dimension of one group.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupScores {
    pub frames: usize,
    /// CCC of the teacher, concatenated.
    pub teacher_ccc: f64,
    /// CCC of the int8 student, concatenated.
    pub int8_ccc: f64,
    /// Of the int8 student.
    pub int8_rmse: f64,
    /// Of the int8 student.
    pub int8_bias: f64,
}

/// The recordings that share a value of a tag.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The value, or a range of it.
    pub value: String,
    pub videos: usize,
    pub subjects: usize,
    pub figures: PerDimension<GroupScores>,
}

/// A set sorted by one tag.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grouping {
    /// The tag, or `subject`.
    pub tag: String,
    pub groups: Vec<Group>,
    /// Largest minus smallest CCC of the int8 student over the groups.
    pub ccc_gap: PerDimension<f64>,
    /// Largest minus smallest bias of the int8 student over the groups.
    pub bias_gap: PerDimension<f64>,
}

/// A video that the int8 student reads badly.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorstVideo {
    pub video: String,
    pub subject: String,
    pub frames: usize,
    /// Of the int8 student; worst first.
    pub rmse: f64,
    /// Of the teacher.
    pub teacher_rmse: f64,
    /// Of the int8 student.
    pub bias: f64,
    /// Of the int8 student; `None` where the label does not move.
    pub ccc: Option<f64>,
}

/// Everything measured on one folder of shards.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFigures {
    /// Name of the folder.
    pub name: String,
    /// SHA-256 of its `index.json`, which holds those of its shards.
    pub index_sha256: String,
    /// The split that was read, which subjects do not share with another.
    pub split: String,
    /// Recordings.
    pub videos: usize,
    /// People; the groups of recordings where people are not known.
    pub subjects: usize,
    /// The teacher's frames.
    pub frames: usize,
    /// Labelled frames without a face, which no student reads; left out of all figures.
    pub unread_frames: usize,
    pub dimensions: PerDimension<DimensionFigures>,
    pub fp32_confidence: Confidence,
    pub int8_confidence: Confidence,
    /// By each tag that sorts the recordings into two or more groups.
    pub groupings: Vec<Grouping>,
    /// Tags with too many values to sort by.
    pub ungrouped: Vec<String>,
    pub worst_videos: PerDimension<Vec<WorstVideo>>,
}

/// One engine against the reference engine, each with its own state, frame after frame.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineCheck {
    pub engine: String,
    /// `fp32` or `int8`.
    pub precision: String,
    pub frames: usize,
    /// Largest difference of a logit or of a value of the state.
    pub worst: f64,
    /// Largest difference of arousal or valence.
    pub worst_value: f64,
    /// Largest `worst` that is allowed.
    pub tolerance: f64,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::model(what())) }
}

impl Measured {
    fn validate(&self, name: &str, low: f64, high: f64) -> Result<()> {
        let range = low..=high;
        ensure(range.contains(&self.value), || format!("{name} is {}, expected {low} to {high}", self.value))?;
        let ordered = self.interval.is_none_or(|[a, b]| range.contains(&a) && a <= b && range.contains(&b));
        ensure(ordered, || format!("{name} has the interval {:?}, expected {low} to {high} in order", self.interval))
    }
}

impl Scores {
    fn validate(&self, protocol: &Protocol) -> Result<()> {
        self.ccc.validate("ccc", -1.0, 1.0)?;
        self.ccc_mean_of_videos.map_or(Ok(()), |m| m.validate("ccc_mean_of_videos", -1.0, 1.0))?;
        self.pearson.validate("pearson", -1.0, 1.0)?;
        self.rmse.validate("rmse", 0.0, 2.0)?;
        self.bias.validate("bias", -2.0, 2.0)?;
        self.gain.validate("gain", 0.0, f64::MAX)?;
        let most = protocol.max_lag_s + 1.0;
        ensure(self.lag_s.is_none_or(|l| l.abs() <= most), || format!("lag_s is {:?}", self.lag_s))?;
        ensure(self.pearson_at_lag.is_none_or(|p| p.abs() <= 1.0), || "pearson_at_lag is above 1".into())
    }
}

impl StudentScores {
    fn validate(&self, teacher: &Scores, protocol: &Protocol) -> Result<()> {
        self.scores.validate(protocol)?;
        self.retained.validate("retained", f64::MIN, f64::MAX)?;
        self.with_teacher.validate("with_teacher", -1.0, 1.0)?;
        let want = retained(self.scores.ccc.value, teacher.ccc.value);
        ensure(self.retained.value == want, || format!("retained is {}, the CCCs give {want}", self.retained.value))?;
        ensure((0.0..=1.0).contains(&self.coverage), || format!("coverage is {}", self.coverage))
    }
}

/// What a student keeps of its teacher's CCC; 0 where there is nothing to keep.
pub fn retained(student: f64, teacher: f64) -> f64 {
    if teacher > 0.0 { student / teacher } else { 0.0 }
}

impl DimensionFigures {
    /// The student in one arithmetic and its name, both in turn.
    pub fn students(&self) -> [(&'static str, &StudentScores); 2] {
        [("fp32", &self.fp32), ("int8", &self.int8)]
    }

    fn validate(&self, protocol: &Protocol) -> Result<()> {
        self.teacher.validate(protocol).map_err(|e| e.at("teacher"))?;
        for (name, student) in self.students() {
            student.validate(&self.teacher, protocol).map_err(|e| e.at(name))?;
        }
        self.int8_minus_fp32.validate("int8_minus_fp32", -2.0, 2.0)?;
        let want = self.int8.scores.ccc.value - self.fp32.scores.ccc.value;
        ensure(self.int8_minus_fp32.value == want, || "int8_minus_fp32 is not the difference of the CCCs".into())
    }
}

impl Confidence {
    fn validate(&self) -> Result<()> {
        let shares = || self.bins.iter().flat_map(|b| [b.confidence, b.held]).chain([self.ece]);
        // Rounding of f32 sums may pass 1 by a little.
        ensure(shares().all(|s| (-1e-4..=1.0 + 1e-4).contains(&s)), || "a share of confidence is not 0 to 1".into())
    }
}

impl SetFigures {
    pub(super) fn validate(&self, protocol: &Protocol) -> Result<()> {
        super::ensure_digest("index_sha256", &self.index_sha256)?;
        ensure(self.split != "train", || "was measured on the training split".into())?;
        for (name, dimension) in self.dimensions.each() {
            dimension.validate(protocol).map_err(|e| e.at(name))?;
        }
        self.fp32_confidence.validate()?;
        self.int8_confidence.validate()
    }
}

impl EngineCheck {
    pub(super) fn validate(&self) -> Result<()> {
        let known = matches!(&self.precision[..], "fp32" | "int8");
        ensure(known, || format!("precision is {:?}, expected fp32 or int8", self.precision))?;
        let sound = [self.worst, self.worst_value, self.tolerance].iter().all(|v| v.is_finite() && *v >= 0.0);
        ensure(sound && self.frames > 0, || "compares no frames, or its differences are no distances".into())
    }
}
