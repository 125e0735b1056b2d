//! Pictures of a camera that is mounted otherwise: mirrored, then turned.

use super::{FrameSource, Next, SourceInfo, SourceStats, Truth};
use crate::error::{Error, Result};
use crate::frame::{Frame, PixelFormat};

/// Which way a picture is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// Left and right change places.
    Horizontal,
    /// Top and bottom change places.
    Vertical,
}

impl std::str::FromStr for Flip {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "h" => Ok(Self::Horizontal),
            "v" => Ok(Self::Vertical),
            other => Err(Error::usage(format!("flip is {other:?}, expected h or v"))),
        }
    }
}

/// How far a picture is turned, clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Quarter,
    Half,
    ThreeQuarters,
}

impl std::str::FromStr for Turn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "90" => Ok(Self::Quarter),
            "180" => Ok(Self::Half),
            "270" => Ok(Self::ThreeQuarters),
            other => Err(Error::usage(format!("turn is {other:?}, expected 90, 180 or 270 degrees clockwise"))),
        }
    }
}

/// A way to place pixels: a plane's pixel `(x, y)` of the result is the `(u, v)` of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placing {
    /// The sides change places.
    across: bool,
    /// Counted from the far side, in the source's columns and rows.
    far: [bool; 2],
}

impl Placing {
    fn of(flip: Option<Flip>, turn: Option<Turn>) -> Self {
        let (across, far) = match turn {
            None => (false, [false, false]),
            Some(Turn::Quarter) => (true, [false, true]),
            Some(Turn::Half) => (false, [true, true]),
            Some(Turn::ThreeQuarters) => (true, [true, false]),
        };
        let mirrored = [flip == Some(Flip::Horizontal), flip == Some(Flip::Vertical)];
        Self { across, far: [far[0] ^ mirrored[0], far[1] ^ mirrored[1]] }
    }

    fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.across { (height, width) } else { (width, height) }
    }

    /// Where pixel `(x, y)` of the result stands in a source of this size.
    fn source(self, x: usize, y: usize, width: usize, height: usize) -> (usize, usize) {
        let (u, v) = if self.across { (y, x) } else { (x, y) };
        (if self.far[0] { width - 1 - u } else { u }, if self.far[1] { height - 1 - v } else { v })
    }

    /// Places one plane of `width` x `height` pixels of `N` bytes.
    fn plane<const N: usize>(self, from: &[u8], width: usize, height: usize, to: &mut [u8]) {
        let (out_width, _) = self.size(width, height);
        let from = from.as_chunks::<N>().0;
        for (i, pixel) in to.as_chunks_mut::<N>().0.iter_mut().enumerate() {
            let (u, v) = self.source(i % out_width, i / out_width, width, height);
            *pixel = from[v * width + u];
        }
    }
}

/// A source whose pictures are mirrored and then turned clockwise.
pub struct Turned {
    inner: Box<dyn FrameSource>,
    placing: Placing,
    from: Frame,
}

impl Turned {
    /// Wraps `inner`.
    pub fn new(inner: Box<dyn FrameSource>, flip: Option<Flip>, turn: Option<Turn>) -> Self {
        Self { inner, placing: Placing::of(flip, turn), from: Frame::default() }
    }

    fn place(&self, to: &mut Frame) -> Result<()> {
        let from = &self.from;
        from.validate()?;
        let (w, h) = (from.width, from.height);
        let (width, height) = self.placing.size(w, h);
        // Packed chroma of 4:2:2 cannot be turned; luma is kept to the bit, chroma of two rows averaged.
        let format = if from.format == PixelFormat::Yuyv { PixelFormat::Yuv420p } else { from.format };
        to.reshape(width, height, format, from.range)?;
        match from.format {
            PixelFormat::Gray8 => self.placing.plane::<1>(&from.data, w, h, &mut to.data),
            PixelFormat::Rgb8 => self.placing.plane::<3>(&from.data, w, h, &mut to.data),
            PixelFormat::Yuv420p => {
                let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
                let (luma, chroma) = to.data.split_at_mut(w * h);
                self.placing.plane::<1>(&from.data[..w * h], w, h, luma);
                let sources = from.data[w * h..].chunks_exact(cw * ch);
                for (source, plane) in sources.zip(chroma.chunks_exact_mut(cw * ch)) {
                    self.placing.plane::<1>(source, cw, ch, plane);
                }
            }
            PixelFormat::Yuyv => self.place_packed(to),
        }
        (to.time, to.index, to.taken) = (from.time, from.index, from.taken);
        to.file.clone_from(&from.file);
        Ok(())
    }

