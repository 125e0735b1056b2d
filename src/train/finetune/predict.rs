//! Whole recordings through a full model.

use super::{FineTuneConfig, VideoResult};
use crate::error::{Error, Result};
use crate::spec::{BINS, Head};
use crate::train::data::augment::{Tap, Warp};
use crate::train::data::record::Split;
use crate::train::data::still;
use crate::train::full::FullNet;
use crate::train::loss::Bins;
use crate::train::pretext::views::Normalise;
use crate::train::run::Batch;
use crate::train::shards::{Reader, Sample};
use burn::tensor::{Device, Tensor, TensorData, activation};

/// Frames on either side that the stem sees.
const SEEN: usize = 2;

/// Frames that go through the backbone together; more is no faster and takes more memory.
const CHUNK: usize = 64;

/// How recordings are read.
#[derive(Debug, Clone)]
pub struct Predictor {
    /// Side of the network's input.
    pub size_px: usize,
    pub normalise: Normalise,
    /// As in training: every so-manieth frame.
    pub every: usize,
    /// Bins whose expectation is read, for a dimension whose value no term of the loss trains (losses 3 and 4).
    pub by_bins: [Option<Bins>; 2],
    /// Without gradients.
    pub device: Device,
}

impl Predictor {
    /// As `config` trains, with its bins, on `device` without its gradients.
    ///
    /// # Errors
    /// If the loss is none.
    pub fn of(config: &FineTuneConfig, normalise: Normalise, bins: &[Bins; 2], device: &Device) -> Result<Self> {
        let recipe = config.recipe()?;
        let untrained = [recipe.arousal, recipe.valence].map(|w| w.ccc + w.mse == 0.0);
        let by_bins = std::array::from_fn(|d| untrained[d].then(|| bins[d].clone()));
        let (size_px, every) = (config.model.size_px, config.clips.every);
        Ok(Self { size_px, normalise, every, by_bins, device: device.clone().inner() })
    }

    /// Predictions of `net`, which is in inference mode, for every recording of `split`, parts joined. A still is read as a clip
    /// ([`still::judged`]) with one labelled frame, its last.
    ///
    /// # Errors
    /// Damaged shards, or a split without recordings.
    pub fn split(&self, net: &FullNet, reader: &Reader, split: Split) -> Result<Vec<VideoResult>> {
        let mut all: Vec<VideoResult> = Vec::new();
        for sample in reader.ordered(split) {
            let part = self.sample(net, &still::judged(sample?, self.every))?;
            match all.last_mut().filter(|last| last.video == part.video) {
                Some(last) => {
                    last.predicted.extend(part.predicted);
                    last.labels.extend(part.labels);
                }
                None => all.push(part),
            }
        }
        if all.is_empty() {
            return Err(Error::input(format!("holds no recording of the {} split", split.name())));
        }
        Ok(all)
    }

    /// Predictions of one sample. A recording cut into parts is read part by part.
    ///
    /// # Errors
    /// If the device fails.
    pub fn sample(&self, net: &FullNet, sample: &Sample) -> Result<VideoResult> {
        let frames: Vec<usize> = (0..sample.meta.frames).step_by(self.every).collect();
        let features = self.features(net, sample, &frames);
        let logits = net.logits(features).squeeze_dim::<2>(0);
        let [arousal, valence] = [0, 1].map(|d| self.read(&logits, d));
        Ok(VideoResult {
            video: sample.meta.video.clone(),
            subject: Some(sample.meta.person().to_owned()),
            fps: sample.meta.fps / self.every as f64,
            predicted: arousal.into_iter().zip(valence).map(|(a, v)| [a, v]).collect(),
            labels: frames.iter().map(|t| sample.labels[*t].map(f64::from)).collect(),
        })
    }

    /// Arousal (0) or valence (1) from `T x 42` logits.
    fn read(&self, logits: &Tensor<2>, d: usize) -> Vec<f64> {
        let head = Head::ALL[d];
        let Some(bins) = &self.by_bins[d] else {
            let raw = logits.clone().narrow(1, head.value(), 1).into_data();
            return raw.iter::<f64>().map(|v| (v / 2.0).tanh()).collect();
        };
        let shares = activation::softmax(logits.clone().narrow(1, head.bins().start, BINS), 1).into_data();
        let shares: Vec<f64> = shares.iter::<f64>().collect();
        let expected = |row: &[f64]| row.iter().enumerate().map(|(k, p)| p * bins.centre(k)).sum();
        shares.chunks_exact(BINS).map(expected).collect()
    }

    /// Logits `clips x T x 42` and features `clips x T x C` of a batch, each clip from its first frame to its last.
    pub fn clips(&self, net: &FullNet, batch: &Batch) -> (Tensor<3>, Tensor<3>) {
        let (from, to) = (batch.size_px, self.size_px);
        let mut values = Vec::with_capacity(batch.clips * batch.frames * to * to);
        for picture in batch.video.chunks_exact((from * from).max(1)) {
            middle(picture, from, to, |level| values.push(self.normalise.level(level)));
        }
        let shape = [batch.clips, batch.frames, to, to];
        let features = net.backbone.forward(Tensor::from_data(TensorData::new(values, shape), &self.device));
        (net.logits(features.clone()), features)
    }

    /// `1 x T x C`: in chunks that overlap by what the stem sees, so that chunking changes nothing.
    fn features(&self, net: &FullNet, sample: &Sample, frames: &[usize]) -> Tensor<3> {
        let mut parts = Vec::new();
        for start in (0..frames.len()).step_by(CHUNK) {
            let end = (start + CHUNK).min(frames.len());
            let (from, to) = (start.saturating_sub(SEEN), (end + SEEN).min(frames.len()));
            let seen = net.backbone.forward(self.pictures(sample, &frames[from..to]));
            parts.push(seen.narrow(1, start - from, end - start));
        }
        Tensor::cat(parts, 1)
    }

