//! A score as Markdown and JSON.

use super::{Align, Missing, Pair};
use serde::Serialize;
use std::fmt::Write;

pub use crate::spec::certificate::Measured as Figure;

/// One dimension's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// With a prediction and a label.
    pub frames: usize,
    pub videos: usize,
    /// Videos whose labels or predictions do not vary: their CCC is 0.
    pub flat_videos: usize,
    /// Over all frames of all videos as one series.
    pub ccc_concatenated: Figure,
    /// Mean over videos of each one's CCC.
    pub ccc_mean_of_videos: Figure,
    pub pearson: Figure,
    pub rmse: Figure,
    /// Share of frames whose signs agree.
    pub sagr: Figure,
    /// Mean prediction minus mean label.
    pub bias: Figure,
    /// Standard deviation of predictions over that of labels.
    pub gain: Figure,
    /// By how much predictions come late, where they correlate best.
    pub lag_s: Option<f64>,
    pub pearson_at_lag: Option<f64>,
}

/// One video's CCC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoScore {
    pub video: String,
    /// Arousal, valence.
    pub frames: [usize; 2],
    pub ccc: [f64; 2],
}

impl VideoScore {
    pub(super) fn of(name: &str, pair: &Pair) -> Self {
        let moments = [pair.moments(0), pair.moments(1)];
        Self { video: name.to_owned(), frames: moments.map(|m| m.n), ccc: moments.map(|m| m.agreement().ccc) }
    }
}

/// Predictions against labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    pub arousal: Figures,
    pub valence: Figures,
    pub videos: Vec<VideoScore>,
    /// Groups that the bootstrap resamples.
    pub groups: usize,
    /// What a group is.
    pub resampled: &'static str,
    pub align: Align,
    pub missing: Missing,
    pub seed: u64,
    pub rounds: usize,
    pub remarks: Vec<String>,
}

/// A figure by its name.
pub struct Metric {
    /// In files.
    pub key: &'static str,
    /// For people.
    pub title: &'static str,
    pub of: fn(&Figures) -> Option<Figure>,
}

/// What is resampled.
pub const METRICS: [Metric; 7] = [
    Metric { key: "ccc_concatenated", title: "CCC, all frames concatenated", of: |f| Some(f.ccc_concatenated) },
    Metric { key: "ccc_mean_of_videos", title: "CCC, mean over videos", of: |f| Some(f.ccc_mean_of_videos) },
    Metric { key: "pearson", title: "Pearson, concatenated", of: |f| Some(f.pearson) },
    Metric { key: "rmse", title: "RMSE", of: |f| Some(f.rmse) },
    Metric { key: "sagr", title: "sign agreement (SAGR)", of: |f| Some(f.sagr) },
    Metric { key: "bias", title: "bias (prediction - label)", of: |f| Some(f.bias) },
    Metric { key: "gain", title: "gain (prediction sd / label sd)", of: |f| Some(f.gain) },
];

/// Where predictions correlate best; without an interval, and not always known.
pub const LAG: Metric = Metric {
    key: "lag_s",
    title: "best lag, s (late is +)",
    of: |f| f.lag_s.map(|value| Figure { value, interval: None }),
};

fn shown(f: Option<Figure>) -> String {
    match f {
        Some(Figure { value, interval: Some([low, high]) }) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        Some(Figure { value, interval: None }) => format!("{value:.3}"),
        None => "-".to_owned(),
    }
}

fn lag(f: &Figures) -> String {
    match (f.lag_s, f.pearson_at_lag) {
        (Some(lag), Some(pearson)) => format!("{lag:+.2} (Pearson {pearson:.3})"),
        _ => "-".to_owned(),
    }
}

impl Score {
    /// A table for people.
    pub fn markdown(&self) -> String {
        let (a, v) = (&self.arousal, &self.valence);
        let mut text = "| | arousal | valence |\n|---|---|---|\n".to_owned();
        // Writing to a String does not fail.
        for m in METRICS {
            let _ = writeln!(text, "| {} | {} | {} |", m.title, shown((m.of)(a)), shown((m.of)(v)));
        }
        let _ = writeln!(text, "| {} | {} | {} |", LAG.title, lag(a), lag(v));
        let _ = writeln!(text, "| frames | {} | {} |", a.frames, v.frames);
        let _ = writeln!(text, "\n{} videos. {}", self.videos.len(), self.intervals());
        for (name, f) in [("arousal", a), ("valence", v)] {
            if f.flat_videos > 0 {
                let _ = writeln!(text, "{} videos do not vary in {name}: their CCC is 0.", f.flat_videos);
            }
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}.");
        }
        text
    }

    fn intervals(&self) -> String {
        if self.arousal.ccc_concatenated.interval.is_none() {
            return format!("No intervals: {} {} and {} rounds.", self.groups, self.resampled, self.rounds);
        }
        format!(
            "[] is the bootstrap 95 % interval over {} {} ({} rounds, seed {}).",
            self.groups, self.resampled, self.rounds, self.seed
        )
    }
}
