//! The live view of a terminal: bars and a circumplex, redrawn in place.

use super::Sink;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::Reading;
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

/// Least time between redraws; readings in between are left out of the view (not of files).
const REDRAW: Duration = Duration::from_millis(100);
/// Cells of a bar and of the circumplex.
const BAR: usize = 24;
const COLUMNS: usize = 23;
const ROWS: usize = 11;
/// Lines that [`render`] gives.
pub const LINES: usize = ROWS + 2;

/// Draws the latest reading of the lowest face id.
pub struct Live {
    out: Box<dyn Write>,
    text: String,
    colour: bool,
    drawn: Option<Instant>,
    pending: Option<Reading>,
}

impl Live {
    /// `colour`: false leaves colours out, as the environment's `NO_COLOR` asks.
    pub fn new(out: Box<dyn Write>, colour: bool) -> Self {
        Self { out, text: String::new(), colour, drawn: None, pending: None }
    }

    fn draw(&mut self) -> Result<()> {
        let Some(reading) = self.pending.take() else { return Ok(()) };
        self.text.clear();
        match self.drawn {
            // Hides the cursor; `finish` shows it again.
            None => self.text.push_str("\x1b[?25l"),
            Some(_) => {
                let _ = write!(self.text, "\x1b[{LINES}A");
            }
        }
        render(&reading, self.colour, &mut self.text);
        self.drawn = Some(Instant::now());
        self.send()
    }

    fn send(&mut self) -> Result<()> {
        self.out.write_all(self.text.as_bytes()).and_then(|()| self.out.flush()).map_err(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Error::new(ErrorKind::Interrupted, "the terminal went away"),
            _ => Error::io("cannot draw on the terminal").caused_by(e),
        })
    }
}

