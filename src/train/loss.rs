//! Loss 6 of SS-VAERR: 0.5 (1 - CCC) + 0.25 cross-entropy on 20 bins + 0.25 MSE, summed over arousal and valence.

use crate::spec::{BINS, Head, bin_of};
use burn::tensor::{Device, Tensor, TensorData, activation};

/// Labels of a batch: the values and their one-hot bins.
pub struct Targets {
    /// Per head, `n`.
    values: [Tensor<1>; 2],
    /// Per head, `n x 20`.
    bins: [Tensor<2>; 2],
}

impl Targets {
    /// From (arousal, valence) pairs.
    pub fn new(labels: &[[f32; 2]], device: &Device) -> Self {
        let n = labels.len();
        let column = |d: usize| labels.iter().map(move |l| l[d]);
        let values = [0, 1].map(|d| Tensor::from_data(TensorData::new(column(d).collect::<Vec<f32>>(), [n]), device));
        let bins = [0, 1].map(|d| {
            let mut hot = vec![0.0f32; n * BINS];
            for (i, v) in column(d).enumerate() {
                hot[i * BINS + bin_of(v)] = 1.0;
            }
            Tensor::from_data(TensorData::new(hot, [n, BINS]), device)
        });
        Self { values, bins }
    }
}

/// `1 - CCC` over the batch (Lin 1989, population variance). The small constant keeps a constant batch finite.
pub fn ccc_loss(prediction: Tensor<1>, label: Tensor<1>) -> Tensor<1> {
    let (mp, ml) = (prediction.clone().mean(), label.clone().mean());
    let (p, l) = (prediction - mp.clone(), label - ml.clone());
    let gap = mp - ml;
    let cov = (p.clone() * l.clone()).mean();
    let spread = (p.clone() * p).mean() + (l.clone() * l).mean() + gap.clone() * gap;
    (cov * -2.0) / (spread + 1e-8) + 1.0
}

/// Loss 6 on logits `n x 42`.
pub fn loss6(logits: &Tensor<2>, targets: &Targets) -> Tensor<1> {
    let one = |d: usize| {
        let head = Head::ALL[d];
        let raw: Tensor<1> = logits.clone().narrow(1, head.value(), 1).squeeze_dim(1);
        let value = (raw * 0.5).tanh();
        let bins = activation::log_softmax(logits.clone().narrow(1, head.bins().start, BINS), 1);
        let label = targets.values[d].clone();
        let error = value.clone() - label.clone();
        let mse = (error.clone() * error).mean();
        let ce = (bins * targets.bins[d].clone()).sum_dim(1).mean() * -1.0;
        ccc_loss(value, label) * 0.5 + ce * 0.25 + mse * 0.25
    };
    one(0) + one(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Agreement;
    use crate::render::Rng;
    use crate::spec::HEADS;

    /// Loss 6 in f64, written from its definition.
    fn oracle(logits: &[Vec<f64>], labels: &[[f32; 2]]) -> f64 {
        let n = labels.len() as f64;
        let mut total = 0.0;
        for (d, head) in Head::ALL.iter().enumerate() {
            let label: Vec<f64> = labels.iter().map(|l| f64::from(l[d])).collect();
            let value: Vec<f64> = logits.iter().map(|r| 2.0 / (1.0 + (-r[head.value()]).exp()) - 1.0).collect();
            let mse = value.iter().zip(&label).map(|(v, l)| (v - l).powi(2)).sum::<f64>() / n;
            let ce = logits.iter().zip(labels).map(|(r, l)| {
                let bins = &r[head.bins()];
                bins.iter().map(|b| b.exp()).sum::<f64>().ln() - bins[bin_of(l[d])]
            });
            total += 0.5 * (1.0 - Agreement::of(&value, &label).ccc) + 0.25 * ce.sum::<f64>() / n + 0.25 * mse;
        }
        total
    }

    fn case(n: usize) -> (Vec<Vec<f64>>, Vec<[f32; 2]>) {
        let mut rng = Rng::new(11, 0);
        let logits = (0..n).map(|_| (0..HEADS).map(|_| f64::from(rng.normal())).collect()).collect();
        let labels = (0..n).map(|_| [rng.range(-1.0, 1.0), rng.range(-1.0, 1.0)]).collect();
        (logits, labels)
    }

    fn tensor(logits: &[Vec<f64>], device: &Device) -> Tensor<2> {
        let flat: Vec<f32> = logits.iter().flatten().map(|v| *v as f32).collect();
        Tensor::from_data(TensorData::new(flat, [logits.len(), HEADS]), device)
    }

    #[test]
    fn loss_equals_the_f64_oracle() {
        let device = Device::flex();
        let (logits, labels) = case(13);
        let got: f32 = loss6(&tensor(&logits, &device), &Targets::new(&labels, &device)).into_scalar();
        assert!((f64::from(got) - oracle(&logits, &labels)).abs() < 1e-5);
    }

    #[test]
    fn gradients_equal_central_differences_of_the_oracle() {
        let device = Device::flex().autodiff();
        let (logits, labels) = case(7);
        let x = tensor(&logits, &device).require_grad();
        let grads = loss6(&x, &Targets::new(&labels, &device)).backward();
        let got: Vec<f32> = x.grad(&grads).unwrap().into_data().try_to_vec().unwrap();
        for (i, &got) in got.iter().enumerate().step_by(5) {
            let at = |delta: f64| {
                let mut moved = logits.clone();
                moved[i / HEADS][i % HEADS] += delta;
                oracle(&moved, &labels)
            };
            let want = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((f64::from(got) - want).abs() < 1e-5, "element {i}: {got} against {want}");
        }
    }

    #[test]
    fn a_constant_prediction_has_ccc_loss_one() {
        let device = Device::flex();
        let p = Tensor::<1>::from_floats([0.3, 0.3, 0.3], &device);
        let l = Tensor::<1>::from_floats([0.1, 0.5, -0.2], &device);
        assert!((ccc_loss(p, l).into_scalar::<f32>() - 1.0).abs() < 1e-6);
    }
}
