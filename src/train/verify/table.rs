//! Tables of predictions: what figures are computed from. Nothing here or in the modules that compute runs a network.

use crate::metrics::Moments;
use crate::session::Estimate;
use std::collections::BTreeMap;

/// One recording as teacher and students read it, on the teacher's frames.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Video {
    pub name: String,
    /// The person, or the group of recordings where that is not known.
    pub subject: String,
    /// The teacher's frames a second.
    pub fps: f64,
    pub tags: BTreeMap<String, String>,
    /// (arousal, valence) of every frame, NaN where there is none.
    pub labels: Vec<[f64; 2]>,
    pub teacher: Vec<[f64; 2]>,
    /// `None` where no face is seen: no student is stepped there.
    pub fp32: Vec<Option<Estimate>>,
    pub int8: Vec<Option<Estimate>>,
}

/// The networks, in the order of their columns.
pub const NETWORKS: [&str; 3] = ["teacher", "fp32 student", "int8 student"];
pub const TEACHER: usize = 0;
pub const FP32: usize = 1;
pub const INT8: usize = 2;

/// One dimension of one recording, frame by frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// NaN also where a student has no reading, so that all networks are held against the same frames.
    pub label: Vec<f64>,
    pub predicted: [Vec<f64>; 3],
    /// Whether the label takes more than one value.
    pub moves: bool,
}

impl Video {
    /// Labelled frames that no student reads.
    pub fn unread(&self) -> usize {
        let labelled = |l: &[f64; 2]| l.iter().any(|v| !v.is_nan());
        self.labels.iter().zip(self.readings()).filter(|(l, r)| labelled(l) && r.is_none()).count()
    }

    /// The readings of both students, where both have one.
    pub fn readings(&self) -> impl Iterator<Item = Option<[&Estimate; 2]>> {
        self.fp32.iter().zip(&self.int8).map(|(a, b)| Some([a.as_ref()?, b.as_ref()?]))
    }

    /// Dimension `d`: 0 is arousal, 1 valence.
    pub fn columns(&self, d: usize) -> Columns {
        let value = |e: &Option<Estimate>| e.map_or(f64::NAN, |e| f64::from(e.values[d]));
        let label: Vec<f64> =
            self.labels.iter().zip(self.readings()).map(|(l, r)| r.map_or(f64::NAN, |_| l[d])).collect();
        let mut known = label.iter().filter(|l| !l.is_nan());
        let first = known.next().copied();
        Columns {
            moves: known.any(|l| Some(*l) != first),
            label,
            predicted: [
                self.teacher.iter().map(|v| v[d]).collect(),
                self.fp32.iter().map(value).collect(),
                self.int8.iter().map(value).collect(),
            ],
        }
    }
}

impl Columns {
    /// A network against the labels.
    pub fn against_label(&self, network: usize) -> Moments {
        Moments::of(self.predicted[network].iter().copied().zip(self.label.iter().copied()))
    }

    /// A student against the teacher, on the labelled frames.
    pub fn with_teacher(&self, student: usize) -> Moments {
        let teacher = self.predicted[TEACHER].iter().zip(&self.label);
        let labelled = teacher.map(|(t, l)| if l.is_nan() { f64::NAN } else { *t });
        Moments::of(self.predicted[student].iter().copied().zip(labelled))
    }
}
