//! Delimited text: annotation files and prediction files of every system.

use super::bounded;
use crate::error::{Error, Result};
use std::ops::RangeInclusive;
use std::path::Path;

/// What stands between cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    /// One character; a cell may be quoted with `'` or `"`.
    Char(char),
    /// Any run of blanks.
    Blanks,
}

impl Delimiter {
    /// The first of semicolon, tabulator, comma that `line` holds, else blanks.
    pub fn of(line: &str) -> Self {
        [';', '\t', ','].into_iter().find(|c| line.contains(*c)).map_or(Delimiter::Blanks, Delimiter::Char)
    }
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// Counted from 1 in the file.
    pub line: usize,
    /// Trimmed, without quotes; as many as the header has.
    pub cells: Vec<&'a str>,
}

/// A table whose rows all have as many cells as its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Table<'a> {
    place: String,
    /// Counted from 1; 0 if there is none.
    header_line: usize,
    /// Trimmed names.
    pub header: Vec<String>,
    pub rows: Vec<Row<'a>>,
}

/// Any finite time in seconds.
pub const TIME: RangeInclusive<f64> = -1e9..=1e9;

/// Most bytes of a text file: annotations of a hundred hours, frame by frame.
const MOST_TEXT_BYTES: u64 = 256 << 20;

/// A text file without its byte order mark.
///
/// # Errors
/// If it cannot be read, is too large or is not UTF-8; names the line of the first bad byte.
pub fn read_text(path: &Path) -> Result<String> {
    let mut bytes = bounded::read(path, MOST_TEXT_BYTES)?;
    if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Error::input("is not UTF-8 text").at(format!("{}:{line}", path.display())).remedy("save it as UTF-8")
    })
}

impl<'a> Table<'a> {
    /// Reads `text` whose first line that is not blank is the header; `place` names the file in errors.
    ///
    /// # Errors
    /// An empty text, or a row with another number of cells than the header.
    pub fn parse(text: &'a str, place: &str, delimiter: Delimiter) -> Result<Self> {
        let mut lines = numbered(text);
        let (header_line, first) =
            lines.next().ok_or_else(|| Error::input("is empty, expected a header line").at(place))?;
        let header = split(first, delimiter).into_iter().map(str::to_owned).collect();
        Ok(Self { header_line, ..Self::from_lines(header, lines, place, delimiter)? })
    }

    /// As [`Table::parse`], of a text whose header may be wanting: where its first line holds numbers alone, that line is a row, and
    /// columns are called by `name` of their place from 0.
    ///
    /// # Errors
    /// As there.
    pub fn parse_lenient(
        text: &'a str,
        place: &str,
        delimiter: Delimiter,
        name: impl Fn(usize) -> String,
    ) -> Result<Self> {
        let first = numbered(text).next().map(|(_, line)| split(line, delimiter)).unwrap_or_default();
        if first.is_empty() || first.iter().any(|cell| cell.parse::<f64>().is_err()) {
            return Self::parse(text, place, delimiter);
        }
        Self::without_header(text, place, delimiter, (0..first.len()).map(name).collect())
    }

    /// Whether the text had a header.
    pub fn has_header(&self) -> bool {
        self.header_line > 0
    }

    /// Reads `text` that has no header; `names` are given to its columns.
    ///
    /// # Errors
    /// A row with another number of cells than `names`.
    pub fn without_header(text: &'a str, place: &str, delimiter: Delimiter, names: Vec<String>) -> Result<Self> {
        Self::from_lines(names, numbered(text), place, delimiter)
    }

    /// As [`Table::without_header`], from numbered lines.
    ///
    /// # Errors
    /// As there.
    pub fn from_lines(
        header: Vec<String>,
        lines: impl Iterator<Item = (usize, &'a str)>,
        place: &str,
        delimiter: Delimiter,
    ) -> Result<Self> {
        let mut rows = Vec::new();
        for (line, text) in lines {
            let cells = split(text, delimiter);
            if cells.len() != header.len() {
                return Err(Error::input(format!(
                    "has {} columns, expected {} ({})",
                    cells.len(),
                    header.len(),
                    shortened(&header)
                ))
                .at(format!("{place}:{line}")));
            }
            rows.push(Row { line, cells });
        }
        Ok(Self { place: place.to_owned(), header_line: 0, header, rows })
    }

    /// Position of the column `name`, capitals and quotes aside.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|h| h.eq_ignore_ascii_case(name))
    }

    /// Position of the column `name`.
    ///
    /// # Errors
    /// Names the columns that there are.
    pub fn column(&self, name: &str) -> Result<usize> {
        let place = || match self.header_line {
            0 => self.place.clone(),
            line => format!("{}:{line}", self.place),
        };
        self.find(name)
            .ok_or_else(|| Error::input(format!("has no column {name}, only {}", shortened(&self.header))).at(place()))
    }

    /// The number in a cell.
    ///
    /// # Errors
    /// Text, NaN, or a number out of `range`; names line and column.
    pub fn number(&self, row: &Row, column: usize, range: &RangeInclusive<f64>) -> Result<f64> {
        let cell = row.cells.get(column).copied().unwrap_or("");
        cell.parse::<f64>().ok().filter(|v| range.contains(v)).ok_or_else(|| {
            let name = self.header.get(column).map_or("?", String::as_str);
            let wanted = if *range == TIME {
                "a number".to_owned()
            } else {
                format!("a number from {} to {}", range.start(), range.end())
            };
            self.error(row, format!("{name} is {cell:?}, expected {wanted}"))
        })
    }

