//! The head-up display: boxes, values, bars and a circumplex with its trail.

use crate::spec::Reading;
use embedded_graphics::geometry::AnchorPoint;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, ascii};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Circle, Line, PrimitiveStyle, PrimitiveStyleBuilder, Rectangle, StrokeAlignment};
use embedded_graphics::text::{Baseline, Text};
use std::fmt::Write;

/// Points of the circumplex trail.
pub const TRAIL: usize = 48;
/// How far back the trail reaches, in seconds of stream time.
const TRAIL_S: f64 = 2.0;

const PANEL: Rgb888 = Rgb888::new(16, 18, 24);
const LINE: Rgb888 = Rgb888::new(92, 98, 112);
const INK: Rgb888 = Rgb888::new(238, 240, 244);
const QUIET: Rgb888 = Rgb888::new(164, 170, 182);
const VALENCE: Rgb888 = Rgb888::new(255, 196, 64);
const AROUSAL: Rgb888 = Rgb888::new(255, 110, 94);
const WARNING: Rgb888 = Rgb888::new(255, 60, 60);
const CONFIDENCE: Rgb888 = Rgb888::new(96, 206, 255);
/// Colours of the faces' boxes, by id.
const FACES: [Rgb888; 4] =
    [Rgb888::new(96, 232, 144), Rgb888::new(255, 196, 64), Rgb888::new(196, 140, 255), Rgb888::new(96, 206, 255)];

/// Text of bounded length, so that drawing allocates nothing; what does not fit is left out.
struct Short {
    bytes: [u8; 64],
    len: usize,
}

