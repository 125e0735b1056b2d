//! The live view of a terminal: bars and a circumplex, redrawn in place; less where there is less room.

use super::Sink;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::Reading;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use terminal_size::{Height, Width, terminal_size};

/// Least time between redraws; readings in between are left out of the view (not of files).
const REDRAW: Duration = Duration::from_millis(100);
/// Cells of a bar where there is room, and the fewest that say something.
const BAR: usize = 24;
const LEAST_BAR: usize = 8;
/// What stands beside the cells of a bar: its name, brackets and value.
const BESIDE_BAR: usize = 19;
/// Cells of the circumplex.
const COLUMNS: usize = 23;
const ROWS: usize = 11;
/// Between circumplex and bars.
const GAP: usize = 3;

/// Columns and rows of a terminal.
pub type Room = [usize; 2];

/// Assumed of a terminal that does not say.
const USUAL: Room = [80, 24];

/// Whether standard output is a terminal on which a view can be redrawn in place.
pub fn can_draw() -> bool {
    let word = std::env::var_os("TERM").unwrap_or_default();
    std::io::stdout().is_terminal() && !word.is_empty() && word != "dumb"
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// The state, the circumplex and beside it the bars.
    Whole,
    /// The state and bars of so many cells.
    Bars(usize),
    /// The values in words, on one line that no line end follows.
    Line,
}

impl View {
    /// The largest that fits. The last column stays free, for a character there may wrap the line, and so does the row below the
    /// view, on which the cursor waits.
    fn fitting([columns, rows]: Room) -> Self {
        let beside = columns.saturating_sub(1 + BESIDE_BAR);
        if rows > Self::Whole.lines() && beside >= COLUMNS + GAP + BAR {
            return Self::Whole;
        }
        let bars = Self::Bars(beside.min(BAR));
        if rows > bars.lines() && beside >= LEAST_BAR { bars } else { Self::Line }
    }

    /// Line ends that it writes.
    fn lines(self) -> usize {
        match self {
            Self::Whole => ROWS + 2,
            Self::Bars(_) => 4,
            Self::Line => 0,
        }
    }
}

/// Draws the latest reading of the lowest face id, in the room that the terminal has at that time.
pub struct Live {
    out: Box<dyn Write>,
    text: String,
    colour: bool,
    room: Box<dyn Fn() -> Room>,
    drawn: Option<Drawn>,
    pending: Option<Reading>,
}

/// What stands on the terminal.
#[derive(Clone, Copy)]
struct Drawn {
    at: Instant,
    room: Room,
}

impl Live {
    /// On standard output's terminal. `colour`: false leaves colours out, as the environment's `NO_COLOR` asks.
    pub fn new(out: Box<dyn Write>, colour: bool) -> Self {
        let of = |(Width(w), Height(h))| [usize::from(w), usize::from(h)];
        Self::within(out, colour, Box::new(move || terminal_size().map_or(USUAL, of)))
    }

    /// In the room that `room` gives whenever it is asked.
    pub fn within(out: Box<dyn Write>, colour: bool, room: Box<dyn Fn() -> Room>) -> Self {
        Self { out, text: String::new(), colour, room, drawn: None, pending: None }
    }

