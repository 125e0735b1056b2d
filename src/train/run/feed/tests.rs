use super::*;
use crate::train::data::record::Votes;
use crate::train::data::still::tests::{recording, still, write};
use crate::train::shards::{Writer, WriterConfig};
use std::path::Path;

/// Ten subjects with a sample each, of 20 frames of which subject 9 has 5; the grey of a frame tells subject and time.
fn folder(path: &Path) {
    let mut writer = Writer::open(path, WriterConfig { size_px: 4, ..WriterConfig::default() }).unwrap();
    for s in 0..10usize {
        let frames = if s == 9 { 5 } else { 20 };
        let meta = Meta {
            key: format!("s{s}"),
            video: format!("s{s}"),
            part: 0,
            subject: Some(format!("p{s}")),
            group: format!("p{s}"),
            split: Split::Train,
            fps: 10.0,
            start_s: 0.0,
            frames,
            size_px: 4,
            audio: None,
            votes: None,
            tags: Default::default(),
        };
        let video = (0..frames).flat_map(|t| [(20 * s + t) as u8; 16]).collect();
        let labels = (0..frames).map(|t| [t as f32 / 20.0, f32::NAN]).collect();
        writer.push(&Sample { meta, video, labels, audio: None }).unwrap();
    }
    writer.finish().unwrap();
}

fn feed(path: &Path, config: &ClipConfig) -> Result<ClipFeed> {
    ClipFeed::new(vec![Reader::open(path)?], config, 2, 5)
}

const SHORT: ClipConfig =
    ClipConfig { seconds: 0.8, per_sample: 3, every: 2, pool: 7, subjects: 1.0, stills: 1.0, apart: false };

#[test]
fn clips_keep_their_order_and_labels_and_an_epoch_repeats_by_seed() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let feed = feed(dir.path(), &SHORT).unwrap();
    assert_eq!(feed.batches(), 9 * 3 / 2);
    let epoch = |e: usize| feed.epoch(e).unwrap().map(Result::unwrap).collect::<Vec<Batch>>();
    let (first, second) = (epoch(0), epoch(1));
    assert_eq!(first.len(), feed.batches());
    // As text, for labels that are not there are not equal to themselves.
    assert_ne!(format!("{first:?}"), format!("{second:?}"));
    assert!(format!("{first:?}") == format!("{:?}", epoch(0)));
    let mut seen = BTreeSet::new();
    for batch in &first {
        assert_eq!((batch.clips, batch.frames, batch.labels.len(), batch.video.len()), (2, 4, 8, 2 * 4 * 16));
        for (frames, labels) in batch.video.chunks(64).zip(batch.labels.chunks(4)) {
            let (subject, start) = (frames[0] / 20, frames[0] % 20);
            seen.insert(subject);
            for (i, (frame, label)) in frames.chunks(16).zip(labels).enumerate() {
                assert_eq!(frame[0], 20 * subject + start + 2 * i as u8);
                assert_eq!(label[0], f32::from(start + 2 * i as u8) / 20.0);
                assert!(label[1].is_nan());
            }
        }
    }
    assert!(seen.len() >= 8 && !seen.contains(&9), "{seen:?}");
}

#[test]
fn a_share_of_the_subjects_is_drawn_by_seed() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let few = ClipConfig { subjects: 0.3, ..SHORT };
    let used = feed(dir.path(), &few).unwrap().readers()[0].subjects(Split::Train).unwrap();
    assert_eq!(used.len(), 3);
    let all: Vec<String> = (0..10).map(|i| format!("p{i}")).collect();
    assert_eq!(drawn_subjects(&all, 0.3, 5).into_iter().collect::<BTreeSet<_>>(), used.into_iter().collect());
    assert_ne!(drawn_subjects(&all, 0.3, 6), drawn_subjects(&all, 0.3, 5));
    assert_eq!(drawn_subjects(&all, 0.01, 5).len(), 1);
}

#[test]
fn recordings_too_short_for_a_clip_are_an_error_when_none_is_left() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let long = ClipConfig { seconds: 4.0, ..SHORT };
    let e = feed(dir.path(), &long).err().unwrap().to_string();
    assert!(e.contains("0 of 10 training samples") && e.contains("clips.seconds"), "{e}");
}

