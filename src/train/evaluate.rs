//! Students measured on stills through the runtime's own preprocessing and decoding.

use super::data::ferplus::Still;
use super::fit::whole;
use crate::engine::Engine;
use crate::engine::reference::Reference;
use crate::engine::simd::Simd;
use crate::error::Result;
use crate::metrics::{Agreement, ReliabilityBin, expected_calibration_error, reliability};
use crate::model::{Precision, Student};
use crate::preprocess::{Cropper, Ring};
use crate::session::{TOLERANCE, decode};
use crate::spec::{CropRule, HEADS, SplitMetrics};
use indicatif::ParallelProgressIterator;
use rayon::prelude::*;

/// Steps for which a still is shown before its reading counts.
pub use crate::session::STILL_STEPS as STEPS;

/// The reference engine, or for int8 our kernels, which are the same to the bit and much faster.
enum Runner {
    Fp32(Box<Reference>),
    Int8(Box<Simd>),
}

impl Runner {
    fn open(student: &Student) -> Result<Self> {
        Ok(match student.precision() {
            Precision::Fp32 => Runner::Fp32(Box::new(Reference::open(student)?)),
            Precision::Int8 => Runner::Int8(Box::new(Simd::open(student)?)),
        })
    }

    /// Logits after [`STEPS`] steps on one ring.
    fn read(&mut self, ring: &[u8], hidden: &mut [f32]) -> Result<[f32; HEADS]> {
        let mut logits = [0.0; HEADS];
        match self {
            Runner::Fp32(engine) => {
                engine.step(ring, hidden, &mut logits)?;
                (1..STEPS).for_each(|_| engine.step_again(hidden, &mut logits));
            }
            Runner::Int8(engine) => (0..STEPS).try_for_each(|_| engine.step(ring, hidden, &mut logits))?,
        }
        Ok(logits)
    }
}

/// Logits of every still: its crop fills the ring, [`STEPS`] steps from a zero state.
///
/// # Errors
/// If the engine refuses the student.
pub fn predict(student: &Student, rule: &CropRule, stills: &[Still]) -> Result<Vec<[f32; HEADS]>> {
    predict_cut(student, rule, stills.len(), |cropper, i, out| {
        cropper.crop_into(&stills[i].image, whole(&stills[i]), out);
    })
}

/// As [`predict`] for `count` pictures, the crop of each cut by `cut`.
///
/// # Errors
/// If the engine refuses the student.
pub fn predict_cut(
    student: &Student,
    rule: &CropRule,
    count: usize,
    cut: impl Fn(&mut Cropper, usize, &mut [u8]) + Sync,
) -> Result<Vec<[f32; HEADS]>> {
    let one = |(runner, cropper): &mut (Result<Runner>, Cropper), i: usize| {
        let runner = runner.as_mut().map_err(|e| crate::Error::new(e.kind(), e.to_string()))?;
        let mut ring = Ring::new(student.spec.ring, student.spec.size_px);
        ring.push(|out| cut(cropper, i, out));
        runner.read(ring.bytes(), &mut vec![0.0; student.spec.hidden])
    };
    (0..count)
        .into_par_iter()
        .progress_count(count as u64)
        .map_init(|| (Runner::open(student), Cropper::for_rule(rule)), one)
        .collect()
}

/// What a split's logits amount to.
pub struct Evaluation {
    pub metrics: SplitMetrics,
    pub reliability: [ReliabilityBin; 10],
    /// Arousal, valence.
    pub agreement: [Agreement; 2],
}

/// Compares logits with labels (arousal, valence); every row counts once, concatenated. A row enters the agreement of a dimension that it
/// has a label in, and calibration if it has both.
pub fn evaluate(logits: &[[f32; HEADS]], labels: &[[f32; 2]]) -> Evaluation {
    let found: Vec<_> = logits.iter().map(decode).collect();
    let of = |d: usize| found.iter().zip(labels).filter(move |(_, l)| !l[d].is_nan());
    let agreement = [0, 1].map(|d| {
        let (p, l): (Vec<f64>, Vec<f64>) = of(d).map(|(e, l)| (f64::from(e.values[d]), f64::from(l[d]))).unzip();
        Agreement::of(&p, &l)
    });
    let both = || of(0).filter(|(_, l)| !l[1].is_nan());
    let held: Vec<bool> = both().map(|(e, l)| (0..2).all(|d| (e.values[d] - l[d]).abs() <= TOLERANCE)).collect();
    let confidence: Vec<f64> = both().map(|(e, _)| f64::from(e.confidence)).collect();
    let covered = |d: usize| {
        let inside = of(d).filter(|(e, l)| (e.interval[d][0]..=e.interval[d][1]).contains(&l[d])).count();
        inside as f64 / of(d).count().max(1) as f64
    };
    let reliability = reliability(&confidence, &held);
    let [a, v] = agreement;
    let metrics = SplitMetrics {
        ccc_arousal: a.ccc,
        ccc_valence: v.ccc,
        bias_arousal: a.bias,
        bias_valence: v.bias,
        gain_arousal: a.gain,
        gain_valence: v.gain,
        ece: expected_calibration_error(&reliability),
        coverage_arousal: covered(0),
        coverage_valence: covered(1),
    };
    Evaluation { metrics, reliability, agreement }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Head, bin_of};

    #[test]
    fn perfect_logits_agree_and_are_covered() {
        let labels = [[0.25f32, -0.55], [0.65, 0.05], [-0.15, 0.45], [f32::NAN, 0.85]];
        let row = |label: &[f32; 2]| {
            let mut l = [0.0; HEADS];
            for (head, v) in Head::ALL.into_iter().zip(label.map(|v| if v.is_nan() { 0.7 } else { v })) {
                l[head.bins().start + bin_of(v)] = 30.0;
                l[head.value()] = 2.0 * v.atanh();
            }
            l
        };
        let logits: Vec<[f32; HEADS]> = labels.iter().map(row).collect();
        let found = evaluate(&logits, &labels);
        assert_eq!(found.agreement.each_ref().map(|a| a.n), [3, 4]);
        let m = found.metrics;
        assert!(m.ccc_arousal > 0.9999 && m.ccc_valence > 0.9999, "{m:?}");
        assert!((m.gain_valence - 1.0).abs() < 1e-3 && m.bias_arousal.abs() < 1e-3);
        assert_eq!((m.coverage_arousal, m.coverage_valence), (1.0, 1.0));
    }
}
