//! Centring of the values.

use super::data::Judged;
use crate::error::{Error, Result};
use crate::model::Student;
use crate::spec::Head;

/// Largest offset that is looked for, in logits: a quarter of the range of values at the middle.
const MOST: f64 = 1.0;

/// What added to the logits of arousal and of valence makes their mean error nought, the mean of `sets`, by bisection; 0 for a
/// dimension without labels. Each set counts alike, however many frames it has.
///
/// # Errors
/// If no offset within 1 does.
pub fn offsets(sets: &[Judged]) -> Result<[f32; 2]> {
    let found = Head::ALL.map(|head| {
        let labelled = |set: &Judged| -> Vec<(f64, f64)> {
            let rows = set.logits.iter().zip(&set.labels).map(|(l, y)| (l[head.value()], y[head as usize]));
            rows.filter(|(_, y)| !y.is_nan()).map(|(l, y)| (f64::from(l), f64::from(y))).collect()
        };
        let sets: Vec<Vec<(f64, f64)>> = sets.iter().map(labelled).filter(|s| !s.is_empty()).collect();
        if sets.is_empty() {
            return 0.0;
        }
        let error = |set: &Vec<(f64, f64)>, by: f64| {
            set.iter().map(|(l, y)| ((l + by) / 2.0).tanh() - y).sum::<f64>() / set.len() as f64
        };
        let (mut low, mut high) = (-MOST, MOST);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            let above = sets.iter().map(|set| error(set, middle)).sum::<f64>() > 0.0;
            if above { high = middle } else { low = middle }
        }
        ((low + high) / 2.0) as f32
    });
    if found.iter().any(|by| f64::from(by.abs()) > 0.999 * MOST) {
        return Err(Error::input(format!("no offset within {MOST} logit makes the values unbiased"))
            .remedy("train the network further, or set centre=false"));
    }
    Ok(found)
}

/// Adds the offsets to the head's bias, so that engines need not know of them.
pub fn apply_offsets(student: &mut Student, offsets: [f32; 2]) {
    for (head, by) in Head::ALL.into_iter().zip(offsets) {
        student.head.bias[head.value()] += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;
    use crate::spec::HEADS;

    /// `n` readings that are right but for `by` in the logits.
    fn set(n: usize, by: [f32; 2], seed: u64) -> Judged {
        let mut rng = Rng::new(seed, 0);
        let mut all = Judged::default();
        for _ in 0..n {
            let label = [rng.range(-0.8, 0.8), rng.range(-0.8, 0.8)];
            let mut row = [0.0; HEADS];
            for (head, d) in Head::ALL.into_iter().zip(0..) {
                row[head.value()] = 2.0 * label[d].atanh() + by[d];
            }
            all.logits.push(row);
            all.labels.push(label);
        }
        all
    }

    #[test]
    fn offsets_undo_a_shift_and_sets_count_alike() {
        let near = |found: [f32; 2], want: [f32; 2], by: f32| {
            assert!(found.iter().zip(want).all(|(f, w)| (f - w).abs() < by), "{found:?} for {want:?}");
        };
        let offsets = |sets: &[Judged]| super::offsets(sets).unwrap();
        near(offsets(&[set(300, [0.2, -0.3], 1)]), [-0.2, 0.3], 1e-5);
        // 0.2 over 3,000 frames and nothing over 300: half of it, not ten elevenths.
        near(offsets(&[set(3000, [0.2, 0.0], 2), set(300, [0.0; 2], 3)]), [-0.1, 0.0], 0.01);
        let mut silent = set(50, [0.4, 0.4], 4);
        silent.labels.iter_mut().for_each(|l| l[1] = f32::NAN);
        near(offsets(&[silent]), [-0.4, 0.0], 1e-5);
        assert_eq!(offsets(&[]), [0.0; 2]);
        let e = super::offsets(&[set(50, [1.5, 0.0], 5)]).unwrap_err().to_string();
        assert!(e.contains("within 1 logit") && e.contains("centre=false"), "{e}");
    }
}
