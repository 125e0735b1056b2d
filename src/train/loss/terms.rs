//! The five terms, each a mean over the frames given. Logits come as they leave the network, never softmaxed.

use burn::tensor::{Tensor, activation};

/// Least denominator of the CCC: what spread and gap come to where both sides are constant and equal.
const LEAST_SPREAD: f64 = 1e-8;

/// `1 - CCC` (Lin 1989, population variance) of `n` predictions and labels in [-1, 1].
///
/// Between 0 (equal series that vary, exactly) and 2. Constant labels or predictions give 1 with a gradient of nought:
/// nothing can be learnt from them by correlation. The denominator is at least 1e-8, so that nothing is divided by 0.
pub fn ccc_loss(prediction: Tensor<1>, label: Tensor<1>) -> Tensor<1> {
    let (mp, ml) = (prediction.clone().mean(), label.clone().mean());
    let (p, l) = (prediction - mp.clone(), label - ml.clone());
    let gap = mp - ml;
    let cov = (p.clone() * l.clone()).mean();
    let spread = (p.clone() * p).mean() + (l.clone() * l).mean() + gap.clone() * gap;
    (cov * -2.0) / spread.clamp_min(LEAST_SPREAD) + 1.0
}

/// Mean squared error of `n` predictions.
pub fn mse(prediction: Tensor<1>, label: Tensor<1>) -> Tensor<1> {
    let error = prediction - label;
    (error.clone() * error).mean()
}

/// Cross-entropy of each frame, `n x 1`, in nats; `logits` and `one_hot` are `n x 20`.
fn cross_entropy(logits: Tensor<2>, one_hot: Tensor<2>) -> Tensor<2> {
    (activation::log_softmax(logits, 1) * one_hot).sum_dim(1) * -1.0
}

/// Cross-entropy in nats of `n x 20` bin logits; ln 20 = 3.0 for even logits.
pub fn ce(logits: Tensor<2>, one_hot: Tensor<2>) -> Tensor<1> {
    cross_entropy(logits, one_hot).mean()
}

/// Binary cross-entropy in nats of `n x 20` bin logits, each bin a yes or no of its own; mean over frames and bins.
pub fn bce(logits: Tensor<2>, one_hot: Tensor<2>) -> Tensor<1> {
    // -t ln s(x) - (1 - t) ln s(-x), with ln s(-x) = ln s(x) - x.
    let off = (one_hot * -1.0 + 1.0) * logits.clone();
    (off - activation::log_sigmoid(logits)).mean()
}

/// Normalised cost-sensitive cross-entropy in nats (after AlBadawy and Kim 2018, doi 10.1145/3242969.3242972).
///
/// Each frame's cross-entropy is weighted by `1 + |k - j|`, `k` the bin of its label (`indices`, `n x 1`) and `j` the
/// likeliest bin by its logits, and the sum is divided by the sum of the weights. So normalised, the term is a weighted
/// mean: it moves learning towards the frames that are far off without growing as a whole, and the tenth that losses 9
/// and 10 take of it means the same at the start of a training, when all frames are far off, as at its end. Weights
/// are constants to the gradient. The normalisation and the distance, in bins and not in units of the label, are our
/// choice: what is known of the authors' loss leaves both open.
pub fn ncce(logits: Tensor<2>, one_hot: Tensor<2>, indices: Tensor<2>) -> Tensor<1> {
    let likeliest = logits.clone().detach().argmax(1).float();
    let weights = (likeliest - indices).abs() + 1.0;
    (cross_entropy(logits, one_hot) * weights.clone()).sum() / weights.sum()
}