impl Sink for Live {
    fn write(&mut self, reading: &Reading) -> Result<()> {
        let first = self.pending.as_ref().is_none_or(|p| p.frame != reading.frame || reading.face.id() < p.face.id());
        if first {
            match &mut self.pending {
                Some(p) => p.clone_from(reading),
                none => *none = Some(reading.clone()),
            }
        }
        if self.drawn.is_none_or(|d| d.elapsed() >= REDRAW) { self.draw() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.draw()?;
        if self.drawn.take().is_some() {
            self.text.clear();
            self.text.push_str("\x1b[?25h");
            self.send()?;
        }
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Err(e) = self.finish() {
            log::debug!("{e}");
        }
    }
}

/// Appends [`LINES`] lines, each clearing what stood to its right.
pub fn render(r: &Reading, colour: bool, out: &mut String) {
    let paint = |code: &str| if colour { format!("\x1b[{code}m") } else { String::new() };
    let end = "\x1b[K\n";
    let mark = if r.unverified { "  UNVERIFIED MODEL" } else { "" };
    // Writing to a string never fails.
    let _ = match r.face.id() {
        Some(id) => {
            let ms = r.latency_us as f64 / 1e3;
            write!(out, "{:8.2} s  face {id}  {} {ms:.1} ms{mark}{end}", r.time_s, r.engine)
        }
        None => write!(out, "{:8.2} s  no face{mark}{end}", r.time_s),
    };
    let rows = [
        ("valence   ", r.valence, true, "33"),
        ("arousal   ", r.arousal, true, "31"),
        ("confidence", r.confidence, false, "36"),
    ];
    for y in 0..ROWS {
        circumplex_row(r, y, out);
        if let Some((name, value, signed, code)) = y.checked_sub(4).and_then(|i| rows.get(i)) {
            let _ = write!(out, "   {name} {}", paint(code));
            bar(*value, *signed, out);
            out.push_str(&paint("0"));
            let _ = match value {
                Some(v) if *signed => write!(out, " {v:+.2}"),
                Some(v) => write!(out, "  {v:.2}"),
                None => write!(out, "    -"),
            };
        }
        out.push_str(end);
    }
    let _ = write!(out, "{:^COLUMNS$}{end}", "valence -> arousal ^");
}

fn bar(value: Option<f32>, signed: bool, out: &mut String) {
    let cell = |v: f32| ((v.clamp(0.0, 1.0) * BAR as f32).round() as usize).min(BAR);
    let at = |v: f32| cell(if signed { 0.5 + 0.5 * v } else { v });
    let v = value.unwrap_or(0.0);
    let (from, to) = (at(0.0).min(at(v)), at(0.0).max(at(v)));
    out.push('[');
    for i in 0..BAR {
        out.push(match () {
            () if (from..to).contains(&i) => '#',
            () if signed && i == BAR / 2 => '|',
            () => '.',
        });
    }
    out.push(']');
}

fn circumplex_row(r: &Reading, y: usize, out: &mut String) {
    let place = |v: f32, cells: usize| {
        (((v.clamp(-1.0, 1.0) + 1.0) / 2.0 * (cells - 1) as f32).round() as usize).min(cells - 1)
    };
    let dot = r.valence.zip(r.arousal).map(|(v, a)| (place(v, COLUMNS), place(-a, ROWS)));
    for x in 0..COLUMNS {
        let unit = |i: usize, cells: usize| 2.0 * i as f32 / (cells - 1) as f32 - 1.0;
        let radius = unit(x, COLUMNS).hypot(unit(y, ROWS));
        out.push(match () {
            () if dot == Some((x, y)) => 'O',
            () if (radius - 1.0).abs() < 0.09 => '.',
            () if x == COLUMNS / 2 && y == ROWS / 2 => '+',
            () if x == COLUMNS / 2 && radius < 1.0 => '|',
            () if y == ROWS / 2 && radius < 1.0 => '-',
            () => ' ',
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::FaceState;
    use proptest::prelude::*;

    fn reading(valence: f32, arousal: f32) -> Reading {
        Reading {
            time_s: 1.5,
            frame: 3,
            face: FaceState::Id(2),
            r#box: Some([0.0; 4]),
            arousal: Some(arousal),
            valence: Some(valence),
            confidence: Some(0.5),
            interval: None,
            engine: "reference",
            latency_us: 1500,
            ..Reading::default()
        }
    }

    fn lines(r: &Reading) -> Vec<String> {
        let mut text = String::new();
        render(r, false, &mut text);
        text.replace("\x1b[K", "").lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_dot_and_the_bars_stand_where_the_values_say() {
        let top_right = lines(&reading(1.0, 1.0));
        assert_eq!(top_right[1].chars().nth(COLUMNS - 1), Some('O'));
        assert!(top_right[5].contains("[............############] +1.00"), "{}", top_right[5]);
        let bottom_left = lines(&reading(-1.0, -1.0));
        assert_eq!(bottom_left[ROWS].chars().next(), Some('O'));
        assert!(bottom_left[6].contains("[############|...........] -1.00"), "{}", bottom_left[6]);
        assert!(bottom_left[7].contains("[############............]  0.50"), "{}", bottom_left[7]);
    }

    #[test]
    fn an_unverified_model_is_said_to_be_one_with_and_without_a_face() {
        for face in [FaceState::Id(1), FaceState::NONE] {
            let r = Reading { face, unverified: true, ..reading(0.0, 0.0) };
            assert!(lines(&r)[0].ends_with("UNVERIFIED MODEL"));
        }
        assert!(!lines(&reading(0.0, 0.0)).concat().contains("UNVERIFIED"));
    }

    #[test]
    fn no_face_says_so_without_values() {
        let r = Reading { face: FaceState::NONE, valence: None, arousal: None, confidence: None, ..reading(0.0, 0.0) };
        let text = lines(&r);
        assert!(text[0].contains("no face") && text[5].ends_with(" -"));
        assert!(!text.concat().contains('O'));
    }

    #[test]
    fn the_cursor_comes_back_whatever_ends_the_view() {
        struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, b: &[u8]) -> std::io::Result<usize> {
                self.0.borrow_mut().write(b)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut live = Live::new(Box::new(Shared(seen.clone())), true);
        (0..5).for_each(|_| live.write(&reading(0.1, 0.2)).unwrap());
        drop(live);
        let text = String::from_utf8(seen.borrow().clone()).unwrap();
        assert!(text.starts_with("\x1b[?25l") && text.ends_with("\x1b[?25h"));
    }

    proptest! {
        #[test]
        fn every_value_gives_the_same_number_of_lines(v in -2f32..2.0, a in proptest::num::f32::ANY) {
            prop_assert_eq!(lines(&reading(v, a)).len(), LINES);
        }
    }
}