    /// The time in `column` of every row, in seconds, checked to grow.
    ///
    /// # Errors
    /// Names the first line that is no number or does not come after the one before.
    pub fn times(&self, column: usize) -> Result<Vec<f64>> {
        let mut times: Vec<f64> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let t = self.number(row, column, &TIME)?;
            if let Some(last) = times.last().filter(|last| t <= **last) {
                return Err(self.error(row, format!("time {t} does not come after {last}, expected times that grow")));
            }
            times.push(t);
        }
        Ok(times)
    }

    /// # Errors
    /// If the table has no rows.
    pub fn ensure_rows(&self) -> Result<()> {
        if self.rows.is_empty() {
            return Err(Error::input("holds no rows").at(&self.place));
        }
        Ok(())
    }

    /// An input error that names the row's line.
    pub fn error(&self, row: &Row, what: impl Into<String>) -> Error {
        Error::input(what).at(format!("{}:{}", self.place, row.line))
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim().is_empty())
}

fn shortened(header: &[String]) -> String {
    match header {
        [first, .., last] if header.len() > 8 => format!("{first}, ..., {last}"),
        _ => header.join(", "),
    }
}

fn split(line: &str, delimiter: Delimiter) -> Vec<&str> {
    let Delimiter::Char(d) = delimiter else { return line.split_whitespace().collect() };
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let (cell, after) = cell(rest, d);
        cells.push(cell);
        match after {
            Some(after) => rest = after,
            None => return cells,
        }
    }
}

/// The first cell of `text` and what follows its delimiter, if one follows.
fn cell(text: &str, delimiter: char) -> (&str, Option<&str>) {
    let start = text.trim_start_matches([' ', '\u{feff}']);
    for quote in ['"', '\''] {
        // A quote that is not closed before a delimiter is an ordinary character.
        if let Some((inside, after)) = start.strip_prefix(quote).and_then(|s| s.split_once(quote)) {
            let after = after.trim_start_matches(' ');
            if after.trim_end().is_empty() {
                return (inside.trim(), None);
            }
            if let Some(after) = after.strip_prefix(delimiter) {
                return (inside.trim(), Some(after));
            }
        }
    }
    match text.split_once(delimiter) {
        Some((cell, after)) => (cell.trim(), Some(after)),
        None => (text.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Table<'_>> {
        Table::parse(text, "f.csv", Delimiter::of(text.lines().next().unwrap_or("")))
    }

    #[test]
    fn all_delimiters_give_the_same_table() {
        let table = parse("a;b ;c\n'x';2;-3.5\n").unwrap();
        assert_eq!(table.header, ["a", "b", "c"]);
        assert_eq!(table.rows, [Row { line: 2, cells: vec!["x", "2", "-3.5"] }]);
        for text in ["a,b,c\r\n\"x\",2,-3.5\r\n", "a\tb\tc\nx\t2\t-3.5", "a b  c\nx 2   -3.5 \n"] {
            assert_eq!(parse(text).unwrap().rows[0].cells, ["x", "2", "-3.5"], "{text:?}");
        }
    }

    #[test]
    fn quotes_keep_delimiters_and_a_lone_quote_is_a_character() {
        let table = parse("a,b\n\"x, y\",'z'\nit's,'\n").unwrap();
        assert_eq!(table.rows[0].cells, ["x, y", "z"]);
        assert_eq!(table.rows[1].cells, ["it's", "'"]);
    }

    #[test]
    fn errors_name_file_line_and_what_was_expected() {
        for (text, want) in [
            ("", "f.csv: is empty"),
            ("a,b\n1,2\n\n1,2,3\n", "f.csv:4: has 3 columns, expected 2 (a, b)"),
            ("a,b\n1\n", "f.csv:2: has 1 columns"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(want), "{text:?}");
        }
        let table = parse("a,b\n1,x\n3,nan\n5,inf\n2,7\n").unwrap();
        for (row, want) in [(0, "\"x\""), (1, "\"nan\""), (2, "\"inf\""), (3, "\"7\", expected a number from -1 to 1")]
        {
            let e = table.number(&table.rows[row], 1, &(-1.0..=1.0)).unwrap_err().to_string();
            assert!(e.contains(want) && e.contains(&format!("f.csv:{}: b is", row + 2)), "{e}");
        }
        let e = table.times(0).unwrap_err().to_string();
        assert!(e.contains("f.csv:5: time 2 does not come after 5"), "{e}");
        assert!(table.column("c").unwrap_err().to_string().contains("has no column c, only a, b"));
    }

    #[test]
    fn a_byte_order_mark_is_dropped_and_other_encodings_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.csv");
        std::fs::write(&path, b"\xEF\xBB\xBFa,b\r\n1,2\r\n").unwrap();
        let text = read_text(&path).unwrap();
        assert_eq!(parse(&text).unwrap().column("a").unwrap(), 0);
        std::fs::write(&path, b"a,b\n1,\xFF\n").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("f.csv:2: is not UTF-8"));
    }
}