#[test]
fn stills_and_recordings_of_several_folders_are_mixed_and_stills_move_anew_each_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let moving: Vec<Sample> = (0..4).map(|n| recording(Split::Train, n, 16, 20, 10.0)).collect();
    let voted = |n: usize| std::array::from_fn(|k| f32::from(k == n % 8));
    let mut stills: Vec<Sample> = (0..9).map(|n| still(Split::Train, n, 16)).collect();
    (0..9).filter(|n| n % 2 == 0).for_each(|n| stills[n].meta.votes = Some(voted(n)));
    let readers = vec![write(&at("moving"), &moving), write(&at("stills"), &stills)];
    let feed = ClipFeed::new(readers.clone(), &SHORT, 3, 5).unwrap();
    assert_eq!((feed.batches(), feed.fps), ((4 * 3 + 9) / 3, 10.0));
    assert!(feed.voted() && !ClipFeed::new(readers[..1].to_vec(), &SHORT, 3, 5).unwrap().voted());
    let clips = |feed: &ClipFeed, epoch: usize| -> Vec<(Vec<u8>, [f32; 2])> {
        let batches: Vec<Batch> = feed.epoch(epoch).unwrap().map(Result::unwrap).collect();
        assert!(batches.iter().all(|b| (b.clips, b.frames) == (3, 4)));
        for b in &batches {
            let of = |c: usize| stills.iter().find(|s| s.labels[0] == b.labels[4 * c]).and_then(|s| s.meta.votes);
            let want: Vec<Option<Votes>> = (0..3).map(of).collect();
            assert!(b.votes == want || b.votes.is_empty() && want == [None; 3], "votes stay with their clips");
        }
        let of = |b: Batch| {
            let labels = b.labels.chunks(4).map(|l| l[0]).collect::<Vec<_>>();
            b.video.chunks(4 * 256).map(<[u8]>::to_vec).zip(labels).collect::<Vec<_>>()
        };
        batches.into_iter().flat_map(of).collect()
    };
    let of_still = |all: &[(Vec<u8>, [f32; 2])], n: usize| -> Vec<Vec<u8>> {
        all.iter().filter(|(_, l)| *l == stills[n].labels[0]).map(|(v, _)| v.clone()).collect()
    };
    let (first, second) = (clips(&feed, 0), clips(&feed, 1));
    assert_eq!((first.len(), &first), (21, &clips(&feed, 0)));
    for (n, still) in stills.iter().enumerate().take(9) {
        let (a, b) = (of_still(&first, n), of_still(&second, n));
        assert_eq!((a.len(), b.len()), (1, 1), "once an epoch");
        assert_eq!(a[0][2 * 256..3 * 256], still.video, "the middle is the still");
        assert_ne!(a, b);
    }
    // A share of them: as many in each epoch, and others.
    let third = ClipFeed::new(readers.clone(), &ClipConfig { stills: 0.34, ..SHORT }, 3, 5).unwrap();
    assert_eq!(third.batches(), (4 * 3 + 3) / 3);
    let taken = |epoch| (0..9).filter(|n| !of_still(&clips(&third, epoch), *n).is_empty()).collect::<Vec<_>>();
    assert_eq!((taken(0).len(), taken(1).len()), (3, 3));
    assert_ne!(taken(0), taken(1));
    let none = ClipFeed::new(readers.clone(), &ClipConfig { stills: 0.0, ..SHORT }, 3, 5).unwrap();
    assert!(clips(&none, 0).iter().all(|(_, l)| stills.iter().all(|s| s.labels[0] != *l)));
    // Apart: every clip once as well, but no batch of both kinds; what is left of a kind at the end is less than a batch.
    let apart = ClipConfig { apart: true, ..SHORT };
    let feed = ClipFeed::new(readers.clone(), &apart, 3, 5).unwrap();
    assert_eq!(feed.batches(), 4 * 3 / 3 + 9 / 3);
    let is_still = |l: &[f32; 2]| stills.iter().any(|s| s.labels[0] == *l);
    let all = clips(&feed, 0);
    let kinds: Vec<usize> = all.chunks(3).map(|b| b.iter().filter(|(_, l)| is_still(l)).count()).collect();
    assert_eq!(kinds.iter().filter(|n| **n == 3).count(), 3, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|n| **n == 0).count(), 4, "{kinds:?}");
    assert!((0..9).all(|n| of_still(&all, n).len() == 1));
    assert!(kinds.windows(2).filter(|w| w[0] != w[1]).count() > 1, "in turn, not one after the other: {kinds:?}");
    let e = ClipFeed::new(readers.clone(), &apart, 4, 5).err().unwrap().to_string();
    assert!(e.contains("pool of 7") && e.contains("clips.pool"), "{e}");
    // A clip of a still does not depend on what else is in the training, but for its rate.
    let alone = ClipFeed::new(readers[1..].to_vec(), &SHORT, 3, 5).unwrap();
    assert_eq!(alone.fps, 25.0);
}

#[test]
fn recordings_of_two_rates_are_refused_and_stills_take_the_rate_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let a = write(&at("a"), &[recording(Split::Train, 0, 8, 20, 10.0), still(Split::Train, 1, 8)]);
    let b = write(&at("b"), &[recording(Split::Train, 2, 8, 20, 12.5)]);
    assert_eq!(ClipFeed::new(vec![a.clone()], &SHORT, 2, 5).unwrap().fps, 10.0);
    let e = ClipFeed::new(vec![a, b], &SHORT, 2, 5).err().unwrap().to_string();
    assert!(e.contains("10 and 12.5 frames a second") && e.contains("--fps"), "{e}");
}
