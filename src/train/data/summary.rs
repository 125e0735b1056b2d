//! What a data set holds, split by split.

use super::record::{Loaded, Note, Recording, Report, Split};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Smallest, mean and largest value.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Spread {
    pub min: f64,
    pub mean: f64,
    pub max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f32>) -> Option<Self> {
        let (mut n, mut s) = (0u64, Self { min: f64::INFINITY, mean: 0.0, max: f64::NEG_INFINITY });
        for v in values.map(f64::from) {
            n += 1;
            s = Self { min: s.min.min(v), mean: s.mean + v, max: s.max.max(v) };
        }
        (n > 0).then(|| Self { mean: s.mean / n as f64, ..s })
    }
}

/// One split.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Part {
    pub split: Split,
    pub recordings: usize,
    /// People, or what stands for them.
    pub groups: usize,
    /// Rows of annotation; a clip's label is one row.
    pub rows: usize,
    /// Rows that have both values.
    pub labelled: usize,
    pub arousal: Option<Spread>,
    pub valence: Option<Spread>,
}

/// A data set in figures, with everything that did not become a recording.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    pub parts: Vec<Part>,
    pub report: Report,
}

fn part(split: Split, all: &[Recording]) -> Part {
    let own = || all.iter().filter(move |r| r.split == split);
    let values = || own().flat_map(|r| r.labels.values());
    Part {
        split,
        recordings: own().count(),
        groups: own().map(|r| &r.group).collect::<BTreeSet<_>>().len(),
        rows: own().map(|r| r.labels.counts().1).sum(),
        labelled: own().map(|r| r.labels.counts().0).sum(),
        arousal: Spread::of(values().map(|a| a.arousal)),
        valence: Spread::of(values().map(|a| a.valence)),
    }
}

impl Summary {
    /// Counts what was loaded.
    pub fn of(loaded: &Loaded) -> Self {
        Self { parts: Split::ALL.map(|s| part(s, &loaded.recordings)).into(), report: loaded.report.clone() }
    }

    /// A table in Markdown, then every note.
    pub fn markdown(&self) -> String {
        let mut text = "| split | recordings | groups | rows | labelled | arousal min / mean / max | \
             valence min / mean / max |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
        let spread =
            |s: Option<Spread>| s.map_or("-".to_owned(), |s| format!("{:+.2} / {:+.2} / {:+.2}", s.min, s.mean, s.max));
        // Writing to a String does not fail.
        for p in &self.parts {
            let (a, v) = (spread(p.arousal), spread(p.valence));
            let name = p.split.name();
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {a} | {v} |",
                p.recordings, p.groups, p.rows, p.labelled
            );
        }
        let report = &self.report;
        for (what, notes) in [("bad", &report.bad), ("left out", &report.left_out), ("used, but", &report.remarks)] {
            if !notes.is_empty() {
                let _ = writeln!(text, "\n{} {what}:", notes.len());
            }
            notes.iter().map(Note::to_string).for_each(|n| {
                let _ = writeln!(text, "- {n}");
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Labels, Media};
    use super::*;
    use crate::render::Affect;
    use std::path::Path;

    #[test]
    fn parts_are_counted_apart() {
        let mut all = Loaded::default();
        for (id, split, arousal, valence) in
            [("a", Split::Train, -0.5, 0.25), ("b", Split::Train, 1.0, 0.75), ("c", Split::Test, 0.0, 0.0)]
        {
            let labels = Labels::Clip(Affect { arousal, valence });
            let media = Media::Video("v".into());
            all.recordings.push(Recording {
                id: id.into(),
                subject: None,
                group: "p".into(),
                split,
                media,
                fps: None,
                labels,
            });
        }
        all.leave_out(Path::new("x.csv"), "is not named like a recording");
        let s = Summary::of(&all);
        assert_eq!((s.parts[0].recordings, s.parts[0].groups, s.parts[1].recordings), (2, 1, 0));
        assert_eq!(s.parts[0].arousal, Some(Spread { min: -0.5, mean: 0.25, max: 1.0 }));
        let text = s.markdown();
        assert!(text.contains("| train | 2 | 1 | 2 | 2 | -0.50 / +0.25 / +1.00 | +0.25 / +0.50 / +0.75 |"), "{text}");
        assert!(
            text.contains("| valid | 0 | 0 | 0 | 0 | - | - |") && text.contains("1 left out:\n- x.csv: is not"),
            "{text}"
        );
    }
}
