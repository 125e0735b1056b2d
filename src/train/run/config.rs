//! Settings of the loop, and how a run's TOML is read.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How long, how fast and how carefully a network is trained. The defaults are the paper's where it states them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopConfig {
    /// Fixes the weights at the start, the order of clips and every view.
    pub seed: u64,
    pub epochs: usize,
    /// Clips of a micro-batch, on each process.
    pub batch: usize,
    /// Micro-batches of an optimiser step; their gradients are averaged. A concordance loss is taken in each on its own.
    pub accumulate: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Learning rate at the end of half a cosine.
    pub min_learning_rate: f64,
    /// Share of the steps over which the rate climbs from 0.
    pub warmup: f64,
    /// AdamW's (Loshchilov and Hutter, arXiv 1711.05101).
    pub weight_decay: f32,
    /// Largest Euclidean norm of all gradients together; 0 for no limit.
    pub clip_norm: f64,
    /// Decay per step of the averaged weights that are judged and kept; 0 to keep the weights as they are.
    pub average_decay: f64,
    /// Epochs between judgements; the last is judged in any case.
    pub judge_every: usize,
    /// Epochs without a better score after which the run ends; 0 for never.
    pub patience: usize,
    /// Optimiser steps between checkpoints; one is written after every epoch in any case. 0 for no others.
    pub checkpoint_steps: usize,
    /// Recompute activations in the backward pass instead of keeping them: less memory, more time.
    pub recompute: bool,
    /// The full model's convolutions in bfloat16, all else in f32; for devices that are quicker at it.
    pub mixed_precision: bool,
}

impl Default for LoopConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            epochs: 20,
            batch: 5,
            accumulate: 1,
            learning_rate: 3e-4,
            min_learning_rate: 1e-6,
            warmup: 0.05,
            weight_decay: 1e-2,
            clip_norm: 5.0,
            average_decay: 0.0,
            judge_every: 1,
            patience: 0,
            checkpoint_steps: 0,
            recompute: false,
            mixed_precision: false,
        }
    }
}

impl LoopConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::usage(format!("run.{what}")));
        if [self.epochs, self.batch, self.accumulate, self.judge_every].contains(&0) {
            return refuse("epochs, run.batch, run.accumulate and run.judge_every must be at least 1");
        }
        let rates = self.learning_rate > 0.0 && (0.0..=self.learning_rate).contains(&self.min_learning_rate);
        if !rates || !self.learning_rate.is_finite() {
            return refuse("learning_rate must be above 0 and run.min_learning_rate between 0 and it");
        }
        if !(0.0..1.0).contains(&self.warmup) || !(0.0..1.0).contains(&self.average_decay) {
            return refuse("warmup and run.average_decay must lie in [0, 1)");
        }
        if !(self.clip_norm >= 0.0 && self.weight_decay >= 0.0) {
            return refuse("clip_norm and run.weight_decay must not be negative");
        }
        Ok(())
    }

    /// For a student, whose training is in f32 or int8.
    ///
    /// # Errors
    /// If mixed precision is asked for.
    pub fn ensure_full_precision(&self) -> Result<()> {
        if self.mixed_precision {
            return Err(Error::usage("run.mixed_precision is for the full model; a student is trained without it"));
        }
        Ok(())
    }

    /// Learning rate of step `step` of `steps`: a linear climb, then half a cosine down to the smallest.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let at = (step as f64 + 0.5) / steps.max(1) as f64;
        if at < self.warmup {
            return self.learning_rate * at / self.warmup;
        }
        let rest = (at - self.warmup) / (1.0 - self.warmup);
        let low = self.min_learning_rate;
        low + (self.learning_rate - low) * 0.5 * (1.0 + (std::f64::consts::PI * rest).cos())
    }
}

/// A run's settings: those of `file` if given, over `base`, then each `KEY=VALUE` of `changes` (`run.epochs=3`).
///
/// # Errors
/// A file that cannot be read, a key that there is not, a value of another type.
pub fn read<C: Serialize + DeserializeOwned>(base: &C, file: Option<&Path>, changes: &[String]) -> Result<C> {
    let whole = |e: toml::ser::Error| Error::usage("the settings cannot be written as TOML").caused_by(e);
    let mut table = toml::Table::try_from(base).map_err(whole)?;
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e))?;
        let given: toml::Table = text.parse().map_err(|e: toml::de::Error| bad(&path.display(), e))?;
        merge(&mut table, &given);
    }
    for change in changes {
        let (key, value) =
            change.split_once('=').ok_or_else(|| Error::usage("is not KEY=VALUE").at(format!("--set {change}")))?;
        set(&mut table, key.trim(), value.trim()).map_err(|e| e.at(format!("--set {change}")))?;
    }
    let place = file.map_or("settings".into(), |p| p.display().to_string());
    C::deserialize(toml::Value::Table(table)).map_err(|e| bad(&place, e))
}

