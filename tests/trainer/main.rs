//! The trainer as a user drives it: rendered people to shards to a pre-trained backbone to a fine-tuned network to a score.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use vaerr::train::full::partial;

#[path = "../it/students.rs"]
mod students;

mod detector;
mod distil;
#[cfg(feature = "mpi")]
mod mpi;
mod newcomer;
mod signing;
mod verify;

/// The program, quiet and on few threads.
fn trainer(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaerr-train"));
    command.args(args).env("RUST_LOG", "warn").env("RAYON_NUM_THREADS", "2").stdin(Stdio::null());
    command
}

fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn refuse(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Eight rendered people, two seconds each; made once for all tests.
fn corpus() -> &'static Path {
    static FOLDER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corpus");
        let sizes = ["--subjects", "8", "--recordings", "1", "--seconds", "2", "--fps", "8", "--size", "24"];
        let shares = ["--valid-share", "0.25", "--test-share", "0.25", "--out", path.to_str().unwrap()];
        let told = succeed(trainer(&["render"]).args(sizes).args(shares));
        assert!(told.contains("train 4 (64 frames), valid 2 (32 frames), test 2 (32 frames)"), "{told}");
        (dir, path)
    });
    path
}

const TINY: &[&str] = &[
    "model.size_px=24",
    "model.width=2",
    "model.hidden=4",
    "model.layers=1",
    "clips.seconds=1",
    "run.batch=2",
    "run.learning_rate=0.01",
];

/// `command` on the corpus with the tiny network and other settings.
fn train(command: &[&str], run: &Path, more: &[&str]) -> Command {
    let mut c = trainer(command);
    c.args(["--shards", corpus().to_str().unwrap(), "--run", run.to_str().unwrap()]);
    for set in TINY.iter().chain(more) {
        c.args(["--set", set]);
    }
    c
}

fn finetune(run: &Path, more: &[&str]) -> Command {
    train(&["finetune"], run, &[&["views.size_px=24", "run.epochs=3"], more].concat())
}

fn weights(run: &Path) -> String {
    format!("{:?}", partial::read(&run.join("checkpoint/net.bpk")).unwrap())
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn every_pretext_task_gives_a_backbone_to_fine_tune_predict_and_score() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (task, more) in [
        ("lira", &["pretext.views.size_px=24", "pretext.hidden=8", "pretext.conformer.dims=8"][..]),
        ("byol", &["pretext.views.size_px=24", "pretext.hidden=8", "pretext.dims=4"]),
        (
            "dino",
            &[
                "pretext.global.size_px=24",
                "pretext.local.size_px=16",
                "pretext.hidden=8",
                "pretext.bottleneck=4",
                "pretext.prototypes=8",
            ],
        ),
    ] {
        succeed(train(&["pretrain", task], &at(task), more).args(["--epochs", "1"]));
        let lines = metrics(&at(task));
        let last = lines.last().unwrap();
        assert!(last["epoch/probe_ccc_arousal"].is_f64() && last["epoch/loss"].is_f64(), "{task}: {last}");
        assert!(lines[0].get("train/collapsed").is_some(), "{task}: {}", lines[0]);
    }
    let backbone = at("byol").join("backbone.bpk");
    let run = at("run");
    let told = succeed(finetune(&run, &["mode=fully-frozen"]).args(["--start-from", backbone.to_str().unwrap()]));
    assert!(told.contains("mean validation CCC"), "{told}");
    // Frozen parts are those of the pre-training, to the bit.
    let (pre, tuned) = (partial::read(&backbone).unwrap(), partial::read(&run.join("best.bpk")).unwrap());
    assert!(pre.len() > 20);
    for (name, tensor) in &pre {
        assert_eq!(format!("{tensor:?}"), format!("{:?}", tuned[&format!("backbone.{name}")]), "{name}");
    }
    let shards = corpus().to_str().unwrap();
    let (predictions, labels) = (at("predictions"), at("labels"));
    let mut predict = trainer(&["predict", "--run", run.to_str().unwrap(), "--shards", shards, "--split", "test"]);
    predict.args(["--out", predictions.to_str().unwrap(), "--labels", labels.to_str().unwrap()]);
    let told = succeed(&mut predict);
    assert!(told.starts_with("2 recordings of the test split"), "{told}");
    let scored = succeed(&mut trainer(&["score", predictions.to_str().unwrap(), labels.to_str().unwrap(), "--json"]));
    let score: Value = serde_json::from_str(&scored).unwrap();
    assert!(score.to_string().contains("ccc"), "{score}");
}

