use super::*;
use crate::render::{self, Affect};
use crate::spec::CropRule;
use crate::train::data::npy;
use crate::train::data::record::{Annotation, Clock, Frames, Labels, Media, Split};
use crate::train::shards::{Reader, Sample};
use std::sync::atomic::AtomicUsize;

/// A recording with labels that say where they belong: arousal is the frame's time in seconds / 100, valence its negative.
fn recording(id: &str, media: Media, split: Split, clock: Clock) -> Recording {
    let seconds: Vec<f64> = match &clock {
        Clock::Seconds(s) => s.clone(),
        Clock::Frames(n) => n.iter().map(|n| f64::from(*n) / 25.0).collect(),
    };
    let value = |s: &f64| Some(Affect { arousal: *s as f32 / 100.0, valence: *s as f32 / -100.0 });
    Recording {
        id: id.into(),
        subject: None,
        group: id.into(),
        split,
        media,
        fps: None,
        labels: Labels::Series(Annotation { values: seconds.iter().map(value).collect(), clock }),
    }
}

fn seconds(frames: usize) -> Clock {
    Clock::Seconds((0..frames).map(|i| i as f64 / 25.0).collect())
}

/// An npz file of 6 x 6 pixels: frame `t` is `base + t` throughout.
fn array(dir: &Path, id: &str, frames: usize, base: u8) -> Media {
    let file = dir.join(format!("{id}.npz"));
    let pixels: Vec<u8> = (0..frames).flat_map(|t| [base.wrapping_add(t as u8); 36]).collect();
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&file).unwrap());
    zip.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
    npy::write(&mut zip, &[frames, 6, 6], &pixels).unwrap();
    zip.finish().unwrap();
    Media::Array { file, key: "a", shape: [frames, 6, 6] }
}

/// Grey pictures as a YUV4MPEG2 file at 25 frames a second.
fn y4m(path: &Path, pictures: &[crate::frame::Gray]) {
    let (w, h) = (pictures[0].width, pictures[0].height);
    let mut bytes = format!("YUV4MPEG2 W{w} H{h} F25:1 Cmono XCOLORRANGE=FULL\n").into_bytes();
    for p in pictures {
        bytes.extend_from_slice(b"FRAME\n");
        bytes.extend_from_slice(&p.data);
    }
    std::fs::write(path, bytes).unwrap();
}

fn loaded(recordings: Vec<Recording>) -> Loaded {
    Loaded { recordings, ..Loaded::default() }.settle()
}

fn small() -> PrepareConfig {
    PrepareConfig { size_px: 16, detail_px: 16, jobs: 1, ..PrepareConfig::default() }
}

fn run(loaded: &Loaded, config: &PrepareConfig, out: &Path) -> Result<Prepared> {
    prepare(loaded, config, out, &AtomicBool::new(false))
}

fn samples(out: &Path, split: Split) -> Vec<Sample> {
    Reader::open(out).unwrap().ordered(split).map(|s| s.unwrap()).collect()
}

/// Files below a folder with their bytes.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    assert!(!dir.join("work").exists());
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let read = |e: std::fs::DirEntry| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap());
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    all
}

