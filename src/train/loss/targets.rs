//! The labels of a batch as the losses want them.

use super::Bins;
use crate::error::{Error, Result};
use crate::spec::BINS;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// How far a label may lie outside [-1, 1]: the rounding of an average or an interpolation.
const SLACK: f32 = 1e-3;

/// Labels of a batch, per dimension those that there are.
#[derive(Debug)]
pub struct Targets {
    frames: usize,
    dimensions: [Option<Labelled>; 2],
}

/// The labelled frames of one dimension, `n` of them.
#[derive(Debug)]
pub(super) struct Labelled {
    /// Which rows of the batch they are; `None` for all.
    chosen: Option<Tensor<1, Int>>,
    /// `n`.
    pub values: Tensor<1>,
    /// `n x 20`: 1 at the label's bin.
    pub one_hot: Tensor<2>,
    /// `n x 1`: the number of the label's bin.
    pub indices: Tensor<2>,
}

impl Targets {
    /// From (arousal, valence) of each frame, NaN where there is no label, discretised by `bins` of the same order.
    ///
    /// # Errors
    /// A label outside [-1, 1], or no label in the whole batch.
    pub fn new(labels: &[[f32; 2]], bins: &[Bins; 2], device: &Device) -> Result<Self> {
        if let Some(i) = labels.iter().position(|l| l.iter().any(|v| v.abs() > 1.0 + SLACK)) {
            return Err(Error::input(format!("the label is {:?}, expected values in [-1, 1]", labels[i]))
                .at(format!("frame {i} of the batch"))
                .remedy("mark frames without a label by NaN"));
        }
        let dimensions = [0, 1].map(|d| Labelled::new(labels, d, &bins[d], device));
        if dimensions.iter().all(Option::is_none) {
            return Err(Error::input(format!("none of the batch's {} frames has a label", labels.len()))
                .remedy("leave out clips without labels"));
        }
        Ok(Self { frames: labels.len(), dimensions })
    }

    /// Frames of the batch, labelled or not.
    pub fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn dimension(&self, d: usize) -> Option<&Labelled> {
        self.dimensions[d].as_ref()
    }
}

impl Labelled {
    fn new(labels: &[[f32; 2]], d: usize, bins: &Bins, device: &Device) -> Option<Self> {
        let kept: Vec<(i32, f32)> = (0..).zip(labels).map(|(i, l)| (i, l[d])).filter(|(_, v)| !v.is_nan()).collect();
        let n = kept.len();
        if n == 0 {
            return None;
        }
        let indices: Vec<usize> = kept.iter().map(|(_, v)| bins.index(*v)).collect();
        let mut hot = vec![0.0f32; n * BINS];
        for (row, k) in hot.chunks_exact_mut(BINS).zip(&indices) {
            row[*k] = 1.0;
        }
        let rows: Vec<i32> = kept.iter().map(|(i, _)| *i).collect();
        let values: Vec<f32> = kept.into_iter().map(|(_, v)| v).collect();
        let indices: Vec<f32> = indices.into_iter().map(|k| k as f32).collect();
        let chosen = || Tensor::from_data(TensorData::new(rows, [n]), device);
        Some(Self {
            chosen: (n < labels.len()).then(chosen),
            values: Tensor::from_data(TensorData::new(values, [n]), device),
            one_hot: Tensor::from_data(TensorData::new(hot, [n, BINS]), device),
            indices: Tensor::from_data(TensorData::new(indices, [n, 1]), device),
        })
    }

    /// The labelled rows of the batch's logits.
    pub fn rows(&self, logits: &Tensor<2>) -> Tensor<2> {
        match &self.chosen {
            Some(rows) => logits.clone().select(0, rows.clone()),
            None => logits.clone(),
        }
    }
}
