//! Layer 1: pixels and time. A [`Frame`] is what a source delivers, a [`Gray`] what faces are read from.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Largest frame side accepted, in pixels.
pub const MAX_SIDE_PX: usize = 16_384;
/// Largest frame accepted, in pixels (8000 x 6000 and a little more).
pub const MAX_AREA_PX: usize = 48 << 20;

/// Layout of a frame's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// One byte a pixel.
    Gray8,
    /// Red, green, blue; three bytes a pixel.
    Rgb8,
    /// Planar 4:2:0, luma then U then V, chroma sides rounded up.
    Yuv420p,
    /// Packed 4:2:2, Y0 U Y1 V; rows hold `2 * ceil(width / 2)` pixels.
    Yuyv,
}

impl PixelFormat {
    /// Bytes of a tightly packed frame.
    pub fn bytes(self, width: usize, height: usize) -> usize {
        let half = |n: usize| n.div_ceil(2);
        match self {
            PixelFormat::Gray8 => width * height,
            PixelFormat::Rgb8 => 3 * width * height,
            PixelFormat::Yuv420p => width * height + 2 * half(width) * half(height),
            PixelFormat::Yuyv => 4 * half(width) * height,
        }
    }
}

/// What luma values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// 0 is black, 255 white.
    Full,
    /// 16 is black, 235 white (BT.601/709 video).
    Limited,
}

/// One picture with its time stamp. Reused between reads, so that a warm stream allocates nothing.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Layout of `data`.
    pub format: PixelFormat,
    /// Meaning of luma values.
    pub range: Range,
    /// Exactly `format.bytes(width, height)` bytes.
    pub data: Vec<u8>,
    /// Time since the stream began; never decreases within a stream.
    pub time: Duration,
    /// Number of the frame in the stream, from 0.
    pub index: u64,
    /// When the picture was taken, where the source has a clock.
    pub taken: Option<SystemTime>,
    /// File name of a picture that is a stream of its own.
    pub file: Option<Arc<str>>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            width: 0,
            height: 0,
            format: PixelFormat::Gray8,
            range: Range::Full,
            data: Vec::new(),
            time: Duration::ZERO,
            index: 0,
            taken: None,
            file: None,
        }
    }
}

impl Frame {
    /// Gives the frame a new shape, keeping its buffer where that is large enough.
    ///
    /// # Errors
    /// Refuses empty and absurdly large sizes, so that a damaged header cannot exhaust memory.
    pub fn reshape(&mut self, width: usize, height: usize, format: PixelFormat, range: Range) -> Result<()> {
        Self::check_size(width, height)?;
        self.data.resize(format.bytes(width, height), 0);
        (self.width, self.height, self.format, self.range) = (width, height, format, range);
        Ok(())
    }

    /// Writes the full-range luma into `out`.
    ///
    /// RGB goes through BT.601 in 8-bit fixed point, `(77 r + 150 g + 29 b + 128) >> 8`; limited-range
    /// luma is stretched to 0..=255.
    ///
    /// # Errors
    /// If the frame's bytes do not match its shape.
    pub fn luma_into(&self, out: &mut Gray) -> Result<()> {
        self.validate()?;
        out.reshape(self.width, self.height);
        match self.format {
            PixelFormat::Gray8 | PixelFormat::Yuv420p => {
                out.data.copy_from_slice(&self.data[..self.width * self.height])
            }
            PixelFormat::Rgb8 => {
                for (o, p) in out.data.iter_mut().zip(self.data.as_chunks().0) {
                    *o = luma(*p);
                }
            }
            PixelFormat::Yuyv => {
                let rows = self.data.chunks_exact(4 * self.width.div_ceil(2));
                for (o, row) in out.data.chunks_exact_mut(self.width).zip(rows) {
                    for (o, p) in o.iter_mut().zip(row.chunks_exact(2)) {
                        *o = p[0];
                    }
                }
            }
        }
        if self.range == Range::Limited && self.format != PixelFormat::Rgb8 {
            for v in &mut out.data {
                *v = stretch(*v);
            }
        }
        Ok(())
    }

