//! How an output goes on with what a file holds.

use super::csv::{self, HEADER, MARKED};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

/// Longest line that is looked at; readings are shorter.
const MOST_BYTES: usize = 1 << 16;

/// What is to be done to a file before it is written to. The default empties it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resume {
    /// How much of it stays.
    pub keep: u64,
    /// Bytes of a torn last line behind that.
    pub torn: u64,
    /// Whether its last line is whole but for its end.
    pub unended: bool,
}

impl Resume {
    /// Does it; says what it takes away of a file that is gone on with.
    pub(super) fn apply(self, mut file: &File, name: &str) -> std::io::Result<()> {
        file.set_len(self.keep)?;
        if self.torn > 0 {
            log::warn!("{name}: {} bytes of a torn last line, as a killed run leaves it, are cut off", self.torn);
        }
        if self.unended { file.write_all(b"\n") } else { Ok(()) }
    }
}

/// A file's lines, as far as they matter to what follows them.
#[derive(Debug, Default)]
struct Found {
    first: Option<Vec<u8>>,
    /// Where the last whole line ends.
    whole: u64,
    /// What stands behind it.
    tail: Vec<u8>,
    len: u64,
}

/// Reads through `file`; `quotes`: a line may go on within quotes, as in CSV.
fn look(file: File, quotes: bool) -> std::io::Result<Found> {
    let (mut found, mut inside) = (Found::default(), false);
    let mut reader = BufReader::with_capacity(MOST_BYTES, file);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(found);
        }
        for byte in bytes {
            found.len += 1;
            inside ^= quotes && *byte == b'"';
            if *byte == b'\n' && !inside {
                found.whole = found.len;
                let line = std::mem::take(&mut found.tail);
                found.first.get_or_insert(line);
            } else if found.tail.len() < MOST_BYTES {
                found.tail.push(*byte);
            }
        }
        let n = bytes.len();
        reader.consume(n);
    }
}

/// How to go on with the file at `path`, and for CSV with a header, whether that has the column `unverified`.
///
/// # Errors
/// A file that cannot be read, or that holds something else than readings in this format.
pub(super) fn resume(path: &Path, csv: bool) -> Result<(Resume, Option<bool>)> {
    let regular = path.metadata().is_ok_and(|m| m.is_file());
    let found = match regular.then(|| File::open(path).and_then(|f| look(f, csv))) {
        None => Found::default(),
        Some(Ok(found)) => found,
        Some(Err(e)) if e.kind() == ErrorKind::NotFound => Found::default(),
        Some(Err(e)) => return Err(Error::io("cannot be read to go on with").at(path.display()).caused_by(e)),
    };
    let start = found.first.as_ref().unwrap_or(&found.tail);
    let text = String::from_utf8_lossy(start);
    let (marked, fits) = match csv {
        true if found.first.is_none() => (None, MARKED.starts_with(&*text)),
        true => {
            ((*text == *HEADER || *text == *MARKED).then_some(*text == *MARKED), *text == *HEADER || *text == *MARKED)
        }
        false => (None, text.is_empty() || text.starts_with('{')),
    };
    if !fits {
        let what = if csv { "its columns are not those of readings" } else { "does not hold JSON lines" };
        return Err(Error::usage(format!("--append: {what}"))
            .at(path.display())
            .remedy("write to another file, or leave out --append to replace this one"));
    }
    let ended = found.tail.len() as u64 == found.len - found.whole;
    let unended = ended
        && match csv {
            true => marked.is_some_and(|marked| csv::is_row(&found.tail, marked)),
            false => serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&found.tail).is_ok(),
        };
    let keep = if unended { found.len } else { found.whole };
    Ok((Resume { keep, torn: found.len - keep, unended }, marked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Result<(Resume, Option<bool>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        resume(&path, name.ends_with("csv"))
    }

    fn kept(name: &str, text: &str) -> (u64, u64, bool) {
        let (r, _) = of(name, text).unwrap();
        (r.keep, r.torn, r.unended)
    }

    #[test]
    fn a_torn_last_line_is_cut_and_one_that_only_lacks_its_end_is_kept() {
        assert_eq!(kept("r.jsonl", ""), (0, 0, false));
        assert_eq!(kept("r.jsonl", "{}\n"), (3, 0, false));
        assert_eq!(kept("r.jsonl", "{}\n{\"a\":1"), (3, 6, false));
        assert_eq!(kept("r.jsonl", "{}\n{\"a\":1}"), (10, 0, true));
        let row = "0.040000,1,none,,,,,,,,,,,,reference,9,cam,,,,false";
        assert_eq!(kept("r.csv", &format!("{HEADER}\n{row}\n")).1, 0);
        let whole = format!("{HEADER}\n");
        assert_eq!(kept("r.csv", &format!("{whole}{}", &row[..20])), (whole.len() as u64, 20, false));
        assert_eq!(kept("r.csv", &format!("{whole}{row}")), ((whole.len() + row.len()) as u64, 0, true));
        assert_eq!(kept("r.csv", &whole[..30]), (0, 30, false));
    }

    #[test]
    fn a_line_end_within_quotes_ends_no_row() {
        let whole = format!("{HEADER}\n");
        assert_eq!(kept("r.csv", &format!("{whole}1,\"a\nb")), (whole.len() as u64, 6, false));
        assert_eq!(kept("r.csv", &format!("{whole}1,\"a\"\"\nb\"\n")).1, 0);
    }

    #[test]
    fn what_is_no_file_of_readings_is_refused() {
        for (name, text) in [
            ("r.csv", "time_s,frame\n"),
            ("r.csv", "notes"),
            ("r.jsonl", "[1]\n"),
            ("r.jsonl", "notes"),
            ("r.csv", "\n"),
        ] {
            let e = of(name, text).unwrap_err().to_string();
            assert!(e.contains("--append: ") && e.contains("another file"), "{text:?}: {e}");
        }
        assert_eq!(of("r.csv", &format!("{HEADER}\n")).unwrap().1, Some(false));
        assert_eq!(of("r.csv", &format!("{MARKED}\n")).unwrap().1, Some(true));
    }
}
