//! The program as a user meets it.

use crate::{program, signed};
use std::process::{Output, Stdio};

fn vaerr(args: &[&str]) -> Output {
    program::vaerr().args(args).stdin(Stdio::null()).output().unwrap()
}

fn stdout(o: &Output) -> String {
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn stderr(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

const SHORT: &str = "synthetic:seconds=1,fps=10";

#[test]
fn the_rendered_face_gives_a_reading_for_every_frame() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("r.jsonl");
    let o = vaerr(&["run", "--input", SHORT, "--engine", "reference", "--quiet", "--out", out.to_str().unwrap()]);
    assert!(o.status.success(), "{}", stderr(&o));
    let rows: Vec<serde_json::Value> =
        std::fs::read_to_string(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), 10);
    for (i, r) in rows.iter().enumerate() {
        assert_eq!((r["frame"].as_u64(), r["face"].as_u64()), (Some(i as u64), Some(1)));
        assert!((-1.0..=1.0).contains(&r["valence"].as_f64().unwrap()));
    }
    assert!(stderr(&o).contains("correlation valence"));
}

#[test]
fn a_stream_without_faces_says_none() {
    let o = vaerr(&["run", "--input", "synthetic:seconds=0.5,fps=10,people=0", "--engine", "reference", "--json"]);
    assert_eq!(stdout(&o).lines().filter(|l| l.contains("\"face\":\"none\"")).count(), 5);
}

#[test]
fn bad_arguments_name_the_remedy_and_exit_with_two() {
    for (args, want) in [
        (vec!["run", "--engine", "warp"], "engines: auto"),
        (vec!["run", "--input", "synthetic:sead=1"], "unknown setting `sead`"),
        (vec!["run", "--input", "nowhere.mp4"], "nowhere.mp4: cannot be opened"),
        (vec!["run", "--out", "x.xml"], ".jsonl or .csv"),
        (vec!["run", "--precision", "fp8"], "expected fp32 or int8"),
        (vec!["run", "--model", "nowhere"], "nowhere/manifest.toml"),
        (vec!["run", "--out", "/dev/full.jsonl/x.jsonl"], "cannot be written"),
    ] {
        let o = vaerr(&args);
        assert_eq!(o.status.code(), Some(2), "{args:?}");
        assert!(stderr(&o).contains(want), "{args:?}: {}", stderr(&o));
    }
}

