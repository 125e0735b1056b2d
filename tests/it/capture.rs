//! Sources as other programs meet them: the contract over every one, wrappers around wrappers, and the program itself.

use crate::program;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};
use vaerr::capture::faulty::{Faulty, Plan};
use vaerr::capture::loopback::{Keep, loopback};
use vaerr::capture::recording::Recording;
use vaerr::capture::{FrameSource, Next, Options, Pictures, contract};
use vaerr::frame::{Frame, Gray, PixelFormat, Range};

const SYNTHETIC: &str = "synthetic:seconds=2,fps=10,size=96x64,people=1";

fn open(input: &str) -> Box<dyn FrameSource> {
    let options = Options { pictures: Pictures::Film(10.0), ..Options::default() };
    vaerr::capture::open(input.as_ref(), &options).unwrap()
}

/// The trait is for sized wrappers too.
struct Boxed(Box<dyn FrameSource>);

impl FrameSource for Boxed {
    fn info(&self) -> &vaerr::capture::SourceInfo {
        self.0.info()
    }
    fn next_frame(&mut self, frame: &mut Frame) -> vaerr::Result<Next> {
        self.0.next_frame(frame)
    }
    fn stats(&self) -> vaerr::capture::SourceStats {
        self.0.stats()
    }
}

#[test]
fn every_source_that_opens_by_name_keeps_the_contract_and_so_do_wrappers_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let y4m = dir.path().join("a.y4m");
    let mut recording = Recording::create(Boxed(open(SYNTHETIC)), &y4m).unwrap();
    assert_eq!(contract::check(&mut recording, 1000).unwrap().len(), 20);
    assert_eq!(recording.finish().unwrap(), 20);
    for i in 0..4u8 {
        let picture = image::GrayImage::from_pixel(9, 7, image::Luma([i * 60]));
        picture.save(dir.path().join(format!("{i}.png"))).unwrap();
    }
    for input in [SYNTHETIC, y4m.to_str().unwrap(), dir.path().to_str().unwrap()] {
        let n = contract::check(open(input).as_mut(), 1000).unwrap().len();
        assert!(n >= 4, "{input}: {n}");
        let plan = Plan { seed: 9, drop: 0.2, repeat_stamp: 0.2, fail_at: Some(n as u64 - 1), ..Plan::default() };
        let wrapped = Faulty::new(Boxed(open(input)), plan);
        let kept = contract::check(&mut Recording::new(wrapped, Vec::new(), "copy"), 1000).unwrap();
        assert!(kept.len() < n, "{input}");
    }
}

#[test]
fn a_replayed_recording_reads_the_same_luma_at_the_same_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.y4m");
    let plan =
        Plan { seed: 5, drop: 0.3, jump_stamp: 0.1, jump_by: Duration::from_nanos(123_456_789), ..Plan::default() };
    let mut recording = Recording::create(Faulty::new(Boxed(open(SYNTHETIC)), plan), &path).unwrap();
    let passed = contract::check(&mut recording, 1000).unwrap();
    recording.finish().unwrap();
    let replayed = contract::check(open(path.to_str().unwrap()).as_mut(), 1000).unwrap();
    assert_eq!(passed.len(), replayed.len());
    for (a, b) in passed.iter().zip(&replayed) {
        let (mut x, mut y) = (Gray::default(), Gray::default());
        a.luma_into(&mut x).unwrap();
        b.luma_into(&mut y).unwrap();
        assert!((x, a.time, a.index) == (y, b.time, b.index), "frame {}", a.index);
    }
}

#[test]
fn a_camera_s_queue_reports_the_frames_a_slow_reader_lost() {
    let (mut feeder, mut source) = loopback("camera", 2, Keep::Newest, Duration::from_secs(5));
    let (mut drawn, mut read) = (Frame::default(), Frame::default());
    for i in 0..30u32 {
        drawn.reshape(8, 8, PixelFormat::Gray8, Range::Full).unwrap();
        drawn.time = Duration::from_millis(u64::from(i));
        feeder.push(&mut drawn).unwrap();
        if i % 10 == 9 {
            assert_eq!(source.next_frame(&mut read).unwrap(), Next::Frame);
            assert_eq!(read.time.as_millis(), u128::from(i) - 1);
        }
    }
    assert_eq!((source.stats().delivered, source.stats().dropped), (3, 26));
}

#[test]
fn a_truncated_picture_ends_the_run_with_an_error_and_no_panic() {
    let mut source = Faulty::new(Boxed(open(SYNTHETIC)), Plan { truncate: 1.0, ..Plan::default() });
    let mut frame = Frame::default();
    assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
    let e = frame.luma_into(&mut Gray::default()).unwrap_err().to_string();
    assert!(e.contains("9216 bytes, expected 18432"), "{e}");
}

#[test]
fn a_camera_that_is_not_there_ends_with_two_and_says_what_to_do() {
    let o = program::vaerr().args(["run", "--input", "v4l2:/dev/no-such-video"]).output().unwrap();
    let text = String::from_utf8_lossy(&o.stderr).into_owned();
    let want = if cfg!(feature = "v4l2") { "there is no such device" } else { "build with `--features v4l2`" };
    assert!(o.status.code() == Some(2) && text.contains(want), "{text}");
}

#[test]
fn standard_input_that_falls_silent_is_given_up_after_ten_seconds() {
    let mut child = program::vaerr()
        .args(["run", "--input", "-", "--engine", "reference", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"YUV4MPEG2 W64 H64 F10:1 Cmono\nFRAME\n").unwrap();
    stdin.write_all(&[0; 64 * 64]).unwrap();
    stdin.flush().unwrap();
    let start = Instant::now();
    let o = child.wait_with_output().unwrap();
    let (text, took) = (String::from_utf8_lossy(&o.stderr).into_owned(), start.elapsed().as_secs());
    drop(stdin);
    assert_eq!(String::from_utf8_lossy(&o.stdout).lines().count(), 1);
    assert!(
        o.status.code() == Some(2) && text.contains("standard input: cannot be read: nothing whole came for 10.0 s"),
        "{text}"
    );
    assert!((9..30).contains(&took), "{took}");
}
