//! From a table of predictions to the figures of a certificate.

use super::groups;
use super::table::{Columns, FP32, INT8, TEACHER, Video};
use crate::metrics::{self, Interval, Moments, best_lag, bootstrap};
use crate::render::Rng;
use crate::session::{Estimate, TOLERANCE};
use crate::spec::certificate::{
    Confidence, ConfidenceBin, DimensionFigures, Measured, PerDimension, Protocol, Scores, SetFigures, StudentScores,
    retained,
};
use std::collections::BTreeMap;

/// Where a set comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub index_sha256: String,
    pub split: String,
}

/// All figures of one set, whose recordings are in the order of the shards. The same table, settings and seed give the
/// same figures.
pub fn figures(source: &Source, videos: &[Video], protocol: &Protocol) -> SetFigures {
    let columns = [0, 1].map(|d| videos.iter().map(|v| v.columns(d)).collect::<Vec<_>>());
    let subjects = subjects(videos);
    let dimension = |d: usize| dimension(d, videos, &columns[d], &subjects, protocol);
    let (groupings, ungrouped) = groups::groupings(videos, &columns, protocol.most_groups);
    let worst = |d: usize| groups::worst_videos(videos, &columns[d], protocol.worst_videos);
    SetFigures {
        name: source.name.clone(),
        index_sha256: source.index_sha256.clone(),
        split: source.split.clone(),
        videos: videos.len(),
        subjects: subjects.len(),
        frames: videos.iter().map(|v| v.labels.len()).sum(),
        unread_frames: videos.iter().map(Video::unread).sum(),
        dimensions: PerDimension { arousal: dimension(0), valence: dimension(1) },
        fp32_confidence: confidence(videos, 0),
        int8_confidence: confidence(videos, 1),
        groupings,
        ungrouped,
        worst_videos: PerDimension { arousal: worst(0), valence: worst(1) },
    }
}

/// Positions of each subject's recordings, by name.
pub fn subjects(videos: &[Video]) -> Vec<Vec<usize>> {
    let mut all: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, video) in videos.iter().enumerate() {
        all.entry(&video.subject).or_default().push(i);
    }
    all.into_values().collect()
}

/// What says everything about a subject's frames, and adds up over subjects.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    against_label: [Moments; 3],
    /// fp32, int8.
    with_teacher: [Moments; 2],
    /// Sum of the CCCs of the videos whose label moves.
    own_ccc: [f64; 3],
    moving: usize,
}

impl Sums {
    fn of(columns: &Columns) -> Self {
        let against_label = [TEACHER, FP32, INT8].map(|n| columns.against_label(n));
        let own = |m: Moments| if columns.moves { m.agreement().ccc } else { 0.0 };
        Self {
            against_label,
            with_teacher: [FP32, INT8].map(|n| columns.with_teacher(n)),
            own_ccc: against_label.map(own),
            moving: usize::from(columns.moves),
        }
    }

    fn add(&mut self, other: &Self) {
        let merge = |a: &mut [Moments], b: &[Moments]| a.iter_mut().zip(b).for_each(|(a, b)| *a = a.merge(b));
        merge(&mut self.against_label, &other.against_label);
        merge(&mut self.with_teacher, &other.with_teacher);
        self.own_ccc.iter_mut().zip(other.own_ccc).for_each(|(a, b)| *a += b);
        self.moving += other.moving;
    }
}

/// Figures of one network that are resampled: CCC, mean of videos, Pearson, RMSE, bias, gain.
const OWN: usize = 6;
/// Where the figures that compare begin: of fp32 (retained, with teacher), of int8 the same, then their difference.
const PAIRED: usize = 3 * OWN;
const DIFFERENCE: usize = PAIRED + 4;
const RESAMPLED: usize = DIFFERENCE + 1;

/// Every resampled figure of the people in `sums`. Rounding must not carry a correlation past 1.
fn statistics(sums: &Sums) -> [f64; RESAMPLED] {
    let unit = |v: f64| v.clamp(-1.0, 1.0);
    let mut all = [0.0; RESAMPLED];
    for (network, moments) in sums.against_label.iter().enumerate() {
        let a = moments.agreement();
        let mean = sums.own_ccc[network] / sums.moving.max(1) as f64;
        let own = [unit(a.ccc), unit(mean), unit(a.pearson), a.rmse, a.bias, a.gain];
        all[network * OWN..][..OWN].copy_from_slice(&own);
    }
    let ccc = [TEACHER, FP32, INT8].map(|n| all[n * OWN]);
    for (i, student) in [FP32, INT8].into_iter().enumerate() {
        all[PAIRED + 2 * i] = retained(ccc[student], ccc[TEACHER]);
        all[PAIRED + 2 * i + 1] = unit(sums.with_teacher[i].agreement().ccc);
    }
    all[DIFFERENCE] = ccc[INT8] - ccc[FP32];
    all
}

/// Of all people, and how far each figure moves with them.
struct Resampled {
    values: [f64; RESAMPLED],
    intervals: Option<[Interval; RESAMPLED]>,
}

impl Resampled {
    /// One draw of people serves every network, so that what is said of two of them is paired.
    fn of(people: &[Sums], rounds: usize, mut rng: Rng) -> Self {
        let draw = |chosen: &[usize]| statistics(&total(chosen.iter().map(|i| &people[*i])));
        let intervals = bootstrap(people.len(), rounds, |n| rng.below(n), draw);
        Self { values: statistics(&total(people.iter())), intervals }
    }

