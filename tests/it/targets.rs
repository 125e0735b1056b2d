//! The board files, the list embedded in the program, and what the build script reads of them.

use crate::program;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use vaerr::cli::targets::SHIPPED;
use vaerr::engine::ENGINES;
use vaerr::spec::{KERNEL_SMS, Target};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("targets")).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    found.sort();
    found
}

fn cargo_features() -> BTreeSet<String> {
    let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    manifest["features"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn every_board_file_is_valid_embedded_and_built_of_what_exists() {
    let features = cargo_features();
    let (mut titles, mut models) = (BTreeSet::new(), BTreeSet::new());
    let names: Vec<String> = files().iter().map(|p| p.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, SHIPPED.iter().map(|(n, _)| *n).collect::<Vec<_>>(), "targets/ and the list differ");
    for (path, (name, embedded)) in files().iter().zip(SHIPPED) {
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, *embedded);
        let t = Target::parse(&path.display().to_string(), &text).unwrap();
        assert_eq!(t.name, *name);
        assert!(titles.insert(t.title.clone()), "{name}: title is taken");
        assert!(t.device_tree.iter().all(|m| models.insert(m.clone())), "{name}: a device tree string is taken");
        assert!(t.features.iter().all(|f| features.contains(f)), "{name}: {:?}", t.features);
        assert_eq!(t.cuda.is_some(), t.features.iter().any(|f| f == "cuda"), "{name}");
        assert!(t.cuda.iter().all(|c| KERNEL_SMS.contains(&c.sm)), "{name}: no kernel is compiled for {:?}", t.cuda);
        let engine = t.defaults.engine.as_str();
        assert!(engine == "auto" || ENGINES.iter().any(|e| e.name == engine), "{name}: engine {engine}");
    }
    assert!(SHIPPED.len() >= 12);
}

#[test]
fn one_board_at_most_answers_to_a_device_tree() {
    let all: Vec<Target> = SHIPPED.iter().map(|(n, text)| Target::parse(n, text).unwrap()).collect();
    for (model, want) in [
        ("Raspberry Pi 4 Model B Rev 1.5", "raspberry-pi-4"),
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5"),
        ("NVIDIA Jetson Nano Developer Kit", "jetson-nano"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "jetson-orin-nano"),
        ("NVIDIA Orin NX Developer Kit", "jetson-orin-nx"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "jetson-thor"),
    ] {
        let fit: Vec<&str> = all.iter().filter(|t| t.is_board(model)).map(|t| t.name.as_str()).collect();
        assert_eq!(fit, [want], "{model}");
    }
}

#[test]
fn the_build_script_reads_the_boards_as_the_program_does() {
    for (name, text) in SHIPPED {
        let t = Target::parse(name, text).unwrap();
        let o = Command::new("bash").arg(root().join("targets/build")).args([name, "--explain"]).output().unwrap();
        let said = String::from_utf8(o.stdout).unwrap();
        let flags: Vec<String> = t.cpu_features.iter().map(|f| format!("+{f}")).collect();
        let want = format!(
            "triple={}\nglibc={}.{}\nfeatures={}\ncpu={}\n",
            t.triple,
            t.glibc[0],
            t.glibc[1],
            t.features.join(","),
            flags.join(",")
        );
        assert_eq!(said, want, "{name}: {}", String::from_utf8_lossy(&o.stderr));
    }
}

fn vaerr(args: &[&str]) -> (Option<i32>, String, String) {
    let o = program::vaerr().arg("targets").args(args).output().unwrap();
    (o.status.code(), String::from_utf8(o.stdout).unwrap(), String::from_utf8(o.stderr).unwrap())
}

#[test]
fn the_program_lists_and_shows_boards() {
    let (code, out, _) = vaerr(&["list"]);
    assert_eq!((code, out.lines().count()), (Some(0), SHIPPED.len()));
    let (_, out, _) = vaerr(&["show", "jetson-orin-nano"]);
    for want in ["sm_87, CUDA 12.6, JetPack 6, shares", "targets/build jetson-orin-nano", "size=640x480,fps=30"] {
        assert!(out.contains(want), "{want}: {out}");
    }
    let file = root().join("targets/raspberry-pi-5.toml");
    let shown: Target = serde_json::from_str(&vaerr(&["show", file.to_str().unwrap(), "--json"]).1).unwrap();
    assert!(shown.cpu_features.contains(&"dotprod".into()));
}

#[test]
fn unknown_boards_and_keys_end_with_two_and_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, format!("surprise = 1\n{}", SHIPPED[0].1)).unwrap();
    for (board, want) in [("warp", "vaerr targets list"), (file.to_str().unwrap(), "surprise"), ("no.toml", "no.toml")]
    {
        let (code, _, said) = vaerr(&["show", board]);
        assert!(code == Some(2) && said.contains(want), "{said}");
    }
}
