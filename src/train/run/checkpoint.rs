//! Checkpoints: a folder that is there whole or not at all.

use crate::error::{Error, Result};
use crate::model::sha256_hex;
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a run stood when it was saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// All settings of the run; it goes on only under the same.
    pub settings: serde_json::Value,
    /// Epochs done.
    pub epoch: usize,
    /// Optimiser steps done in the epoch that has begun.
    pub steps_in_epoch: usize,
    /// Optimiser steps done in all.
    pub step: usize,
    /// Sum of the losses of the steps in this epoch, kept so that its mean is the same after a resume.
    pub loss_sum: f64,
    /// Epoch of the best score, from 1; 0 before any.
    pub best_epoch: usize,
    /// The best score, higher is better; absent before any.
    pub best_score: Option<f64>,
}

impl Progress {
    /// A run that has not begun.
    pub fn new(settings: serde_json::Value) -> Self {
        Self { settings, epoch: 0, steps_in_epoch: 0, step: 0, loss_sum: 0.0, best_epoch: 0, best_score: None }
    }
}

fn failed(path: &Path, e: impl std::fmt::Display) -> Error {
    Error::io(format!("checkpoint: {e}")).at(path.display())
}

/// Writes the weights and running statistics of `net` to one file.
///
/// # Errors
/// If the file cannot be written.
pub fn save_net<M: Module>(net: &M, path: &Path) -> Result<()> {
    // A training module would lose its last BatchNorm update.
    net.valid().into_record().save(path).map_err(|e| failed(path, e))
}

/// Reads what [`save_net`] wrote into a network of the same shape.
///
/// # Errors
/// If the file is missing, damaged, or of another shape.
pub fn load_net<M: Module>(net: M, path: &Path) -> Result<M> {
    let record = ModuleRecord::load(path).map_err(|e| failed(path, e))?;
    net.try_load_record(record).map_err(|e| failed(path, e))
}

/// Writes the optimiser's state, as one file.
///
/// # Errors
/// If the file cannot be written.
pub fn save_optimizer(optimizer: &ModuleOptimizer, path: &Path) -> Result<()> {
    optimizer.save(path).map_err(|e| failed(path, e))
}

/// Reads what [`save_optimizer`] wrote into an optimiser of the same settings.
///
/// # Errors
/// If the file is missing or damaged.
pub fn load_optimizer(optimizer: ModuleOptimizer, path: &Path) -> Result<ModuleOptimizer> {
    optimizer.load(path).map_err(|e| failed(path, e))
}

/// What the checkpoint of a run with a finished epoch says: its settings, as a run of `command` keeps them, and where it stands.
///
/// # Errors
/// If the folder holds no run, or none that is a `kind`.
pub fn kept<K: DeserializeOwned>(run: &Path, command: &str, kind: &str) -> Result<(K, Progress)> {
    let remedy = || format!("give the folder of a run of `vaerr-train {command}`");
    let folder = find(run).ok_or_else(|| {
        Error::input(format!("holds no {kind} with a finished epoch{}", instead(run)))
            .at(run.display())
            .remedy(remedy())
    })?;
    let progress = read_progress(&folder)?;
    let kept = serde_json::from_value(progress.settings.clone())
        .map_err(|e| Error::input(format!("is no {kind}")).at(run.display()).caused_by(e).remedy(remedy()))?;
    Ok((kept, progress))
}

/// What a folder that holds no run of the loop is mistaken for.
fn instead(folder: &Path) -> &'static str {
    let has = |name: &str| folder.join(name).is_file();
    match () {
        () if has("manifest.toml") => "; it holds a bundle",
        () if has(PROGRESS) => "; it holds a run of `vaerr-train fit`",
        () if has("index.json") => "; it holds shards",
        () => "",
    }
}

/// SHA-256 of a file, in lower-case hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub fn digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e))?;
    Ok(sha256_hex(&bytes))
}

/// Replaces `path` by what `write` writes beside it.
///
/// # Errors
/// Those of `write`; then the old file stands.
pub fn replace_file(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    write(&part)?;
    std::fs::rename(&part, path).map_err(|e| failed(path, e))
}

const NEW: &str = "checkpoint.new";
const CURRENT: &str = "checkpoint";
const OLD: &str = "checkpoint.old";