#[test]
fn a_killed_run_resumed_ends_bit_for_bit_as_one_never_killed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let settings = ["run.checkpoint_steps=2", "clips.per_sample=6", "run.average_decay=0.9", "loss=9"];
    succeed(&mut finetune(&at("whole"), &settings));
    let mut child = finetune(&at("cut"), &settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = || at("cut").join("checkpoint/progress.json").exists();
    while !begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let step = |run: &str| -> u64 {
        let text = std::fs::read_to_string(at(run).join("checkpoint/progress.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["step"].as_u64().unwrap()
    };
    assert!(step("cut") < step("whole"), "the run ended before it was killed");
    succeed(finetune(&at("cut"), &settings).arg("--resume"));
    assert_eq!(step("cut"), step("whole"));
    assert!(weights(&at("cut")) == weights(&at("whole")), "other weights after the resume");
    assert_eq!(metrics(&at("cut")), metrics(&at("whole")));
}

#[test]
fn settings_are_printed_read_back_and_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.toml");
    let printed = succeed(&mut trainer(&["finetune", "--print-config", "--loss", "9", "--mode", "frozen-3dconv"]));
    std::fs::write(&file, &printed).unwrap();
    assert!(printed.contains("loss = \"9\"") && printed.contains("mode = \"frozen-3dconv\""), "{printed}");
    let again = succeed(&mut trainer(&["finetune", "--print-config", "--config", file.to_str().unwrap()]));
    assert_eq!(printed, again);
    for (args, word) in [
        (&["finetune", "--print-config", "--set", "run.epoch=1"][..], "epoch"),
        (&["finetune", "--print-config", "--set", "run.epochs=x"], "run.epochs"),
        (&["pretrain", "--print-config", "--set", "model.size_px=x"], "size_px"),
    ] {
        let told = refuse(&mut trainer(args));
        assert!(told.contains(word), "{args:?}: {told}");
    }
    let nonsense = refuse(finetune(&dir.path().join("run"), &["loss=11"]).args(["--resume"]));
    assert!(nonsense.contains("there is no loss 11"), "{nonsense}");
    let unknown = refuse(&mut train(&["pretrain", "jigsaw"], &dir.path().join("run"), &[]));
    assert!(unknown.contains("lira, byol, dino"), "{unknown}");
}

#[test]
fn an_ablation_fills_its_table_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let shards = corpus().to_str().unwrap();
    let ablate = |seeds: &str| {
        let mut c = trainer(&["ablate", "loss", "--shards", shards, "--out", out, "--seeds", seeds, "--jobs", "2"]);
        for set in TINY {
            c.args(["--set", &format!("finetune.{set}")]);
        }
        for set in ["losses=[\"1\", \"6\"]", "loss_epochs=2", "loss_subjects=1.0", "finetune.views.size_px=24"] {
            c.args(["--set", set]);
        }
        c
    };
    let table = succeed(&mut ablate("1,2"));
    assert!(table.contains("loss-1") && table.contains("loss-6") && table.contains("concatenated"), "{table}");
    let cell = dir.path().join("loss/cells/loss-6.2.json");
    let before = std::fs::read(&cell).unwrap();
    std::fs::remove_file(&cell).unwrap();
    std::fs::remove_dir_all(dir.path().join("loss/runs/loss-6.2")).unwrap();
    assert_eq!(succeed(&mut ablate("1,2")), table);
    assert!(before == std::fs::read(&cell).unwrap(), "the cell computed again differs");
    assert!(dir.path().join("loss/ccc.svg").exists() && dir.path().join("loss/table.csv").exists());
    assert!(refuse(&mut ablate("1,2,3")).contains("other settings"));
}

#[test]
fn a_student_is_quantised_on_shards_and_trained_in_int8() {
    let dir = tempfile::tempdir().unwrap();
    let student = concat!(env!("CARGO_MANIFEST_DIR"), "/models/vaerr-nano/student.onnx");
    let quantize = |run: &str, more: &[&str]| {
        let mut c = trainer(&["quantize", "--student", student, "--data", corpus().to_str().unwrap(), "--json"]);
        c.args(["--run", dir.path().join(run).to_str().unwrap(), "--set", "ptq.rings=8"]).args(more);
        c
    };
    let record = |text: String| -> Value { serde_json::from_str(&text).unwrap() };
    let ptq = record(succeed(&mut quantize(
        "ptq",
        &["--calibrate", "mse", "--equalise", "--bias-correction", "--gru", "int8"],
    )));
    assert_eq!(ptq["settings"]["ptq"]["equalise"], "activations");
    let names: Vec<&str> = ptq["parts"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[8], names[9]), (10, "gru.w", "gru.r"));
    assert!(ptq["held_out"]["rms_difference"].as_f64().unwrap() < 0.03, "{ptq}");
    assert_eq!(ptq["held_out"]["fp32"][0]["n"], 32);
    let [whole, plain] = ["ptq/student-int8.onnx", "ptq/student.onnx"].map(|n| dir.path().join(n));
    assert!(std::fs::metadata(whole).unwrap().len() < std::fs::metadata(plain).unwrap().len() / 3);

    let short =
        ["--method", "qat", "--set", "qat.run.epochs=1", "--set", "qat.run.batch=2", "--set", "qat.clips.seconds=0.25"];
    let qat = record(succeed(&mut quantize("qat", &short)));
    assert_eq!((&qat["trained"]["epochs"], &qat["trained"]["best_epoch"]), (&1.into(), &1.into()));
    assert!(dir.path().join("qat/qat/checkpoint/net.bpk").exists());
    // What was trained is done; asked again it only writes the same files again.
    assert!(refuse(&mut quantize("qat", &short)).contains("--resume"));
    let again = record(succeed(quantize("qat", &short).arg("--resume")));
    assert_eq!(again, qat);
    for (more, word) in [
        (&["--set", "ptq.percentile=2"][..], "ptq.percentile"),
        (&["--set", "qat.loss=\"11\"", "--method", "qat"], "no loss 11"),
        (&["--train", "nowhere"], "--train"),
    ] {
        let told = refuse(&mut quantize("refused", more));
        assert!(told.contains(word), "{told}");
    }
}
