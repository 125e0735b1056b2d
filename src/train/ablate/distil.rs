//! What each term of distillation brings.

use super::VideoResult;
use crate::error::Result;
use crate::session::decode;
use crate::spec::CropRule;
use crate::train::data::record::Split;
use crate::train::distil::{self, DistilConfig, LagMode, Terms};
use crate::train::quantize::Data;
use crate::train::quantize::data::Predictor;
use crate::train::shards::Reader;
use std::collections::BTreeMap;
use std::path::Path;

/// Rows of the analysis: from labels alone, term by term, to all of `base` but lateness, settling and votes, then its alignments in time, then no labels;
/// lateness, where `base` weighs it, beside labels alone and beside all; settling and votes likewise beside labels alone.
pub(super) fn variants(base: &DistilConfig) -> Vec<(&'static str, DistilConfig)> {
    let of = |terms: Terms, mode: LagMode| {
        let mut config = base.clone();
        (config.terms, config.lag.mode) = (terms, mode);
        config
    };
    let all = Terms { lateness: 0.0, settling: 0.0, votes: 0.0, ..base.terms };
    let Terms { lateness, settling, votes, .. } = base.terms;
    let labels = Terms { values: 0.0, bins: 0.0, features: 0.0, ..all };
    let mut rows = vec![
        ("labels", of(labels, LagMode::None)),
        ("values", of(Terms { values: all.values, ..labels }, LagMode::None)),
        ("values-bins", of(Terms { features: 0.0, ..all }, LagMode::None)),
        ("all", of(all, LagMode::None)),
        ("all-searched-lag", of(all, LagMode::Searched)),
        ("all-learned-lag", of(all, LagMode::Learned)),
        ("teacher-alone", of(Terms { labels: 0.0, ..all }, LagMode::None)),
    ];
    if lateness > 0.0 {
        rows.push(("labels-lateness", of(Terms { lateness, ..labels }, LagMode::None)));
        rows.push(("all-lateness", of(Terms { lateness, ..all }, LagMode::None)));
    }
    if settling > 0.0 {
        rows.push(("labels-settling", of(Terms { settling, ..labels }, LagMode::None)));
    }
    if votes > 0.0 {
        rows.push(("labels-votes", of(Terms { votes, ..labels }, LagMode::None)));
    }
    rows
}

/// Predictions of a run's best student, in fp32, for every recording of `split`.
///
/// # Errors
/// A run without a finished epoch, or shards that cannot be read.
pub(super) fn predictions(run: &Path, shards: &Path, split: Split) -> Result<Vec<VideoResult>> {
    let (student, ..) = distil::best(run)?;
    let reader = Reader::open(shards)?;
    let about: BTreeMap<String, (String, f64)> =
        reader.metas(split)?.into_iter().map(|m| (m.video.clone(), (m.person().to_owned(), m.fps))).collect();
    let rule = CropRule::of_side(student.spec.size_px);
    let data = Data::Shards { rule, readers: vec![reader], held: split };
    let predictor = Predictor::new(&student)?;
    let mut all = Vec::new();
    for chunk in data.held() {
        let chunk = chunk?;
        for (sequence, logits) in chunk.iter().zip(predictor.logits(&chunk)?) {
            let (subject, fps) = about.get(&sequence.video).cloned().unzip();
            all.push(VideoResult {
                video: sequence.video.clone(),
                subject,
                fps: fps.unwrap_or(25.0),
                predicted: logits.iter().map(|l| decode(l).values.map(f64::from)).collect(),
                labels: sequence.labels.iter().map(|l| l.map(f64::from)).collect(),
            });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_settling_and_votes_are_rows_where_they_are_weighed_and_count_in_no_other() {
        let names = |base: &DistilConfig| variants(base).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        let plain = DistilConfig::default();
        assert_eq!(names(&plain).len(), 7);
        let weighed = DistilConfig { terms: Terms { lateness: 1.0, ..plain.terms }, ..plain.clone() };
        assert_eq!(names(&weighed)[..7], names(&plain));
        assert_eq!(names(&weighed)[7..], ["labels-lateness", "all-lateness"]);
        for (name, config) in variants(&weighed) {
            assert_eq!(config.terms.lateness > 0.0, name.ends_with("lateness"), "{name}");
            config.validate().unwrap();
        }
        let settled = DistilConfig { terms: Terms { settling: 1.0, ..plain.terms }, ..plain.clone() };
        assert_eq!(names(&settled)[7..], ["labels-settling"]);
        for (name, config) in variants(&settled) {
            assert_eq!(config.terms.settling > 0.0, name.ends_with("settling"), "{name}");
        }
        let voted = DistilConfig { terms: Terms { votes: 1.0, ..plain.terms }, ..plain.clone() };
        assert_eq!(names(&voted)[7..], ["labels-votes"]);
        for (name, config) in variants(&voted) {
            assert_eq!(config.terms.votes > 0.0, name.ends_with("votes"), "{name}");
        }
    }
}
