//! Layer 2: the one resampler. Training, runtime and tests all cut crops with
//! [`Cropper::crop_into`], or, where a head is rolled, with [`Cropper::level_into`].

mod fit;
mod level;
mod ring;

pub use fit::{Fitter, reduce};
pub use level::{FLAT_RAD, Turn, wide_px};
pub use ring::Ring;

use crate::frame::Gray;
use crate::spec::CropRule;

/// Fraction bits of a resampling weight; the weights of one output pixel sum to exactly `1 <<
/// BITS`.
const BITS: u32 = 14;

/// Cuts a square out of a grey picture and resamples it to `size_px` x `size_px`.
///
/// Separable triangle filter of half-width `max(1, side / detail_px)` source pixels: bilinear when
/// enlarging, antialiased when reducing to `detail_px` or less. Output pixel `i` is centred at `x +
/// (i + 0.5) * side / size_px`; weights are 14-bit integers, the horizontal pass keeps 6 fraction
/// bits in u16, the vertical pass rounds half up. Pixels outside the picture repeat its edge. Holds
/// its buffers, so a warm cropper allocates nothing unless a crop reaches further than any before
/// it.
#[derive(Debug, Clone)]
pub struct Cropper {
    size_px: usize,
    detail_px: usize,
    columns: Taps,
    rows: Taps,
    room: Room,
    /// The circumscribed square of a levelled crop; empty before the first.
    wide: Vec<u8>,
}

/// One direction of a resampling.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taps {
    /// Source index of each output pixel's first tap, may be negative.
    pub(crate) first: Vec<i64>,
    /// `per_output` weights for each output pixel.
    pub(crate) weights: Vec<i32>,
    pub(crate) per_output: usize,
}

impl Taps {
    /// Taps of `count` output pixels `scale` source pixels apart, the first beginning at `origin`.
    fn fill(&mut self, origin: f64, scale: f64, half: f64, count: usize) {
        self.per_output = (2.0 * half).ceil() as usize + 1;
        self.first.clear();
        self.weights.clear();
        for i in 0..count {
            let centre = origin + (i as f64 + 0.5) * scale - 0.5;
            let first = (centre - half).ceil();
            self.first.push(first as i64);
            let weight = |k: usize| (1.0 - (first + k as f64 - centre).abs() / half).max(0.0);
            let total: f64 = (0..self.per_output).map(weight).sum();
            let (mut given, mut seen) = (0, 0.0);
            for k in 0..self.per_output {
                seen += weight(k) / total;
                let upto = (seen * f64::from(1 << BITS)).round() as i32;
                self.weights.push(upto - given);
                given = upto;
            }
        }
    }
}

impl Cropper {
    /// A cropper to squares of `size_px` with all the detail they can hold.
    pub fn new(size_px: usize) -> Self {
        Self::with_detail(size_px, size_px)
    }

    /// A cropper that obeys `rule`.
    pub fn for_rule(rule: &CropRule) -> Self {
        Self::with_detail(rule.size_px, rule.detail_px)
    }

    fn with_detail(size_px: usize, detail_px: usize) -> Self {
        Self {
            size_px,
            detail_px,
            columns: Taps::default(),
            rows: Taps::default(),
            room: Room::default(),
            wide: Vec::new(),
        }
    }

    /// Side of the crops in pixels.
    pub fn size_px(&self) -> usize {
        self.size_px
    }

    /// Whether it obeys `rule`.
    #[cfg(feature = "cuda")]
    pub(crate) fn obeys(&self, rule: &CropRule) -> bool {
        (self.size_px, self.detail_px) == (rule.size_px, rule.detail_px)
    }

    /// Resamples the square `[x, y, side]` of `image` into `out` (`size_px * size_px` bytes).
    ///
    /// A square that is not finite, or has no area, or an empty picture, gives a black crop.
    pub fn crop_into(&mut self, image: &Gray, square: [f32; 3], out: &mut [u8]) {
        debug_assert_eq!(out.len(), self.size_px * self.size_px);
        self.resample(image, square, 0, out);
    }

    /// As [`Cropper::crop_into`] for the square turned clockwise by `roll_rad` about its centre, so
    /// that a head rolled by `roll_rad` comes out upright. Below [`FLAT_RAD`], and for a roll that
    /// is not finite, it is `crop_into` to the bit.
    ///
    /// Cuts the upright square of [`wide_px`] pixels at the crop's own pitch and filter, which
    /// circumscribes the turned one, and turns it by [`Turn::apply`].
    pub fn level_into(&mut self, image: &Gray, square: [f32; 3], roll_rad: f32, out: &mut [u8]) {
        let Some(turn) = Turn::of(roll_rad) else { return self.crop_into(image, square, out) };
        let n = wide_px(self.size_px);
        let mut wide = std::mem::take(&mut self.wide);
        wide.resize(n * n, 0);
        self.resample(image, square, (n - self.size_px) / 2, &mut wide);
        turn.apply(&wide, n, out, self.size_px);
        self.wide = wide;
    }

