//! From a teacher to a student that runs: distil, quantise, export, verify.

use super::{corpus, finetune, metrics, refuse, succeed, trainer};
use std::path::Path;
use std::process::Command;
use vaerr::model::{Bundle, Precision};
use vaerr::spec::{Certificate, StudentSpec};

fn distil(teacher: &Path, run: &Path, more: &[&str]) -> Command {
    distil_to("pico", teacher, run, more)
}

fn distil_to(size: &str, teacher: &Path, run: &Path, more: &[&str]) -> Command {
    let mut c = trainer(&["distil", "--size", size]);
    c.arg("--teacher").arg(teacher).arg("--shards").arg(corpus()).arg("--run").arg(run);
    c.args(["--set", "clips.seconds=1", "--set", "run.batch=2", "--epochs", "2"]).args(more);
    c
}

#[test]
fn a_distilled_student_is_quantised_exported_and_verified_against_its_teacher() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    succeed(&mut finetune(&at("teacher"), &[]));
    succeed(&mut distil(&at("teacher"), &at("student"), &[]));
    let lines = metrics(&at("student"));
    assert!(
        ["labels", "teacher_values", "teacher_bins", "teacher_features", "lag_frames"]
            .iter()
            .all(|t| lines[0].get(format!("train/{t}")).is_some_and(serde_json::Value::is_f64)),
        "{}",
        lines[0]
    );
    assert!(lines.last().unwrap()["epoch/valid_ccc_valence"].is_f64());
    // A run that is done resumes to the same, and not with other settings or another teacher.
    let best = || std::fs::read(at("student").join("best.bpk")).unwrap();
    let before = best();
    succeed(&mut distil(&at("teacher"), &at("student"), &["--resume"]));
    assert!(best() == before);
    let told = refuse(&mut distil(&at("teacher"), &at("student"), &["--resume", "--set", "terms.values=0.1"]));
    assert!(told.contains("values"), "{told}");
    // Another run starts from its student, with other clips: its first step is of a student that has learnt.
    let from = at("student");
    let from = ["--start-from", from.to_str().unwrap(), "--set", "clips.seconds=0.5", "--set", "lag.mode=none"];
    succeed(&mut distil(&at("teacher"), &at("on"), &from));
    let first = |run: &str| metrics(&at(run))[0]["train/loss"].as_f64().unwrap();
    assert!(first("on") < first("student"), "{} {}", first("on"), first("student"));
    succeed(distil(&at("teacher"), &at("on"), &from).arg("--resume"));
    let told = refuse(&mut distil_to("nano", &at("teacher"), &at("nano"), &from));
    assert!(told.contains("does not grow into this size"), "{told}");
    // The mean of two students, of one size.
    let on = at("on");
    let two = [&from[..], &["--start-from", on.to_str().unwrap()]].concat();
    succeed(&mut distil(&at("teacher"), &at("mean"), &two));
    assert!(first("mean") < first("student"), "{} {}", first("mean"), first("student"));
    let nano = concat!(env!("CARGO_MANIFEST_DIR"), "/models/starts/nano.onnx");
    let told = refuse(&mut distil(&at("teacher"), &at("odd"), &[&from[..], &["--start-from", nano]].concat()));
    assert!(told.contains("not of one size") && told.contains("nano.onnx"), "{told}");
    let int8 = concat!(env!("CARGO_MANIFEST_DIR"), "/models/vaerr-pico/student-int8.onnx");
    let told = refuse(&mut distil(&at("teacher"), &at("int8"), &["--start-from", int8]));
    assert!(told.contains("take its fp32 student") && told.contains("student-int8.onnx"), "{told}");
    // Clips of one frame; votes, which these recordings do not have.
    let frames = [&from[..2], &["--set", "clips.seconds=0.01", "--set", "lag.mode=none"]].concat();
    succeed(&mut distil(&at("teacher"), &at("frames"), &frames));
    let told = refuse(&mut distil(&at("teacher"), &at("votes"), &[&frames[..], &["--set", "terms.votes=1"]].concat()));
    assert!(told.contains("no training sample has votes") && told.contains("prepare FER+ again"), "{told}");

    let run = at("student");
    let student = run.to_str().unwrap();
    let shards = corpus().to_str().unwrap();
    succeed(&mut trainer(&["quantize", "--run", student, "--data", shards, "--set", "centre=true"]));
    let quantized: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("quantized.json")).unwrap()).unwrap();
    for d in 0..2 {
        assert!(quantized["offsets"][d].as_f64().unwrap() != 0.0, "{}", quantized["offsets"]);
        let bias = quantized["held_out"]["fp32"][d]["bias"].as_f64().unwrap();
        assert!(bias.abs() < 1e-4, "{bias}");
    }
    let out = at("vaerr-pico");
    let export = ["export", "--run", student, "--data", shards, "--out", out.to_str().unwrap()];
    let told = refuse(&mut trainer(&export));
    assert!(told.contains("--licence"), "{told}");
    succeed(trainer(&export).args(["--licence", "tests alone", "--bundle-version", "4"]));
    let bundle = Bundle::load(&out).unwrap();
    assert_eq!((bundle.manifest().student.clone(), bundle.manifest().version), (StudentSpec::pico(), 4));
    assert!(bundle.student(Precision::Int8).is_ok());
    let card = String::from_utf8(bundle.file("card.md").unwrap().to_vec()).unwrap();
    assert!(card.contains("Distilled from the full model") && card.contains("tests alone"), "{card}");
    assert!(card.contains("added to the logits of arousal and valence"), "{card}");

    let mut verify = trainer(&["verify", "--data", shards, "--set", "engine_frames=4", "--set", "rounds=200"]);
    verify.arg("--teacher").arg(at("teacher")).arg("--student").arg(&out);
    let judged = verify.output().unwrap();
    assert!(matches!(judged.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&judged.stderr));
    let certificate = Certificate::parse(&std::fs::read(out.join("certificate.json")).unwrap()).unwrap();
    assert!(certificate.gates.iter().any(|g| g.name == "engine/simd/int8" && g.value == Some(0.0)));

    let carded = at("carded");
    let card = |from: &Path, to: &Path| {
        let mut c = trainer(&["card"]);
        c.arg(from).arg("--out").arg(to);
        c
    };
    succeed(&mut card(&out, &carded));
    let bundle = Bundle::load(&carded).unwrap();
    let text = String::from_utf8(bundle.file("card.md").unwrap().to_vec()).unwrap();
    assert!(text.contains("## Against the full model") && text.contains("| arousal |"), "{text}");
    assert_eq!(bundle.certificate().map(<[u8]>::to_vec), std::fs::read(out.join("certificate.json")).ok());
    certificate.ensure_of(bundle.manifest()).unwrap();
    assert!(refuse(&mut card(&out, &carded)).contains("exists already"));
    std::fs::remove_file(carded.join("certificate.json")).unwrap();
    assert!(refuse(&mut card(&carded, &at("third"))).contains("vaerr-train verify"));

    let steps = at("steps");
    let render =
        ["render", "--silent", "--steps", "1", "--seconds", "4", "--fps", "10", "--size", "32", "--subjects", "4"];
    succeed(trainer(&render).args(["--recordings", "1", "--test-share", "0.5", "--out"]).arg(&steps));
    let lag = |data: &Path| {
        let mut c = trainer(&["lag", "--json"]);
        c.arg("--teacher").arg(at("teacher")).arg("--student").arg(&out).arg("--data").arg(data);
        c
    };
    let told = lag(&steps).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let jumps = |r: &serde_json::Value| r["followed"].as_u64().unwrap() + r["missed"].as_u64().unwrap();
    assert!(rows.len() == 8 && rows.iter().any(|r| jumps(r) > 0), "{report}");
    assert!(refuse(&mut lag(corpus())).contains("--steps"));
}

