//! Judging of fine-tuning on held-out recordings and stills.

use super::{Predictor, Supervised, VideoResult};
use crate::error::{Error, Result};
use crate::metrics::Agreement;
use crate::train::data::record::Split;
use crate::train::data::still::Census;
use crate::train::full::FullNet;
use crate::train::run::{Judge, Verdict};
use crate::train::shards::Reader;

/// CCC on a split of whole recordings; the score is the mean of the two dimensions', over all frames concatenated, and over
/// folders, each judged on its own.
pub struct CccJudge {
    sets: Vec<(Reader, Option<String>)>,
    split: Split,
    predictor: Predictor,
}

impl CccJudge {
    /// Of the folders that have the split.
    ///
    /// # Errors
    /// None has it; a damaged shard.
    pub fn new(readers: Vec<Reader>, split: Split, predictor: Predictor) -> Result<Self> {
        let sets = judged_sets(readers, split, predictor.every)?;
        for (reader, about) in &sets {
            let about = about.as_deref().unwrap_or("recordings");
            log::info!("judged on the {} split of {}: {about}", split.name(), reader.folder().display());
        }
        Ok(Self { sets, split, predictor })
    }
}

impl Judge<Supervised> for CccJudge {
    fn judge(&mut self, _method: &Supervised, net: &FullNet) -> Result<Verdict> {
        let of = |(reader, about): &(Reader, Option<String>)| {
            Ok((agreement(&self.predictor.split(net, reader, self.split)?), about.clone()))
        };
        verdict(self.split, self.sets.iter().map(of))
    }
}

/// Figures on each set, CCC, bias and gain with what they must say, and the mean over sets of the mean CCC of both dimensions.
///
/// # Errors
/// The first that a set comes with.
pub fn verdict(split: Split, sets: impl Iterator<Item = Result<([Agreement; 2], Option<String>)>>) -> Result<Verdict> {
    let (mut scores, mut figures) = (Vec::new(), Vec::new());
    for set in sets {
        let ([arousal, valence], about) = set?;
        let about = about.map_or(String::new(), |a| format!(" ({a})"));
        for (dimension, a) in [("arousal", &arousal), ("valence", &valence)] {
            for (figure, value) in [("ccc", a.ccc), ("bias", a.bias), ("gain", a.gain)] {
                figures.push((format!("{}_{figure}_{dimension}{about}", split.name()), value));
            }
        }
        scores.push(0.5 * (arousal.ccc + valence.ccc));
    }
    let score = scores.iter().sum::<f64>() / scores.len() as f64;
    Ok(Verdict { score: Some(score), figures })
}

/// The folders that have `split`, with what figures on each must say: its name, where several were given, and that stills are
/// clips, where it holds some.
///
/// # Errors
/// None has the split; a damaged shard.
pub fn judged_sets(readers: Vec<Reader>, split: Split, every: usize) -> Result<Vec<(Reader, Option<String>)>> {
    let several = readers.len() > 1;
    let mut sets = Vec::new();
    for reader in readers {
        if reader.index().samples(split) == 0 {
            log::warn!("{} has no {} split and is not judged on", reader.folder().display(), split.name());
            continue;
        }
        let about = Census::about_one(&reader, split, every, several)?;
        sets.push((reader, about));
    }
    if sets.is_empty() {
        return Err(Error::input(format!("holds no recording of the {} split", split.name()))
            .remedy("prepare or render shards with that split"));
    }
    Ok(sets)
}

/// How many times longer than a clip of training a recording may be before that is worth a word.
const LONGER: usize = 4;

/// What to say if recordings of the validation split are much longer than the clips of `trained` frames that a network learns on: a GRU that
/// never ran so long drifts, and the figures show it as bias.
///
/// # Errors
/// A damaged shard.
fn much_longer(readers: &[Reader], every: usize, trained: usize) -> Result<Option<String>> {
    let mut longest = 0;
    for reader in readers {
        longest = reader.metas(Split::Valid)?.iter().map(|m| m.frames.div_ceil(every)).max().unwrap_or(0).max(longest);
    }
    Ok((longest > LONGER * trained).then(|| {
        format!(
            "recordings of the validation split have up to {longest} frames, clips of the training {trained}: a GRU that never ran so long \
             drifts; raise clips.seconds, if only in a last step"
        )
    }))
}

/// Warns if recordings of the validation split are much longer than the clips of `trained` frames.
///
/// # Errors
/// A damaged shard.
pub fn warn_of_length(readers: &[Reader], every: usize, trained: usize) -> Result<()> {
    if let Some(words) = much_longer(readers, every, trained)? {
        log::warn!("{words}");
    }
    Ok(())
}

