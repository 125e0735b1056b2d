//! The ten fine-tuning losses of SS-VAERR (arXiv 2210.11341) as weighted sums of five terms per dimension.
//!
//! | no. | arousal and valence alike, unless said otherwise |
//! |---|---|
//! | 1 | MSE |
//! | 2 | 1 - CCC |
//! | 3 | CE |
//! | 4 | BCE |
//! | 5 | 0.5 (1 - CCC) + 0.5 CE |
//! | 6 | 0.5 (1 - CCC) + 0.25 CE + 0.25 MSE |
//! | 7 | arousal (1 - CCC) + 0.5 CE, valence 1 - CCC |
//! | 8 | as 7, with + 0.5 MSE on arousal |
//! | 9 | (1 - CCC) + 0.1 nCCE |
//! | 10 | as 9, with + MSE |
//!
//! All terms are over the labelled frames of the batch; a frame without a label in a dimension enters none of that
//! dimension's terms (`frames_without_a_label_do_not_matter`). [`terms`] describes the terms, [`Bins`] the bins.
//!
//! What the authors' code gets wrong, what is done here, and the test that tells the two apart:
//!
//! | theirs | here | test |
//! |---|---|---|
//! | loss 9 cannot be chosen (`> 9`) | 1 to 10 all run, 0 and 11 are refused | `every_number_runs_and_no_two_are_alike` |
//! | loss 2 names a class that does not exist | it is 1 - CCC | `losses_equal_the_f64_oracle` |
//! | losses 3 and 4 know 3 bins | 20 bins | `all_twenty_bins_learn` |
//! | cross-entropy of outputs already softmaxed | of logits | `a_sure_and_right_bin_costs_nothing` |
//! | CCC of covariance by n - 1 and variances by n, so that CCC(x, x) > 1 | both by n | `ccc_loss_of_a_series_with_itself_is_zero` |

mod bins;
mod recipe;
mod targets;
pub mod terms;

pub use bins::{Bins, Histogram};
pub use recipe::{Recipe, Weights};
pub use targets::Targets;
pub use terms::ccc_loss;

use crate::error::{Error, Result};
use crate::spec::{BINS, HEADS, Head};
use burn::tensor::Tensor;

/// A batch's loss and what it is made of.
#[derive(Debug)]
pub struct Losses {
    /// The weighted sum of the terms.
    pub total: Tensor<1>,
    terms: Vec<(&'static str, Tensor<1>)>,
}

/// Names of the terms, in the order of [`Weights::all`].
const NAMES: [[&str; 5]; 2] = [
    ["arousal_ccc", "arousal_mse", "arousal_ce", "arousal_bce", "arousal_ncce"],
    ["valence_ccc", "valence_mse", "valence_ce", "valence_bce", "valence_ncce"],
];

impl Losses {
    /// The terms of weight above nought, each unweighted, as `arousal_ccc` (which is 1 - CCC). One transfer from the
    /// device, and none if never called.
    ///
    /// # Errors
    /// If the device does not give them.
    pub fn terms(&self) -> Result<Vec<(&'static str, f64)>> {
        let values = Tensor::cat(self.terms.iter().map(|(_, t)| t.clone().detach()).collect(), 0).into_data();
        let values: Vec<f32> =
            values.try_to_vec().map_err(|e| Error::device(format!("the terms of the loss cannot be read: {e:?}")))?;
        Ok(self.terms.iter().zip(values).map(|((name, _), v)| (*name, f64::from(v))).collect())
    }
}

impl Recipe {
    /// The loss of logits `clips x frames x 42` against (arousal, valence) of each frame, clip by clip, with `bins` of the same order.
    ///
    /// # Errors
    /// As [`Self::loss`] and [`Targets::new`].
    pub fn loss_of_clips(&self, logits: Tensor<3>, labels: &[[f32; 2]], bins: &[Bins; 2]) -> Result<Losses> {
        let [clips, frames, heads] = logits.dims();
        let targets = Targets::new(labels, bins, &logits.device())?;
        self.loss(&logits.reshape([clips * frames, heads]), &targets)
    }

    /// The loss of logits `N x 42` (order of [`Head`]) against the labels of the same `N` frames.
    ///
    /// A dimension without a single label in the batch adds nothing.
    ///
    /// # Errors
    /// Logits of another shape, or no frame with a label that this recipe weighs.
    pub fn loss(&self, logits: &Tensor<2>, targets: &Targets) -> Result<Losses> {
        let [rows, columns] = logits.dims();
        if (rows, columns) != (targets.frames(), HEADS) {
            let what = format!("{rows} x {columns} logits for the labels of {} frames", targets.frames());
            return Err(Error::model(what).remedy(format!("the loss takes one row of {HEADS} logits a frame")));
        }
        let mut parts = Vec::new();
        for (d, weights) in [&self.arousal, &self.valence].into_iter().enumerate() {
            if let Some(labelled) = targets.dimension(d) {
                parts.extend(dimension(d, weights, &labelled.rows(logits), labelled));
            }
        }
        let total = parts.iter().map(|(_, weight, term)| term.clone() * *weight).reduce(|a, b| a + b);
        let Some(total) = total else {
            return Err(Error::input("no frame of the batch has a label that the loss weighs")
                .remedy("leave out clips without labels, or give the labelled dimension a weight"));
        };
        Ok(Losses { total, terms: parts.into_iter().map(|(name, _, term)| (name, term)).collect() })
    }
}

type Part = (&'static str, f64, Tensor<1>);

/// The weighed terms of one dimension on its labelled rows.
fn dimension(d: usize, weights: &Weights, rows: &Tensor<2>, labelled: &targets::Labelled) -> Vec<Part> {
    let head = Head::ALL[d];
    let value = || {
        let raw: Tensor<1> = rows.clone().narrow(1, head.value(), 1).squeeze_dim(1);
        (raw * 0.5).tanh()
    };
    let bins = || rows.clone().narrow(1, head.bins().start, BINS);
    let (label, hot) = (|| labelled.values.clone(), || labelled.one_hot.clone());
    let term = |k: usize| match k {
        0 => ccc_loss(value(), label()),
        1 => terms::mse(value(), label()),
        2 => terms::ce(bins(), hot()),
        3 => terms::bce(bins(), hot()),
        _ => terms::ncce(bins(), hot(), labelled.indices.clone()),
    };
    let weighed = weights.all().into_iter().enumerate().filter(|(_, w)| *w > 0.0);
    weighed.map(|(k, w)| (NAMES[d][k], w, term(k))).collect()
}

#[cfg(test)]
mod tests;
