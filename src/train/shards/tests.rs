use super::*;
use std::path::Path;

/// A valid sample of 4 x 4 pixels whose bytes, labels and audio follow from `seed`.
pub fn sample(split: Split, seed: usize, frames: usize) -> Sample {
    let meta = Meta {
        key: format!("v{seed:03}-000"),
        video: format!("v{seed:03}"),
        part: 0,
        subject: (seed % 3 != 2).then(|| format!("s{}", seed % 3)),
        group: format!("g{}", seed % 3),
        split,
        fps: 25.0,
        start_s: 0.0,
        frames,
        size_px: 4,
        audio: (!seed.is_multiple_of(2)).then(|| AudioMeta { name: "test".into(), dims: 3 }),
        votes: seed.is_multiple_of(5).then_some([0.5, 0.25, 0.125, 0.125, 0.0, 0.0, 0.0, 0.0]),
        tags: [("set".to_owned(), "made up".to_owned())].into(),
    };
    let value = |i: usize| ((i * 31 + seed * 7) % 200) as f32 / 100.0 - 1.0;
    let label = |t: usize| if t == 1 { [f32::NAN; 2] } else { [value(t), value(t + 5)] };
    Sample {
        video: (0..frames * 16).map(|i| (i * 13 + seed) as u8).collect(),
        labels: (0..frames).map(label).collect(),
        audio: meta.audio.as_ref().map(|a| (0..frames * a.dims).map(value).collect()),
        meta,
    }
}

/// Sixteen training, four validation samples, a few in a shard.
fn samples() -> Vec<Sample> {
    let all = (0..20).map(|i| sample(if i < 16 { Split::Train } else { Split::Valid }, i, 3 + i % 4));
    all.collect()
}

fn config() -> WriterConfig {
    WriterConfig { size_px: 4, shard_bytes: 16_384, settings: serde_json::json!({"a": 1}), ..WriterConfig::default() }
}

pub fn write(folder: &Path, config: WriterConfig, samples: &[Sample]) -> Index {
    let mut writer = Writer::open(folder, config).unwrap();
    samples.iter().for_each(|s| writer.push(s).unwrap());
    writer.finish().unwrap()
}

/// Names and bytes of the files in a folder.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let mut files: Vec<_> =
        entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect();
    files.sort();
    files
}

/// Equality that takes NaN as equal to itself.
fn same(a: &Sample, b: &Sample) -> bool {
    let bits = |s: &Sample| s.labels.as_flattened().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    (&a.meta, &a.video, bits(a), &a.audio) == (&b.meta, &b.video, bits(b), &b.audio)
}

fn keys(stream: Stream) -> Vec<String> {
    stream.map(|s| s.unwrap().meta.key).collect()
}

#[test]
fn samples_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let all = samples();
    let index = write(dir.path(), config(), &all);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(*reader.index(), index);
    assert_eq!((index.samples(Split::Train), index.samples(Split::Valid), index.samples(Split::Test)), (16, 4, 0));
    assert!(index.shards(Split::Train).len() > 2, "several shards: {index:?}");
    for (split, want) in [(Split::Train, &all[..16]), (Split::Valid, &all[16..]), (Split::Test, &[])] {
        let got: Vec<Sample> = reader.ordered(split).map(|s| s.unwrap()).collect();
        assert!(got.len() == want.len() && got.iter().zip(want).all(|(a, b)| same(a, b)), "{split:?}");
        assert_eq!(reader.metas(split).unwrap(), want.iter().map(|s| s.meta.clone()).collect::<Vec<_>>());
    }
    assert!(index.shards(Split::Train).iter().all(|s| s.bytes <= 16_384 && s.sha256.len() == 64));
    let labelled: usize = all[..16].iter().map(|s| s.meta.frames - 1).sum();
    assert_eq!(index.shards(Split::Train).iter().map(|s| s.labelled).sum::<usize>(), labelled);
}

#[test]
fn pixel_moments_are_those_of_training_frames_with_a_face() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = samples();
    all[0].video[..16].fill(0);
    let pixels = write(dir.path(), config(), &all).pixels.unwrap();
    let mut values: Vec<f64> = all[..16].iter().flat_map(|s| &s.video).map(|v| f64::from(*v) / 255.0).collect();
    values.drain(..16);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    assert!((pixels.mean - mean).abs() < 1e-12 && (pixels.std - var.sqrt()).abs() < 1e-12, "{pixels:?}");
}