#[test]
fn a_closed_pipe_ends_the_run_without_a_fuss() {
    let mut child = program::vaerr()
        .args(["run", "--input", "synthetic:seconds=0,fps=10,size=160x120", "--engine", "reference", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_full_disk_says_how_much_was_written_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["r.jsonl", "r.csv"] {
        let full = dir.path().join(name);
        std::os::unix::fs::symlink("/dev/full", &full).unwrap();
        let o = vaerr(&["run", "--input", SHORT, "--engine", "reference", "--quiet", "--out", full.to_str().unwrap()]);
        assert_eq!(o.status.code(), Some(2));
        let said = stderr(&o);
        for want in [name, "cannot write after 0 readings", "No space left on device", "free some space"] {
            assert!(said.contains(want), "{want:?} is not in {said}");
        }
    }
}

#[test]
fn models_and_doctor_speak_of_the_shipped_student() {
    let check = vaerr(&["models", "check"]);
    assert!(
        check.status.success() && stdout(&check).contains("engine reference int8: a trial step"),
        "{}",
        stdout(&check)
    );
    assert!(stdout(&vaerr(&["models", "show"])).contains("## Never tested"));
    let list: serde_json::Value = serde_json::from_slice(&vaerr(&["models", "list", "--json"]).stdout).unwrap();
    assert_eq!(list[0]["name"], "vaerr-nano");
    let doctor: serde_json::Value = serde_json::from_slice(&vaerr(&["doctor", "--json"]).stdout).unwrap();
    assert_eq!(doctor["model_ok"], true);
    let card = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/models/detector/card.md")).unwrap();
    let digest = doctor["detector_sha256"].as_str().unwrap();
    assert!(card.contains(digest), "the card is of another detector: {digest}");
}

#[test]
fn a_damaged_model_fails_the_check_and_is_never_run() {
    let dir = tempfile::tempdir().unwrap();
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/vaerr-nano");
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    std::fs::write(dir.path().join("student-int8.onnx"), b"nonsense").unwrap();
    for command in
        [vec!["models", "check", dir.path().to_str().unwrap()], vec!["run", "--model", dir.path().to_str().unwrap()]]
    {
        let o = vaerr(&command);
        assert_eq!(o.status.code(), Some(if command[0] == "run" { 2 } else { 1 }));
        let said = stderr(&o) + &stdout(&o);
        assert!(said.contains("is damaged"), "{said}");
    }
}

#[test]
fn a_converted_student_may_join_its_bundle_and_no_other_may() {
    use vaerr::model::{Bundle, tflite};
    use vaerr::spec::Manifest;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.tflite");
    let o = vaerr(&["models", "convert", "--to", "tflite", "--out", file.to_str().unwrap()]);
    assert!(o.status.success(), "{}", stderr(&o));
    let int8 = std::fs::read(&file).unwrap();
    let shipped = Bundle::shipped().unwrap();
    let fp32 = tflite::write_student(&shipped.student(vaerr::model::Precision::Fp32).unwrap());
    for (name, bytes, code, line) in
        [("right", int8, 0, "ok      student-int8"), ("wrong", fp32, 1, "FAILED  student-int8")]
    {
        let mut files: std::collections::BTreeMap<String, Vec<u8>> =
            Manifest::FILES.iter().map(|n| ((*n).to_owned(), shipped.file(n).unwrap().to_vec())).collect();
        files.insert(Manifest::TFLITE.into(), bytes);
        let bundle = dir.path().join(name);
        Bundle::write(&bundle, shipped.manifest().clone(), &files, None).unwrap();
        signed::certify(&bundle);
        let o = vaerr(&["models", "check", bundle.to_str().unwrap()]);
        assert_eq!(o.status.code(), Some(code), "{}", stdout(&o));
        assert!(stdout(&o).contains(line), "{}", stdout(&o));
    }
}

#[test]
fn a_student_goes_round_all_formats_and_comes_back_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let convert = |from: Option<&str>, to: &str, out: &str| {
        let from: Vec<&str> = from.into_iter().collect();
        vaerr(&[&["models", "convert", "--to", to, "--out", out][..], &from].concat())
    };
    let round = [("onnx", "a"), ("packed", "b"), ("tflite", "c"), ("onnx-qlinear", "d"), ("onnx", "e")];
    let mut last: Option<String> = None;
    for (to, name) in round {
        let o = convert(last.as_deref(), to, &at(name));
        assert!(o.status.success(), "{}", stderr(&o));
        last = Some(at(name));
    }
    assert!(std::fs::read(at("a")).unwrap() == std::fs::read(at("e")).unwrap());
    for (from, to, word) in [(Some(at("a")), "pdf", "onnx-qlinear"), (Some(at("nowhere")), "onnx", "nowhere")] {
        let o = convert(from.as_deref(), to, &at("x"));
        assert!(o.status.code() == Some(2) && stderr(&o).contains(word), "{}", stderr(&o));
    }
    let fp32 = vaerr(&["models", "convert", "--precision", "fp32", "--to", "onnx-qlinear", "--out", &at("x")]);
    assert!(fp32.status.code() == Some(2) && stderr(&fp32).contains("int8"), "{}", stderr(&fp32));
}

#[test]
fn bench_compares_engines_and_refuses_what_it_cannot_run() {
    let run = |more: &[&str]| vaerr(&[&["bench", "--rounds", "1", "--round-ms", "0"], more].concat());
    let table = run(&["--engine", "reference", "--batch", "1,2"]);
    assert!(table.status.success(), "{}", stderr(&table));
    assert_eq!(stdout(&table).matches("p99.9").count(), 2);
    let report: serde_json::Value = serde_json::from_slice(&run(&["--engine", "reference", "--json"]).stdout).unwrap();
    let row = &report["tables"][0]["rows"][0];
    assert_eq!(row["engine"], "reference");
    assert!(row["step_us"]["p50"].as_f64().unwrap() > 1.0 && row["ratio"]["median"] == 1.0);
    for (more, want) in [(["--engine", "warp"], "engines: "), (["--batch", "65"], "1 to 64")] {
        let o = run(&more);
        assert_eq!(o.status.code(), Some(2));
        assert!(stderr(&o).contains(want), "{}", stderr(&o));
    }
}
