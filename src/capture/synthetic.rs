//! `synthetic[:seed=N,seconds=S,fps=F,people=P,size=WxH]`: rendered faces with designed emotions.

use super::{FrameSource, Next, SourceInfo, SourceStats, Truth};
use crate::error::{Error, Result};
use crate::frame::{Frame, PixelFormat, Range};
use crate::render::{Canvas, Expression, Person, Placement, Style, Trajectory};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

const FORM: &str = "write synthetic[:seed=N,seconds=S,fps=F,people=P,size=WxH]";

/// What the user asked for; `seconds = 0` never ends.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    seed: u64,
    seconds: f64,
    fps: f64,
    people: u32,
    size: (usize, usize),
}

impl Settings {
    fn parse(spec: &str) -> Result<Self> {
        let mut s = Self { seed: 1, seconds: 10.0, fps: 25.0, people: 1, size: (640, 480) };
        let rest = spec.strip_prefix("synthetic").unwrap_or(spec);
        for item in rest.trim_start_matches(':').split(',').filter(|i| !i.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            let bad =
                |wanted: &str| Error::usage(format!("bad setting `{item}`, expected {wanted}")).at(spec).remedy(FORM);
            match key {
                "seed" => s.seed = value.parse().map_err(|_| bad(&format!("a whole number from 0 to {}", u64::MAX)))?,
                "seconds" => s.seconds = within(value, 0.0..=1e6).map_err(|w| bad(&(w + "; 0 never ends")))?,
                "fps" => s.fps = within(value, 0.1..=1000.0).map_err(|w| bad(&w))?,
                "people" => s.people = within(value, 0..=4).map_err(|w| bad(&(w + " people")))?,
                "size" => s.size = size(value).map_err(|w| bad(&w))?,
                _ => return Err(Error::usage(format!("unknown setting `{key}`")).at(spec).remedy(FORM)),
            }
        }
        Ok(s)
    }
}

/// The number that `text` is if it lies in `range`, else what was expected.
fn within<T: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let wanted = format!("{} to {}", range.start(), range.end());
    text.parse().ok().filter(|v| range.contains(v)).ok_or(wanted)
}

fn size(text: &str) -> Result<(usize, usize), String> {
    let side = |s: &str| within(s, 16..=4096).map_err(|w| format!("WIDTHxHEIGHT, each {w} pixels"));
    let (w, h) = text.split_once('x').unwrap_or((text, ""));
    Ok((side(w)?, side(h)?))
}

struct Actor {
    person: Person,
    style: Style,
    course: Trajectory,
    place: Placement,
}

/// Rendered faces side by side, each with its own identity and course; time is `index / fps`.
pub struct Synthetic {
    settings: Settings,
    info: SourceInfo,
    actors: Vec<Actor>,
    background: Vec<u8>,
    truth: Vec<Truth>,
    index: u64,
}

impl Synthetic {
    /// A source from `synthetic[:key=value,...]`: `seed` (1), `seconds` (10, 0 is endless), `fps` (25),
    /// `people` (1, 0 to 4), `size` (640x480, sides 16 to 4096).
    ///
    /// # Errors
    /// Names the setting that is unknown or out of range.
    pub fn parse(spec: &str) -> Result<Self> {
        let settings = Settings::parse(spec)?;
        let (width, height) = settings.size;
        let mut background = vec![0; 3 * width * height];
        Canvas { data: &mut background, width, height }.background(settings.seed);
        let frames = (settings.seconds > 0.0).then(|| (settings.seconds * settings.fps).round() as u64);
        let info = SourceInfo { name: spec.to_owned(), fps: Some(settings.fps), frames, live: false };
        let actors: Vec<Actor> = (0..settings.people).map(|i| actor(&settings, i)).collect();
        let truth = Vec::with_capacity(actors.len());
        Ok(Self { settings, info, actors, background, truth, index: 0 })
    }
}

