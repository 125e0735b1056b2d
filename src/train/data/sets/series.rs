//! Arousal and valence that come in a file each.

use crate::error::{Error, Result};
use crate::render::Affect;
use crate::train::data::record::{Annotation, Clock};
use crate::train::data::resample::resample;
use crate::train::data::table::{Delimiter, Table, read_text};
use std::path::Path;

/// One dimension over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Seconds, growing.
    pub times: Vec<f64>,
    pub values: Vec<Option<f64>>,
}

/// Times that differ by less are the same, in seconds.
const SAME_S: f64 = 1e-4;

impl Series {
    /// Reads a table whose first column is time in seconds and whose others are annotators with values in [-1, 1];
    /// takes the mean of the `annotators` named, or of all. Its header may be wanting; then annotators have no names.
    ///
    /// # Errors
    /// A malformed table, or an annotator who is not in it.
    pub fn rated(path: &Path, delimiter: Delimiter, annotators: &[String]) -> Result<Self> {
        let place = path.display().to_string();
        let text = read_text(path)?;
        let unnamed = |i| if i == 0 { "time".to_owned() } else { format!("annotator {i}") };
        let table = Table::parse_lenient(&text, &place, delimiter, unnamed)?;
        table.ensure_rows()?;
        if let (Some(name), false) = (annotators.first(), table.has_header()) {
            return Err(Error::input(format!("has no header that would say which column is {name}"))
                .at(format!("{place}:1"))
                .remedy("give it one, or take all annotators"));
        }
        let columns: Vec<usize> = match annotators {
            [] => (1..table.header.len()).collect(),
            some => some.iter().map(|a| table.column(a)).collect::<Result<_>>()?,
        };
        if columns.is_empty() || columns.contains(&0) {
            return Err(Error::input("has no annotator's column, expected time and then one column an annotator")
                .at(format!("{place}:1")));
        }
        let mean = |row| -> Result<Option<f64>> {
            let sum: f64 = columns.iter().map(|c| table.number(row, *c, &(-1.0..=1.0))).sum::<Result<f64>>()?;
            Ok(Some(sum / columns.len() as f64))
        };
        Ok(Self { times: table.times(0)?, values: table.rows.iter().map(mean).collect::<Result<_>>()? })
    }

    /// Last time minus first, plus one step.
    pub fn span_s(&self) -> f64 {
        match self.times[..] {
            [first, .., last] => (last - first) * self.times.len() as f64 / (self.times.len() - 1) as f64,
            _ => 0.0,
        }
    }
}

/// Both dimensions at the times of `arousal`, with a remark if those of `valence` differ: then valence is interpolated,
/// and rows that it does not reach have no value.
pub fn pair(arousal: Series, valence: &Series) -> (Annotation, Option<String>) {
    let same = arousal.times.len() == valence.times.len()
        && arousal.times.iter().zip(&valence.times).all(|(a, v)| (a - v).abs() < SAME_S);
    let remark = (!same).then(|| {
        format!(
            "arousal has {} rows, valence {}, at other times; valence is interpolated at those of arousal",
            arousal.times.len(),
            valence.times.len()
        )
    });
    let at_arousal =
        if same { valence.values.clone() } else { resample(&valence.times, &valence.values, &arousal.times) };
    let both = |(a, v): (&Option<f64>, &Option<f64>)| Some(Affect { arousal: (*a)? as f32, valence: (*v)? as f32 });
    let values = arousal.values.iter().zip(&at_arousal).map(both).collect();
    (Annotation { clock: Clock::Seconds(arousal.times), values }, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(times: &[f64], values: &[f64]) -> Series {
        Series { times: times.to_vec(), values: values.iter().copied().map(Some).collect() }
    }

    #[test]
    fn a_table_without_a_header_keeps_its_first_row_and_names_no_annotator() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let read = |text: &str, annotators: &[&str]| {
            std::fs::write(&path, text).unwrap();
            let annotators: Vec<String> = annotators.iter().map(ToString::to_string).collect();
            Series::rated(&path, Delimiter::Char(','), &annotators)
        };
        let rows = "0.0,0.5,0.25\n0.1,-0.5,-0.25\n";
        let bare = read(rows, &[]).unwrap();
        assert_eq!(bare, series(&[0.0, 0.1], &[0.375, -0.375]));
        assert_eq!(bare, read(&format!("time,A1,A2\n{rows}"), &[]).unwrap());
        // Numbers as names are a header no more than any others; one word makes one.
        assert_eq!(read(&format!("t,1,2\n{rows}"), &["2"]).unwrap(), series(&[0.0, 0.1], &[0.25, -0.25]));
        let e = read(rows, &["A1"]).unwrap_err().to_string();
        assert!(e.contains("a.csv:1: has no header that would say which column is A1"), "{e}");
        let e = read("0.0,0.5\n0.1,x\n", &[]).unwrap_err().to_string();
        assert!(e.contains("a.csv:2: annotator 1 is \"x\""), "{e}");
    }

    #[test]
    fn rows_at_the_same_times_are_paired_as_they_are() {
        let (a, remark) = pair(series(&[0.0, 0.1], &[0.1, 0.2]), &series(&[0.0, 0.10001], &[-0.3, -0.4]));
        assert_eq!((a.values[1], remark), (Some(Affect { arousal: 0.2, valence: -0.4 }), None));
    }

    #[test]
    fn rows_at_other_times_are_interpolated_with_a_remark() {
        let (a, remark) = pair(series(&[0.0, 0.1, 0.9], &[0.1, 0.2, 0.3]), &series(&[0.0, 0.2], &[0.0, 0.4]));
        assert_eq!(
            a.values,
            [Some(Affect { arousal: 0.1, valence: 0.0 }), Some(Affect { arousal: 0.2, valence: 0.2 }), None]
        );
        assert!(remark.unwrap().contains("3 rows, valence 2"));
    }
}