    /// Computes the taps of the square `[x, y, side]` of `image`; false where
    /// [`Cropper::crop_into`] gives a black crop.
    #[cfg(feature = "cuda")]
    pub(crate) fn aim(&mut self, image: &Gray, square: [f32; 3]) -> bool {
        self.aim_wide(image, square, 0)
    }

    /// The same with `pad` pixels more on every side.
    fn aim_wide(&mut self, image: &Gray, [x, y, side]: [f32; 3], pad: usize) -> bool {
        let usable = x.is_finite()
            && y.is_finite()
            && side.is_finite()
            && side > 0.0
            && side < 1e6
            && x.abs() < 1e7
            && y.abs() < 1e7;
        if !usable || image.width == 0 || image.height == 0 {
            return false;
        }
        let scale = f64::from(side) / self.size_px as f64;
        let half = (f64::from(side) / self.detail_px as f64).max(1.0);
        let (before, count) = (pad as f64 * scale, self.size_px + 2 * pad);
        self.columns.fill(f64::from(x) - before, scale, half, count);
        self.rows.fill(f64::from(y) - before, scale, half, count);
        true
    }

    /// The columns' and the rows' taps of the last [`Cropper::aim`].
    #[cfg(feature = "cuda")]
    pub(crate) fn taps(&self) -> (&Taps, &Taps) {
        (&self.columns, &self.rows)
    }

    /// Resamples the square with `pad` pixels more on every side.
    fn resample(&mut self, image: &Gray, square: [f32; 3], pad: usize, out: &mut [u8]) {
        if !self.aim_wide(image, square, pad) {
            out.fill(0);
            return;
        }
        weigh(image, &self.columns, &self.rows, &mut self.room, out);
    }
}

/// Room for a resampling, kept from one to the next.
#[derive(Debug, Clone, Default)]
struct Room {
    /// Lines of the picture, resampled across.
    strip: Vec<u16>,
    /// One line of sums.
    sums: Vec<i32>,
}

/// Writes the weighted means of `image` that the taps name: a pixel for each of `columns`, line by
/// line for each of `rows`.
fn weigh(image: &Gray, columns: &Taps, rows: &Taps, room: &mut Room, out: &mut [u8]) {
    let size = columns.first.len();
    let row_at = |j: i64| j.clamp(0, image.height as i64 - 1) as usize;
    let top = row_at(rows.first[0]);
    let bottom = row_at(rows.first[rows.first.len() - 1] + rows.per_output as i64 - 1);
    room.strip.clear();
    room.strip.resize((bottom + 1 - top) * size, 0);
    let across = match columns.per_output {
        3 => horizontal::<3>,
        4 => horizontal::<4>,
        5 => horizontal::<5>,
        6 => horizontal::<6>,
        _ => horizontal_any,
    };
    for (line, source_row) in room.strip.chunks_exact_mut(size).zip(top..=bottom) {
        across(&image.data[source_row * image.width..][..image.width], columns, line);
    }
    for (j, line) in out.chunks_exact_mut(size).enumerate() {
        room.sums.clear();
        room.sums.resize(size, 1 << (BITS + 5));
        for (k, &w) in rows.weights[j * rows.per_output..][..rows.per_output].iter().enumerate() {
            let r = row_at(rows.first[j] + k as i64) - top;
            let strip = &room.strip[r * size..][..size];
            room.sums.iter_mut().zip(strip).for_each(|(sum, &v)| *sum += i32::from(v) * w);
        }
        line.iter_mut().zip(&room.sums).for_each(|(o, sum)| *o = (sum >> (BITS + 6)) as u8);
    }
}

/// A line across, of `N` taps an output.
fn horizontal<const N: usize>(row: &[u8], taps: &Taps, out: &mut [u16]) {
    let outputs = taps.weights.as_chunks::<N>().0.iter().zip(&taps.first);
    for (o, (weights, &first)) in out.iter_mut().zip(outputs) {
        let inside = usize::try_from(first).ok().and_then(|at| row.get(at..)?.first_chunk::<N>());
        let acc = match inside {
            Some(pixels) => pixels.iter().zip(weights).map(|(&p, &w)| i32::from(p) * w).sum(),
            None => at_edge(row, first, weights),
        };
        *o = rounded(acc);
    }
}

/// The same of any number of taps.
fn horizontal_any(row: &[u8], taps: &Taps, out: &mut [u16]) {
    let outputs = taps.weights.chunks_exact(taps.per_output).zip(&taps.first);
    for (o, (weights, &first)) in out.iter_mut().zip(outputs) {
        let inside = usize::try_from(first).ok().and_then(|at| row.get(at..at + weights.len()));
        let acc = match inside {
            Some(pixels) => pixels.iter().zip(weights).map(|(&p, &w)| i32::from(p) * w).sum(),
            None => at_edge(row, first, weights),
        };
        *o = rounded(acc);
    }
}