#[test]
fn a_stream_depends_on_seed_and_epoch_alone_and_gives_each_sample_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), config(), &samples());
    let reader = Reader::open(dir.path()).unwrap();
    let order = |seed, epoch, buffer| keys(reader.stream(Split::Train, seed, epoch, buffer));
    assert_eq!(order(1, 0, 6), order(1, 0, 6));
    let orders = [order(1, 0, 6), order(1, 1, 6), order(2, 0, 6), order(3, 0, 1), keys(reader.ordered(Split::Train))];
    for (i, a) in orders.iter().enumerate() {
        assert!(orders[i + 1..].iter().all(|b| a != b), "{orders:?}");
        let mut sorted = a.clone();
        sorted.sort();
        assert_eq!(sorted, orders[4]);
    }
}

#[test]
fn ranks_share_an_epoch_out() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), config(), &samples());
    let reader = Reader::open(dir.path()).unwrap();
    let of = |rank| keys(reader.clone().ranked(rank, 3).unwrap().stream(Split::Train, 5, 2, 4));
    let (mut all, counts) = ([of(0), of(1), of(2)].concat(), [of(0).len(), of(1).len(), of(2).len()]);
    all.sort();
    assert_eq!((all, counts), (keys(reader.ordered(Split::Train)), [6, 5, 5]));
    assert!(reader.ranked(3, 3).is_err());
}

#[test]
fn people_are_listed_and_filtered() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), config(), &samples());
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.subjects(Split::Train).unwrap(), ["g2", "s0", "s1"]);
    let some = reader.filtered(|m| m.person() == "s1");
    assert_eq!(some.subjects(Split::Train).unwrap(), ["s1"]);
    assert_eq!(keys(some.ordered(Split::Train)), ["v001-000", "v004-000", "v007-000", "v010-000", "v013-000"]);
    assert_eq!(keys(some.filtered(|m| m.video.as_str() > "v008").stream(Split::Train, 0, 0, 9)).len(), 2);
}

#[test]
fn a_killed_writer_goes_on_to_the_same_bytes() {
    let all = samples();
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), config(), &all);
    for killed_after in [0, 1, 9, 17, 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), config()).unwrap();
        all[..killed_after].iter().for_each(|s| writer.push(s).unwrap());
        // Neither the open shard nor the index is ended; the line of a shard was half written.
        drop(writer);
        use std::io::Write as _;
        let journal = std::fs::OpenOptions::new().append(true).open(dir.path().join("journal.jsonl"));
        journal.unwrap().write_all(b"{\"split\":\"tr").unwrap();
        std::fs::write(dir.path().join("train-000001.tar.part"), "torn").unwrap();
        let mut writer = Writer::open(dir.path(), config()).unwrap();
        let done = writer.done();
        assert!(done <= killed_after && (killed_after < 9 || done > 0), "{done} of {killed_after}");
        all[done..].iter().for_each(|s| writer.push(s).unwrap());
        writer.finish().unwrap();
        let mut left = files(dir.path());
        left.retain(|(name, _)| !name.ends_with(".part"));
        assert!(left == files(whole.path()), "killed after {killed_after}");
    }
}

#[test]
fn ranks_fill_one_folder_together() {
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = samples();
    let index = write(one.path(), config(), &all);
    for rank in [1, 0] {
        assert!(Reader::open(many.path()).is_err());
        let own: Vec<Sample> = all.iter().skip(rank).step_by(2).cloned().collect();
        write(many.path(), WriterConfig { rank, ranks: 2, ..config() }, &own);
    }
    let reader = Reader::open(many.path()).unwrap();
    assert_eq!(reader.index().pixels, index.pixels);
    let mut got = keys(reader.ordered(Split::Train));
    got.sort();
    assert_eq!(got, keys(Reader::open(one.path()).unwrap().ordered(Split::Train)));
    let e = Writer::open(many.path(), WriterConfig { rank: 1, ranks: 2, ..config() }).err().unwrap();
    assert!(e.to_string().contains("already holds finished shards"), "{e}");
}