fn actor(s: &Settings, i: u32) -> Actor {
    let (w, h) = (s.size.0 as f32, s.size.1 as f32);
    let slot = w / s.people as f32;
    let place = Placement::new([(i as f32 + 0.5) * slot, 0.47 * h], (0.30 * h).min(0.48 * slot));
    let seed = s.seed.wrapping_mul(1009).wrapping_add(u64::from(i));
    Actor { person: Person::new(seed), style: Style::new(seed), course: Trajectory::new(seed), place }
}

impl FrameSource for Synthetic {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        self.truth.clear();
        if self.info.frames.is_some_and(|n| self.index >= n) {
            return Ok(Next::End);
        }
        let (width, height) = self.settings.size;
        let t = self.index as f64 / self.settings.fps;
        frame.reshape(width, height, PixelFormat::Rgb8, Range::Full)?;
        frame.data.copy_from_slice(&self.background);
        (frame.time, frame.index) = (Duration::from_secs_f64(t), self.index);
        let mut canvas = Canvas { data: &mut frame.data, width, height };
        for (a, person) in self.actors.iter().zip(0..) {
            let (affect, pose) = (a.course.at(t), a.course.pose(t));
            let mut e = Expression::from_affect(affect, &a.person, &a.style);
            e.au43 = e.au43.max(a.course.blink(t));
            canvas.person(&a.person, e, pose, &a.place);
            let [x, y, side] = a.place.face_box(pose);
            let center = [x + 0.5 * side, y + 0.5 * side];
            self.truth.push(Truth { person, center, arousal: affect.arousal, valence: affect.valence });
        }
        self.index += 1;
        Ok(Next::Frame)
    }

    fn stats(&self) -> SourceStats {
        SourceStats { delivered: self.index, ..SourceStats::default() }
    }

    fn truth(&self) -> &[Truth] {
        &self.truth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named_with_the_range_they_may_have() {
        let whole = "a whole number from 0 to 18446744073709551615";
        for (bad, range) in [
            ("fps=0", "0.1 to 1000"),
            ("fps=nan", "0.1 to 1000"),
            ("people=6", "0 to 4 people"),
            ("people=-1", "0 to 4 people"),
            ("size=10", "WIDTHxHEIGHT, each 16 to 4096 pixels"),
            ("size=8x8", "WIDTHxHEIGHT, each 16 to 4096 pixels"),
            ("size=640x9999", "WIDTHxHEIGHT, each 16 to 4096 pixels"),
            ("seconds=-1", "0 to 1000000; 0 never ends"),
            ("seed=", whole),
            ("seed=-3", whole),
        ] {
            let e = Synthetic::parse(&format!("synthetic:{bad}")).err().expect(bad).to_string();
            assert!(e.contains(&format!("bad setting `{bad}`, expected {range}")), "{e}");
        }
        let e = Synthetic::parse("synthetic:sed=1").err().expect("no such setting").to_string();
        assert!(e.contains("unknown setting `sed`"), "{e}");
        assert!(Synthetic::parse("synthetic").is_ok());
    }

    #[test]
    fn frames_count_up_and_end() {
        let mut s = Synthetic::parse("synthetic:seconds=0.4,fps=10,people=2,size=64x48").expect("valid");
        let mut f = Frame::default();
        for i in 0..4 {
            assert_eq!(s.next_frame(&mut f).expect("frame"), Next::Frame);
            assert_eq!((f.index, f.time), (i, Duration::from_millis(100 * i)));
            assert_eq!(s.truth().len(), 2);
            assert!(s.truth()[0].center[0] < s.truth()[1].center[0]);
        }
        for _ in 0..2 {
            assert_eq!(s.next_frame(&mut f).expect("end"), Next::End);
        }
        assert_eq!(s.stats().delivered, 4);
    }

    #[test]
    fn nobody_leaves_the_background() {
        let mut s = Synthetic::parse("synthetic:people=0,seconds=0,size=33x17").expect("valid");
        let mut f = Frame::default();
        s.next_frame(&mut f).expect("frame");
        assert_eq!(f.data, s.background);
        assert!(s.truth().is_empty() && s.info().frames.is_none());
    }
}
