//! Scores predictions of any system against labels.
//!
//! CCC over all frames concatenated and the mean of each video's CCC differ a lot on the same predictions, so both are
//! given. Bias, gain and lag say why a CCC is low. Population variance and f64 throughout.

mod align;
mod report;
mod track;

pub use align::{Align, Missing, Pair};
pub use report::{Figure, Figures, LAG, METRICS, Metric, Score, VideoScore};
pub use track::{Side, Track, of_recording, read};

use crate::error::{Error, Result};
use crate::metrics::{Interval, Lag, Moments, best_lag, bootstrap};
use crate::render::Rng;
use crate::train::data::table::{Delimiter, Table, read_text};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How predictions are scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreOptions {
    pub align: Align,
    pub missing: Missing,
    /// The lag is searched this far either way, in seconds.
    pub max_lag_s: f64,
    /// Rows a second, for labels without times.
    pub fps: Option<f64>,
    /// Resamples of the bootstrap; 0 for none.
    pub rounds: usize,
    pub seed: u64,
    /// Leave out videos that only one side has, instead of stopping.
    pub skip_unmatched: bool,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self {
            align: Align::default(),
            missing: Missing::default(),
            max_lag_s: 2.0,
            fps: None,
            rounds: 1000,
            seed: 1,
            skip_unmatched: false,
        }
    }
}

/// Person of each video; resampled together.
pub type Subjects = BTreeMap<String, String>;

/// Reads a table with the columns `video` and `subject`.
///
/// # Errors
/// A malformed table.
pub fn subjects(path: &Path) -> Result<Subjects> {
    let text = read_text(path)?;
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let table = Table::parse(&text, &path.display().to_string(), Delimiter::of(first))?;
    let (video, subject) = (table.column("video")?, table.column("subject")?);
    Ok(table.rows.iter().map(|r| (r.cells[video].to_owned(), r.cells[subject].to_owned())).collect())
}

/// Compares tracks of the same names. One track on either side is compared whatever they are called.
///
/// # Errors
/// Videos without their counterpart, tracks that do not fit together (all are listed), nothing to compare, or a video
/// of no subject.
pub fn score(
    predictions: &BTreeMap<String, Track>,
    labels: &BTreeMap<String, Track>,
    subjects: &Subjects,
    options: &ScoreOptions,
) -> Result<Score> {
    let mut remarks = Vec::new();
    let matched = matched(predictions, labels, options.skip_unmatched, &mut remarks)?;
    let (mut pairs, mut wrong) = (Vec::new(), Vec::new());
    for (name, prediction, label) in matched {
        remarks.extend(prediction.remark.iter().map(|r| format!("{name}: {r}")));
        match align::align(prediction, label, options.align, options.missing) {
            Ok(pair) => pairs.push((name, pair)),
            Err(e) => wrong.push(e.at(name)),
        }
    }
    match wrong.len() {
        0 => {}
        1 => return Err(wrong.remove(0)),
        n => {
            let list: String = wrong.iter().map(|e| format!("\n  {e}")).collect();
            return Err(Error::input(format!("{n} videos do not fit their labels:{list}")));
        }
    }
    let groups = groups(&pairs, subjects)?;
    let step_s = step_s(&pairs, options, &mut remarks);
    let dimensions = [0, 1].map(|d| figures(d, &pairs, &groups, step_s, options));
    if dimensions[0].frames == 0 && dimensions[1].frames == 0 {
        return Err(Error::input("no frame has both a prediction and a label"));
    }
    let unpredicted: usize = pairs.iter().map(|(_, p)| p.unpredicted).sum();
    if unpredicted > 0 {
        let done = match options.missing {
            Missing::Hold => "the last prediction is held for them",
            Missing::Drop => "they are not scored",
        };
        remarks.push(format!("{unpredicted} labelled frames have no prediction; {done}"));
    }
    let [arousal, valence] = dimensions;
    let videos = pairs.iter().map(|(name, pair)| VideoScore::of(name, pair)).collect();
    let resampled = if subjects.is_empty() { "videos" } else { "subjects" };
    Ok(Score {
        arousal,
        valence,
        videos,
        groups: groups.len(),
        resampled,
        align: options.align,
        missing: options.missing,
        seed: options.seed,
        rounds: options.rounds,
        remarks,
    })
}

type Matched<'a> = Vec<(&'a str, &'a Track, &'a Track)>;