impl Short {
    fn of(args: std::fmt::Arguments) -> Self {
        let mut text = Self { bytes: [0; 64], len: 0 };
        // Writing to a `Short` never fails.
        let _ = text.write_fmt(args);
        text
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Short {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        for c in s.bytes().filter(u8::is_ascii) {
            if let Some(b) = self.bytes.get_mut(self.len) {
                *b = c;
                self.len += 1;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Past {
    time_s: f64,
    valence: f32,
    arousal: f32,
}

/// Draws the readings of a stream; remembers the trail of the face with the lowest id.
#[derive(Debug)]
pub struct Hud {
    trail: [Option<Past>; TRAIL],
    next: usize,
    of: Option<u32>,
}

/// Sizes that follow from the picture's.
struct Layout {
    font: &'static MonoFont<'static>,
    stroke: u32,
    size: Size,
}

impl Layout {
    fn of(size: Size) -> Self {
        let side = size.width.min(size.height);
        let font = match side {
            0..200 => &ascii::FONT_5X8,
            200..420 => &ascii::FONT_6X10,
            420..800 => &ascii::FONT_9X15,
            _ => &ascii::FONT_10X20,
        };
        Self { font, stroke: (side / 240).max(1), size }
    }

    fn text_px(&self) -> i32 {
        self.font.character_size.height as i32
    }

    fn width_px(&self, text: &str) -> i32 {
        (self.font.character_size.width * text.len() as u32) as i32
    }
}

/// A length in pixels from a computed one, kept where integers cannot overflow.
fn px(v: f32) -> i32 {
    v.clamp(-30_000.0, 30_000.0).round() as i32
}

fn fade(colour: Rgb888, towards: Rgb888, by: f32) -> Rgb888 {
    let mix = |a: u8, b: u8| (f32::from(a) + by.clamp(0.0, 1.0) * (f32::from(b) - f32::from(a))) as u8;
    Rgb888::new(mix(colour.r(), towards.r()), mix(colour.g(), towards.g()), mix(colour.b(), towards.b()))
}

fn fill<D: DrawTarget>(d: &mut D, area: Rectangle, colour: Rgb888) -> Result<(), D::Error>
where
    D::Color: From<Rgb888>,
{
    area.into_styled(PrimitiveStyle::with_fill(colour.into())).draw(d)
}

fn line<D: DrawTarget>(d: &mut D, a: Point, b: Point, colour: Rgb888) -> Result<(), D::Error>
where
    D::Color: From<Rgb888>,
{
    Line::new(a, b).into_styled(PrimitiveStyle::with_stroke(colour.into(), 1)).draw(d)
}

fn write<D: DrawTarget>(d: &mut D, layout: &Layout, at: Point, colour: Rgb888, text: &str) -> Result<(), D::Error>
where
    D::Color: From<Rgb888>,
{
    Text::with_baseline(text, at, MonoTextStyle::new(layout.font, colour.into()), Baseline::Top).draw(d)?;
    Ok(())
}

impl Default for Hud {
    fn default() -> Self {
        Self::new()
    }
}

impl Hud {
    /// A display with an empty trail.
    pub fn new() -> Self {
        Self { trail: [None; TRAIL], next: 0, of: None }
    }

    /// Draws the readings of one frame over the picture that `target` already holds.
    ///
    /// Every face gets its box, id, values and confidence; the face with the lowest id also bars and a circumplex
    /// (valence to the right, arousal upwards, the rectangle is the 80 % interval, the trail two seconds long).
    /// Pictures under 64 pixels a side get boxes only. Readings of an unverified model are framed in red, and say so where
    /// the words fit.
    ///
    /// # Errors
    /// Those of the target.
    pub fn draw<D: DrawTarget>(&mut self, target: &mut D, readings: &[Reading]) -> Result<(), D::Error>
    where
        D::Color: From<Rgb888>,
    {
        let layout = Layout::of(target.bounding_box().size);
        let small = layout.size.width.min(layout.size.height) < 64;
        for reading in readings {
            self.face(target, &layout, reading, small)?;
        }
        let first = readings.iter().filter(|r| r.face.id().is_some()).min_by_key(|r| r.face.id());
        self.remember(first);
        if readings.iter().any(|r| r.unverified) {
            Self::unverified(target, &layout)?;
        }
        if small {
            return Ok(());
        }
        match first {
            Some(reading) => {
                self.bars(target, &layout, reading)?;
                self.circumplex(target, &layout, reading)
            }
            None => self.no_face(target, &layout),
        }
    }

    fn remember(&mut self, reading: Option<&Reading>) {
        let Some(r) = reading else { return };
        if self.of != r.face.id() {
            (self.trail, self.of) = ([None; TRAIL], r.face.id());
        }
        if let (Some(valence), Some(arousal)) = (r.valence, r.arousal) {
            // At most one point every 1/48 of the trail's length, so that it covers its time at any frame rate.
            let last = self.trail[(self.next + TRAIL - 1) % TRAIL];
            if last.is_none_or(|l| r.time_s - l.time_s >= TRAIL_S / TRAIL as f64 || r.time_s < l.time_s) {
                self.trail[self.next] = Some(Past { time_s: r.time_s, valence, arousal });
                self.next = (self.next + 1) % TRAIL;
            }
        }
    }

    fn face<D: DrawTarget>(&self, d: &mut D, layout: &Layout, r: &Reading, small: bool) -> Result<(), D::Error>
    where
        D::Color: From<Rgb888>,
    {
        let (Some(id), Some([x, y, w, h])) = (r.face.id(), r.r#box) else { return Ok(()) };
        let colour = FACES[id as usize % FACES.len()];
        let area = Rectangle::new(Point::new(px(x), px(y)), Size::new(px(w).max(1) as u32, px(h).max(1) as u32));
        area.into_styled(PrimitiveStyle::with_stroke(colour.into(), layout.stroke)).draw(d)?;
        if small {
            return Ok(());
        }
        let value = |v: Option<f32>| v.unwrap_or(0.0);
        let label = Short::of(format_args!(
            "#{id} V{:+.2} A{:+.2} {:.0}%",
            value(r.valence),
            value(r.arousal),
            100.0 * value(r.confidence)
        ));
        let (wide, high) = (layout.width_px(label.as_str()) + 4, layout.text_px() + 2);
        let left = px(x).clamp(0, (layout.size.width as i32 - wide).max(0));
        let top = (px(y) - high).clamp(0, (layout.size.height as i32 - high).max(0));
        fill(d, Rectangle::new(Point::new(left, top), Size::new(wide as u32, high as u32)), PANEL)?;
        write(d, layout, Point::new(left + 2, top + 1), colour, label.as_str())
    }

    fn bars<D: DrawTarget>(&self, d: &mut D, layout: &Layout, r: &Reading) -> Result<(), D::Error>
    where
        D::Color: From<Rgb888>,
    {
        let (row, pad) = (layout.text_px() + 3, 4);
        let wide = (layout.size.width as i32 * 2 / 5).max(60);
        let high = 4 * row + 2 * pad;
        let (left, top) = (pad, layout.size.height as i32 - high - pad);
        fill(d, Rectangle::new(Point::new(left, top), Size::new(wide as u32, high as u32)), PANEL)?;
        let bar_left = left + pad + layout.width_px("A ");
        let bar_wide = wide - 2 * pad - layout.width_px("A +0.00") - 4;
        let rows = [
            ("V", r.valence, r.interval.map(|i| i[1]), VALENCE, true),
            ("A", r.arousal, r.interval.map(|i| i[0]), AROUSAL, true),
            ("C", r.confidence, None, CONFIDENCE, false),
        ];
        for (i, (name, value, interval, colour, signed)) in rows.into_iter().enumerate() {
            let y = top + pad + i as i32 * row;
            let value = value.unwrap_or(0.0);
            write(d, layout, Point::new(left + pad, y), colour, name)?;
            let number =
                if signed { Short::of(format_args!("{value:+.2}")) } else { Short::of(format_args!(" {value:.2}")) };
            let at = Point::new(left + wide - pad - layout.width_px(number.as_str()), y);
            write(d, layout, at, INK, number.as_str())?;
            let bar = Rectangle::new(Point::new(bar_left, y), Size::new(bar_wide.max(1) as u32, (row - 4) as u32));
            Self::bar(d, bar, value, interval, colour, signed)?;
        }
        let foot = Short::of(format_args!("{} {:.1} ms", r.engine, r.latency_us as f64 / 1000.0));
        let room = ((wide - 2 * pad) / layout.width_px("x").max(1)).max(0) as usize;
        let foot = foot.as_str();
        write(d, layout, Point::new(left + pad, top + pad + 3 * row), QUIET, &foot[..foot.len().min(room)])
    }

    /// A bar from its middle (or its left, unsigned), with a thin line for the interval beneath.
    fn bar<D: DrawTarget>(
        d: &mut D,
        area: Rectangle,
        value: f32,
        interval: Option<[f32; 2]>,
        colour: Rgb888,
        signed: bool,
    ) -> Result<(), D::Error>
    where
        D::Color: From<Rgb888>,
    {
        let (left, wide) = (area.top_left.x, area.size.width as f32);
        let at = |v: f32| left + px((if signed { 0.5 + 0.5 * v } else { v }).clamp(0.0, 1.0) * wide);
        fill(d, area, fade(PANEL, LINE, 0.4))?;
        let (a, b) = (at(0.0).min(at(value)), at(0.0).max(at(value)));
        let inner = Rectangle::new(Point::new(a, area.top_left.y), Size::new((b - a).max(1) as u32, area.size.height));
        fill(d, inner, colour)?;
        if signed {
            line(
                d,
                Point::new(at(0.0), area.top_left.y),
                Point::new(at(0.0), area.anchor_point(AnchorPoint::BottomLeft).y),
                QUIET,
            )?;
        }
        if let Some([low, high]) = interval {
            let y = area.anchor_point(AnchorPoint::BottomLeft).y;
            line(d, Point::new(at(low), y), Point::new(at(high), y), INK)?;
        }
        Ok(())
    }

    fn circumplex<D: DrawTarget>(&self, d: &mut D, layout: &Layout, r: &Reading) -> Result<(), D::Error>
    where
        D::Color: From<Rgb888>,
    {
        let (Some(valence), Some(arousal)) = (r.valence, r.arousal) else { return Ok(()) };
        let radius = (layout.size.height.min(layout.size.width) as i32 / 6).max(14);
        let (pad, text) = (4, layout.text_px());
        let side = 2 * (radius + pad) + text;
        let corner = Point::new(layout.size.width as i32 - side - pad, layout.size.height as i32 - side - pad);
        fill(d, Rectangle::new(corner, Size::new(side as u32, side as u32)), PANEL)?;
        let centre = corner + Point::new(side / 2, side / 2 + text / 2);
        let at = |v: f32, a: f32| centre + Point::new(px(v * radius as f32), px(-a * radius as f32));
        let ring = Circle::with_center(centre, 2 * radius as u32 + 1);
        ring.into_styled(PrimitiveStyle::with_stroke(LINE.into(), 1)).draw(d)?;
        line(d, at(-1.0, 0.0), at(1.0, 0.0), LINE)?;
        line(d, at(0.0, -1.0), at(0.0, 1.0), LINE)?;
        let name = if layout.width_px("valence / arousal") <= side { "valence / arousal" } else { "V / A" };
        write(d, layout, Point::new(corner.x + (side - layout.width_px(name)) / 2, corner.y + 2), QUIET, name)?;
        if let Some([[a0, a1], [v0, v1]]) = r.interval {
            Rectangle::with_corners(at(v0, a1), at(v1, a0))
                .into_styled(PrimitiveStyle::with_stroke(fade(CONFIDENCE, PANEL, 0.5).into(), 1))
                .draw(d)?;
        }
        let dot = 2 * layout.stroke + 3;
        for past in (0..TRAIL).filter_map(|i| self.trail[(self.next + i) % TRAIL]) {
            let age = (r.time_s - past.time_s) / TRAIL_S;
            if (0.0..=1.0).contains(&age) {
                Circle::with_center(at(past.valence, past.arousal), dot.div_ceil(2))
                    .into_styled(PrimitiveStyle::with_fill(fade(VALENCE, PANEL, age as f32).into()))
                    .draw(d)?;
            }
        }
        Circle::with_center(at(valence, arousal), dot).into_styled(PrimitiveStyle::with_fill(INK.into())).draw(d)
    }

    fn unverified<D: DrawTarget>(d: &mut D, layout: &Layout) -> Result<(), D::Error>
    where
        D::Color: From<Rgb888>,
    {
        let frame = PrimitiveStyleBuilder::new()
            .stroke_color(WARNING.into())
            .stroke_width(2 * layout.stroke)
            .stroke_alignment(StrokeAlignment::Inside)
            .build();
        Rectangle::new(Point::zero(), layout.size).into_styled(frame).draw(d)?;
        let room = layout.size.width as i32 - 4 * layout.stroke as i32;
        let fitting = ["UNVERIFIED MODEL", "UNVERIFIED"].into_iter().find(|words| layout.width_px(words) + 8 <= room);
        let Some(words) = fitting else { return Ok(()) };
        let (wide, high) = (layout.width_px(words) + 8, layout.text_px() + 4);
        let corner = Point::new((layout.size.width as i32 - wide) / 2, 2 * layout.stroke as i32);
        fill(d, Rectangle::new(corner, Size::new(wide as u32, high as u32)), WARNING)?;
        write(d, layout, corner + Point::new(4, 2), PANEL, words)
    }

    fn no_face<D: DrawTarget>(&self, d: &mut D, layout: &Layout) -> Result<(), D::Error>
    where
        D::Color: From<Rgb888>,
    {
        let (wide, high) = (layout.width_px("no face") + 8, layout.text_px() + 6);
        let corner = Point::new(4, layout.size.height as i32 - high - 4);
        fill(d, Rectangle::new(corner, Size::new(wide as u32, high as u32)), PANEL)?;
        write(d, layout, corner + Point::new(4, 3), QUIET, "no face")
    }
}