/// Correlation of two crops.
fn alike(a: &[u8], b: &[u8]) -> f64 {
    let mean = |v: &[u8]| v.iter().map(|p| f64::from(*p)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(x, y)| f(f64::from(*x) - ma, f64::from(*y) - mb)).sum()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// How far from `square` of `picture`, in its sides, `crop` was cut, and how much it is like what is there, in the best of
/// several sizes and rolls.
fn place(picture: &crate::frame::Gray, [x, y, side]: [f32; 3], crop: &[u8]) -> (f32, f64) {
    let (mut cropper, mut there) = (crate::preprocess::Cropper::new(96), vec![0; 96 * 96]);
    let mut best = (0.0, f64::NEG_INFINITY);
    let steps = |half: i32, step: f32| (-half..=half).map(move |i| i as f32 * step);
    for (dx, dy) in steps(2, 0.25).flat_map(|dx| steps(2, 0.25).map(move |dy| (dx, dy))) {
        for (larger, roll) in steps(3, 0.08).flat_map(|l| steps(3, 0.08).map(move |roll| (l, roll))) {
            let off = |from: f32, by: f32| from + (by - 0.5 * larger) * side;
            cropper.level_into(picture, [off(x, dx), off(y, dy), (1.0 + larger) * side], roll, &mut there);
            let like = alike(crop, &there);
            if like > best.1 {
                best = (dx.abs().max(dy.abs()), like);
            }
        }
    }
    best
}

#[test]
fn the_face_is_cut_out_and_labels_land_on_their_frames() {
    let dir = tempfile::tempdir().unwrap();
    let shots = render::clip(4, 30, 25.0, 144);
    // The face stands off the middle of a wide picture.
    let rule = CropRule { size_px: 96, detail_px: 96, ..CropRule::FERPLUS };
    let wide = |shot: &render::Shot| {
        let mut p = crate::frame::Gray::new(280, 160);
        p.data.fill(90);
        for (y, row) in shot.picture.data.chunks_exact(144).enumerate() {
            p.data[(y + 10) * 280 + 120..][..144].copy_from_slice(row);
        }
        p
    };
    let pictures: Vec<_> = shots.iter().map(wide).collect();
    let path = dir.path().join("v.y4m");
    y4m(&path, &pictures);
    let all = loaded(vec![recording("v", Media::Video(path), Split::Train, seconds(30))]);
    let out = dir.path().join("out");
    let config = PrepareConfig { part_s: 1.0, ..PrepareConfig::default() };
    let done = run(&all, &config, &out).unwrap();
    let got = samples(&out, Split::Train);
    assert_eq!(got.iter().map(|s| s.meta.frames).collect::<Vec<_>>(), [25, 5]);
    assert_eq!((got[1].meta.part, got[1].meta.start_s, got[1].meta.fps, &*got[1].meta.key), (1, 1.0, 25.0, "v-0001"));
    let crops: Vec<&[u8]> = got.iter().flat_map(|s| s.video.chunks_exact(96 * 96)).collect();
    let labels: Vec<[f32; 2]> = got.iter().flat_map(|s| s.labels.clone()).collect();
    for t in [3, 27] {
        let [x, y, side] = shots[t].face;
        let (off, like) = place(&pictures[t], rule.square([x + 120.0, y + 10.0, side]), crops[t]);
        // The detector's box is not the designed one to the pixel.
        assert!(off <= 0.2 && like > 0.75, "frame {t}: {off} sides off, correlation {like}");
    }
    for t in 0..30 {
        let shows = crops[t].iter().any(|v| *v != 0);
        let time = t as f32 / 25.0;
        let near = |v: f32, want: f32| (v - want).abs() < 1e-6;
        let labelled = near(labels[t][0], time / 100.0) && near(labels[t][1], time / -100.0);
        assert!(if shows { labelled } else { labels[t][0].is_nan() }, "frame {t}: {:?}", labels[t]);
    }
    assert_eq!((done.report.used, done.report.frames), (1, 30));
    assert!(done.report.with_face >= 27 && done.index.pixels.is_some());
}

#[test]
fn a_missing_picture_is_bridged_for_0_4_s_and_then_black_without_a_label() {
    let dir = tempfile::tempdir().unwrap();
    for n in (1..=30).filter(|n| !(6..=20).contains(n)) {
        image::GrayImage::from_pixel(20, 20, image::Luma([n as u8]))
            .save(dir.path().join(format!("{n:03}.png")))
            .unwrap();
    }
    let frames = Frames { dir: dir.path().into(), first: 1, digits: 3, extension: "png".into(), video: None };
    let clock = Clock::Frames((0..30).collect());
    let all = loaded(vec![recording("v", Media::Frames(frames), Split::Valid, clock)]);
    let out = tempfile::tempdir().unwrap();
    let done = run(&all, &PrepareConfig { crops: true, picture_fps: Some(25.0), ..small() }, out.path()).unwrap();
    let sample = samples(out.path(), Split::Valid).remove(0);
    let shown: Vec<u8> = sample.video.chunks_exact(256).map(|c| c[0]).collect();
    let held = [vec![1, 2, 3, 4, 5], vec![5; 10], vec![0; 5], (21..=30).collect()].concat();
    assert_eq!(shown, held);
    let none: Vec<usize> = (0..30).filter(|t| sample.labels[*t][0].is_nan()).collect();
    assert_eq!(none, [15, 16, 17, 18, 19]);
    assert_eq!(sample.labels[25], [0.01, -0.01]);
    assert_eq!((done.report.with_face, &*done.report.remarks[0].why), (25, "15 of 30 pictures are missing or damaged"));
}

#[test]
fn labelled_pictures_are_as_many_a_second_as_their_video_or_the_user_says_and_no_rate_is_assumed() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..12 {
        image::GrayImage::from_pixel(20, 20, image::Luma([100 + n]))
            .save(dir.path().join(format!("{n:03}.png")))
            .unwrap();
    }
    let of = |video: Option<&str>| {
        let video = video.map(|name| dir.path().join(name));
        let frames = Frames { dir: dir.path().into(), first: 0, digits: 3, extension: "png".into(), video };
        loaded(vec![recording("v", Media::Frames(frames), Split::Train, Clock::Frames((0..12).collect()))])
    };
    let run = |video, picture_fps| {
        let out = tempfile::tempdir().unwrap();
        let done = run(&of(video), &PrepareConfig { crops: true, picture_fps, ..small() }, out.path())?;
        Ok::<_, Error>((done.report, samples(out.path(), Split::Train).first().map(|s| s.meta.fps)))
    };
    let e = run(None, None).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Usage);
    assert!(e.to_string().contains("how many frames a second its pictures are is not known (say it"), "{e}");
    assert_eq!(run(None, Some(30.0)).unwrap().1, Some(30.0));
    std::fs::write(dir.path().join("v.mp4"), "no video").unwrap();
    assert_eq!(run(Some("v.mp4"), Some(30.0)).unwrap().1, Some(30.0), "what the user says counts");
    let made = std::process::Command::new("ffmpeg")
        .args(["-y", "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=1:size=64x48:rate=24", "-c:v", "mpeg4"])
        .arg(dir.path().join("good.mp4"))
        .status();
    if !made.is_ok_and(|s| s.success()) {
        assert!(std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required");
        return println!("passed over: no ffmpeg");
    }
    assert_eq!(run(Some("good.mp4"), None).unwrap().1, Some(24.0));
    let e = run(Some("v.mp4"), None).unwrap_err().to_string();
    assert!(e.contains("none of 1 recordings can be used") && e.contains("v.mp4: no picture could be decoded"), "{e}");
}

