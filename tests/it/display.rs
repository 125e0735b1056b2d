//! The head-up display: golden pictures, any size, and annotated copies through the program.
//!
//! `VAERR_BLESS=1 cargo test --test it display` rewrites the golden pictures; look at them before keeping them.

use crate::program;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use vaerr::display::{Canvas, Hud};
use vaerr::frame::{Frame, PixelFormat, Range};
use vaerr::spec::{FaceState, Reading};

fn reading(id: Option<u32>, time_s: f64, [left, top, side]: [f32; 3], valence: f32, arousal: f32) -> Reading {
    let has = id.is_some();
    Reading {
        time_s,
        frame: (time_s * 25.0) as u64,
        face: id.map_or(FaceState::NONE, FaceState::Id),
        r#box: has.then_some([left, top, side, side]),
        arousal: has.then_some(arousal),
        valence: has.then_some(valence),
        confidence: has.then_some(0.71),
        interval: has.then_some([[arousal - 0.2, arousal + 0.15], [valence - 0.25, valence + 0.2]]),
        engine: "reference",
        latency_us: 4200,
        ..Reading::default()
    }
}

/// A soft grey slope, as a frame.
fn slope(width: usize, height: usize) -> Frame {
    let mut frame = Frame::default();
    frame.reshape(width, height, PixelFormat::Gray8, Range::Full).unwrap();
    for (i, v) in frame.data.iter_mut().enumerate() {
        *v = (60 + (i % width + i / width) * 120 / (width + height)) as u8;
    }
    frame.time = Duration::from_secs(2);
    frame
}

fn golden(name: &str, canvas: &Canvas) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("VAERR_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::save_buffer(&path, &canvas.rgb, canvas.width as u32, canvas.height as u32, image::ColorType::Rgb8)
            .unwrap();
    }
    let want = image::open(&path).unwrap().to_rgb8();
    assert_eq!((want.width() as usize, want.height() as usize), (canvas.width, canvas.height));
    let wrong = want.as_raw().iter().zip(&canvas.rgb).filter(|(a, b)| a != b).count();
    assert_eq!(wrong, 0, "{name}: {wrong} bytes differ");
}

#[test]
fn one_face_with_its_trail_looks_as_it_should() {
    let (mut canvas, mut hud) = (Canvas::default(), Hud::new());
    for i in 0..=50 {
        let t = f64::from(i) * 0.04;
        canvas.load(&slope(320, 240)).unwrap();
        let turn = (t * 2.2) as f32;
        let r = reading(Some(1), t, [110.0, 40.0, 90.0], 0.7 * turn.sin(), 0.6 * turn.cos());
        let Ok(()) = hud.draw(&mut canvas, &[r]);
    }
    golden("hud-one-face.png", &canvas);
}

#[test]
fn two_faces_and_a_large_picture_look_as_they_should() {
    let (mut canvas, mut hud) = (Canvas::default(), Hud::new());
    canvas.load(&slope(640, 480)).unwrap();
    let faces = [
        reading(Some(2), 0.0, [60.0, 80.0, 150.0], -0.4, 0.5),
        reading(Some(5), 0.0, [400.0, 10.0, 170.0], 0.62, -0.12),
    ];
    let Ok(()) = hud.draw(&mut canvas, &faces);
    golden("hud-two-faces.png", &canvas);
}

#[test]
fn no_face_says_so() {
    let (mut canvas, mut hud) = (Canvas::default(), Hud::new());
    canvas.load(&slope(160, 120)).unwrap();
    let Ok(()) = hud.draw(&mut canvas, &[reading(None, 0.0, [0.0; 3], 0.0, 0.0)]);
    golden("hud-no-face.png", &canvas);
}

#[test]
fn an_unverified_model_is_said_to_be_one_in_every_picture() {
    let marked = |id| Reading { unverified: true, ..reading(id, 0.0, [110.0, 60.0, 90.0], 0.3, 0.2) };
    let mut canvas = Canvas::default();
    canvas.load(&slope(320, 240)).unwrap();
    let Ok(()) = Hud::new().draw(&mut canvas, &[marked(Some(1))]);
    golden("hud-unverified.png", &canvas);
    for (side, id) in [(8, Some(1)), (40, None), (160, None)] {
        canvas.load(&slope(side, side)).unwrap();
        let Ok(()) = Hud::new().draw(&mut canvas, &[marked(id)]);
        assert_eq!(canvas.rgb[..3], [255, 60, 60], "{side}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_size_box_and_value_can_be_drawn(
        w in 1usize..300, h in 1usize..300,
        square in [-1e9f32..1e9, -1e9f32..1e9, 0f32..1e6],
        v in -9f32..9.0, a in proptest::num::f32::ANY, unverified in any::<bool>(),
    ) {
        let mut canvas = Canvas::default();
        canvas.load(&slope(w, h)).unwrap();
        let Ok(()) = Hud::new().draw(&mut canvas, &[Reading { unverified, ..reading(Some(1), 1.0, square, v, a) }]);
        prop_assert_eq!(canvas.rgb.len(), 3 * w * h);
    }
}

fn vaerr(args: &[&str]) -> std::process::Output {
    program::vaerr()
        .args(["run", "--engine", "reference", "--quiet", "--input", "synthetic:seconds=0.5,fps=10,size=162x121"])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn annotate_writes_a_picture_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("out");
    let o = vaerr(&["--annotate", folder.to_str().unwrap()]);
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["000000.png", "000001.png", "000002.png", "000003.png", "000004.png"]);
    assert_eq!(image::image_dimensions(folder.join("000000.png")).unwrap(), (162, 121));
}

#[test]
fn annotate_writes_a_video_of_the_same_length() {
    let ffmpeg = Command::new("ffprobe").arg("-version").output().is_ok();
    assert!(ffmpeg || std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required but not installed");
    if !ffmpeg {
        eprintln!("skipped: ffmpeg is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("out -odd'name.mp4");
    let o = vaerr(&["--annotate", video.to_str().unwrap()]);
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,width,height", "-of", "csv=p=0"])
        .arg(&video)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&probe.stdout).trim(), "162,122,5");
}

#[test]
fn outputs_that_cannot_be_are_refused_with_a_remedy() {
    for (args, want) in [
        (["--annotate", "x.txt"], "a folder for PNG pictures"),
        (["--annotate", "nowhere/x.mp4"], "no such folder"),
        (["--display", "hdmi"], "expected fb:/dev/fb0"),
        (["--display", "fb:/dev/null"], "is not a framebuffer"),
    ] {
        let o = vaerr(&args);
        assert_eq!(o.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&o.stderr).into_owned();
        assert!(said.contains(want), "{args:?}: {said}");
    }
}
