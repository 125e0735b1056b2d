//! Temperature scaling of the bins (Guo et al. 2017, arXiv 1706.04599).

use crate::model::Student;
use crate::spec::{BINS, Calibration, HEADS, Head, bin_of};

/// Mean negative log-likelihood of the labels' bins at a temperature.
fn likelihood(labelled: &[(&[f32; HEADS], f32)], head: Head, temperature: f64) -> f64 {
    let one = |(row, label): &(&[f32; HEADS], f32)| {
        let bins = row[head.bins()].iter().map(|&l| f64::from(l) / temperature).collect::<Vec<f64>>();
        let top = bins.iter().copied().fold(f64::MIN, f64::max);
        top + bins.iter().map(|b| (b - top).exp()).sum::<f64>().ln() - bins[bin_of(*label)]
    };
    labelled.iter().map(one).sum::<f64>() / labelled.len().max(1) as f64
}

/// The temperatures that make the bins of held-out data most likely, by golden-section search. `labels`: (arousal, valence)
/// of each row of logits, NaN where there is none; a dimension without labels has temperature 1.
pub fn temperatures(logits: &[[f32; HEADS]], labels: &[[f32; 2]]) -> Calibration {
    let fit = |head: Head, d: usize| {
        let labelled: Vec<_> = logits.iter().zip(labels).map(|(r, l)| (r, l[d])).filter(|(_, l)| !l.is_nan()).collect();
        if labelled.is_empty() {
            return 1.0;
        }
        let (mut low, mut high) = (0.1f64.ln(), 10f64.ln());
        let golden = 0.618_033_988_749_895;
        for _ in 0..60 {
            let (a, b) = (high - golden * (high - low), low + golden * (high - low));
            let better = likelihood(&labelled, head, a.exp()) < likelihood(&labelled, head, b.exp());
            if better { high = b } else { low = a }
        }
        ((low + high) / 2.0).exp() as f32
    };
    Calibration { arousal_temperature: fit(Head::Arousal, 0), valence_temperature: fit(Head::Valence, 1) }
}

/// Divides the bin rows of the head by the temperatures, so that engines need not know of them.
pub fn apply_temperatures(student: &mut Student, calibration: &Calibration) {
    let units = student.spec.hidden;
    for (head, t) in
        [(Head::Arousal, calibration.arousal_temperature), (Head::Valence, calibration.valence_temperature)]
    {
        let rows = head.bins();
        debug_assert_eq!(rows.len(), BINS);
        student.head.bias[rows.clone()].iter_mut().for_each(|b| *b /= t);
        student.head.weight[rows.start * units..rows.end * units].iter_mut().for_each(|w| *w /= t);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    #[test]
    fn the_temperature_undoes_overconfidence() {
        // Labels drawn from softmax(l); the model claims softmax(3 l).
        let mut rng = Rng::new(2, 0);
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..4000 {
            let mut row = [0.0; HEADS];
            let mut draw = |head: Head| {
                let bins: Vec<f32> = (0..BINS).map(|_| rng.normal()).collect();
                let total: f32 = bins.iter().map(|b| b.exp()).sum();
                let mut left = rng.unit() * total;
                let hit = bins
                    .iter()
                    .position(|b| {
                        left -= b.exp();
                        left <= 0.0
                    })
                    .unwrap_or(BINS - 1);
                row[head.bins()].iter_mut().zip(&bins).for_each(|(r, b)| *r = 3.0 * b);
                crate::spec::bin_center(hit)
            };
            let (arousal, valence) = (draw(Head::Arousal), draw(Head::Valence));
            rows.push(row);
            labels.push([arousal, valence]);
        }
        rows.push([f32::MAX; HEADS]);
        labels.push([f32::NAN; 2]);
        let c = temperatures(&rows, &labels);
        assert!((c.arousal_temperature - 3.0).abs() < 0.25 && (c.valence_temperature - 3.0).abs() < 0.25, "{c:?}");
        assert_eq!(temperatures(&rows[4000..], &labels[4000..]).arousal_temperature, 1.0);
    }
}