/// A sum whose taps leave the line, whose ends are repeated.
fn at_edge(row: &[u8], first: i64, weights: &[i32]) -> i32 {
    let at = |k: usize| row[(first + k as i64).clamp(0, row.len() as i64 - 1) as usize];
    weights.iter().enumerate().map(|(k, &w)| i32::from(at(k)) * w).sum()
}

fn rounded(acc: i32) -> u16 {
    ((acc + (1 << (BITS - 7))) >> (BITS - 6)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ramp(w: usize, h: usize) -> Gray {
        Gray { width: w, height: h, data: (0..w * h).map(|i| ((i % w) * 5 + (i / w) * 3) as u8).collect() }
    }

    #[test]
    fn crop_of_the_same_size_is_the_picture() {
        let g = ramp(16, 16);
        let mut out = vec![0; 256];
        Cropper::new(16).crop_into(&g, [0.0, 0.0, 16.0], &mut out);
        assert_eq!(out, g.data);
    }

    #[test]
    fn halving_a_linear_ramp_keeps_it_linear() {
        let g = ramp(32, 32);
        let mut out = vec![0; 256];
        Cropper::new(16).crop_into(&g, [0.0, 0.0, 32.0], &mut out);
        // Between source pixels 16 and 17 both ways: mean of the ramp there.
        assert_eq!(i32::from(out[8 * 16 + 8]), (165 * 5 + 165 * 3) / 10);
    }

    #[test]
    fn far_outside_repeats_the_edge() {
        let g = Gray { width: 2, height: 2, data: vec![10, 20, 30, 40] };
        let mut out = vec![0; 256];
        let mut c = Cropper::new(16);
        c.crop_into(&g, [-500.0, -500.0, 20.0], &mut out);
        assert!(out.iter().all(|&v| v == 10));
        c.crop_into(&g, [500.0, 500.0, 20.0], &mut out);
        assert!(out.iter().all(|&v| v == 40));
        c.crop_into(&g, [f32::NAN, 0.0, 20.0], &mut out);
        assert!(out.iter().all(|&v| v == 0));
    }

    proptest! {
        #[test]
        fn a_flat_picture_stays_flat(v: u8, w in 1usize..50, h in 1usize..50, x in -60f32..60.0, y in -60f32..60.0, side in 0.5f32..200.0) {
            let g = Gray { width: w, height: h, data: vec![v; w * h] };
            let mut out = vec![0; 400];
            Cropper::new(20).crop_into(&g, [x, y, side], &mut out);
            prop_assert!(out.iter().all(|&o| o == v));
        }

        #[test]
        fn a_flat_picture_stays_flat_when_levelled(v: u8, x in -60f32..60.0, side in 0.5f32..200.0, roll in -4f32..4.0) {
            let g = Gray { width: 31, height: 17, data: vec![v; 31 * 17] };
            let mut out = vec![!v; 21 * 21];
            Cropper::new(21).level_into(&g, [x, -x, side], roll, &mut out);
            prop_assert!(out.iter().all(|&o| o == v));
        }

        #[test]
        fn a_level_head_is_cropped_as_ever(roll in -1f32..1.0, x in -9f32..9.0, side in 3f32..60.0) {
            let (g, mut c) = (ramp(33, 25), Cropper::with_detail(20, 12));
            let (mut plain, mut level) = (vec![0; 400], vec![0; 400]);
            c.crop_into(&g, [x, x, side], &mut plain);
            c.level_into(&g, [x, x, side], roll * 0.999 * FLAT_RAD, &mut level);
            prop_assert_eq!(&plain, &level);
            c.level_into(&g, [x, x, side], f32::NAN, &mut level);
            prop_assert_eq!(&plain, &level);
        }

        #[test]
        fn turning_back_gives_the_picture(roll in -3.1f32..3.1, phase in 0f32..6.0) {
            let wave = |i: usize| 128.0 + 60.0 * ((i % 96) as f32 / 9.0 + phase).sin() + 50.0 * ((i / 96) as f32 / 11.0).cos();
            let picture = Gray { width: 96, height: 96, data: (0..96 * 96).map(|i| wave(i) as u8).collect() };
            let (mut c, mut there, mut back) = (Cropper::new(96), Gray::new(96, 96), vec![0; 96 * 96]);
            c.level_into(&picture, [0.0, 0.0, 96.0], roll, &mut there.data);
            c.level_into(&there, [0.0, 0.0, 96.0], -roll, &mut back);
            for (i, (&a, &b)) in picture.data.iter().zip(&back).enumerate() {
                let (u, v) = ((i % 96) as f32 - 47.5, (i / 96) as f32 - 47.5);
                // Beyond the inscribed circle the edge was repeated.
                prop_assert!(u.hypot(v) > 46.0 || a.abs_diff(b) <= 4, "{i}: {a} {b}");
            }
        }
    }
}
