//! What is left of a run however it ends: killed, stopped, out of room, without a reader, without its encoder.

use crate::program;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A rendered face without end.
const ENDLESS: &str = "synthetic:seconds=0,fps=10,size=160x120";
/// Within which a run that was asked to stop has ended, on a loaded machine.
const SOON: Duration = Duration::from_secs(10);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Command {
        let mut command = program::vaerr();
        command.args(["run", "--engine", "reference"]).args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command.stderr(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        command
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn stderr(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn signal(child: &Child, signal: &str, group: bool) {
    let to = format!("{}{}", if group { "-" } else { "" }, child.id());
    assert!(Command::new("kill").args(["-s", signal, "--", &to]).status().unwrap().success());
}

/// Readings in whole lines of the file, its header aside.
fn readings(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    whole(&text, path.extension().is_some_and(|e| e == "csv"))
}

/// Cells of a CSV line, some of which may be quoted.
fn cells(line: &str) -> usize {
    let outside = line.split('"').step_by(2);
    1 + outside.map(|part| part.matches(',').count()).sum::<usize>()
}

fn whole(text: &str, csv: bool) -> usize {
    assert!(text.is_empty() || text.ends_with('\n'), "torn: {:?}", text.lines().last());
    let columns = text.lines().next().unwrap_or("").split(',').count();
    for line in text.lines() {
        match csv {
            true => assert_eq!(cells(line), columns, "{line}"),
            false => drop(serde_json::from_str::<serde_json::Value>(line).unwrap()),
        }
    }
    text.lines().count() - usize::from(csv && !text.is_empty())
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ended_soon(child: Child) -> Output {
    let start = Instant::now();
    let o = child.wait_with_output().unwrap();
    assert!(start.elapsed() < SOON, "took {:?}: {}", start.elapsed(), stderr(&o));
    assert_eq!(o.status.code(), Some(0), "{}", stderr(&o));
    o
}

/// Kills runs at times spread over their start and first frames; gives how many readings were whole.
fn killed(times: u64) -> usize {
    let place = Place::new();
    let mut read = 0;
    for i in 0..times {
        let name = ["r.jsonl", "r.csv"][i as usize % 2];
        let _ = std::fs::remove_file(place.at(name));
        let mut child = place.run(&["--input", ENDLESS, "--json", "--out", name]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        if i % 5 > 0 {
            wait_for("a reading", || place.at(name).metadata().is_ok_and(|m| m.len() > 0));
        }
        std::thread::sleep(Duration::from_micros(i * 7919 % 200_000));
        child.kill().unwrap();
        child.wait().unwrap();
        read += readings(&place.at(name)) + whole(&reader.join().unwrap().unwrap(), false);
    }
    read
}

#[test]
fn a_killed_run_leaves_whole_lines() {
    assert!(killed(10) > 10);
}

#[test]
#[ignore = "minutes"]
fn a_hundred_killed_runs_leave_whole_lines() {
    println!("{} readings were whole", killed(100));
}

#[test]
fn signals_end_a_run_with_whole_files_and_no_failure() {
    for (name, group) in [("INT", true), ("TERM", false), ("HUP", true)] {
        let place = Place::new();
        let child =
            place.run(&["--input", ENDLESS, "--quiet", "--out", "r.csv", "--annotate", "pictures"]).spawn().unwrap();
        wait_for("a reading", || readings(&place.at("r.csv")) > 2);
        signal(&child, name, group);
        // As `timeout` and closing terminals do.
        signal(&child, name, group);
        ended_soon(child);
        let pictures: Vec<_> = std::fs::read_dir(place.at("pictures")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(readings(&place.at("r.csv")), pictures.len());
        pictures.iter().for_each(|p| drop(image::open(p).unwrap()));
    }
}

#[test]
fn a_reader_that_stands_still_gets_whole_lines_and_holds_nobody() {
    let place = Place::new();
    let mut child = place.run(&["--input", ENDLESS, "--json", "--out", "r.jsonl"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut before = 0;
    wait_for("a standstill", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = readings(&place.at("r.jsonl"));
        std::mem::replace(&mut before, now) == now && now > 100
    });
    signal(&child, "TERM", false);
    let o = ended_soon(child);
    assert!(stderr(&o).contains("stands still, 1 readings are not delivered"), "{}", stderr(&o));
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(whole(&text, false) + 1, readings(&place.at("r.jsonl")));
}

#[test]
fn a_file_that_may_not_grow_keeps_whole_lines_and_the_failure_counts_them() {
    let place = Place::new();
    for name in ["r.jsonl", "r.csv", "stdout"] {
        let run = place.run(&["--input", ENDLESS]);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
        limited.current_dir(place.at("")).stderr(Stdio::piped());
        if name == "stdout" {
            limited.arg("--json").stdout(std::fs::File::create(place.at(name)).unwrap());
        } else {
            limited.args(["--quiet", "--out", name]);
        }
        let o = limited.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(o.status.code(), Some(2), "{}", stderr(&o));
        let n = readings(&place.at(name));
        assert!(n > 5 && stderr(&o).contains(&format!("cannot write after {n} readings")), "{n}: {}", stderr(&o));
    }
    let run = place.run(&["--input", "synthetic:seconds=1,fps=10,size=640x480", "--quiet", "--annotate", "pictures"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    let o = limited.current_dir(place.at("")).output().unwrap();
    assert_eq!(o.status.code(), Some(2), "{}", stderr(&o));
    assert!(stderr(&o).contains("cannot write the picture"), "{}", stderr(&o));
    assert_eq!(std::fs::read_dir(place.at("pictures")).unwrap().count(), 0);
}

#[test]
fn a_run_that_fails_before_its_first_reading_leaves_what_was_there() {
    let place = Place::new();
    std::fs::write(place.at("bad.y4m"), "YUV4MPEG2 W16 H16 F25:1\nFRAME\nshort").unwrap();
    for name in ["old.csv", "old.jsonl", "old.mp4"] {
        std::fs::write(place.at(name), "old").unwrap();
    }
    for out in ["old.csv", "old.jsonl", "new.csv"] {
        for input in ["bad.y4m", "none.y4m"] {
            let o = place.run(&["--input", input, "--out", out]).output().unwrap();
            assert_eq!(o.status.code(), Some(2), "{}", stderr(&o));
        }
    }
    // Where ffmpeg is missing this fails too, and leaves as much.
    let o = place.run(&["--input", "bad.y4m", "--annotate", "old.mp4"]).output().unwrap();
    assert_eq!(o.status.code(), Some(2), "{}", stderr(&o));
    assert_eq!(place.names(), ["bad.y4m", "old.csv", "old.jsonl", "old.mp4"]);
    for name in ["old.csv", "old.jsonl", "old.mp4"] {
        assert_eq!(std::fs::read_to_string(place.at(name)).unwrap(), "old");
    }
}

#[test]
fn appended_runs_stand_in_one_file() {
    let place = Place::new();
    for (i, name) in ["r.csv", "r.jsonl", "r.csv", "r.jsonl"].into_iter().enumerate() {
        let o = place
            .run(&["--input", "synthetic:seconds=0.3,fps=10", "--quiet", "--append", "--out", name])
            .output()
            .unwrap();
        assert!(o.status.success(), "{}", stderr(&o));
        assert_eq!(readings(&place.at(name)), 3 * (1 + i / 2));
    }
    let o = place.run(&["--append"]).output().unwrap();
    assert!(o.status.code() == Some(2) && stderr(&o).contains("--out"), "{}", stderr(&o));
}

#[test]
fn no_output_is_the_input_or_another_output() {
    let place = Place::new();
    std::fs::create_dir_all(place.at("pics/deeper")).unwrap();
    for name in ["pics/000000.png", "pics/face.png"] {
        image::GrayImage::new(8, 8).save(place.at(name)).unwrap();
    }
    std::fs::write(place.at("clip.y4m"), "YUV4MPEG2 W2 H2 F25:1\n").unwrap();
    std::fs::write(place.at("r.jsonl"), "{}\n").unwrap();
    for (to, link) in [("clip.y4m", "clip.mp4"), ("pics/face.png", "face.csv"), ("r.jsonl", "r.mkv")] {
        std::fs::hard_link(place.at(to), place.at(link)).unwrap();
    }
    for (to, link) in [("clip.y4m", "clip.jsonl"), ("pics", "same"), ("../pics/face.png", "pics/other.png")] {
        std::os::unix::fs::symlink(to, place.at(link)).unwrap();
    }
    let refused = |args: &[&str]| {
        let o = place.run(args).output().unwrap();
        let said = stderr(&o);
        assert!(o.status.code() == Some(2) && said.contains("is the same file or folder as"), "{args:?}: {said}");
    };
    refused(&["--input", "clip.y4m", "--out", "clip.jsonl"]);
    refused(&["--input", "./clip.y4m", "--annotate", "clip.mp4"]);
    refused(&["--input", "pics", "--annotate", "./pics/"]);
    refused(&["--input", "pics", "--annotate", "same"]);
    refused(&["--input", "pics", "--out", "face.csv"]);
    refused(&["--input", "pics/000000.png", "--annotate", "pics"]);
    refused(&["--out", "r.jsonl", "--annotate", "r.mkv"]);
    let stdin = |mut c: Command| c.stdin(std::fs::File::open(place.at("clip.y4m")).unwrap()).output().unwrap();
    let o = stdin(place.run(&["--input", "-", "--out", "clip.jsonl"]));
    assert!(stderr(&o).contains("the input, --input -"), "{}", stderr(&o));
    let onto = std::fs::File::options().append(true).open(place.at("clip.y4m")).unwrap();
    let o = place.run(&["--input", "clip.y4m"]).stdout(onto).output().unwrap();
    assert!(stderr(&o).contains("standard output: is the same file"), "{}", stderr(&o));
    // Beside the input, pictures replace nothing.
    let o = place.run(&["--input", "pics/face.png", "--quiet", "--annotate", "pics/deeper"]).output().unwrap();
    assert!(o.status.success(), "{}", stderr(&o));
}

/// Whether ffmpeg is there; `VAERR_REQUIRE_FFMPEG` forbids that it is not.
fn ffmpeg() -> bool {
    let there = Command::new("ffprobe").arg("-version").output().is_ok();
    assert!(there || std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required but not installed");
    if !there {
        println!("passed over: no ffmpeg");
    }
    there
}

/// How many frames a video has, and its rate.
fn frames(path: &Path) -> (usize, String) {
    let o = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-show_entries",
            "stream=nb_read_frames,avg_frame_rate",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&o.stdout).trim().to_owned();
    let (rate, n) = said.split_once(',').unwrap_or_else(|| panic!("{said}{}", stderr(&o)));
    (n.parse().unwrap(), rate.to_owned())
}

#[test]
fn a_video_has_every_frame_at_the_source_s_rate() {
    let place = Place::new();
    if !ffmpeg() {
        return;
    }
    for (name, fps) in [("a.mp4", "60"), ("b.mkv", "60"), ("c.avi", "12.5"), ("d.mov", "7")] {
        let input = format!("synthetic:seconds=0.4,fps={fps},size=160x120");
        let o = place.run(&["--input", &input, "--out", "r.csv", "--quiet", "--annotate", name]).output().unwrap();
        assert!(o.status.success(), "{}", stderr(&o));
        let (n, rate) = frames(&place.at(name));
        let (a, b) = rate.split_once('/').unwrap();
        let rate = a.parse::<f64>().unwrap() / b.parse::<f64>().unwrap();
        assert_eq!(n, readings(&place.at("r.csv")), "{name}");
        // Matroska counts whole milliseconds, so that a step of 16.67 comes out as 16 or 17.
        let within = if name == "b.mkv" { 0.05 } else { 1e-3 };
        assert!((rate / fps.parse::<f64>().unwrap() - 1.0).abs() < within, "{name}: {rate}");
    }
}

#[test]
fn ctrl_c_finishes_the_video_and_a_killed_encoder_is_a_failure_that_says_what_is_left() {
    let place = Place::new();
    if !ffmpeg() {
        return;
    }
    let start = || {
        let mut run = place.run(&["--input", ENDLESS, "--quiet", "--out", "r.csv", "--annotate", "a.mp4"]);
        let child = run.spawn().unwrap();
        wait_for("readings", || readings(&place.at("r.csv")) > 20);
        child
    };
    let child = start();
    signal(&child, "INT", true);
    ended_soon(child);
    assert_eq!(frames(&place.at("a.mp4")).0, readings(&place.at("r.csv")));
    assert_eq!(place.names(), ["a.mp4", "r.csv"]);
    let whole = std::fs::read(place.at("a.mp4")).unwrap();
    std::fs::remove_file(place.at("r.csv")).unwrap();
    let child = start();
    let encoder = Command::new("pgrep").args(["-P", &child.id().to_string(), "ffmpeg"]).output().unwrap();
    let encoder = String::from_utf8(encoder.stdout).unwrap();
    assert!(Command::new("kill").args(["-9", encoder.trim()]).status().unwrap().success());
    let o = child.wait_with_output().unwrap();
    assert_eq!(o.status.code(), Some(2));
    assert!(stderr(&o).contains("could not write the video: signal: 9"), "{}", stderr(&o));
    assert!(readings(&place.at("r.csv")) > 20 && std::fs::read(place.at("a.mp4")).unwrap() == whole);
}

#[test]
fn without_ffmpeg_an_old_video_stays_and_the_failure_names_it() {
    let place = Place::new();
    std::fs::write(place.at("old.mp4"), "old").unwrap();
    let o = place.run(&["--annotate", "old.mp4"]).env("PATH", place.at("")).output().unwrap();
    assert_eq!(o.status.code(), Some(2));
    assert!(stderr(&o).contains("install ffmpeg"), "{}", stderr(&o));
    assert_eq!((place.names(), std::fs::read(place.at("old.mp4")).unwrap()), (vec!["old.mp4".into()], b"old".to_vec()));
}