#[test]
fn a_fixed_frame_rate_shows_the_latest_frame() {
    let dir = tempfile::tempdir().unwrap();
    let media = array(dir.path(), "a", 50, 10);
    for (fps, clock) in [(10.0, seconds(50)), (10.0, Clock::Frames((0..50).collect())), (50.0, seconds(50))] {
        let out = tempfile::tempdir().unwrap();
        let exact = matches!(clock, Clock::Seconds(_));
        let all = loaded(vec![recording("a", media.clone(), Split::Train, clock)]);
        run(&all, &PrepareConfig { fps: Some(fps), ..small() }, out.path()).unwrap();
        let sample = samples(out.path(), Split::Train).remove(0);
        assert_eq!((sample.meta.fps, sample.meta.frames), (fps, (49.0 / 25.0 * fps) as usize + 1));
        for (t, (crop, label)) in sample.video.chunks_exact(256).zip(&sample.labels).enumerate() {
            let time_s = t as f64 / fps;
            let source = (time_s * 25.0 + 1e-6).floor();
            assert_eq!(crop[0], 10 + source as u8, "{t} at {fps}");
            // Labels with times are interpolated; those of frames are the shown frame's.
            let want = if exact { time_s } else { source / 25.0 };
            assert!((f64::from(label[0]) - want / 100.0).abs() < 1e-6, "{t}: {label:?}");
        }
    }
}

/// Seven arrays of different lengths in all splits, one of which is unusable.
fn seven(dir: &Path) -> Loaded {
    let one = |i: usize| {
        let (id, frames) = (format!("v{i}"), 20 + 9 * i);
        let labelled = if i == 3 { 500 } else { frames };
        let split = [Split::Train, Split::Train, Split::Test, Split::Valid][i % 4];
        recording(&id, array(dir, &id, frames, 40 * i as u8 + 1), split, seconds(labelled))
    };
    loaded((0..7).map(one).collect())
}

fn parted() -> PrepareConfig {
    PrepareConfig { part_s: 1.0, shard_bytes: 40_000, ..small() }
}

