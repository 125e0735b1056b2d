//! The layer rule of docs/architecture.md: a module imports only from lower layers, and layer 3 not from itself.

use std::path::{Path, PathBuf};

const LAYERS: [&[&str]; 7] = [
    &["error", "spec", "stop"],
    &["frame", "quant", "metrics", "program"],
    &["model", "preprocess", "face", "render"],
    &["engine", "capture", "display", "sink"],
    &["session", "pipeline", "bench"],
    &["train"],
    &["cli", "fuzzing"],
];

/// Imports that stay within a layer, where the lower of the two is plain.
const WITHIN: [(&str, &str); 4] =
    [("spec", "error"), ("face", "preprocess"), ("pipeline", "session"), ("error", "spec")];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|l| l.contains(&module))
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn module_of(root: &Path, path: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// What stands before the unit tests, which may reach anywhere.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn modules_import_only_from_lower_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for path in &files {
        let module = module_of(&root, path);
        let Some(own) = layer(&module) else { continue };
        let text = std::fs::read_to_string(path).unwrap();
        for piece in code(&text).split("crate::").skip(1) {
            let name: String = piece.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let allowed = name == module || WITHIN.contains(&(module.as_str(), name.as_str()));
            if layer(&name).is_some_and(|l| l >= own) && !allowed {
                wrong.push(format!("{}: imports {name}", path.display()));
            }
        }
    }
    assert!(files.len() > 30 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_has_a_layer() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for name in text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(layer(name).is_some(), "{name} stands in no layer");
    }
}

#[test]
fn outside_tests_nothing_unwraps() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let of_tests = |path: &Path| path.ends_with("tests.rs") || path.parent().is_some_and(|p| p.ends_with("tests"));
    for path in files.iter().filter(|p| !of_tests(p)) {
        let text = std::fs::read_to_string(path).unwrap();
        if text.contains("#[cfg(test)]\npub(crate) fn check_contract") {
            continue;
        }
        for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("] {
            assert!(!code(&text).contains(word), "{} holds {word}", path.display());
        }
    }
}
