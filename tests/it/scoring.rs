//! `vaerr-train score` and `datasets` as a user meets them.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn train(dir: &Path, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_vaerr-train");
    Command::new(program).args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

fn stdout(o: &Output) -> String {
    assert!(o.status.success(), "{}", stderr(o));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn stderr(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn json(o: &Output) -> serde_json::Value {
    serde_json::from_str(&stdout(o)).unwrap()
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn value(i: u32, late: f64) -> f64 {
    ((f64::from(i) * 0.1 - late) * 1.7).sin() * 0.8
}

fn avec(late: f64, rows: u32) -> String {
    let row = |i| format!("'v';{:.6};{:.6};{:.6};0\n", f64::from(i) * 0.1, value(i, late), -value(i, late));
    "name;timestamp;arousal;valence;liking\n".to_owned() + &(0..rows).map(row).collect::<String>()
}

#[test]
fn avec_predictions_are_scored_with_their_lag() {
    let dir = tempfile::tempdir().unwrap();
    for video in ["a", "b"] {
        write(dir.path(), &format!("labels/{video}.csv"), &avec(0.0, 100));
        write(dir.path(), &format!("pred/{video}.csv"), &avec(0.5, 100));
    }
    let text = stdout(&train(dir.path(), &["score", "pred", "labels"]));
    assert!(
        text.contains("| CCC, all frames concatenated | 0.") && text.contains("| best lag, s (late is +) | +0.50"),
        "{text}"
    );
    let o = train(dir.path(), &["score", "pred", "labels", "--json", "--seed", "3"]);
    let score = json(&o);
    assert_eq!(score["videos"].as_array().unwrap().len(), 2);
    assert!((score["arousal"]["lag_s"].as_f64().unwrap() - 0.5).abs() < 1e-6);
    assert_eq!(stdout(&o), stdout(&train(dir.path(), &["score", "pred", "labels", "--json", "--seed", "3"])));
}

#[test]
fn unequal_lengths_are_an_error_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "labels.csv", &avec(0.0, 100));
    write(dir.path(), "pred.csv", &avec(0.0, 90));
    let o = train(dir.path(), &["score", "pred.csv", "labels.csv"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(stderr(&o).contains("90 predictions for 100 labels (give --align time"), "{}", stderr(&o));
    let score = json(&train(
        dir.path(),
        &["score", "pred.csv", "labels.csv", "--align", "time", "--missing", "drop", "--json"],
    ));
    // One step past the last prediction is held.
    assert_eq!(
        (score["arousal"]["frames"].as_u64(), score["arousal"]["ccc_concatenated"]["interval"].is_null()),
        (Some(91), true)
    );
}

#[test]
fn our_readings_meet_labels_that_are_bound_to_frames() {
    let dir = tempfile::tempdir().unwrap();
    let labels =
        (0..50).map(|i| if i == 7 { "-5,-5\n".to_owned() } else { format!("{},{}\n", -value(i, 0.0), value(i, 0.0)) });
    write(dir.path(), "labels/v.txt", &("valence,arousal\n".to_owned() + &labels.collect::<String>()));
    let reading = |i| {
        let (a, v) = (value(i, 0.0), -value(i, 0.0));
        format!("{{\"time_s\":{},\"frame\":{i},\"face\":1,\"arousal\":{a},\"valence\":{v}}}\n", f64::from(i) / 25.0)
    };
    write(dir.path(), "pred/v.jsonl", &(0..50).map(reading).collect::<String>());
    let score = json(&train(dir.path(), &["score", "pred", "labels", "--align", "frame", "--fps", "25", "--json"]));
    for dimension in ["arousal", "valence"] {
        assert_eq!(score[dimension]["ccc_concatenated"]["value"], 1.0);
        assert_eq!((score[dimension]["frames"].as_u64(), score[dimension]["lag_s"].as_f64()), (Some(49), Some(0.0)));
    }
}

#[test]
fn a_data_set_gives_labels_and_people() {
    let dir = tempfile::tempdir().unwrap();
    for video in ["Train_DE_01", "Devel_DE_01", "Devel_DE_02"] {
        write(dir.path(), &format!("avec/labels/{video}.csv"), &avec(0.0, 60));
        write(dir.path(), &format!("avec/video/{video}.avi"), "");
    }
    for video in ["Devel_DE_01", "Devel_DE_02"] {
        write(dir.path(), &format!("pred/{video}.csv"), &avec(0.0, 60));
    }
    let score = json(&train(dir.path(), &["score", "pred", "avec", "--dataset", "avec2019", "--json"]));
    assert_eq!((score["groups"].as_u64(), score["arousal"]["frames"].as_u64()), (Some(2), Some(120)));
    let check = json(&train(dir.path(), &["datasets", "check", "avec2019", "avec", "--json"]));
    assert_eq!(check["parts"][1]["recordings"], 2);

    write(dir.path(), "avec/labels/Train_DE_02.csv", "name;timestamp;arousal;valence;liking\n'x';0;2;0;0\n");
    let o = train(dir.path(), &["datasets", "check", "avec2019", "avec"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(
        stderr(&o).contains("Train_DE_02.csv:2: arousal is \"2\"") && stderr(&o).contains("--skip-bad"),
        "{}",
        stderr(&o)
    );
    let text = stdout(&train(dir.path(), &["datasets", "check", "avec2019", "avec", "--skip-bad"]));
    assert!(text.contains("1 bad:") && text.contains("| train | 1 | 1 | 60 | 60 |"), "{text}");
}

#[test]
fn every_set_says_how_to_get_it() {
    let text = stdout(&train(Path::new("."), &["datasets", "list"]));
    for name in [
        "sewa",
        "sewa-vaerr",
        "avec2019",
        "avec2017",
        "recola",
        "avec2016",
        "affwild2",
        "msp-face",
        "afew-va",
        "omg",
        "ferplus",
    ] {
        assert!(text.contains(&format!("{name}: ")), "{name}");
    }
    let o = train(Path::new("."), &["datasets", "check", "imagenet", "."]);
    assert!(o.status.code() == Some(2) && stderr(&o).contains("data sets: sewa, "), "{}", stderr(&o));
}
