//! What people feed the program: photographs, films of any rate, pipes, addresses and programs that do not work.

use crate::program;
use serde_json::Value;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};
use vaerr::capture::{FrameSource, Next, synthetic::Synthetic};
use vaerr::frame::Frame;

/// The first frame of a rendered person.
fn person(seed: u32) -> image::RgbImage {
    let mut source = Synthetic::parse(&format!("synthetic:seed={seed},seconds=1,size=320x240")).unwrap();
    let mut frame = Frame::default();
    assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
    image::RgbImage::from_raw(320, 240, frame.data).unwrap()
}

fn run(args: &[&str]) -> Output {
    let common = ["run", "--engine", "simd", "--json"];
    program::vaerr().args(common).args(args).stdin(Stdio::null()).output().unwrap()
}

fn stderr(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

/// The readings of a run that went well.
fn readings(args: &[&str]) -> Vec<Value> {
    let o = run(args);
    assert!(o.status.success(), "{args:?}: {}", stderr(&o));
    String::from_utf8(o.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// A folder of four people's photographs, named so that natural order and plain order differ.
fn photographs(dir: &Path) -> Vec<PathBuf> {
    let names = ["img1.png", "img2.jpg", "img9.bmp", "img10.png"];
    let save = |(name, seed): (&str, u32)| {
        let path = dir.join(name);
        person(seed).save(&path).unwrap();
        path
    };
    names.into_iter().zip(1..).map(save).collect()
}

#[test]
fn photographs_in_a_folder_read_as_each_does_alone() {
    let dir = tempfile::tempdir().unwrap();
    let paths = photographs(dir.path());
    let all = readings(&["--input", dir.path().to_str().unwrap()]);
    let files: Vec<&str> = all.iter().map(|r| r["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["img1.png", "img2.jpg", "img9.bmp", "img10.png"]);
    for (together, path) in all.iter().zip(&paths) {
        let alone = &readings(&["--input", path.to_str().unwrap()])[0];
        for key in ["box", "arousal", "valence", "confidence", "interval", "file"] {
            assert!(together[key] == alone[key] && !alone[key].is_null(), "{path:?} {key}: {together} {alone}");
        }
    }
    let ids: std::collections::BTreeSet<u64> = all.iter().map(|r| r["face"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 4, "nobody is taken for somebody else");
}

#[test]
fn numbered_pictures_are_a_film_where_one_asks_for_it_and_a_hint_says_how() {
    let dir = tempfile::tempdir().unwrap();
    let picture = person(5);
    (0..9).for_each(|i| picture.save(dir.path().join(format!("{i:03}.png"))).unwrap());
    let folder = dir.path().to_str().unwrap();
    for how in [&["--as", "film"][..], &["--fps", "1"], &["--as", "film", "--fps", "0.5"]] {
        let film = readings(&[&["--input", folder], how].concat());
        assert!(film.len() == 9 && film.iter().all(|r| r["face"] == 1 && r["file"].is_null()), "{how:?}: {film:?}");
    }
    let o = run(&["--input", folder]);
    assert!(stderr(&o).contains("--as film"), "{}", stderr(&o));
    let o = run(&["--input", folder, "--as", "stills", "--fps", "3"]);
    assert_eq!(o.status.code(), Some(2));
}

#[test]
fn a_film_at_one_frame_a_second_is_read_in_every_frame_under_one_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Synthetic::parse("synthetic:seed=3,seconds=20,fps=1,size=320x240").unwrap();
    let mut frame = Frame::default();
    while source.next_frame(&mut frame).unwrap() == Next::Frame {
        let path = dir.path().join(format!("{}.png", frame.index));
        image::save_buffer(path, &frame.data, 320, 240, image::ColorType::Rgb8).unwrap();
    }
    for fps in ["24", "5", "1", "0.5"] {
        let film = readings(&["--input", dir.path().to_str().unwrap(), "--fps", fps]);
        let seen = film.iter().filter(|r| r["face"] == 1 && r["held"].is_null()).count();
        assert_eq!((film.len(), seen), (20, 20), "{fps} frames a second");
    }
}

#[test]
fn a_face_that_left_is_held_and_its_values_stand_still_while_confidence_falls() {
    let dir = tempfile::tempdir().unwrap();
    let (there, gone) = (person(2), image::RgbImage::from_pixel(320, 240, image::Rgb([90; 3])));
    (0..40).for_each(|i| (if i < 10 { &there } else { &gone }).save(dir.path().join(format!("{i}.png"))).unwrap());
    let film = readings(&["--input", dir.path().to_str().unwrap(), "--as", "film"]);
    let held: Vec<&Value> = film.iter().filter(|r| r["held"] == true).collect();
    assert!((5..=10).contains(&held.len()), "{}", held.len());
    assert!(held.iter().all(|r| r["valence"] == film[9]["valence"] && r["face"] == 1));
    let confidence: Vec<f64> = held.iter().map(|r| r["confidence"].as_f64().unwrap()).collect();
    assert!(confidence.windows(2).all(|w| w[1] < w[0]), "{confidence:?}");
    assert!(film[21..].iter().all(|r| r["face"] == "none"));
}

/// A named pipe.
fn pipe(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let c = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: `c` is a C string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(c.as_ptr(), 0o600) }, 0);
    path
}

fn start(input: &Path, path_first: Option<&Path>) -> Child {
    let mut command = program::vaerr();
    command.args(["run", "--engine", "simd", "--json", "--input"]).arg(input);
    if let Some(first) = path_first {
        let rest = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{rest}", first.display()));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends the signal after half a second; how long it took from then to the end, and what came.
fn end_by(child: Child, signal: i32) -> (Duration, Output) {
    std::thread::sleep(Duration::from_millis(500));
    // SAFETY: kill(2) on our own child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    let start = Instant::now();
    let o = child.wait_with_output().unwrap();
    (start.elapsed(), o)
}

#[test]
fn a_pipe_that_nobody_writes_to_ends_at_the_first_signal_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    for (name, signal) in [("p.png", libc::SIGTERM), ("p.y4m", libc::SIGHUP), ("p", libc::SIGINT)] {
        let (took, o) = end_by(start(&pipe(dir.path(), name), None), signal);
        assert!(o.status.code() == Some(0) && took < Duration::from_secs(5), "{name}: {took:?} {}", stderr(&o));
    }
}

/// A program `name` in a folder of its own.
fn stand_in(dir: &Path, name: &str, script: &str) {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_keeps_ffmpeg_from_loading_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let film = dir.path().join("film.mp4");
    std::fs::write(&film, b"anything").unwrap();
    stand_in(dir.path(), "ffmpeg", "echo 'ffmpeg: error while loading shared libraries: libx.so.1' >&2; exit 127");
    let o = start(&film, Some(dir.path())).wait_with_output().unwrap();
    let said = stderr(&o);
    assert!(o.status.code() == Some(2) && said.contains("libx.so.1") && said.contains("film.mp4"), "{said}");
}

#[test]
fn an_ffmpeg_that_hangs_does_not_hold_up_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let film = dir.path().join("film.mp4");
    std::fs::write(&film, b"anything").unwrap();
    stand_in(dir.path(), "ffmpeg", "exec sleep 60");
    let (took, o) = end_by(start(&film, Some(dir.path())), libc::SIGTERM);
    assert!(o.status.code() == Some(0) && took < Duration::from_secs(5), "{took:?} {}", stderr(&o));
}

#[test]
fn what_is_not_read_says_what_to_type_and_keeps_passwords_to_itself() {
    let camera = if cfg!(feature = "v4l2") { "there is no such device" } else { "build with `--features v4l2`" };
    for (input, want) in [
        ("rtsp://user:secret@camera/1", "ffmpeg -rtsp_transport tcp -i ADDRESS"),
        ("http://user:secret@camera/1", "-f yuv4mpegpipe - | vaerr run --input -"),
        ("/dev/video97", camera),
        ("97", camera),
        ("no-such-film.mp4,turn=90", "no-such-film.mp4: cannot be opened"),
        ("synthetic:seconds=1,turn=91", "expected 90, 180 or 270"),
    ] {
        let o = run(&["--input", input]);
        let said = stderr(&o);
        assert!(o.status.code() == Some(2) && said.contains(want), "{input}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_camera_mounted_on_its_head_is_read_upright() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("on its head, 1.png");
    image::imageops::rotate180(&person(4)).save(&path).unwrap();
    let name = path.to_str().unwrap();
    let read = |input: &str| readings(&["--input", input]).remove(0);
    let upright = dir.path().join("upright.png");
    person(4).save(&upright).unwrap();
    let (want, found) = (read(upright.to_str().unwrap()), read(&format!("{name},turn=180")));
    assert!(want["face"].is_u64() && want["box"] == found["box"] && want["valence"] == found["valence"], "{found}");
    assert_ne!(read(name)["box"], want["box"]);
}
