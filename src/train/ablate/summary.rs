//! The figures of a grid: each cell's score, each row over its seeds, and each row against the baseline.

use super::cell::{About, Cell};
use crate::error::{Error, Result};
use crate::train::score::{
    Align, Figure, Figures, LAG, METRICS, Metric, Missing, Score, ScoreOptions, Subjects, Track, score,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The dimensions, in the order of labels.
pub const DIMENSIONS: [&str; 2] = ["arousal", "valence"];

/// All figures, in the order of tables.
pub fn metrics() -> impl Iterator<Item = Metric> {
    METRICS.into_iter().chain([LAG])
}

/// Everything that tables and plots show, and `results.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub about: About,
    pub videos: usize,
    /// `None` if videos have no subjects; then whole videos are resampled.
    pub subjects: Option<usize>,
    /// Labelled in arousal, valence.
    pub frames: [usize; 2],
    pub cells: Vec<Scored>,
    pub rows: Vec<Row>,
    pub differences: Vec<Difference>,
    /// Cells still to be computed.
    pub missing: Vec<(String, u64)>,
    /// What scoring had to choose.
    pub remarks: Vec<String>,
}

/// A cell's score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scored {
    pub row: String,
    pub seed: u64,
    pub score: Score,
}

impl Scored {
    /// Of dimension 0 or 1.
    pub fn figures(&self, dimension: usize) -> &Figures {
        if dimension == 0 { &self.score.arousal } else { &self.score.valence }
    }
}

/// A figure over the seeds of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub seeds: usize,
    pub mean: f64,
    /// Standard deviation by n - 1, as of a sample of all seeds; `None` for one seed.
    pub sd: Option<f64>,
    pub min: f64,
    pub max: f64,
    /// Means over seeds of the ends of the bootstrap intervals.
    pub interval: Option<[f64; 2]>,
}

/// Least and greatest.
pub(super) fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

impl Spread {
    /// `None` of nothing.
    pub fn of(figures: &[Figure]) -> Option<Self> {
        let n = figures.len();
        let values = || figures.iter().map(|f| f.value);
        let mean = values().sum::<f64>() / n as f64;
        let squares: f64 = values().map(|v| (v - mean) * (v - mean)).sum();
        let intervals: Option<Vec<[f64; 2]>> = figures.iter().map(|f| f.interval).collect();
        let end = |all: &[[f64; 2]], i: usize| all.iter().map(|e| e[i]).sum::<f64>() / n as f64;
        let (min, max) = ends(values());
        (n > 0).then(|| Self {
            seeds: n,
            mean,
            sd: (n > 1).then(|| (squares / (n as f64 - 1.0)).sqrt()),
            min,
            max,
            interval: intervals.map(|all| [end(&all, 0), end(&all, 1)]),
        })
    }
}

/// A row over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub row: String,
    pub seeds: Vec<u64>,
    /// By metric, arousal and valence.
    pub spreads: [BTreeMap<&'static str, Spread>; 2],
}

/// A row's CCC minus the baseline's, seed by seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub row: String,
    pub dimension: &'static str,
    pub metric: &'static str,
    /// Those that both rows have.
    pub seeds: Vec<u64>,
    pub mean: f64,
    pub min: f64,
    pub max: f64,
    /// The larger of the two rows' ranges (max - min) over these seeds.
    pub seed_range: f64,
    pub verdict: Verdict,
}

/// Whether a difference says more than that networks start from different numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Fewer than two seeds in common.
    OneSeed,
    /// The mean difference is not larger than the seed range.
    WithinSeeds,
    /// It is larger.
    BeyondSeeds,
}

impl Summary {
    /// Scores the cells with 1000 resamples.
    ///
    /// # Errors
    /// No cell, cells of different videos or labels, or subjects given for some videos alone.
    pub fn of(about: &About, cells: &[Cell]) -> Result<Self> {
        let Some(first) = cells.first() else {
            return Err(Error::input("no cell of the ablation is finished").remedy("run it first"));
        };
        cells.iter().try_for_each(|c| same_videos(first, c))?;
        let mut scored = Vec::new();
        for cell in cells {
            let score =
                scores(cell).map_err(|e| Error::new(e.kind(), "cannot be scored").at(cell.name()).caused_by(e))?;
            scored.push(Scored { row: cell.row.clone(), seed: cell.seed, score });
        }
        let rows: Vec<Row> = about.rows.iter().filter_map(|r| Row::of(r, &scored)).collect();
        let subjects: BTreeSet<&str> = first.videos.iter().filter_map(|v| v.subject.as_deref()).collect();
        let remarks: BTreeSet<&String> = scored.iter().flat_map(|s| &s.score.remarks).collect();
        let there = |row: &str, seed: u64| cells.iter().any(|c| (&c.row[..], c.seed) == (row, seed));
        let all = about.rows.iter().flat_map(|r| about.seeds.iter().map(move |s| (r.clone(), *s)));
        Ok(Self {
            about: about.clone(),
            videos: first.videos.len(),
            subjects: (!subjects.is_empty()).then_some(subjects.len()),
            frames: [0, 1].map(|d| scored[0].figures(d).frames),
            differences: differences(about, &scored),
            missing: all.filter(|(r, s)| !there(r, *s)).collect(),
            remarks: remarks.into_iter().cloned().collect(),
            rows,
            cells: scored,
        })
    }
}