    fn place_packed(&self, to: &mut Frame) {
        let (w, h) = (self.from.width, self.from.height);
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let packed = self.from.data.as_chunks::<4>().0;
        let (luma, chroma) = to.data.split_at_mut(w * h);
        let (width, _) = self.placing.size(w, h);
        let (chroma_width, _) = self.placing.size(cw, ch);
        for (i, o) in luma.iter_mut().enumerate() {
            let (u, v) = self.placing.source(i % width, i / width, w, h);
            *o = packed[v * cw + u / 2][2 * (u % 2)];
        }
        for (plane, part) in chroma.chunks_exact_mut(cw * ch).zip([1, 3]) {
            for (i, o) in plane.iter_mut().enumerate() {
                let (u, v) = self.placing.source(i % chroma_width, i / chroma_width, cw, ch);
                let row = |v: usize| u16::from(packed[v.min(h - 1) * cw + u][part]);
                *o = (row(2 * v) + row(2 * v + 1)).div_ceil(2) as u8;
            }
        }
    }
}

impl FrameSource for Turned {
    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        let next = self.inner.next_frame(&mut self.from)?;
        if next == Next::Frame {
            self.place(frame)?;
        }
        Ok(next)
    }

    fn stats(&self) -> SourceStats {
        self.inner.stats()
    }

    fn truth(&self) -> &[Truth] {
        // Places of the picture as it was.
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::check_contract;
    use crate::capture::y4m::Y4m;
    use crate::frame::{Gray, Range};

    /// 1 2 3 / 4 5 6, turned.
    fn placed(flip: Option<Flip>, turn: Option<Turn>) -> (usize, Vec<u8>) {
        let bytes = b"YUV4MPEG2 W3 H2 F10:1 Cmono XCOLORRANGE=FULL\nFRAME\n\x01\x02\x03\x04\x05\x06";
        let mut source = Turned::new(Box::new(Y4m::new(&bytes[..], "t").unwrap()), flip, turn);
        let frame = check_contract(&mut source).remove(0);
        (frame.width, frame.data)
    }

    #[test]
    fn pictures_are_mirrored_and_turned_clockwise() {
        let (h, v) = (Some(Flip::Horizontal), Some(Flip::Vertical));
        assert_eq!(placed(None, Some(Turn::Quarter)), (2, vec![4, 1, 5, 2, 6, 3]));
        assert_eq!(placed(None, Some(Turn::Half)), (3, vec![6, 5, 4, 3, 2, 1]));
        assert_eq!(placed(None, Some(Turn::ThreeQuarters)), (2, vec![3, 6, 2, 5, 1, 4]));
        assert_eq!(placed(h, None), (3, vec![3, 2, 1, 6, 5, 4]));
        assert_eq!(placed(v, None), (3, vec![4, 5, 6, 1, 2, 3]));
        assert_eq!(placed(h, Some(Turn::Quarter)), (2, vec![6, 3, 5, 2, 4, 1]));
    }

    #[test]
    fn every_format_keeps_its_luma_and_colours() {
        for format in [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Yuv420p, PixelFormat::Yuyv] {
            for turn in [Turn::Quarter, Turn::Half, Turn::ThreeQuarters] {
                let mut from = Frame::default();
                from.reshape(5, 3, format, Range::Full).unwrap();
                from.data.iter_mut().enumerate().for_each(|(i, v)| *v = (i * 37 % 251) as u8);
                let mut plain = Gray::default();
                from.luma_into(&mut plain).unwrap();
                let mut turned =
                    Turned::new(Box::new(Y4m::new(&b"YUV4MPEG2 W1 H1\n"[..], "t").unwrap()), None, Some(turn));
                turned.from = from;
                let (mut to, mut luma) = (Frame::default(), Gray::default());
                turned.place(&mut to).unwrap();
                to.luma_into(&mut luma).unwrap();
                let mut want = vec![0; 15];
                turned.placing.plane::<1>(&plain.data, 5, 3, &mut want);
                assert_eq!(luma.data, want, "{format:?} {turn:?}");
                to.rgb_into(&mut Vec::new()).unwrap();
            }
        }
    }
}