#[test]
fn what_does_not_fit_is_refused_by_the_writer() {
    type Change = fn(&mut Sample);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), config()).unwrap();
    writer.push(&sample(Split::Valid, 1, 3)).unwrap();
    let changed = |change: Change| {
        let mut s = sample(Split::Valid, 3, 3);
        change(&mut s);
        s
    };
    let cases: [(Change, &str); 13] = [
        (|s| s.meta.split = Split::Train, "is of train, which ended before valid"),
        (|s| s.meta.key = "v001-000".into(), "occurs twice"),
        (|s| s.meta.key = "a.b".into(), "key is \"a.b\""),
        (|s| s.video.truncate(47), "47 bytes of video, expected 3 x 4 x 4"),
        (|s| s.labels.truncate(2), "2 labels for 3 frames"),
        (|s| s.labels[0][0] = 1.5, "a label is 1.5"),
        (|s| s.audio = None, "0 acoustic values, expected 3 x 3"),
        (|s| s.audio.as_mut().unwrap()[0] = f32::NAN, "an acoustic value is not finite"),
        (|s| s.meta.audio.as_mut().unwrap().name = "x".into(), "has audio"),
        (|s| s.meta.fps = f64::NAN, "fps is NaN"),
        (|s| s.meta.votes = Some([0.1; 8]), "sum to 1"),
        (|s| s.meta.votes = Some([2.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), "shares from 0 to 1"),
        (|s| (s.meta.size_px, s.video) = (5, vec![0; 75]), "has frames of 5 pixels, the folder 4"),
    ];
    for (change, want) in cases {
        let e = writer.push(&changed(change)).unwrap_err().to_string();
        assert!(e.contains(want), "{e}");
    }
    drop(writer);
    let other = WriterConfig { settings: serde_json::json!({"a": 2}), ..config() };
    let e = Writer::open(dir.path(), other).err().unwrap().to_string();
    assert!(e.contains("unfinished work of other settings"), "{e}");
}

/// Rewrites a shard, its length and its digest in the index; gives what reading it says.
fn damaged(change: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), config(), &[sample(Split::Train, 1, 3), sample(Split::Train, 2, 3)]);
    let path = dir.path().join("train-000000.tar");
    let bytes = change(std::fs::read(&path).unwrap());
    std::fs::write(&path, &bytes).unwrap();
    let mut index = Index::read(&dir.path().join(Index::FILE)).unwrap();
    let shard = &mut index.splits.get_mut(&Split::Train).unwrap()[0];
    (shard.bytes, shard.sha256) = (bytes.len() as u64, crate::model::sha256_hex(&bytes));
    index.write(&dir.path().join(Index::FILE)).unwrap();
    let mut stream = Reader::open(dir.path()).unwrap().ordered(Split::Train);
    let error = stream.find_map(|s| s.err()).unwrap().to_string();
    assert!(stream.next().is_none(), "the stream ends after an error");
    error
}

/// Replaces text of the same length wherever it occurs.
fn replaced(bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let (mut bytes, mut hits) = (bytes, 0);
    for i in 0..bytes.len() - from.len() {
        if bytes[i..].starts_with(from.as_bytes()) {
            bytes[i..][..from.len()].copy_from_slice(to.as_bytes());
            hits += 1;
        }
    }
    assert!(hits > 0, "{from}");
    bytes
}

#[test]
fn damaged_shards_are_refused_by_shard_and_key() {
    for (error, want) in [
        (damaged(|b| b[..700].into()), "train-000000.tar: is cut off within v001-000.json"),
        (damaged(|b| b[..1100].into()), "train-000000.tar: is not a whole tar archive"),
        (damaged(|b| b[..2048].into()), "v001-000: has no v001-000.labels.npy"),
        (damaged(|b| replaced(b, "(3, 4, 4)", "(3, 4, 5)")), "v001-000.video.npy: is an array [3, 4, 5] of |u1"),
        (damaged(|b| replaced(b, "|u1", "|i1")), "of |i1, expected [3, 4, 4] of |u1"),
        (damaged(|b| replaced(b, "\"frames\":3", "\"frames\":4")), "expected [4, 4, 4] of |u1"),
        (damaged(|b| replaced(b, "\"fps\":25.0", "\"fps\":-5.0")), "v001-000: fps is -5"),
        (damaged(|b| replaced(b, "\"size_px\"", "\"size_pp\"")), "its json is not a sample's description"),
        (damaged(|b| replaced(b, "\"key\":\"v001-000\"", "\"key\":\"v009-000\"")), "of another sample, v009-000"),
        (damaged(|_| b"nothing of the kind".repeat(100)), "train-000000.tar: is not a whole tar archive"),
        (damaged(|_| Vec::new()), "holds 0 samples, the index says 2"),
    ] {
        assert!(error.contains(want), "{error}, expected {want}");
    }
}