    /// Writes packed 8-bit RGB into `out` (BT.601), resizing it to `3 * width * height`.
    ///
    /// # Errors
    /// If the frame's bytes do not match its shape.
    pub fn rgb_into(&self, out: &mut Vec<u8>) -> Result<()> {
        self.validate()?;
        out.resize(3 * self.width * self.height, 0);
        let (w, h) = (self.width, self.height);
        let (cw, plane) = (w.div_ceil(2), w * h);
        for (i, px) in out.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % w, i / w);
            let rgb = match self.format {
                PixelFormat::Gray8 => [self.gray(self.data[i]); 3],
                PixelFormat::Rgb8 => [self.data[3 * i], self.data[3 * i + 1], self.data[3 * i + 2]],
                PixelFormat::Yuv420p => {
                    let c = plane + (y / 2) * cw + x / 2;
                    self.yuv(self.data[i], self.data[c], self.data[c + cw * h.div_ceil(2)])
                }
                PixelFormat::Yuyv => {
                    let row = y * 4 * cw + (x / 2) * 4;
                    self.yuv(self.data[row + 2 * (x % 2)], self.data[row + 1], self.data[row + 3])
                }
            };
            px.copy_from_slice(&rgb);
        }
        Ok(())
    }

    fn gray(&self, y: u8) -> u8 {
        if self.range == Range::Limited { stretch(y) } else { y }
    }

    fn yuv(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let y = i32::from(self.gray(y)) << 16;
        let chroma = if self.range == Range::Limited { 74_606 } else { 65_536 };
        let (u, v) = ((i32::from(u) - 128) * (chroma >> 6), (i32::from(v) - 128) * (chroma >> 6));
        let put = |t: i32| ((t + 32_768) >> 16).clamp(0, 255) as u8;
        [
            put(y + (((v * 1_435) >> 10) << 6)),
            put(y - (((u * 352 + v * 731) >> 10) << 6)),
            put(y + (((u * 1_814) >> 10) << 6)),
        ]
    }

    /// Checks that the bytes match the shape.
    ///
    /// # Errors
    /// Names the expected and the found length.
    pub fn validate(&self) -> Result<()> {
        Self::check_size(self.width, self.height)?;
        let want = self.format.bytes(self.width, self.height);
        if self.data.len() != want {
            return Err(Error::input(format!(
                "frame {} of {}x{} {:?} has {} bytes, expected {want}",
                self.index,
                self.width,
                self.height,
                self.format,
                self.data.len()
            )));
        }
        Ok(())
    }

    /// Makes an RGB picture grey in the memory that it has, and gives the rest back; faces are read from the same luma.
    pub fn drop_colour(&mut self) {
        if self.format != PixelFormat::Rgb8 {
            return;
        }
        let area = self.data.len() / 3;
        for i in 0..area {
            self.data[i] = luma([self.data[3 * i], self.data[3 * i + 1], self.data[3 * i + 2]]);
        }
        self.data.truncate(area);
        self.data.shrink_to_fit();
        self.format = PixelFormat::Gray8;
    }

    /// Refuses empty and absurdly large sizes.
    ///
    /// # Errors
    /// Names what is accepted.
    pub fn check_size(width: usize, height: usize) -> Result<()> {
        let ok =
            (1..=MAX_SIDE_PX).contains(&width) && (1..=MAX_SIDE_PX).contains(&height) && width * height <= MAX_AREA_PX;
        if ok {
            return Ok(());
        }
        Err(Error::input(format!("a picture of {width}x{height} pixels cannot be read"))
            .remedy(format!("sides from 1 to {MAX_SIDE_PX} and at most {MAX_AREA_PX} pixels are accepted")))
    }
}

/// BT.601 in 8-bit fixed point.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128) >> 8) as u8
}

fn stretch(y: u8) -> u8 {
    (((i32::from(y) - 16) * 255 + 109).div_euclid(219)).clamp(0, 255) as u8
}

/// A full-range grey picture, row by row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gray {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width * height` bytes.
    pub data: Vec<u8>,
}

impl Gray {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, data: vec![0; width * height] }
    }

    /// Gives the picture a new size, keeping the buffer where that is large enough.
    pub fn reshape(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.data.resize(width * height, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: usize, height: usize, format: PixelFormat, data: Vec<u8>) -> Frame {
        Frame { width, height, format, data, ..Frame::default() }
    }

    #[test]
    fn odd_sizes_round_chroma_up() {
        assert_eq!(PixelFormat::Yuv420p.bytes(3, 3), 9 + 2 * 4);
        assert_eq!(PixelFormat::Yuyv.bytes(3, 2), 16);
    }

    #[test]
    fn limited_range_luma_is_stretched_to_full() {
        let mut f = frame(3, 1, PixelFormat::Gray8, vec![16, 235, 0]);
        f.range = Range::Limited;
        let mut g = Gray::default();
        f.luma_into(&mut g).unwrap();
        assert_eq!(g.data, [0, 255, 0]);
    }

    #[test]
    fn yuyv_luma_skips_the_padding_pixel_of_odd_rows() {
        let f = frame(3, 2, PixelFormat::Yuyv, vec![1, 0, 2, 0, 3, 0, 9, 0, 4, 0, 5, 0, 6, 0, 9, 0]);
        let mut g = Gray::default();
        f.luma_into(&mut g).unwrap();
        assert_eq!(g.data, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_picture_without_its_colours_has_the_same_luma() {
        let mut f = frame(5, 3, PixelFormat::Rgb8, (0..45).map(|i| i * 5).collect());
        let (mut before, mut after) = (Gray::default(), Gray::default());
        f.luma_into(&mut before).unwrap();
        f.drop_colour();
        f.luma_into(&mut after).unwrap();
        assert_eq!((before, f.format, f.data.len()), (after, PixelFormat::Gray8, 15));
    }

    #[test]
    fn neutral_chroma_is_grey() {
        let f = frame(2, 2, PixelFormat::Yuv420p, vec![0, 80, 160, 255, 128, 128]);
        let mut rgb = Vec::new();
        f.rgb_into(&mut rgb).unwrap();
        assert_eq!(rgb, [0, 0, 0, 80, 80, 80, 160, 160, 160, 255, 255, 255]);
    }

    #[test]
    fn red_survives_the_round_trip_through_yuv() {
        let f = frame(1, 1, PixelFormat::Yuv420p, vec![76, 85, 255]);
        let mut rgb = Vec::new();
        f.rgb_into(&mut rgb).unwrap();
        assert!(rgb[0] > 250 && rgb[1] < 4 && rgb[2] < 4, "{rgb:?}");
    }

    #[test]
    fn wrong_lengths_and_absurd_sizes_are_refused() {
        assert!(frame(2, 2, PixelFormat::Gray8, vec![0; 3]).luma_into(&mut Gray::default()).is_err());
        assert!(Frame::default().reshape(0, 4, PixelFormat::Gray8, Range::Full).is_err());
        assert!(Frame::default().reshape(16_000, 16_000, PixelFormat::Gray8, Range::Full).is_err());
        assert!(Frame::default().reshape(8_000, 6_000, PixelFormat::Gray8, Range::Full).is_ok());
    }
}