/// `base` with the values of `given` over its own.
///
/// # Errors
/// A key that there is not, a value of another type.
pub fn over<C: Serialize + DeserializeOwned>(base: &C, given: &toml::Table) -> Result<C, toml::de::Error> {
    let mut table = toml::Table::try_from(base).map_err(serde::de::Error::custom)?;
    merge(&mut table, given);
    C::deserialize(toml::Value::Table(table))
}

/// Puts every value of `from` over those of `into`, table by table.
pub fn merge(into: &mut toml::Table, from: &toml::Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(toml::Value::Table(a)), toml::Value::Table(b)) => merge(a, b),
            _ => _ = into.insert(key.clone(), value.clone()),
        }
    }
}

fn bad(place: &impl std::fmt::Display, e: toml::de::Error) -> Error {
    Error::usage(e.to_string().trim_end().to_owned()).at(place).remedy("--print-config shows every setting")
}

/// Puts `value` at the dotted `key`; a value that is not TOML is a word.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<()> {
    let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut at = table;
    for part in path.split('.').filter(|p| !p.is_empty()) {
        let next = at.entry(part.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = next.as_table_mut().ok_or_else(|| Error::usage(format!("{part} holds one value, not several")))?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

/// Settings as TOML, every one of them.
///
/// # Errors
/// If they cannot be written as TOML.
pub fn print<C: Serialize>(config: &C) -> Result<String> {
    toml::to_string_pretty(config).map_err(|e| Error::usage("the settings cannot be written as TOML").caused_by(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Both {
        name: String,
        run: LoopConfig,
    }

    fn sets(changes: &[&str]) -> Result<Both> {
        read(&Both::default(), None, &changes.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_rate_climbs_then_falls_to_the_smallest() {
        let c = LoopConfig::default();
        assert!(c.rate(0, 1000) < 0.02 * c.learning_rate);
        assert!((c.rate(50, 1000) - c.learning_rate).abs() < 1e-3 * c.learning_rate);
        assert!((c.rate(999, 1000) - c.min_learning_rate).abs() < 1e-3 * c.learning_rate);
        let flat = LoopConfig { min_learning_rate: 3e-4, warmup: 0.0, ..c };
        assert!((flat.rate(17, 40) - 3e-4).abs() < 1e-18);
    }

    #[test]
    fn printed_settings_read_back_and_changes_apply_over_them() {
        let text = print(&Both::default()).unwrap();
        assert!(text.contains("[run]") && text.contains("weight_decay"), "{text}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.toml");
        std::fs::write(&file, text).unwrap();
        assert_eq!(read(&Both::default(), Some(&file), &[]).unwrap(), Both::default());
        let changed: Both =
            read(&Both::default(), Some(&file), &["run.epochs=3".into(), "name=first try".into()]).unwrap();
        assert_eq!((changed.run.epochs, &changed.name[..]), (3, "first try"));
    }

    #[test]
    fn unknown_keys_wrong_types_and_nonsense_are_refused_by_name() {
        for (change, word) in [
            ("run.epoch=3", "epoch"),
            ("run.epochs=many", "--print-config"),
            ("run", "KEY=VALUE"),
            ("name=x", ""),
            ("run.epochs.x=1", "x"),
        ] {
            match sets(&[change]) {
                Ok(c) => assert!(word.is_empty(), "{change}: {c:?}"),
                Err(e) => assert!(!word.is_empty() && e.to_string().contains(word), "{change}: {e}"),
            }
        }
        for change in ["run.batch=0", "run.learning_rate=-1.0", "run.warmup=1.0", "run.clip_norm=-1.0"] {
            assert!(sets(&[change]).unwrap().run.validate().is_err(), "{change}");
        }
        assert!(sets(&[]).unwrap().run.validate().is_ok());
    }
}