    fn draw(&mut self) -> Result<()> {
        let Some(reading) = self.pending.take() else { return Ok(()) };
        let room = (self.room)();
        self.text.clear();
        match self.drawn {
            // Hides the cursor; `finish` shows it again.
            None => self.text.push_str("\x1b[?25l"),
            // A terminal of another size has moved what stood on it.
            Some(before) if before.room != room => self.text.push_str("\x1b[2J\x1b[H"),
            Some(_) => match View::fitting(room).lines() {
                0 => self.text.push('\r'),
                lines => _ = write!(self.text, "\x1b[{lines}A"),
            },
        }
        render(&reading, self.colour, room, &mut self.text);
        self.drawn = Some(Drawn { at: Instant::now(), room });
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
        if self.drawn.is_none_or(|d| d.at.elapsed() >= REDRAW) { self.draw() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.draw()?;
        if let Some(drawn) = self.drawn.take() {
            self.text.clear();
            if View::fitting(drawn.room) == View::Line {
                self.text.push('\n');
            }
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

/// Appends the view that fits `room`, clearing what stood to the right of each line.
fn render(r: &Reading, colour: bool, room: Room, out: &mut String) {
    let width = room[0].saturating_sub(1);
    match View::fitting(room) {
        View::Line => {
            out.push_str(&in_words(r, width));
            out.push_str("\x1b[K");
        }
        View::Bars(cells) => {
            out.push_str(&state(r, width));
            out.push_str(END);
            for i in 0..3 {
                named_bar(r, i, cells, colour, out);
                out.push_str(END);
            }
        }
        View::Whole => {
            out.push_str(&state(r, width));
            out.push_str(END);
            for y in 0..ROWS {
                circumplex_row(r, y, out);
                if let Some(i) = y.checked_sub(4).filter(|i| *i < 3) {
                    let _ = write!(out, "{:GAP$}", "");
                    named_bar(r, i, BAR, colour, out);
                }
                out.push_str(END);
            }
            let _ = write!(out, "{:^COLUMNS$}{END}", "valence -> arousal ^");
        }
    }
}

const END: &str = "\x1b[K\n";

/// As many of `pieces` as `width` holds, the first ones first, and always the last, which may be empty.
fn fitted(pieces: &[String], last: &str, between: &str, width: usize) -> String {
    let mut most = pieces.len();
    loop {
        let shown = pieces[..most].iter().map(String::as_str).chain((!last.is_empty()).then_some(last));
        let line = shown.collect::<Vec<_>>().join(between);
        if most == 0 || line.chars().count() <= width {
            return line.chars().take(width).collect();
        }
        most -= 1;
    }
}

/// When, whose face, by which engine; and whether the model is verified, whatever else has to be left out.
fn state(r: &Reading, width: usize) -> String {
    let mark = if r.unverified { "UNVERIFIED MODEL" } else { "" };
    let time = format!("{:8.2} s", r.time_s);
    let pieces = match r.face.id() {
        Some(id) => vec![time, format!("face {id}"), format!("{} {:.1} ms", r.engine, r.latency_us as f64 / 1e3)],
        None => vec![time, "no face".into()],
    };
    fitted(&pieces, mark, "  ", width)
}

/// The values without bars, most telling first.
fn in_words(r: &Reading, width: usize) -> String {
    let mark = if r.unverified { "UNVERIFIED" } else { "" };
    let time = format!("{:.1} s", r.time_s);
    let pieces = match (r.valence, r.arousal, r.confidence, r.face.id()) {
        (Some(v), Some(a), Some(c), Some(id)) => {
            vec![format!("v {v:+.2}"), format!("a {a:+.2}"), format!("c {c:.2}"), format!("face {id}"), time]
        }
        _ => vec!["no face".into(), time],
    };
    fitted(&pieces, mark, " ", width)
}

/// The bar of valence, arousal or confidence, with name and value.
fn named_bar(r: &Reading, i: usize, cells: usize, colour: bool, out: &mut String) {
    let rows = [
        ("valence   ", r.valence, true, "33"),
        ("arousal   ", r.arousal, true, "31"),
        ("confidence", r.confidence, false, "36"),
    ];
    let Some((name, value, signed, code)) = rows.get(i) else { return };
    let paint = |code: &str| if colour { format!("\x1b[{code}m") } else { String::new() };
    // Writing to a string never fails.
    let _ = write!(out, "{name} {}", paint(code));
    bar(*value, *signed, cells, out);
    out.push_str(&paint("0"));
    let _ = match value {
        Some(v) if *signed => write!(out, " {v:+.2}"),
        Some(v) => write!(out, "  {v:.2}"),
        None => write!(out, "    -"),
    };
}

fn bar(value: Option<f32>, signed: bool, cells: usize, out: &mut String) {
    let cell = |v: f32| ((v.clamp(0.0, 1.0) * cells as f32).round() as usize).min(cells);
    let at = |v: f32| cell(if signed { 0.5 + 0.5 * v } else { v });
    let v = value.unwrap_or(0.0);
    let (from, to) = (at(0.0).min(at(v)), at(0.0).max(at(v)));
    out.push('[');
    for i in 0..cells {
        out.push(match () {
            () if (from..to).contains(&i) => '#',
            () if signed && i == cells / 2 => '|',
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
        lines_in(r, USUAL)
    }

    fn lines_in(r: &Reading, room: Room) -> Vec<String> {
        let mut text = String::new();
        render(r, false, room, &mut text);
        text.replace("\x1b[K", "").lines().map(str::to_owned).collect()
    }

    /// A writer that a test reads.
    #[derive(Clone, Default)]
    struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, b: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().write(b)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
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
        for room in [USUAL, [20, 5]] {
            let seen = Shared::default();
            let mut live = Live::within(Box::new(seen.clone()), true, Box::new(move || room));
            (0..5).for_each(|_| live.write(&reading(0.1, 0.2)).unwrap());
            drop(live);
            let text = seen.text();
            assert!(text.starts_with("\x1b[?25l") && text.ends_with("\n\x1b[?25h"), "{text:?}");
        }
    }

    #[test]
    fn a_small_terminal_gets_bars_and_a_smaller_one_the_values_on_one_line() {
        let small = lines_in(&reading(1.0, -0.5), [40, 10]);
        assert_eq!(
            small,
            [
                "    1.50 s  face 2  reference 1.5 ms",
                "valence    [..........##########] +1.00",
                "arousal    [.....#####|.........] -0.50",
                "confidence [##########..........]  0.50",
            ]
        );
        assert_eq!(lines_in(&reading(1.0, -0.5), [20, 5]), ["v +1.00 a -0.50"]);
        assert_eq!(lines_in(&reading(1.0, -0.5), [60, 1]), ["v +1.00 a -0.50 c 0.50 face 2 1.5 s"]);
        let none =
            Reading { face: FaceState::NONE, valence: None, arousal: None, confidence: None, ..reading(0.0, 0.0) };
        assert_eq!(lines_in(&none, [20, 5]), ["no face 1.5 s"]);
        assert_eq!(lines_in(&none, [40, 10])[0], "    1.50 s  no face");
        let unverified = Reading { unverified: true, ..reading(1.0, -0.5) };
        assert_eq!(lines_in(&unverified, [20, 5]), ["v +1.00 UNVERIFIED"]);
        assert_eq!(lines_in(&unverified, [40, 10])[0], "    1.50 s  face 2  UNVERIFIED MODEL");
    }

    #[test]
    fn a_terminal_that_changes_its_size_is_cleared_and_the_view_follows() {
        let (seen, room) = (Shared::default(), std::rc::Rc::new(std::cell::Cell::new(USUAL)));
        let asked = room.clone();
        let mut live = Live::within(Box::new(seen.clone()), false, Box::new(move || asked.get()));
        let mut draw = |columns, rows| {
            room.set([columns, rows]);
            live.pending = Some(reading(0.5, 0.5));
            seen.0.borrow_mut().clear();
            live.draw().unwrap();
            seen.text()
        };
        draw(80, 24);
        assert!(draw(80, 24).starts_with("\x1b[13A"));
        let (smaller, same) = (draw(40, 10), draw(40, 10));
        assert!(smaller.starts_with("\x1b[2J\x1b[H") && smaller.lines().count() == 4, "{smaller:?}");
        assert!(same.starts_with("\x1b[4A"), "{same:?}");
        assert!(draw(20, 5).starts_with("\x1b[2J\x1b[H") && draw(20, 5).starts_with("\rv +0.50"));
    }

    proptest! {
        #[test]
        fn every_value_gives_the_same_number_of_lines(v in -2f32..2.0, a in proptest::num::f32::ANY) {
            prop_assert_eq!(lines(&reading(v, a)).len(), ROWS + 2);
        }

        #[test]
        fn no_view_is_as_wide_as_the_terminal_or_as_high(
            columns in 1usize..120, rows in 1usize..40, v in -2f32..2.0, face in proptest::num::u32::ANY,
            unverified in proptest::bool::ANY, time_s in 0f64..1e9,
        ) {
            let face = if face % 3 == 0 { FaceState::NONE } else { FaceState::Id(face) };
            let r = Reading { face, unverified, time_s, ..reading(v, -v) };
            let mut text = String::new();
            render(&r, false, [columns, rows], &mut text);
            prop_assert_eq!(text.matches('\n').count(), View::fitting([columns, rows]).lines());
            prop_assert!(text.matches('\n').count() < rows, "{:?}", text);
            prop_assert!(text.replace("\x1b[K", "").lines().all(|l| l.chars().count() < columns), "{:?}", text);
        }
    }
}
