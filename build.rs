//! Finds the face detector's model inside the published crate `rustface` and hands it to `include_bytes!`.

use std::path::{Path, PathBuf};
use std::process::Command;

const MODEL: &str = "model/seeta_fd_frontal_v1.0.bin";
const MODEL_BYTES: usize = 1_209_904;

fn manifest_of(package: &str) -> Result<PathBuf, String> {
    let env = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let mut last = String::new();
    for extra in [&["--offline"][..], &[]] {
        let run = Command::new(env("CARGO")?)
            .args(["metadata", "--format-version", "1", "--filter-platform", &env("TARGET")?])
            .args(["--manifest-path", &format!("{}/Cargo.toml", env("CARGO_MANIFEST_DIR")?)])
            .args(extra)
            .output()
            .map_err(|e| e.to_string())?;
        if !run.status.success() {
            last = String::from_utf8_lossy(&run.stderr).into_owned();
            continue;
        }
        let all: serde_json::Value = serde_json::from_slice(&run.stdout).map_err(|e| e.to_string())?;
        let packages = all["packages"].as_array().ok_or("cargo metadata lists no packages")?;
        let found = packages.iter().find(|p| p["name"] == package).and_then(|p| p["manifest_path"].as_str());
        return found.map(PathBuf::from).ok_or(format!("{package} is not among the dependencies"));
    }
    Err(format!("cargo metadata failed: {last}"))
}

/// Says what to run where the feature tflite has no library, and lets a shipped program find it beside itself.
fn tflite() {
    let target = std::env::var("TARGET").unwrap_or_default().to_uppercase().replace('-', "_");
    let name = format!("TFLITEC_PREBUILT_PATH_{target}");
    println!("cargo:rerun-if-env-changed={name}");
    match std::env::var_os(&name).map(PathBuf::from) {
        Some(library) if !library.is_file() => {
            panic!("{} is missing: run .ci/tflite, which fetches the library of the feature tflite", library.display())
        }
        // Where there is none for the target, a compile_error! in the engine says so.
        Some(_) => println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN"),
        None => {}
    }
}

fn main() {
    if std::env::var_os("CARGO_FEATURE_TFLITE").is_some() {
        tflite();
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let found = manifest_of("rustface").and_then(|m| {
        let path = m.parent().unwrap_or(Path::new(".")).join(MODEL);
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    });
    let model = match found {
        Ok(m) if m.len() == MODEL_BYTES => m,
        Ok(m) => panic!("the detector model has {} bytes, expected {MODEL_BYTES}: pin rustface to 0.1.7", m.len()),
        Err(e) => panic!("cannot find the detector model in the crate rustface (run `cargo fetch`): {e}"),
    };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("face_detector.bin");
    if let Err(e) = std::fs::write(&out, model) {
        panic!("{}: {e}", out.display());
    }
}