#[test]
fn a_shard_is_held_against_its_digest_whoever_reads_it_and_again_once_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), config(), &samples());
    let path = dir.path().join("train-000001.tar");
    let good = std::fs::read(&path).unwrap();
    let change = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    // A pixel, which no other check sees.
    let pixel = good.windows(6).position(|w| w == b"\x93NUMPY").unwrap() + 140;
    let open = || Reader::open(dir.path()).unwrap();
    let refused = |e: Error| {
        let e = e.to_string();
        assert!(e.contains("train-000001.tar: is not what was written") && e.contains("copy the folder again"), "{e}");
    };
    change(pixel);
    refused(open().metas(Split::Train).unwrap_err());
    refused(open().ordered(Split::Train).find_map(|s| s.err()).unwrap());
    refused(open().stream(Split::Train, 1, 0, 4).find_map(|s| s.err()).unwrap());
    std::fs::write(&path, &good).unwrap();
    let reader = open();
    assert_eq!(reader.metas(Split::Train).unwrap().len(), 16);
    // Clocks of file systems tick every few milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(30));
    change(pixel);
    refused(reader.metas(Split::Train).unwrap_err());
}

#[test]
fn long_names_of_other_tools_are_passed_over_without_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.tar");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    tar.append_data(&mut header, "n".repeat(5000) + ".json", &b"note"[..]).unwrap();
    append(&mut tar, &sample(Split::Train, 1, 3)).unwrap();
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    let keys: Vec<String> = scan(&path).unwrap().into_iter().map(|found| found.meta.key).collect();
    assert_eq!(keys, ["v001-000"]);
}

#[test]
fn folders_that_are_not_whole_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |want: &str| {
        let e = Reader::open(dir.path()).err().unwrap().to_string();
        assert!(e.contains(want), "{e}");
    };
    refused("it has no index.json");
    write(dir.path(), config(), &samples());
    let path = dir.path().join(Index::FILE);
    let good = std::fs::read_to_string(&path).unwrap();
    for (from, to, want) in [
        ("\"version\": 1", "\"version\": 2", "version 2, expected \"vaerr-shards\", version 1"),
        ("vaerr-shards", "zarr", "format is \"zarr\""),
        ("\"size_px\": 4", "\"size_px\": \"4\"", "is not an index of shards"),
        ("train-000000.tar", "../train-0.tar", "is not the name of a file in its folder"),
        ("train-000000.tar", "train-000099.tar", "train-000099.tar: cannot be read"),
        ("\"samples\": ", "\"samples\": 99999999999999", "is said to hold 99999999999999"),
        ("\"frames\": ", "\"frames\": 99999999999999", "is said to hold"),
        ("\"labelled\": ", "\"labelled\": 999", " labels in "),
        ("\"histogram\": [", "\"histogram\": [0,", "pixels.histogram has 257 counts, expected 256"),
    ] {
        std::fs::write(&path, good.replace(from, to)).unwrap();
        refused(want);
    }
    std::fs::write(&path, &good).unwrap();
    std::fs::write(dir.path().join("valid-000000.tar"), "short").unwrap();
    refused("has 5 bytes, the index says");
}

#[test]
fn members_of_other_tools_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let all = [sample(Split::Train, 1, 3)];
    write(dir.path(), config(), &all);
    let path = dir.path().join("train-000000.tar");
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, &all[0]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    tar.append_data(&mut header, "v001-000.note.txt", &b"note"[..]).unwrap();
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    let found = scan(&path).unwrap();
    assert!(found.len() == 1 && same(&found[0].read().unwrap(), &all[0]));
}

#[test]
fn a_check_counts_everything_and_finds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = samples();
    all[0].video[..16].fill(0);
    // The made-up groups would be in both splits.
    all[16..].iter_mut().for_each(|s| s.meta.group.push_str(" valid"));
    write(dir.path(), config(), &all);
    let reader = Reader::open(dir.path()).unwrap();
    let checked = reader.clone().filtered(|_| false).check().unwrap();
    let train = &checked.parts[0];
    let frames: usize = all[..16].iter().map(|s| s.meta.frames).sum();
    assert_eq!((checked.parts.len(), train.samples, train.recordings, train.people), (2, 16, 16, 3));
    assert_eq!((train.frames, train.labelled, train.black, train.with_audio), (frames, frames - 16, 1, 8));
    assert!((train.seconds - frames as f64 / 25.0).abs() < 1e-9);
    let path = dir.path().join("train-000001.tar");
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[700] ^= 1;
    std::fs::write(&path, flipped).unwrap();
    let e = reader.check().unwrap_err().to_string();
    assert!(e.contains("train-000001.tar: is not what was written"), "{e}");
    std::fs::write(&path, good).unwrap();
    let e = |all: &[Sample]| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), config(), all);
        Reader::open(dir.path()).unwrap().check().unwrap_err().to_string()
    };
    assert!(e(&samples()).contains("is in train and in valid"));
}
