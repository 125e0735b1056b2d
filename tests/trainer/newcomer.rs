//! What someone meets who trains for the first time: the time it will take, Ctrl-C, and options that name the wrong folder.

use crate::{finetune, refuse, trainer};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_training_says_how_long_it_takes_and_ctrl_c_stops_it_at_once_to_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let cut = dir.path().join("cut");
    let start = |run: &Path| {
        let mut command = finetune(run, &["clips.per_sample=6", "run.epochs=400"]);
        command.env("RUST_LOG", "info");
        command
    };
    let mut command = start(&cut);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !cut.join("checkpoint/progress.json").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    let place = |word: &str| said.find(word).unwrap_or_else(|| panic!("{word:?} is not in {said}"));
    let words =
        ["M parameters, 400 epochs of ", "a step takes ", "stopping; Ctrl-C once more", "(continue with --resume)"];
    assert!(words.map(place).is_sorted(), "{said}");

    // No step is lost.
    let written = || std::fs::read_to_string(cut.join("metrics.jsonl")).unwrap();
    let kept = written();
    let mut child = start(&cut).arg("--resume").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while written().len() <= kept.len() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(written().len() > kept.len() && written().starts_with(&kept));
}

#[test]
fn an_option_that_names_the_wrong_folder_is_told_what_it_wants() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().to_str().unwrap();
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/models/vaerr-nano");
    let shards = crate::corpus().to_str().unwrap();
    for (args, words) in [
        (
            vec!["quantize", "--run", nowhere, "--data", shards],
            ["`vaerr-train fit` or `vaerr-train distil`", "--student"],
        ),
        (
            vec!["verify", "--teacher", nowhere, "--student", nowhere, "--data", shards],
            ["a bundle's folder", "vaerr-train export"],
        ),
        (
            vec!["verify", "--teacher", nowhere, "--student", bundle, "--data", shards],
            ["`vaerr-train finetune`", "no fine-tuning run"],
        ),
        (
            vec!["distil", "--teacher", bundle, "--shards", shards, "--run", nowhere],
            ["`vaerr-train finetune`", "it holds a bundle"],
        ),
        (
            vec!["distil", "--teacher", shards, "--shards", shards, "--run", nowhere],
            ["`vaerr-train finetune`", "it holds shards"],
        ),
    ] {
        let told = refuse(&mut trainer(&args));
        for word in words {
            assert!(told.contains(word), "{args:?}: {told}");
        }
        assert!(!told.contains("--model"), "{args:?}: {told}");
    }
}
