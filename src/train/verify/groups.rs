//! Who is read worse: figures by tag, and the worst videos.

use super::table::{Columns, INT8, TEACHER, Video};
use crate::metrics::Moments;
use crate::spec::certificate::{Group, GroupScores, Grouping, PerDimension, WorstVideo};
use std::collections::{BTreeMap, BTreeSet};

/// The grouping by people.
const SUBJECT: &str = "subject";
/// What recordings without a tag that others have are sorted under.
const UNKNOWN: &str = "unknown";
/// A tag of numbers with more different values than this is cut into thirds.
const PLAIN_NUMBERS: usize = 5;

/// The recordings sorted by each tag, and the tags with more than `most` values. A tag that sorts them into one group,
/// or as an earlier one does, is left out.
pub fn groupings(videos: &[Video], columns: &[Vec<Columns>; 2], most: usize) -> (Vec<Grouping>, Vec<String>) {
    let names: BTreeSet<&str> = videos.iter().flat_map(|v| v.tags.keys().map(String::as_str)).collect();
    let (mut all, mut too_many) = (Vec::new(), Vec::new());
    let mut seen: BTreeSet<Vec<Vec<usize>>> = BTreeSet::new();
    for tag in [SUBJECT].into_iter().chain(names.into_iter().filter(|n| *n != SUBJECT)) {
        let parts = partition(&values(videos, tag));
        let mut members: Vec<Vec<usize>> = parts.iter().map(|(_, own)| own.clone()).collect();
        members.sort();
        if parts.len() < 2 || !seen.insert(members) {
            continue;
        }
        if parts.len() > most {
            too_many.push(tag.to_owned());
        } else {
            all.push(grouping(tag, videos, columns, parts));
        }
    }
    (all, too_many)
}

fn values<'a>(videos: &'a [Video], tag: &str) -> Vec<&'a str> {
    let of = |v: &'a Video| match tag {
        SUBJECT => &v.subject[..],
        _ => v.tags.get(tag).map_or(UNKNOWN, String::as_str),
    };
    videos.iter().map(of).collect()
}

/// Positions of the recordings of each group, and the group's name.
fn partition(values: &[&str]) -> Vec<(String, Vec<usize>)> {
    let number = |v: &str| v.parse::<f64>().ok().filter(|v| v.is_finite());
    let mut plain: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    values.iter().enumerate().for_each(|(i, v)| plain.entry(v).or_default().push(i));
    let mut parts = Vec::new();
    if plain.keys().filter(|v| number(v).is_some()).count() > PLAIN_NUMBERS {
        plain.retain(|v, _| number(v).is_none());
        parts = thirds(values.iter().enumerate().filter_map(|(i, v)| Some((i, number(v)?))).collect());
    }
    parts.extend(plain.into_iter().map(|(value, own)| (value.to_owned(), own)));
    parts
}

/// The lowest, the middle and the highest third of numbered recordings; equal numbers stay together.
fn thirds(mut numbered: Vec<(usize, f64)>) -> Vec<(String, Vec<usize>)> {
    numbered.sort_by(|a, b| a.1.total_cmp(&b.1));
    let cuts = [1, 2].map(|k| numbered[k * numbered.len() / 3].1);
    let third = |n: f64| cuts.iter().filter(|cut| n >= **cut).count();
    let parts = numbered.chunk_by(|a, b| third(a.1) == third(b.1));
    parts
        .map(|own| {
            let name = format!("{} to {}", own[0].1, own[own.len() - 1].1);
            let mut places: Vec<usize> = own.iter().map(|(i, _)| *i).collect();
            places.sort_unstable();
            (name, places)
        })
        .collect()
}

fn grouping(tag: &str, videos: &[Video], columns: &[Vec<Columns>; 2], parts: Vec<(String, Vec<usize>)>) -> Grouping {
    let group = |(value, own): (String, Vec<usize>)| Group {
        value,
        videos: own.len(),
        subjects: own.iter().map(|i| &videos[*i].subject).collect::<BTreeSet<_>>().len(),
        figures: PerDimension { arousal: scores(&columns[0], &own), valence: scores(&columns[1], &own) },
    };
    let groups: Vec<Group> = parts.into_iter().map(group).collect();
    let gap = |of: fn(&GroupScores) -> f64| PerDimension {
        arousal: spread(groups.iter().map(|g| &g.figures.arousal), of),
        valence: spread(groups.iter().map(|g| &g.figures.valence), of),
    };
    let (ccc_gap, bias_gap) = (gap(|s| s.int8_ccc), gap(|s| s.int8_bias));
    Grouping { tag: tag.to_owned(), groups, ccc_gap, bias_gap }
}

/// Largest minus smallest over the groups with labels.
fn spread<'a>(all: impl Iterator<Item = &'a GroupScores>, of: fn(&GroupScores) -> f64) -> f64 {
    let [low, high] = all
        .filter(|s| s.frames > 0)
        .map(of)
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)]);
    (high - low).max(0.0)
}

fn scores(columns: &[Columns], own: &[usize]) -> GroupScores {
    let of = |network: usize| {
        let moments = own.iter().map(|i| columns[*i].against_label(network));
        moments.fold(Moments::default(), |all, m| all.merge(&m)).agreement()
    };
    let (teacher, int8) = (of(TEACHER), of(INT8));
    GroupScores {
        frames: int8.n,
        teacher_ccc: teacher.ccc,
        int8_ccc: int8.ccc,
        int8_rmse: int8.rmse,
        int8_bias: int8.bias,
    }
}

/// At most `most` recordings by the int8 student's RMSE, worst first.
pub fn worst_videos(videos: &[Video], columns: &[Columns], most: usize) -> Vec<WorstVideo> {
    let one = |(v, c): (&Video, &Columns)| {
        let int8 = c.against_label(INT8).agreement();
        WorstVideo {
            video: v.name.clone(),
            subject: v.subject.clone(),
            frames: int8.n,
            rmse: int8.rmse,
            teacher_rmse: c.against_label(TEACHER).agreement().rmse,
            bias: int8.bias,
            ccc: c.moves.then_some(int8.ccc),
        }
    };
    let mut all: Vec<WorstVideo> = videos.iter().zip(columns).map(one).filter(|w| w.frames > 0).collect();
    all.sort_by(|a, b| b.rmse.total_cmp(&a.rmse).then_with(|| a.video.cmp(&b.video)));
    all.truncate(most);
    all
}
