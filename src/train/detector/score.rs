//! How well faces are found: recall at a rate of false faces, and average precision.

use crate::face::{LEAST_SCORE, SURE_SCORE};
use crate::spec::detector::overlap;
use serde::{Deserialize, Serialize};

/// Boxes of one picture, centre, width, height.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Score and box, in any order.
    pub found: Vec<(f32, [f32; 4])>,
    pub faces: Vec<[f32; 4]>,
    /// How far each of them is turned, in degrees, as far as it is known.
    pub turns: Vec<Option<f32>>,
    /// Regions that may hold faces.
    pub ignored: Vec<[f32; 4]>,
}

/// A found box is right from this overlap with a face on.
const RIGHT: f32 = 0.5;
/// A found box counts for nothing if this share of it lies in a region that may hold a face.
const IGNORED: f32 = 0.5;

/// Edges of the bins of face sizes, in pixels at a picture 640 pixels long.
pub const SIZES: [f32; 7] = [16.0, 24.0, 32.0, 48.0, 80.0, 160.0, f32::INFINITY];

/// Edges of the bins of turns, in degrees to either side.
pub const TURNS: [f32; 4] = [0.0, 20.0, 45.0, f32::INFINITY];

/// A bin by its two edges: `16-24`, `160+`.
pub fn span(edges: &[f32]) -> String {
    if edges[1].is_finite() { format!("{}-{}", edges[0], edges[1]) } else { format!("{}+", edges[0]) }
}

/// What a detector reaches from a score on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AtScore {
    pub score: f32,
    /// Of faces of 16 pixels and more.
    pub recall: f64,
    /// False faces a picture, of all pictures and of those that show no face.
    pub false_faces: f64,
    pub false_faces_without: f64,
}

/// What a detector reaches on some pictures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub pictures: usize,
    pub faces: Vec<usize>,
    /// Score from which there are at most 0.1 false faces a picture.
    pub threshold: f32,
    /// At that threshold, by size as in [`SIZES`]: 16-24, 24-32, and so on.
    pub recall: Vec<f64>,
    /// At that threshold, by turn as in [`TURNS`], of faces of 16 pixels and more whose turn is
    /// known.
    pub turned: Vec<usize>,
    pub recall_turned: Vec<f64>,
    /// At the scores from which faces count.
    pub at: Vec<AtScore>,
    /// Area under precision by recall, all points, of faces of 16 pixels and more.
    pub average_precision: f64,
}

/// A face: its size, its turn, and the score of the box that found it.
#[derive(Debug, Clone, Copy)]
struct Face {
    size: f32,
    turn: Option<f32>,
    score: Option<f32>,
}

impl Face {
    fn above(&self, score: f32) -> bool {
        self.score.is_some_and(|s| s > score)
    }
}

/// The faces of a picture, and of each box that is none its score.
struct Matched {
    faces: Vec<Face>,
    wrong: Vec<f32>,
}

/// How many faces there are, and the share found above a score.
fn recall<'a>(faces: impl Iterator<Item = &'a Face>, score: f32) -> (usize, f64) {
    let (n, hit) = faces.fold((0usize, 0usize), |(n, hit), f| (n + 1, hit + usize::from(f.above(score))));
    (n, hit as f64 / n.max(1) as f64)
}

fn share_within(a: [f32; 4], b: [f32; 4]) -> f32 {
    let along = |k: usize| {
        ((a[k] + a[2 + k] / 2.0).min(b[k] + b[2 + k] / 2.0) - (a[k] - a[2 + k] / 2.0).max(b[k] - b[2 + k] / 2.0))
            .max(0.0)
    };
    along(0) * along(1) / (a[2] * a[3]).max(f32::MIN_POSITIVE)
}

fn matched(one: &Found, per_px: f32) -> Matched {
    let mut found = one.found.clone();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let size = |r: &[f32; 4]| (r[2] * r[3]).sqrt() * per_px;
    let turn = |i: usize| one.turns.get(i).copied().flatten();
    let mut faces: Vec<Face> =
        one.faces.iter().enumerate().map(|(i, f)| Face { size: size(f), turn: turn(i), score: None }).collect();
    let mut wrong = Vec::new();
    for (score, rect) in found {
        let best = (0..faces.len())
            .filter(|&i| faces[i].score.is_none())
            .map(|i| (overlap(rect, one.faces[i]), i))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(o, _)| *o >= RIGHT);
        match best {
            Some((_, i)) => faces[i].score = Some(score),
            None if one.ignored.iter().any(|r| share_within(rect, *r) >= IGNORED) => {}
            None => wrong.push(score),
        }
    }
    Matched { faces, wrong }
}

