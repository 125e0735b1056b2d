use super::*;
use crate::error::ErrorKind;
use crate::train::data::audio::{AudioTarget, LogMel};
use crate::train::data::record::Split;
use crate::train::shards::Reader;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

fn tiny() -> CorpusConfig {
    CorpusConfig { subjects: 5, recordings: 2, seconds: 0.4, size_px: 24, ..CorpusConfig::default() }
}

#[test]
fn nobody_is_in_two_splits_and_shares_hold() {
    let config =
        CorpusConfig { subjects: 40, recordings: 3, valid_share: 0.2, test_share: 0.1, ..CorpusConfig::default() };
    let takes = plan(&config);
    let people = |s: Split| -> BTreeSet<String> { takes.iter().filter(|t| t.split == s).map(Take::person).collect() };
    let [train, valid, test] = Split::ALL.map(people);
    assert_eq!((train.len(), valid.len(), test.len()), (28, 8, 4));
    assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    assert!(takes.windows(2).all(|w| w[0].split <= w[1].split) && takes.len() == 120);
    let keys: BTreeSet<String> = takes.iter().map(Take::key).collect();
    assert_eq!(keys.len(), 120);
    assert_ne!(takes, plan(&CorpusConfig { seed: 2, ..config }));
}

#[test]
fn a_sample_is_fixed_by_its_settings_and_valid() {
    let config = tiny();
    let take = &plan(&config)[3];
    let make = |config: &CorpusConfig| sample(config, take, &Heads::Procedural, Some(&mut LogMel::new(true))).unwrap();
    let (a, b) = (make(&config), make(&config));
    assert!(a == b && a.validate().is_ok());
    assert_eq!((a.meta.frames, a.labels.len(), a.video.len()), (10, 10, 10 * 24 * 24));
    assert_eq!(a.meta.audio.as_ref().map(|m| 10 * m.dims), a.audio.as_ref().map(Vec::len));
    assert_eq!(a.meta.tags["head"], "procedural");
    assert!(a.meta.tags.contains_key("skin") && a.meta.tags.contains_key("light"));
    let other = make(&CorpusConfig { seed: 9, ..config });
    assert!(other.video != a.video && other.labels != a.labels);
}

#[test]
fn a_lag_shifts_the_labels_of_a_sample_and_not_its_pictures() {
    let plain = CorpusConfig { seconds: 2.0, speech: false, ..tiny() };
    let late = CorpusConfig { label_lag_s: 0.4, ..plain.clone() };
    let take = &plan(&plain)[0];
    let make = |c: &CorpusConfig| sample(c, take, &Heads::Procedural, None).unwrap();
    let (plain, late) = (make(&plain), make(&late));
    assert_eq!(plain.video, late.video);
    // 0.4 s are ten frames.
    for (a, b) in plain.labels.iter().zip(&late.labels[10..]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
    }
    assert!(plain.audio.is_none() && late.meta.tags["label_lag_s"] == "0.4");
}

#[test]
fn designed_steps_hold_their_levels_and_leave_other_corpora_as_they_were() {
    let steps = CorpusConfig { steps_s: Some(0.8), seconds: 3.2, speech: false, ..tiny() };
    let sample = sample(&steps, &plan(&steps)[0], &Heads::Procedural, None).unwrap();
    let levels: Vec<usize> = sample.labels.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(levels, [20, 20, 20, 20]);
    assert!(sample.video[19 * 576..20 * 576] != sample.video[20 * 576..21 * 576]);
    let told = CorpusConfig { speech: true, ..steps.clone() }.validate().unwrap_err().to_string();
    assert!(told.contains("--silent"), "{told}");
    assert!(CorpusConfig { steps_s: Some(0.1), ..steps.clone() }.validate().is_err());
    assert!(serde_json::to_string(&steps).unwrap().contains("steps_s"));
    assert!(!serde_json::to_string(&tiny()).unwrap().contains("steps_s"));
}

#[test]
fn a_stopped_run_goes_on_and_gives_the_same_corpus() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parted) = (dir.path().join("whole"), dir.path().join("parted"));
    let go = |out: &std::path::Path, stop: bool| {
        let audio = || Ok(Box::new(LogMel::new(true)) as Box<dyn AudioTarget>);
        render_corpus(&tiny(), &Heads::Procedural, &audio, out, &AtomicBool::new(stop))
    };
    let index = go(&whole, false).unwrap();
    assert_eq!(go(&parted, true).unwrap_err().kind(), ErrorKind::Interrupted);
    let again = go(&parted, false).unwrap();
    assert_eq!(index, again);
    assert_eq!(Split::ALL.map(|s| index.samples(s)), [6, 2, 2]);
    let reader = Reader::open(&whole).unwrap();
    let metas = reader.metas(Split::Valid).unwrap();
    assert!(metas.iter().all(|m| m.subject.is_some() && m.frames == 10 && m.audio.is_some()));
    assert!(go(&whole, false).is_err(), "a finished folder is not overwritten");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let text = |t: &str| toml::from_str::<CorpusConfig>(t);
    assert_eq!(text("subjects = 3").unwrap(), CorpusConfig { subjects: 3, ..CorpusConfig::default() });
    assert!(text("subject = 3").is_err() && text("head = 'wax'").is_err());
    let good = CorpusConfig::default;
    assert!(good().validate().is_ok());
    for (bad, name) in [
        (CorpusConfig { subjects: 0, ..good() }, "subjects"),
        (CorpusConfig { fps: f64::NAN, ..good() }, "fps"),
        (CorpusConfig { hand: 0.95, ..good() }, "hand"),
        (CorpusConfig { size_px: 4, ..good() }, "size_px"),
        (CorpusConfig { valid_share: 0.6, test_share: 0.6, ..good() }, "valid_share + test_share"),
        (CorpusConfig { label_lag_s: -1.0, ..good() }, "label_lag_s"),
    ] {
        let e = bad.validate().unwrap_err();
        assert!(e.kind() == ErrorKind::Usage && e.to_string().contains(name), "{e}");
    }
    let ict = CorpusConfig { head: HeadKind::Ict, ..good() };
    assert!(Heads::open(&ict, None).unwrap_err().to_string().contains("--ict"));
}

#[test]
fn a_contact_sheet_shows_people_by_row() {
    let made = preview(&tiny(), &Heads::Procedural, 3, 4).unwrap();
    assert_eq!((made.sheet.width, made.sheet.height, made.labels.len()), (96, 3 * 34, 3));
    assert!(made.labels.iter().all(|row| row.len() == 4) && made.frames_a_second > 0.0);
    let row = |k: usize| &made.sheet.data[k * 34 * 96..][..24 * 96];
    assert_ne!(row(0), row(1));
}