    fn at(&self, i: usize) -> Measured {
        let interval = self.intervals.as_ref().map(|all| [all[i].low, all[i].high]);
        Measured { value: self.values[i], interval }
    }

    /// `lag`: seconds and Pearson's correlation there.
    fn scores(&self, network: usize, moving: usize, lag: Option<(f64, f64)>) -> Scores {
        let [ccc, mean, pearson, rmse, bias, gain] = std::array::from_fn::<_, OWN, _>(|i| self.at(network * OWN + i));
        Scores {
            ccc,
            ccc_mean_of_videos: (moving > 0).then_some(mean),
            pearson,
            rmse,
            bias,
            gain,
            lag_s: lag.map(|l| l.0),
            pearson_at_lag: lag.map(|l| l.1.clamp(-1.0, 1.0)),
        }
    }
}

fn total<'a>(chosen: impl Iterator<Item = &'a Sums>) -> Sums {
    chosen.fold(Sums::default(), |mut all, one| {
        all.add(one);
        all
    })
}

fn dimension(
    d: usize,
    videos: &[Video],
    columns: &[Columns],
    subjects: &[Vec<usize>],
    protocol: &Protocol,
) -> DimensionFigures {
    let of_videos: Vec<Sums> = columns.iter().map(Sums::of).collect();
    let people: Vec<Sums> = subjects.iter().map(|own| total(own.iter().map(|i| &of_videos[*i]))).collect();
    let whole = total(people.iter());
    let resampled = Resampled::of(&people, protocol.rounds, Rng::new(protocol.seed, d as u64));
    let scores =
        |network: usize| resampled.scores(network, whole.moving, lag(videos, columns, network, protocol.max_lag_s));
    let student = |i: usize| StudentScores {
        scores: scores([FP32, INT8][i]),
        retained: resampled.at(PAIRED + 2 * i),
        with_teacher: resampled.at(PAIRED + 2 * i + 1),
        coverage: coverage(videos, columns, d, i),
    };
    DimensionFigures {
        frames: whole.against_label[TEACHER].n,
        videos: of_videos.iter().filter(|s| s.against_label[TEACHER].n > 0).count(),
        moving_videos: whole.moving,
        teacher: scores(TEACHER),
        fp32: student(0),
        int8: student(1),
        int8_minus_fp32: resampled.at(DIFFERENCE),
    }
}

/// Seconds by which a network trails the labels and Pearson's correlation there, over the videos whose label moves.
fn lag(videos: &[Video], columns: &[Columns], network: usize, max_lag_s: f64) -> Option<(f64, f64)> {
    let moving = || videos.iter().zip(columns).filter(|(_, c)| c.moves);
    let fps = moving().map(|(v, _)| v.fps).fold(0.0, f64::max);
    let held: Vec<[Vec<f64>; 2]> =
        moving().map(|(v, c)| [&c.predicted[network], &c.label].map(|s| at_rate(s, v.fps, fps))).collect();
    let pairs: Vec<(&[f64], &[f64])> = held.iter().map(|[p, l]| (&p[..], &l[..])).collect();
    let lag = best_lag(&pairs, (max_lag_s * fps).round() as usize)?;
    Some((lag.frames as f64 / fps, lag.pearson))
}

/// A series of `fps` frames a second at a higher rate, each frame held until the next.
fn at_rate(series: &[f64], fps: f64, rate: f64) -> Vec<f64> {
    let frames = (series.len() as f64 * rate / fps).round() as usize;
    let source = |i: usize| ((i as f64 * fps / rate + 1e-6) as usize).min(series.len().saturating_sub(1));
    (0..frames).map(|i| series[source(i)]).collect()
}

/// Share of labels within the 80 % interval of student `i` (0 fp32, 1 int8).
fn coverage(videos: &[Video], columns: &[Columns], d: usize, i: usize) -> f64 {
    let labels = videos.iter().zip(columns).flat_map(|(v, c)| c.label.iter().zip(v.readings()));
    let inside = labels.filter_map(|(label, reading)| {
        let [low, high] = reading?[i].interval[d].map(f64::from);
        (!label.is_nan()).then_some((low..=high).contains(label))
    });
    share(inside)
}

fn share(hits: impl Iterator<Item = bool>) -> f64 {
    let (n, hit) = hits.fold((0usize, 0usize), |(n, hit), h| (n + 1, hit + usize::from(h)));
    hit as f64 / n.max(1) as f64
}

/// Reliability of `confidence` of student `i` over frames with both labels.
fn confidence(videos: &[Video], i: usize) -> Confidence {
    let frames = videos.iter().flat_map(|v| v.labels.iter().zip(v.readings()));
    let near =
        |e: &Estimate, l: &[f64; 2]| (0..2).all(|d| (f64::from(e.values[d]) - l[d]).abs() <= f64::from(TOLERANCE));
    let labelled = frames.filter_map(|(l, r)| Some((l, r?[i]))).filter(|(l, _)| l.iter().all(|v| !v.is_nan()));
    let (said, held): (Vec<f64>, Vec<bool>) = labelled.map(|(l, e)| (f64::from(e.confidence), near(e, l))).unzip();
    let bins = metrics::reliability(&said, &held);
    let bin = |b: &metrics::ReliabilityBin| ConfidenceBin { frames: b.n, confidence: b.confidence, held: b.accuracy };
    Confidence {
        ece: metrics::expected_calibration_error(&bins),
        bins: bins.iter().filter(|b| b.n > 0).map(bin).collect(),
    }
}