/// Replaces the run's checkpoint by the folder that `write` fills. A kill at any moment leaves the old or the new one.
///
/// # Errors
/// Those of `write` and of the disk; then the old one stands.
pub fn replace(run: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let [new, current, old] = [NEW, CURRENT, OLD].map(|n| run.join(n));
    let clear = |p: &Path| if p.exists() { std::fs::remove_dir_all(p).map_err(|e| failed(p, e)) } else { Ok(()) };
    clear(&new)?;
    std::fs::create_dir_all(&new).map_err(|e| failed(&new, e))?;
    write(&new)?;
    for file in std::fs::read_dir(&new).map_err(|e| failed(&new, e))? {
        let path = file.map_err(|e| failed(&new, e))?.path();
        std::fs::File::open(&path).and_then(|f| f.sync_all()).map_err(|e| failed(&path, e))?;
    }
    if current.exists() {
        clear(&old)?;
        std::fs::rename(&current, &old).map_err(|e| failed(&current, e))?;
    }
    std::fs::rename(&new, &current).map_err(|e| failed(&new, e))?;
    clear(&old)
}

/// The run's checkpoint, if it has one.
pub fn find(run: &Path) -> Option<PathBuf> {
    // Between the two renames only the old one is there.
    [CURRENT, OLD].map(|n| run.join(n)).into_iter().find(|p| p.join(PROGRESS).is_file())
}

const PROGRESS: &str = "progress.json";

/// Writes `progress` into the folder of a checkpoint.
///
/// # Errors
/// If the file cannot be written.
pub fn write_progress(folder: &Path, progress: &Progress) -> Result<()> {
    let path = folder.join(PROGRESS);
    let text = serde_json::to_string_pretty(progress).map_err(|e| failed(&path, e))?;
    std::fs::write(&path, text).map_err(|e| failed(&path, e))
}

/// Reads the progress of the checkpoint in `folder`.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_progress(folder: &Path) -> Result<Progress> {
    let path = folder.join(PROGRESS);
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
    serde_json::from_str(&text).map_err(|e| failed(&path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(run: &Path, step: usize) -> Result<()> {
        let mut progress = Progress::new(serde_json::Value::Null);
        progress.step = step;
        replace(run, |folder| write_progress(folder, &progress))
    }

    fn step(run: &Path) -> usize {
        read_progress(&find(run).unwrap()).unwrap().step
    }

    #[test]
    fn a_checkpoint_survives_a_kill_at_any_moment_of_its_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        assert!(find(run).is_none());
        write(run, 1).unwrap();
        // Killed while writing the new one.
        std::fs::create_dir(run.join(NEW)).unwrap();
        std::fs::write(run.join(NEW).join("net.bpk"), "torn").unwrap();
        assert_eq!(step(run), 1);
        write(run, 2).unwrap();
        assert_eq!(step(run), 2);
        // Killed between the renames.
        std::fs::rename(run.join(CURRENT), run.join(OLD)).unwrap();
        assert_eq!(step(run), 2);
        write(run, 3).unwrap();
        assert_eq!(step(run), 3);
        assert!(!run.join(OLD).exists());
    }

    #[test]
    fn a_folder_without_the_run_asked_for_says_what_it_holds_and_which_command_makes_one() {
        let told = |file: Option<&str>, text: &str| {
            let dir = tempfile::tempdir().unwrap();
            if let Some(path) = file.map(|name| dir.path().join(name)) {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            kept::<crate::train::run::config::LoopConfig>(dir.path(), "finetune", "fine-tuning run")
                .unwrap_err()
                .to_string()
        };
        for (file, word) in [
            (None, "with a finished epoch (give"),
            (Some("manifest.toml"), "epoch; it holds a bundle (give"),
            (Some(PROGRESS), "epoch; it holds a run of `vaerr-train fit` (give"),
            (Some("index.json"), "epoch; it holds shards (give"),
        ] {
            let said = told(file, "");
            assert!(said.contains("holds no fine-tuning run") && said.contains(word), "{said}");
            assert!(said.contains("a run of `vaerr-train finetune`"), "{said}");
        }
        let other = serde_json::to_string(&Progress::new(serde_json::json!({"task": "lira"}))).unwrap();
        let said = told(Some("checkpoint/progress.json"), &other);
        assert!(said.contains("is no fine-tuning run: ") && said.contains("`vaerr-train finetune`"), "{said}");
    }

    #[test]
    fn a_failed_write_keeps_the_old_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 7).unwrap();
        assert!(replace(dir.path(), |_| Err(Error::io("no space left"))).is_err());
        assert_eq!(step(dir.path()), 7);
    }
}
