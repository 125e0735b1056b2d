//! Puts the library of the feature tflite beside the program.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What `cargo metadata` says of this package, without the network if that is enough.
fn metadata() -> Result<serde_json::Value, String> {
    let env = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let mut last = String::new();
    for network in [&["--offline"][..], &[]] {
        let run = Command::new(env("CARGO")?)
            .args(["metadata", "--format-version", "1", "--filter-platform", &env("TARGET")?])
            .args(["--manifest-path", &format!("{}/Cargo.toml", env("CARGO_MANIFEST_DIR")?)])
            .args(network)
            .output()
            .map_err(|e| e.to_string())?;
        if run.status.success() {
            return serde_json::from_slice(&run.stdout).map_err(|e| e.to_string());
        }
        last = String::from_utf8_lossy(&run.stderr).into_owned();
    }
    Err(format!("cargo metadata failed: {last}"))
}

/// Says what to run where the feature tflite has no library; else puts it beside the program, which looks for it there.
fn tflite() {
    let target = std::env::var("TARGET").unwrap_or_default().to_uppercase().replace('-', "_");
    let name = format!("TFLITEC_PREBUILT_PATH_{target}");
    println!("cargo:rerun-if-env-changed={name}");
    // Where there is none for the target, a compile_error! in the engine says so.
    let Some(library) = std::env::var_os(&name).map(PathBuf::from) else { return };
    if !library.is_file() {
        panic!("{} is missing: run .ci/tflite, which fetches the library of the feature tflite", library.display());
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN");
    println!("cargo:rerun-if-changed={}", library.display());
    let placed = folder_of_programs().and_then(|folder| place(&library, &folder));
    match placed {
        Ok(path) => println!("cargo:rerun-if-changed={}", path.display()),
        Err(e) => println!("cargo:warning=copy {} beside the program: {e}", library.display()),
    }
}

/// Where cargo puts the programs of this build: what holds `build/`, in which OUT_DIR lies, in the target folder.
fn folder_of_programs() -> Result<PathBuf, String> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let build = out.ancestors().find(|a| a.ends_with("build")).and_then(Path::parent);
    let folder = build.ok_or_else(|| format!("{} is in no folder `build`", out.display()))?;
    // Cargo's setting `build.build-dir` keeps what lies between apart from the programs.
    let all = metadata()?;
    let [between, target] = ["build_directory", "target_directory"].map(|key| all[key].as_str());
    let inside = between.and_then(|between| folder.strip_prefix(between).ok());
    Ok(inside.zip(target).map_or_else(|| folder.to_owned(), |(inside, target)| Path::new(target).join(inside)))
}

/// Copies `library` into `folder` unless it is there. The copy keeps its time, or cargo would take it for a change at every build,
/// and replaces an older one whole, which a program may be running from.
fn place(library: &Path, folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join(library.file_name().unwrap_or_default());
    let stamp = |p: &Path| p.metadata().and_then(|m| Ok((m.len(), m.modified()?)));
    let wanted = stamp(library).map_err(|e| e.to_string())?;
    if stamp(&path).is_ok_and(|there| there == wanted) {
        return Ok(path);
    }
    let part = path.with_extension("so.part");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::copy(library, &part))
        .and_then(|_| std::fs::File::options().append(true).open(&part)?.set_modified(wanted.1))
        .and_then(|()| std::fs::rename(&part, &path))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

fn main() {
    if std::env::var_os("CARGO_FEATURE_TFLITE").is_some() {
        tflite();
    }
    println!("cargo:rerun-if-changed=build.rs");
}