    /// `1 x T x size x size`: the middle of each picture.
    fn pictures(&self, sample: &Sample, frames: &[usize]) -> Tensor<4> {
        let (from, to) = (sample.meta.size_px, self.size_px);
        let area = from * from;
        let mut values = Vec::with_capacity(frames.len() * to * to);
        for &t in frames {
            middle(&sample.video[t * area..][..area], from, to, |level| values.push(self.normalise.level(level)));
        }
        Tensor::from_data(TensorData::new(values, [1, frames.len(), to, to]), &self.device)
    }
}

/// Gives `level` the middle `to x to` of a `from x from` picture, row by row. A smaller picture is seen whole and enlarged, bilinear,
/// as views are in training.
fn middle(picture: &[u8], from: usize, to: usize, mut level: impl FnMut(u8)) {
    if from < to {
        let step = from as f32 / to as f32;
        let whole = Warp { centre: [0.5 * from as f32; 2], step: [step; 2], roll: 0.0 };
        return whole.points(to).for_each(|p| level(Tap::new(p, from, from).read(picture).round() as u8));
    }
    let start = from / 2 - to / 2;
    for row in picture.chunks_exact(from).skip(start).take(to) {
        row[start..][..to].iter().for_each(|v| level(*v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;
    use crate::train::full::FullSpec;
    use crate::train::pretext::views::{self, Input, ViewConfig};
    use crate::train::shards::Meta;
    use burn::module::Module;

    #[test]
    fn the_middle_of_a_picture_is_taken_and_a_small_one_is_enlarged_as_in_training() {
        let picture: Vec<u8> = (0..16).map(|i| 16 * i).collect();
        let taken = |to: usize| {
            let mut out = Vec::new();
            middle(&picture, 4, to, |v| out.push(v));
            out
        };
        assert_eq!(taken(2), [80, 96, 144, 160]);
        assert_eq!(taken(3), [80, 96, 112, 144, 160, 176, 208, 224, 240]);
        assert_eq!(taken(4), picture);
        let batch = Batch {
            clips: 1,
            frames: 1,
            size_px: 4,
            video: picture.clone(),
            labels: vec![[f32::NAN; 2]],
            audio: None,
            votes: Vec::new(),
            targets: Vec::new(),
        };
        let normalise = Normalise { mean: 0.5, std: 0.2 };
        let plain = ViewConfig { size_px: 10, ..ViewConfig::default() };
        let rng = &mut Rng::new(1, 0);
        let spans = views::spans(&batch, &plain, rng).unwrap();
        let seen = views::views(&batch, &plain, &spans, &Input { normalise, device: Device::flex() }, rng).into_data();
        for (level, seen) in taken(10).into_iter().zip(seen.iter::<f32>()) {
            assert!((normalise.level(level) - seen).abs() < 0.6 / 255.0 / normalise.std, "{level} {seen}");
        }
    }

    #[test]
    fn a_recording_in_chunks_is_read_as_a_whole_one() {
        let frames = 2 * CHUNK + 7;
        let mut rng = Rng::new(3, 0);
        let sample = Sample {
            meta: Meta {
                key: "k".into(),
                video: "v".into(),
                part: 0,
                subject: None,
                group: "g".into(),
                split: Split::Valid,
                fps: 25.0,
                start_s: 0.0,
                frames,
                size_px: 20,
                audio: None,
                votes: None,
                tags: Default::default(),
            },
            video: (0..frames * 400).map(|_| rng.below(256) as u8).collect(),
            labels: vec![[0.0, f32::NAN]; frames],
            audio: None,
        };
        let spec = FullSpec { size_px: 16, width: 1, hidden: 3, layers: 1 };
        let net = FullNet::new(&spec, 1, &Device::flex().autodiff()).unwrap().valid();
        let normalise = Normalise { mean: 0.5, std: 0.2 };
        let by_bins = [None, None];
        let mut predictor = Predictor { size_px: 16, normalise, every: 1, by_bins, device: Device::flex() };
        let got = predictor.sample(&net, &sample).unwrap();
        let all: Vec<usize> = (0..frames).collect();
        let whole = net.forward(predictor.pictures(&sample, &all)).squeeze_dim::<2>(0);
        let want: Vec<f64> = whole.narrow(1, Head::Valence.value(), 1).into_data().iter::<f64>().collect();
        for (g, w) in got.predicted.iter().zip(&want) {
            assert!((g[1] - (w / 2.0).tanh()).abs() < 1e-6);
        }
        predictor.by_bins = [Some(Bins::Equal), None];
        let (by_bins, logits) =
            (predictor.sample(&net, &sample).unwrap(), net.forward(predictor.pictures(&sample, &all)));
        let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
        for (row, p) in logits.chunks_exact(42).zip(&by_bins.predicted) {
            let e: Vec<f64> = row[Head::Arousal.bins()].iter().map(|v| v.exp()).collect();
            let centres = (0..BINS).map(|k| -0.95 + 0.1 * k as f64);
            let want = e.iter().zip(centres).map(|(e, c)| e * c).sum::<f64>() / e.iter().sum::<f64>();
            assert!((p[0] - want).abs() < 1e-5, "{} instead of {want}", p[0]);
        }
        assert!(by_bins.predicted.iter().zip(&got.predicted).all(|(a, b)| a[1] == b[1] && a[0] != b[0]));
        assert_eq!((got.predicted.len(), got.labels[0][0]), (frames, 0.0));
        assert!(got.labels[0][1].is_nan());
    }
}