/// Agreement of (arousal, valence) over all labelled frames of all recordings, concatenated.
pub fn agreement(results: &[VideoResult]) -> [Agreement; 2] {
    [0, 1].map(|d| {
        let frames = results.iter().flat_map(|r| r.predicted.iter().zip(&r.labels));
        let (predicted, labels): (Vec<f64>, Vec<f64>) =
            frames.map(|(p, l)| (p[d], l[d])).filter(|(_, l)| !l.is_nan()).unzip();
        Agreement::of(&predicted, &labels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::still::tests::{recording, still, write};
    use crate::train::full::FullSpec;
    use crate::train::loss::Bins;
    use crate::train::pretext::views::{Input, Normalise, ViewConfig};
    use crate::train::shards::Sample;
    use burn::module::Module;
    use burn::tensor::Device;

    const NORMALISE: Normalise = Normalise { mean: 0.5, std: 0.2 };

    fn predictor(every: usize) -> Predictor {
        Predictor { size_px: 16, normalise: NORMALISE, every, by_bins: [None, None], device: Device::flex() }
    }

    fn net() -> FullNet {
        let spec = FullSpec { size_px: 16, width: 1, hidden: 3, layers: 1 };
        FullNet::new(&spec, 1, &Device::flex().autodiff()).unwrap().valid()
    }

    fn method() -> Supervised {
        Supervised {
            recipe: "6".parse().unwrap(),
            bins: [Bins::Equal, Bins::Equal],
            mode: Default::default(),
            views: ViewConfig::default(),
            input: Input { normalise: NORMALISE, device: Device::flex() },
        }
    }

    fn readers(folder: &std::path::Path) -> Vec<Reader> {
        let moving: Vec<Sample> = (0..3).map(|n| recording(Split::Valid, n, 16, 12, 10.0)).collect();
        let stills: Vec<Sample> = (0..5).map(|n| still(Split::Valid, n, 16)).collect();
        vec![write(&folder.join("moving"), &moving), write(&folder.join("stills"), &stills)]
    }

    #[test]
    fn a_still_is_judged_as_a_clip_by_its_last_reading_and_twice_alike() {
        let dir = tempfile::tempdir().unwrap();
        let reader = &readers(dir.path())[1];
        for every in [1, 2] {
            let results = predictor(every).split(&net(), reader, Split::Valid).unwrap();
            assert_eq!(results.len(), 5);
            for (n, result) in results.iter().enumerate() {
                assert_eq!((result.predicted.len(), result.labels.len()), (8, 8));
                assert!(result.labels[..7].iter().flatten().all(|v| v.is_nan()));
                assert_eq!(result.labels[7], still(Split::Valid, n, 16).labels[0].map(f64::from));
            }
            let again = predictor(every).split(&net(), reader, Split::Valid).unwrap();
            assert_eq!(format!("{results:?}"), format!("{again:?}"));
            let readings = results.iter().flat_map(|r| r.predicted.windows(2)).filter(|w| w[0] != w[1]);
            assert!(readings.count() > 20, "the clips move");
        }
    }

    #[test]
    fn figures_say_what_they_are_of_and_the_score_is_the_mean_over_folders() {
        let dir = tempfile::tempdir().unwrap();
        let all = readers(dir.path());
        let of = |readers: &[Reader]| {
            let mut judge = CccJudge::new(readers.to_vec(), Split::Valid, predictor(1)).unwrap();
            let verdict = judge.judge(&method(), &net()).unwrap();
            let names: Vec<String> = verdict.figures.into_iter().map(|(name, _)| name).collect();
            (verdict.score.unwrap(), names)
        };
        let (moving, stills, both) = (of(&all[..1]), of(&all[1..]), of(&all));
        assert_eq!(moving.1.len(), 6);
        assert_eq!(moving.1[..3], ["valid_ccc_arousal", "valid_bias_arousal", "valid_gain_arousal"]);
        assert_eq!(stills.1[0], "valid_ccc_arousal (stills as clips of 8 frames by camera motion)");
        assert_eq!(both.1[0], "valid_ccc_arousal (moving)");
        assert_eq!(both.1[9], "valid_ccc_valence (stills, stills as clips of 8 frames by camera motion)");
        assert_eq!(both.0, 0.5 * (moving.0 + stills.0));
        assert_ne!(moving.0, stills.0);
        let say = |trained, every| much_longer(&all, every, trained).unwrap();
        let words = say(2, 1).unwrap();
        assert!(words.contains("up to 12 frames, clips of the training 2"), "{words}");
        assert_eq!((say(3, 1), say(2, 2)), (None, None));
        let e = CccJudge::new(all, Split::Test, predictor(1)).err().unwrap().to_string();
        assert!(e.contains("no recording of the test split"), "{e}");
    }
}