#[test]
fn a_run_that_is_stopped_anywhere_ends_with_the_same_bytes() {
    let data = tempfile::tempdir().unwrap();
    let all = seven(data.path());
    let whole = tempfile::tempdir().unwrap();
    let done = run(&all, &parted(), whole.path()).unwrap();
    let want = files(whole.path());
    assert!(want.iter().filter(|(name, _)| name.ends_with(".tar")).count() > 3, "several shards");
    assert_eq!((done.report.used, done.report.skipped.len()), (6, 1));
    let ticks = AtomicUsize::new(0);
    let count = |_: Tick| {
        ticks.fetch_add(1, Ordering::Relaxed);
    };
    let again = tempfile::tempdir().unwrap();
    ticking(&all, &PrepareConfig { jobs: 4, ..parted() }, again.path(), &AtomicBool::new(false), &count).unwrap();
    assert!(files(again.path()) == want, "threads change nothing");
    // Frames, recordings and samples, so that runs stop while decoding and while putting together.
    let ticks = ticks.into_inner();
    for stop_at in [1, 30, 150, ticks - 20, ticks - 9, ticks - 2] {
        let out = tempfile::tempdir().unwrap();
        let (stop, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
        let tick = |_: Tick| {
            if seen.fetch_add(1, Ordering::Relaxed) + 1 == stop_at {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let e = ticking(&all, &parted(), out.path(), &stop, &tick).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Interrupted, "{e}");
        assert!(Reader::open(out.path()).is_err());
        // What a kill in the middle of writing leaves.
        for torn in ["work/000001.tar.part", "work/000001.json.7.part", "train-000000.tar.part"] {
            std::fs::write(out.path().join(torn), "torn").unwrap();
        }
        assert_eq!(run(&all, &parted(), out.path()).unwrap(), done);
        let mut got = files(out.path());
        // A shard's own .part is replaced or left; it never counts.
        got.retain(|(name, _)| !name.ends_with(".part"));
        assert!(got == want, "stopped at {stop_at} of {ticks}");
    }
}

#[test]
fn a_finished_folder_is_left_alone_and_other_settings_are_refused() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = seven(data.path());
    let done = run(&all, &parted(), out.path()).unwrap();
    let before = files(out.path());
    assert_eq!(run(&all, &PrepareConfig { jobs: 3, ..parted() }, out.path()).unwrap(), done);
    assert!(files(out.path()) == before);
    let e = run(&all, &PrepareConfig { fps: Some(10.0), ..parted() }, out.path()).unwrap_err().to_string();
    assert!(e.contains("already holds finished shards"), "{e}");
    let (stopped, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(true));
    assert!(prepare(&all, &parted(), stopped.path(), &stop).is_err());
    let fewer = loaded(all.recordings[1..].to_vec());
    let e = run(&fewer, &parted(), stopped.path()).unwrap_err().to_string();
    assert!(e.contains("unfinished work of other settings"), "{e}");
}

#[test]
fn ranks_share_the_recordings_out() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = seven(data.path());
    let reports: Vec<Report> = (0..3)
        .map(|rank| run(&all, &PrepareConfig { rank, ranks: 3, ..parted() }, out.path()).unwrap().report)
        .collect();
    assert_eq!(reports.iter().map(|r| r.recordings).collect::<Vec<_>>(), [3, 2, 2]);
    let one = tempfile::tempdir().unwrap();
    let whole = run(&all, &parted(), one.path()).unwrap();
    assert_eq!(reports.iter().map(|r| r.samples).sum::<usize>(), whole.report.samples);
    for split in Split::ALL {
        let keys = |dir: &Path| {
            let mut keys: Vec<String> = samples(dir, split).into_iter().map(|s| s.meta.key).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(out.path()), keys(one.path()));
    }
    assert_eq!(Reader::open(out.path()).unwrap().index().pixels, whole.index.pixels);
}

