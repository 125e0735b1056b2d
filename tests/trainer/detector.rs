//! Marked pictures to a detector that finds what it was shown.

use crate::{refuse, succeed, trainer};
use std::io::Write;
use std::path::Path;
use vaerr::render::Rng;

/// A grey picture of noise with bright discs that have dark eyes, and their boxes.
fn scene(seed: u64) -> (image::GrayImage, Vec<[f32; 4]>) {
    let mut rng = Rng::new(seed, 0);
    let mut picture = image::GrayImage::from_fn(96, 80, |_, _| image::Luma([rng.below(60) as u8 + 20]));
    let faces: Vec<[f32; 4]> = (0..1 + rng.below(2))
        .map(|i| {
            let side = rng.range(18.0, 34.0);
            [4.0 + 46.0 * i as f32 + rng.range(0.0, 8.0), rng.range(2.0, 78.0 - side), side, side]
        })
        .collect();
    for (x, y, v) in picture.enumerate_pixels_mut() {
        for [left, top, w, h] in &faces {
            let (u, t) = ((x as f32 - left) / w - 0.5, (y as f32 - top) / h - 0.5);
            let eye = (u.abs() - 0.2).hypot(t + 0.1) < 0.1;
            if u.hypot(t) < 0.5 {
                v.0[0] = if eye { 30 } else { 210 };
            }
        }
    }
    (picture, faces)
}

/// A zip of `count` scenes, every fifth without a face.
fn scenes(to: &Path, count: u64) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(to).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    let mut lines = String::new();
    for i in 0..count {
        let (picture, faces) = scene(i);
        let faces = if i % 5 == 4 { Vec::new() } else { faces };
        let picture = if faces.is_empty() { image::GrayImage::from_pixel(96, 80, image::Luma([70])) } else { picture };
        let marked: Vec<String> = faces
            .iter()
            .map(|[x, y, w, h]| {
                let at = |u: f32, v: f32| format!("{}, {}", x + u * w, y + v * h);
                let points = [at(0.3, 0.4), at(0.7, 0.4), at(0.5, 0.5), at(0.35, 0.8), at(0.65, 0.8)].join(", ");
                format!(r#"{{"box": [{x}, {y}, {w}, {h}], "pts": [{points}], "yaw": 0.0}}"#)
            })
            .collect();
        lines += &format!(
            "{{\"file\": \"{i}.jpg\", \"source\": \"drawn\", \"faces\": [{}], \"ignore\": []}}\n",
            marked.join(", ")
        );
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        zip.start_file(format!("{i}.jpg"), options).unwrap();
        zip.write_all(bytes.get_ref()).unwrap();
    }
    zip.start_file("scenes.jsonl", options).unwrap();
    zip.write_all(lines.as_bytes()).unwrap();
    zip.finish().unwrap();
}

const SMALL: &str = "crops = 480
judge_px = 96
[run]
epochs = 4
batch = 8
learning_rate = 0.01
average_decay = 0.0
[draw]
size_px = 64
faces_px = [16.0, 36.0]
any_roll = 0.0
some_roll = 0.0
[model]
taps = [2]
convs = [{ out = 8, kernel = 3, stride = 2 }, { out = 12, kernel = 3, stride = 2 }, { out = 16, kernel = 3, stride = 2 }]
";

#[test]
fn a_detector_learns_what_it_is_shown_and_two_trainings_are_alike() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    scenes(Path::new(&at("scenes.zip")), 40);
    std::fs::write(at("held.txt"), "0.jpg\n5.jpg\n9.jpg\n10.jpg\n15.jpg\n20.jpg\n").unwrap();
    std::fs::write(at("small.toml"), SMALL).unwrap();
    let data = ["--scenes".into(), at("scenes.zip"), "--held-out".into(), at("held.txt")];
    let train = |run: &str, more: &[&str]| {
        let mut command = trainer(&["detector", "train", "--config", &at("small.toml"), "--run", &at(run)]);
        command.args(&data).args(more);
        command
    };
    let told = succeed(&mut train("whole", &[]));
    assert!(told.contains("best epoch") && told.contains("average precision"), "{told}");
    let figures = |run: &str| -> serde_json::Value {
        let mut command = trainer(&["detector", "judge", "--run", &at(run), "--long-px", "96", "--json"]);
        serde_json::from_str(&succeed(command.args(&data))).unwrap()
    };
    let found = figures("whole");
    assert!(found["average_precision"].as_f64().unwrap() > 0.5 && found["pictures"] == 6, "{found}");
    succeed(&mut train("again", &[]));
    assert_eq!(figures("again"), found);
    // In int8 on our kernels it finds about as much.
    let mut quantize = trainer(&["detector", "quantize", "--run", &at("whole"), "--out", &at("int8.onnx")]);
    assert!(succeed(quantize.args(&data)).contains("int8.onnx: "));
    let mut int8 = trainer(&["detector", "judge", "--model", &at("int8.onnx"), "--long-px", "96", "--json"]);
    let int8: serde_json::Value = serde_json::from_str(&succeed(int8.args(&data))).unwrap();
    let precision = |v: &serde_json::Value| v["average_precision"].as_f64().unwrap();
    assert!((precision(&int8) - precision(&found)).abs() < 0.1, "{int8} {found}");
    let mut table = trainer(&["detector", "judge", "--run", &at("whole"), "--long-px", "96"]);
    assert!(succeed(table.args(&data)).contains("recall at 0.1 false faces a picture"));
}

#[test]
fn bad_pictures_lists_and_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    scenes(Path::new(&at("good.zip")), 6);
    std::fs::write(at("held.txt"), "0.jpg\n").unwrap();
    std::fs::write(at("none.txt"), "other.jpg\n").unwrap();
    std::fs::write(at("text.zip"), "no zip").unwrap();
    let train = |scenes: &str, held: &str, more: &[&str]| {
        let mut command =
            trainer(&["detector", "train", "--scenes", &at(scenes), "--held-out", &at(held), "--run", &at("run")]);
        refuse(command.args(more))
    };
    assert!(train("text.zip", "held.txt", &[]).contains("text.zip: is not a readable zip"));
    assert!(train("missing.zip", "held.txt", &[]).contains("missing.zip: cannot be opened"));
    assert!(train("good.zip", "missing.txt", &[]).contains("missing.txt: cannot be read"));
    assert!(train("good.zip", "none.txt", &[]).contains("there are no pictures listed as held out"));
    assert!(train("good.zip", "held.txt", &["--set", "draw.empty=2"]).contains("makes no sense"));
    assert!(train("good.zip", "held.txt", &["--set", "model.taps=[99]"]).contains("reads maps off the convolutions"));
    let judge = refuse(
        trainer(&["detector", "judge", "--run", &at("run"), "--held-out", &at("held.txt"), "--scenes"])
            .arg(at("good.zip")),
    );
    assert!(judge.contains("holds no run of a detector"), "{judge}");
}