/// Figures of networks that saw different videos must not stand in one table.
fn same_videos(a: &Cell, b: &Cell) -> Result<()> {
    let labels = |c: &Cell| -> BTreeMap<String, Vec<[u64; 2]>> {
        let bits = |l: &[f64; 2]| l.map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() });
        c.videos.iter().map(|v| (v.video.clone(), v.labels.iter().map(bits).collect())).collect()
    };
    if labels(a) == labels(b) {
        return Ok(());
    }
    let what = format!("was tested on other videos or labels than {}", a.name());
    Err(Error::input(what).at(b.name()).remedy("delete one of the two cells"))
}

fn scores(cell: &Cell) -> Result<Score> {
    let tracks = |pick: fn(&super::VideoResult) -> &[[f64; 2]]| -> BTreeMap<String, Track> {
        let track = |v: &super::VideoResult| Track {
            times: Some((0..v.labels.len()).map(|i| i as f64 / v.fps).collect()),
            values: [0, 1].map(|d| pick(v).iter().map(|p| p[d]).collect()),
            ..Track::default()
        };
        cell.videos.iter().map(|v| (v.video.clone(), track(v))).collect()
    };
    let subjects: Subjects = cell.videos.iter().filter_map(|v| Some((v.video.clone(), v.subject.clone()?))).collect();
    // Of videos of one frame, whose times say nothing.
    let fps = cell.videos.first().map(|v| v.fps);
    let options = ScoreOptions { align: Align::Rows, missing: Missing::Drop, fps, ..ScoreOptions::default() };
    score(&tracks(|v| &v.predicted), &tracks(|v| &v.labels), &subjects, &options)
}

impl Row {
    fn of(row: &str, cells: &[Scored]) -> Option<Self> {
        let own: Vec<&Scored> = cells.iter().filter(|c| c.row == row).collect();
        let spread = |d: usize, m: &Metric| {
            let figures: Option<Vec<Figure>> = own.iter().map(|c| (m.of)(c.figures(d))).collect();
            Some((m.key, Spread::of(&figures?)?))
        };
        let spreads = [0, 1].map(|d| metrics().filter_map(|m| spread(d, &m)).collect());
        let seeds: Vec<u64> = own.iter().map(|c| c.seed).collect();
        (!seeds.is_empty()).then(|| Self { row: row.to_owned(), seeds, spreads })
    }
}

/// Of both CCC, in the order of rows.
fn differences(about: &About, cells: &[Scored]) -> Vec<Difference> {
    let Some(baseline) = &about.baseline else { return Vec::new() };
    let mut all = Vec::new();
    for row in about.rows.iter().filter(|r| *r != baseline) {
        for d in [0, 1] {
            all.extend(METRICS[..2].iter().filter_map(|m| difference(row, baseline, d, m, cells)));
        }
    }
    all
}

fn difference(row: &str, baseline: &str, d: usize, metric: &Metric, cells: &[Scored]) -> Option<Difference> {
    let of = |row: &str| -> BTreeMap<u64, f64> {
        let own = cells.iter().filter(|c| c.row == row);
        own.filter_map(|c| Some((c.seed, (metric.of)(c.figures(d))?.value))).collect()
    };
    let (ours, theirs) = (of(row), of(baseline));
    let pairs: Vec<(u64, f64, f64)> = ours.into_iter().filter_map(|(s, v)| Some((s, v, *theirs.get(&s)?))).collect();
    let (min, max) = ends(pairs.iter().map(|p| p.1 - p.2));
    let ranges = [ends(pairs.iter().map(|p| p.1)), ends(pairs.iter().map(|p| p.2))].map(|(low, high)| high - low);
    let seed_range = ranges[0].max(ranges[1]);
    let mean = pairs.iter().map(|p| p.1 - p.2).sum::<f64>() / pairs.len() as f64;
    let verdict = match pairs.len() {
        0 => return None,
        1 => Verdict::OneSeed,
        _ if mean.abs() > seed_range => Verdict::BeyondSeeds,
        _ => Verdict::WithinSeeds,
    };
    let seeds = pairs.iter().map(|p| p.0).collect();
    let row = row.to_owned();
    Some(Difference { row, dimension: DIMENSIONS[d], metric: metric.key, seeds, mean, min, max, seed_range, verdict })
}