#[test]
fn every_recording_that_is_left_out_is_named_with_the_reason() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| data.path().join(name);
    std::fs::write(at("text.y4m"), "no video").unwrap();
    y4m(&at("empty.y4m"), &vec![crate::frame::Gray::new(120, 100); 8]);
    std::fs::write(at("cut.npz"), "PK").unwrap();
    let video = |name: &str| recording(name, Media::Video(at(name)), Split::Train, seconds(5));
    let cut = Media::Array { file: at("cut.npz"), key: "a", shape: [5, 6, 6] };
    let mut all = loaded(vec![
        video("text.y4m"),
        video("empty.y4m"),
        video("none.y4m"),
        recording("cut", cut, Split::Train, seconds(5)),
        recording("short", array(data.path(), "short", 5, 1), Split::Train, seconds(50)),
        recording("good", array(data.path(), "good", 5, 1), Split::Train, seconds(5)),
    ]);
    all.leave_out("other", "by rule");
    let report = run(&all, &small(), out.path()).unwrap().report;
    let why = |id: &str| &report.skipped.iter().find(|n| n.file == id).unwrap_or_else(|| panic!("{report:?}")).why;
    for (id, want) in [
        ("text.y4m", "text.y4m"),
        ("empty.y4m", "shows no face in 8 frames"),
        ("none.y4m", "none.y4m: cannot be opened"),
        ("cut", "not a readable npz"),
        ("short", "is shorter than its labels"),
    ] {
        assert!(why(id).contains(want), "{id}: {}", why(id));
    }
    assert_eq!((report.recordings, report.used, report.skipped.len(), report.left_out.len()), (6, 1, 5, 1));
    let text = std::fs::read(out.path().join("report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Report>(&text).unwrap(), report);
    let none = loaded(vec![video("text.y4m")]);
    let other = tempfile::tempdir().unwrap();
    let e = run(&none, &small(), other.path()).unwrap_err().to_string();
    assert!(e.contains("none of 1 recordings can be used; the first: text.y4m"), "{e}");
    for bad in [
        PrepareConfig { part_s: 0.0, ..small() },
        PrepareConfig { fps: Some(f64::NAN), ..small() },
        PrepareConfig { size_px: 8, ..small() },
        PrepareConfig { ranks: 0, ..small() },
    ] {
        assert_eq!(run(&none, &bad, other.path()).unwrap_err().kind(), ErrorKind::Usage);
    }
}

#[test]
fn sound_gives_a_row_a_frame_and_its_lack_a_remark() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let make = |name: &str, sound: &[&str]| {
        let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc=duration=3:size=64x64:rate=25"];
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(picture).args(sound).args(["-c:v", "mpeg4"]).arg(data.path().join(name));
        ffmpeg.status().is_ok_and(|s| s.success())
    };
    // Silent for the first second.
    let tone = "aevalsrc='if(gte(t,1),0.5*sin(2*PI*1020*t),0)':d=3:s=16000";
    if !make("tone.mkv", &["-f", "lavfi", "-i", tone, "-c:a", "pcm_s16le"]) || !make("mute.mkv", &[]) {
        assert!(std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required");
        println!("passed over: no ffmpeg");
        return;
    }
    let config = PrepareConfig { crops: true, part_s: 2.0, audio: Audio::LogMel { deltas: false }, ..small() };
    let done = run(&plain(data.path(), Split::Train).unwrap(), &config, out.path()).unwrap();
    let got = samples(out.path(), Split::Train);
    assert_eq!(
        got.iter().map(|s| &*s.meta.key).collect::<Vec<_>>(),
        ["mute-0000", "mute-0001", "tone-0000", "tone-0001"]
    );
    assert!(got[..2].iter().all(|s| s.audio.is_none()) && got[2].meta.audio == done.index.audio);
    let rows = |s: &Sample| s.audio.as_ref().unwrap().chunks_exact(83).map(|r| r[28]).collect::<Vec<f32>>();
    let (first, second) = (rows(&got[2]), rows(&got[3]));
    assert_eq!((first.len(), second.len()), (50, 25));
    assert!(first[..24].iter().all(|v| *v < -15.0) && first[26..].iter().all(|v| *v > -5.0), "{first:?}");
    // A part's features are those of its place in the recording, up to its first frame.
    assert!(second.iter().all(|v| *v > -5.0));
    let remarks: Vec<&str> = done.report.remarks.iter().map(|n| &*n.why).collect();
    assert_eq!(remarks, ["has no sound"]);
}

#[test]
fn a_plain_folder_gives_videos_and_folders_of_pictures() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["ann/day1/a.mp4", "ann/b.y4m", "bob/shots/1.png", "bob/shots/2.png", "c.MKV", "notes.txt", "bob/x.csv"]
    {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let all = plain(dir.path(), Split::Valid).unwrap();
    let found: Vec<(&str, &str)> = all.recordings.iter().map(|r| (&*r.id, &*r.group)).collect();
    assert_eq!(found, [("ann/b", "ann"), ("ann/day1/a", "ann"), ("bob/shots", "bob"), ("c", "c")]);
    assert!(all.recordings.iter().all(|r| r.split == Split::Valid && r.labels.counts() == (0, 0)));
    let none = tempfile::tempdir().unwrap();
    assert!(plain(none.path(), Split::Train).unwrap_err().to_string().contains("holds no video"));
    assert!(plain(&none.path().join("x"), Split::Train).unwrap_err().to_string().contains("cannot be read"));
}
