//! Post-training quantisation by calibration, and temperature scaling of the bins.

use super::data::ferplus::Still;
use super::evaluate::ring_of;
use crate::engine::reference::{Reference, Trace};
use crate::error::{Error, Result};
use crate::model::{ConvI8, Student, Trunk};
use crate::preprocess::Cropper;
use crate::quant;
use crate::spec::{BINS, Calibration, CropRule, HEADS, Head, bin_of};

/// Share of a layer's activations that the 8-bit range covers; the rest saturates.
const COVERED: f64 = 0.9999;

/// The range of each layer's output over the calibration pictures: the [`COVERED`] quantile of its positive values.
///
/// # Errors
/// If the student is refused, or a layer gives nothing positive.
pub fn activation_ranges(student: &Student, rule: &CropRule, stills: &[Still]) -> Result<Vec<f32>> {
    let mut engine = Reference::open(student)?;
    let mut cropper = Cropper::for_rule(rule);
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); student.spec.convs.len()];
    let (mut trace, mut logits) = (Trace::default(), [0.0; HEADS]);
    for still in stills {
        let ring = ring_of(still, &student.spec, &mut cropper);
        let mut hidden = vec![0.0; student.spec.hidden];
        engine.step_traced(ring.bytes(), &mut hidden, &mut logits, &mut trace)?;
        for (all, layer) in values.iter_mut().zip(&trace.layers) {
            all.extend(layer.iter().filter(|v| **v > 0.0));
        }
    }
    let range = |(i, mut v): (usize, Vec<f32>)| {
        let at = ((v.len() as f64 * COVERED) as usize).min(v.len().saturating_sub(1));
        let dead = || Error::model(format!("conv{i} gave nothing positive on the calibration pictures"));
        if v.is_empty() { Err(dead()) } else { Ok(*v.select_nth_unstable_by(at, f32::total_cmp).1) }
    };
    values.into_iter().enumerate().map(range).collect()
}

/// The int8 student: per-channel weights, activations over `ranges`.
///
/// # Errors
/// If the student is int8 already or a range is not positive.
pub fn quantize(student: &Student, ranges: &[f32]) -> Result<Student> {
    let Trunk::Fp32(convs) = &student.trunk else {
        return Err(Error::model("the student is int8 already"));
    };
    let mut input_scale = student.spec.input_scale;
    let mut out = Vec::new();
    for (conv, range) in convs.iter().zip(ranges) {
        let per_out = conv.weight.len() / conv.bias.len();
        let weight_scale: Vec<f32> = conv.weight.chunks_exact(per_out).map(quant::weight_scale).collect();
        let output_scale = range / 255.0;
        let weight = |(i, &w): (usize, &f32)| quant::quantize_weight(w, weight_scale[i / per_out]);
        let bias = |(&b, &s): (&f32, &f32)| quant::quantize_bias(b, input_scale, s);
        out.push(ConvI8 {
            weight: conv.weight.iter().enumerate().map(weight).collect(),
            bias: conv.bias.iter().zip(&weight_scale).map(bias).collect(),
            requant: weight_scale.iter().map(|&w| quant::requant_scale(input_scale, w, output_scale)).collect(),
            input_scale,
            weight_scale,
            output_scale,
        });
        input_scale = output_scale;
    }
    let student = Student { trunk: Trunk::Int8(out), ..student.clone() };
    student.validate()?;
    Ok(student)
}

/// Mean negative log-likelihood of the labels' bins at a temperature.
fn likelihood(logits: &[[f32; HEADS]], labels: &[f32], head: Head, temperature: f64) -> f64 {
    let one = |(row, label): (&[f32; HEADS], &f32)| {
        let bins = row[head.bins()].iter().map(|&l| f64::from(l) / temperature).collect::<Vec<f64>>();
        let top = bins.iter().copied().fold(f64::MIN, f64::max);
        top + bins.iter().map(|b| (b - top).exp()).sum::<f64>().ln() - bins[bin_of(*label)]
    };
    logits.iter().zip(labels).map(one).sum::<f64>() / logits.len().max(1) as f64
}

/// The temperatures that make the bins of held-out pictures most likely (Guo et al. 2017), by golden-section search.
pub fn temperatures(logits: &[[f32; HEADS]], stills: &[Still]) -> Calibration {
    let fit = |head: Head, labels: Vec<f32>| {
        let (mut low, mut high) = (0.1f64.ln(), 10f64.ln());
        let golden = 0.618_033_988_749_895;
        for _ in 0..60 {
            let (a, b) = (high - golden * (high - low), low + golden * (high - low));
            let better = likelihood(logits, &labels, head, a.exp()) < likelihood(logits, &labels, head, b.exp());
            if better { high = b } else { low = a }
        }
        ((low + high) / 2.0).exp() as f32
    };
    Calibration {
        arousal_temperature: fit(Head::Arousal, stills.iter().map(|s| s.arousal).collect()),
        valence_temperature: fit(Head::Valence, stills.iter().map(|s| s.valence).collect()),
    }
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
    use crate::frame::Gray;
    use crate::render::Rng;

    #[test]
    fn the_temperature_undoes_overconfidence() {
        // Labels drawn from softmax(l); the model claims softmax(3 l).
        let mut rng = Rng::new(2, 0);
        let (mut rows, mut stills) = (Vec::new(), Vec::new());
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
            stills.push(Still { name: String::new(), image: Gray::default(), arousal, valence });
        }
        let c = temperatures(&rows, &stills);
        assert!((c.arousal_temperature - 3.0).abs() < 0.25 && (c.valence_temperature - 3.0).abs() < 0.25, "{c:?}");
    }
}