fn matched<'a>(
    predictions: &'a BTreeMap<String, Track>,
    labels: &'a BTreeMap<String, Track>,
    skip: bool,
    remarks: &mut Vec<String>,
) -> Result<Matched<'a>> {
    if let (1, 1, Some((_, p)), Some((name, l))) =
        (predictions.len(), labels.len(), predictions.first_key_value(), labels.first_key_value())
    {
        return Ok(vec![(name, p, l)]);
    }
    for (lone, what) in [
        (track::missing(labels, predictions), "labels without predictions"),
        (track::missing(predictions, labels), "predictions without labels"),
    ] {
        if lone.is_empty() {
            continue;
        }
        let text = format!("{} {what}: {}", lone.len(), named(&lone));
        if !skip {
            return Err(Error::input(text)
                .remedy("files are matched by their names without extension; --skip-unmatched leaves these out"));
        }
        remarks.push(text);
    }
    let both: Matched = labels.iter().filter_map(|(name, l)| Some((&name[..], predictions.get(name)?, l))).collect();
    if both.is_empty() {
        return Err(Error::input("no prediction is named like a label"));
    }
    Ok(both)
}

/// At most five names.
fn named(names: &BTreeSet<String>) -> String {
    let some: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    some.join(", ") + if names.len() > 5 { ", ..." } else { "" }
}

/// Positions of each group's videos.
fn groups(pairs: &[(&str, Pair)], subjects: &Subjects) -> Result<Vec<Vec<usize>>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (name, _)) in pairs.iter().enumerate() {
        let group = match subjects.get(*name) {
            Some(subject) => subject,
            None if subjects.is_empty() => *name,
            None => return Err(Error::input("has no subject").at(name).remedy("give every video one, or none")),
        };
        groups.entry(group).or_default().push(i);
    }
    Ok(groups.into_values().collect())
}

/// Seconds between rows, if they are the same in all videos within a tenth.
fn step_s(pairs: &[(&str, Pair)], options: &ScoreOptions, remarks: &mut Vec<String>) -> Option<f64> {
    if options.align == Align::Mean {
        return None;
    }
    let steps: Vec<f64> = pairs.iter().filter_map(|(_, p)| p.step_s.or(options.fps.map(|f| 1.0 / f))).collect();
    let first = steps.first().copied();
    let known = first.filter(|s| steps.len() == pairs.len() && steps.iter().all(|t| (t / s - 1.0).abs() < 0.1));
    if known.is_none() {
        let why = if first.is_some() {
            "the videos' rows are not equally far apart"
        } else {
            "rows have no times: give --fps"
        };
        remarks.push(format!("no lag was searched, since {why}"));
    }
    known
}

/// Figures that are resampled, in this order.
const RESAMPLED: usize = 7;

fn figures(d: usize, pairs: &[(&str, Pair)], groups: &[Vec<usize>], step_s: Option<f64>, o: &ScoreOptions) -> Figures {
    let moments: Vec<Moments> = pairs.iter().map(|(_, p)| p.moments(d)).collect();
    let of = |chosen: &mut dyn Iterator<Item = usize>| -> [f64; RESAMPLED] {
        let (mut all, mut sum, mut videos) = (Moments::default(), 0.0, 0);
        for i in chosen.flat_map(|g| groups[g].iter().copied()).filter(|i| moments[*i].n > 0) {
            all = all.merge(&moments[i]);
            sum += moments[i].agreement().ccc;
            videos += 1;
        }
        let a = all.agreement();
        [a.ccc, sum / f64::from(videos.max(1)), a.pearson, a.rmse, all.sagr(), a.bias, a.gain]
    };
    let whole = of(&mut (0..groups.len()));
    let mut rng = Rng::new(o.seed, d as u64);
    let intervals = bootstrap(groups.len(), o.rounds, |n| rng.below(n), |chosen| of(&mut chosen.iter().copied()));
    let interval = |i: usize| -> Option<Interval> { intervals.as_ref().map(|all| all[i]) };
    let figure = |i: usize| Figure { value: whole[i], interval: interval(i).map(|x| [x.low, x.high]) };
    let lag = step_s.and_then(|step| Some((step, lag(d, pairs, (o.max_lag_s / step).round() as usize)?)));
    Figures {
        frames: moments.iter().map(|m| m.n).sum(),
        videos: moments.iter().filter(|m| m.n > 0).count(),
        flat_videos: moments.iter().filter(|m| m.n > 0 && !m.varies()).count(),
        ccc_concatenated: figure(0),
        ccc_mean_of_videos: figure(1),
        pearson: figure(2),
        rmse: figure(3),
        sagr: figure(4),
        bias: figure(5),
        gain: figure(6),
        lag_s: lag.map(|(step, lag)| lag.frames as f64 * step),
        pearson_at_lag: lag.map(|(_, lag)| lag.pearson),
    }
}

fn lag(d: usize, pairs: &[(&str, Pair)], most: usize) -> Option<Lag> {
    let videos: Vec<(&[f64], &[f64])> = pairs.iter().map(|(_, p)| (&p.prediction[d][..], &p.label[d][..])).collect();
    best_lag(&videos, most)
}

impl Pair {
    fn moments(&self, d: usize) -> Moments {
        Moments::of(self.prediction[d].iter().copied().zip(self.label[d].iter().copied()))
    }
}

#[cfg(test)]
mod tests;
