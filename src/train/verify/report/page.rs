//! A page of HTML that needs nothing but itself.

use std::fmt::{Display, Write};

/// Looks on screen and on paper; nothing is fetched.
const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#111;background:#fff}\
    table{border-collapse:collapse;margin:.6em 0 1.2em}td,th{border:1px solid #bbb;padding:.15em .6em;text-align:right}\
    th{background:#eee}td:first-child,th:first-child{text-align:left}.pass{color:#00693e}.fail{color:#b00020;font-weight:bold}\
    .note{color:#444}code{font-size:12px;word-break:break-all}svg{max-width:100%;height:auto}";

/// Text of which `<`, `>`, `&` and quotes are data.
pub fn escaped(text: impl Display) -> String {
    let mut out = String::new();
    for c in text.to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A page while it is written.
pub struct Page(String);

impl Page {
    pub fn new(title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        ))
    }

    /// A heading of `level` 2 or 3.
    pub fn heading(&mut self, level: usize, text: impl Display) {
        _ = writeln!(self.0, "<h{level}>{}</h{level}>", escaped(text));
    }

    /// A paragraph of the class `pass`, `fail` or `note`.
    pub fn line(&mut self, class: &str, text: impl Display) {
        _ = writeln!(self.0, "<p class=\"{class}\">{}</p>", escaped(text));
    }

    /// A table; a cell that is `pass` or `fail` is coloured.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let cells: String = head.iter().map(|h| format!("<th>{}</th>", escaped(h))).collect();
        _ = writeln!(self.0, "<table><tr>{cells}</tr>");
        for row in rows {
            let cell = |c: &String| match &c[..] {
                "pass" | "fail" => format!("<td class=\"{c}\">{c}</td>"),
                c => format!("<td>{}</td>", escaped(c)),
            };
            _ = writeln!(self.0, "<tr>{}</tr>", row.iter().map(cell).collect::<String>());
        }
        self.0.push_str("</table>\n");
    }

    /// A picture that is SVG already.
    pub fn picture(&mut self, svg: &str) {
        _ = writeln!(self.0, "<div>{svg}</div>");
    }

    pub fn finish(mut self) -> String {
        self.0.push_str("</body></html>\n");
        self.0
    }
}