/// `long_px`: the longer side of each picture.
pub fn figures(all: &[(Found, f32)]) -> Figures {
    let matched: Vec<Matched> = all.iter().map(|(f, long_px)| matched(f, 640.0 / long_px)).collect();
    let mut wrong: Vec<f32> = matched.iter().flat_map(|m| m.wrong.iter().copied()).collect();
    wrong.sort_by(|a, b| b.total_cmp(a));
    let allowed = all.len() / 10;
    let threshold = wrong.get(allowed).copied().unwrap_or(0.0);
    let bins = SIZES
        .windows(2)
        .map(|w| recall(matched.iter().flat_map(|m| &m.faces).filter(|f| (w[0]..w[1]).contains(&f.size)), threshold));
    let (faces, by_size): (Vec<usize>, Vec<f64>) = bins.unzip();
    // Smaller faces that were found are neither right nor wrong.
    let counted = matched.iter().flat_map(|m| &m.faces).filter(|f| f.size >= SIZES[0]);
    let total = counted.clone().count();
    let (turned, recall_turned) = TURNS
        .windows(2)
        .map(|w| {
            let within = |f: &&Face| f.turn.is_some_and(|t| (w[0]..w[1]).contains(&t.abs()));
            recall(counted.clone().filter(within), threshold)
        })
        .unzip();
    let false_faces = |all: &[&Matched], score: f32| {
        let wrong = all.iter().flat_map(|m| &m.wrong).filter(|s| **s > score).count();
        wrong as f64 / all.len().max(1) as f64
    };
    let every: Vec<&Matched> = matched.iter().collect();
    let without: Vec<&Matched> = matched.iter().filter(|m| m.faces.is_empty()).collect();
    let at = [LEAST_SCORE, SURE_SCORE].map(|score| AtScore {
        score,
        recall: recall(counted.clone(), score).1,
        false_faces: false_faces(&every, score),
        false_faces_without: false_faces(&without, score),
    });
    let mut order: Vec<(f32, bool)> = counted.filter_map(|f| f.score.map(|s| (s, true))).collect();
    order.extend(wrong.iter().map(|s| (*s, false)));
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points = Vec::new();
    let (mut right, mut seen) = (0usize, 0usize);
    for (_, hit) in order {
        seen += 1;
        right += usize::from(hit);
        if hit {
            points.push(right as f64 / seen as f64);
        }
    }
    // Precision at a recall is the best at that or any higher recall.
    let mut best = 0.0f64;
    let area: f64 = points
        .iter()
        .rev()
        .map(|p| {
            best = best.max(*p);
            best
        })
        .sum();
    Figures {
        pictures: all.len(),
        faces,
        threshold,
        recall: by_size,
        turned,
        recall_turned,
        at: at.into(),
        average_precision: area / total.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, side: f32) -> [f32; 4] {
        [x, 100.0, side, side]
    }

    #[test]
    fn right_wrong_double_and_ignored_boxes_are_told_apart() {
        let one = Found {
            found: vec![
                (0.9, face(100.0, 40.0)),
                (0.8, face(102.0, 40.0)),
                (0.7, face(300.0, 40.0)),
                (0.6, face(500.0, 40.0)),
            ],
            faces: vec![face(101.0, 40.0), face(400.0, 20.0)],
            turns: vec![Some(-30.0), None],
            ignored: vec![face(510.0, 60.0)],
        };
        let m = matched(&one, 1.0);
        assert_eq!((m.faces[0].score, m.faces[1].score, m.wrong), (Some(0.9), None, vec![0.8, 0.7]));
        let f = figures(&[(one, 640.0)]);
        for at in &f.at {
            let false_faces = [0.8, 0.7].iter().filter(|s| **s > at.score).count() as f64;
            assert_eq!((at.false_faces, at.recall), (false_faces, 0.5));
        }
        assert_eq!(f.turned, [0, 1, 0]);
    }

    #[test]
    fn recall_is_taken_at_a_tenth_of_a_false_face_a_picture() {
        let picture =
            |found: Vec<(f32, [f32; 4])>| (Found { found, faces: vec![face(100.0, 50.0)], ..Found::default() }, 640.0);
        let mut all: Vec<_> = (0..10).map(|i| picture(vec![(0.5 + 0.01 * i as f32, face(100.0, 50.0))])).collect();
        all[0].0.found.extend([(0.95, face(400.0, 50.0)), (0.545, face(500.0, 50.0))]);
        let f = figures(&all);
        // One false face is allowed; the second one's score is the threshold.
        assert_eq!((f.threshold, f.faces[3], f.recall[3]), (0.545, 10, 0.5));
        let perfect = figures(&[picture(vec![(0.5, face(100.0, 50.0))])]);
        assert_eq!((perfect.average_precision, perfect.recall[3]), (1.0, 1.0));
        let half = figures(&[picture(vec![(0.9, face(300.0, 50.0)), (0.5, face(100.0, 50.0))])]);
        assert_eq!(half.average_precision, 0.5);
    }
}