#[test]
fn the_terms_of_distillation_are_compared_in_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    succeed(&mut finetune(&at("teacher"), &[]));
    let mut ablate = trainer(&["ablate", "distil", "--seeds", "1,2"]);
    ablate.arg("--shards").arg(corpus()).arg("--out").arg(at("out"));
    for set in ["size=pico", "clips.seconds=1", "clips.per_sample=1", "run.batch=2", "run.epochs=1"] {
        ablate.args(["--set", &format!("distil.{set}")]);
    }
    assert!(refuse(&mut ablate).contains("--teacher"));
    ablate.arg("--teacher").arg(at("teacher")).arg("--start-from");
    ablate.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/models/vaerr-pico/student.onnx"));
    let table = succeed(&mut ablate);
    for row in ["labels", "values", "values-bins", "all", "all-searched-lag", "all-learned-lag", "teacher-alone"] {
        assert!(table.contains(&format!("| {row} |")), "{row}: {table}");
    }
    let results = std::fs::read_to_string(at("out").join("distil/results.json")).unwrap();
    assert!(results.contains("SHA-256 of the weights that students start from"), "{results}");
    assert!(!table.contains("Not finished") && at("out").join("distil/ccc.svg").exists(), "{table}");
}

#[test]
fn teachers_that_cannot_teach_are_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let told = refuse(&mut distil(&at("nowhere"), &at("run"), &[]));
    assert!(told.contains("vaerr-train finetune"), "{told}");
    succeed(finetune(&at("skips"), &["clips.every=2"]).args(["--epochs", "1"]));
    let told = refuse(&mut distil(&at("skips"), &at("run"), &[]));
    assert!(told.contains("one frame of every 2"), "{told}");
    succeed(finetune(&at("clusters"), &["loss=9"]).args(["--epochs", "1"]));
    let told = refuse(&mut distil(&at("clusters"), &at("run"), &[]));
    assert!(told.contains("terms.bins=0"), "{told}");
    let told = refuse(&mut distil(&at("clusters"), &at("run"), &["--set", "lag.most_s=1.5", "--set", "terms.bins=0"]));
    assert!(told.contains("clips.seconds"), "{told}");
}
