//! Whole pictures at the size that a network works at.

use super::{Room, Taps, weigh};
use crate::frame::Gray;

/// Reduces or enlarges whole pictures, keeping their shape.
///
/// A picture is first averaged over whole cells, then resampled by what is left, a factor below 2,
/// with the filter of [`super::Cropper`]. A warm one allocates nothing for pictures of the size
/// before.
#[derive(Debug, Clone, Default)]
pub struct Fitter {
    reduced: Gray,
    columns: Taps,
    rows: Taps,
    room: Room,
}

/// Largest factor by which a picture is enlarged.
const MOST_ENLARGED: usize = 2;

impl Fitter {
    /// Writes `picture` into `out` with its longer side at `long_px`, or enlarged by 2 where that
    /// gives less. Gives the factor from `out` to `picture`. An empty picture stays empty.
    pub fn fit(&mut self, picture: &Gray, long_px: usize, out: &mut Gray) -> f32 {
        let long = picture.width.max(picture.height);
        if picture.width == 0 || picture.height == 0 || long_px == 0 {
            out.reshape(0, 0);
            return 1.0;
        }
        let target = long_px.min(MOST_ENLARGED * long);
        let factor = long as f32 / target as f32;
        let side = |n: usize| ((n as f32 / factor).round() as usize).max(1);
        let size = [side(picture.width), side(picture.height)];
        let cells = (long / target).max(1);
        let whole = size.map(|n| n * cells) == [picture.width, picture.height];
        if whole && cells == 1 {
            out.reshape(picture.width, picture.height);
            out.data.copy_from_slice(&picture.data);
            return factor;
        }
        if whole {
            reduce(picture, cells, out);
            return factor;
        }
        let source = if cells > 1 && picture.width.min(picture.height) >= cells {
            reduce(picture, cells, &mut self.reduced);
            &self.reduced
        } else {
            picture
        };
        // What reducing left out at the right and the bottom, less than a cell, is left out here
        // too.
        let cells = if std::ptr::eq(source, picture) { 1 } else { cells };
        let scale = f64::from(factor) / cells as f64;
        let half = scale.max(1.0);
        self.columns.fill(0.0, scale, half, size[0]);
        self.rows.fill(0.0, scale, half, size[1]);
        out.reshape(size[0], size[1]);
        weigh(source, &self.columns, &self.rows, &mut self.room, &mut out.data);
        factor
    }
}

/// Area average onto a picture `factor` times smaller each way, cells that are not whole left out.
pub fn reduce(picture: &Gray, factor: usize, out: &mut Gray) {
    out.reshape(picture.width / factor, picture.height / factor);
    let (width, stride) = (out.width, picture.width);
    let half = (factor * factor / 2) as u32;
    let divisor = (factor * factor) as u32;
    for (y, row) in out.data.chunks_exact_mut(width.max(1)).enumerate() {
        let lines = &picture.data[y * factor * stride..][..factor * stride];
        if factor == 2 {
            let (a, b) = lines.split_at(stride);
            let pairs = a.as_chunks::<2>().0.iter().zip(b.as_chunks::<2>().0);
            for (o, ([a, b], [c, d])) in row.iter_mut().zip(pairs) {
                *o = ((u16::from(*a) + u16::from(*b) + u16::from(*c) + u16::from(*d) + 2) / 4) as u8;
            }
            continue;
        }
        for (x, o) in row.iter_mut().enumerate() {
            let cells = lines.chunks_exact(stride).map(|line| &line[x * factor..][..factor]);
            let sum: u32 = cells.flatten().map(|&v| u32::from(v)).sum();
            *o = ((sum + half) / divisor) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reduce_averages_cells() {
        let mut out = Gray::default();
        reduce(&Gray { width: 5, height: 2, data: vec![0, 4, 8, 8, 9, 4, 8, 8, 8, 9] }, 2, &mut out);
        assert_eq!((out.width, out.height, out.data.as_slice()), (2, 1, &[4, 8][..]));
        reduce(&Gray { width: 3, height: 3, data: vec![1, 2, 3, 4, 5, 6, 7, 8, 9] }, 3, &mut out);
        assert_eq!((out.width, out.height, out.data.as_slice()), (1, 1, &[5][..]));
    }

    #[test]
    fn sizes_keep_the_shape_and_the_factor_leads_back() {
        let (mut fitter, mut out) = (Fitter::default(), Gray::default());
        for (width, height, want) in [
            (640, 480, [320, 240]),
            (1920, 1080, [320, 180]),
            (352, 288, [320, 262]),
            (320, 240, [320, 240]),
            (100, 50, [200, 100]),
            (1, 5000, [1, 320]),
            (799, 600, [320, 240]),
            (0, 7, [0, 0]),
        ] {
            let factor = fitter.fit(&Gray::new(width, height), 320, &mut out);
            assert_eq!([out.width, out.height], want, "{width}x{height}");
            assert_eq!(out.data.len(), want[0] * want[1]);
            let long = want[0].max(want[1]) as f32 * factor;
            assert!(want[0] == 0 || (long - width.max(height) as f32).abs() < 0.01, "{width}x{height}: {factor}");
        }
    }

    proptest! {
        #[test]
        fn a_ramp_stays_a_ramp(width in 40usize..900, height in 40usize..900) {
            let value = |x: f32, y: f32| 20.0 + 200.0 * (x / width as f32 + y / height as f32) / 2.0;
            let at = |i: usize| value((i % width) as f32 + 0.5, (i / width) as f32 + 0.5).round() as u8;
            let picture = Gray { width, height, data: (0..width * height).map(at).collect() };
            let mut out = Gray::default();
            let factor = Fitter::default().fit(&picture, 160, &mut out);
            // Edges are repeated, and cells that are not whole left out.
            for y in 4..out.height - 4 {
                for x in 4..out.width - 4 {
                    let want = value(factor * (x as f32 + 0.5), factor * (y as f32 + 0.5));
                    prop_assert!((f32::from(out.data[y * out.width + x]) - want).abs() < 3.0);
                }
            }
        }
    }
}
