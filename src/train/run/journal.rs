//! What a run writes down as it goes: `metrics.jsonl`, and event files for TensorBoard.

use super::events::EventWriter;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Named figures.
pub type Figures = Vec<(String, f64)>;

/// The files of one run.
pub struct Journal {
    path: PathBuf,
    lines: File,
    events: EventWriter,
}

impl Journal {
    /// Opens the files in the run's folder. Lines of steps after `step`, or of an epoch that is not among the `epochs` whole ones nor the
    /// next, are dropped: a resumed run takes them again.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn open(run: &Path, step: usize, epochs: usize) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let failed = |e: std::io::Error| Error::io("cannot be written").at(path.display()).caused_by(e);
        let kept = match std::fs::read_to_string(&path) {
            Ok(text) => kept(&text, step, epochs),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(failed(e)),
        };
        super::checkpoint::replace_file(&path, |p| std::fs::write(p, kept).map_err(failed))?;
        let lines = File::options().append(true).open(&path).map_err(failed)?;
        Ok(Self { events: EventWriter::create(run, if step > 0 { step as u64 + 1 } else { 0 }, now_s())?, lines, path })
    }

    /// Writes `figures` of one step. A figure that is not finite is null in the lines.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn write(&mut self, step: usize, epoch: usize, figures: &[(String, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        line.insert("epoch".into(), epoch.into());
        line.extend(figures.iter().map(|(k, v)| (k.clone(), Value::from(*v))));
        writeln!(self.lines, "{}", Value::Object(line))
            .map_err(|e| Error::io("cannot be written").at(self.path.display()).caused_by(e))?;
        let scalars: Vec<(&str, f64)> = figures.iter().map(|(k, v)| (&k[..], *v)).collect();
        self.events.scalars(step as u64, now_s(), &scalars)
    }
}

/// Seconds since 1970.
fn now_s() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The whole lines of steps up to `step` that do not close an epoch after the `epochs` whole ones. A step's line counts epochs from
/// 0, the line that closes one from 1.
fn kept(text: &str, step: usize, epochs: usize) -> String {
    let whole = |line: &&str| {
        let Ok(value) = serde_json::from_str::<Value>(line) else { return false };
        let within = |key: &str, most: usize| value[key].as_u64().is_some_and(|n| n <= most as u64);
        within("step", step) && within("epoch", epochs)
    };
    text.lines().filter(whole).flat_map(|l| [l, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_drops_later_and_torn_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), 0, 0).unwrap();
        for step in 1..=4 {
            journal.write(step, 0, &[("loss".into(), step as f64), ("gone".into(), f64::NAN)]).unwrap();
        }
        let path = dir.path().join("metrics.jsonl");
        writeln!(File::options().append(true).open(&path).unwrap(), "{{\"step\":5,\"lo").unwrap();
        let mut journal = Journal::open(dir.path(), 2, 0).unwrap();
        journal.write(3, 1, &[("loss".into(), 0.5)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[1]["loss"], &lines[1]["gone"]), (&Value::from(2.0), &Value::Null));
        assert_eq!((&lines[2]["loss"], &lines[2]["epoch"]), (&Value::from(0.5), &Value::from(1)));
    }

    #[test]
    fn the_line_that_closes_an_epoch_is_dropped_where_the_checkpoint_is_from_before_it() {
        let lines = "{\"step\":4,\"epoch\":0}\n{\"step\":4,\"epoch\":1,\"epoch/loss\":1}\n";
        assert_eq!(kept(lines, 4, 0).lines().count(), 1);
        assert_eq!(kept(lines, 4, 1), lines);
    }
}
