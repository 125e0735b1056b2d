//! An RGB picture in memory as a drawing target.

use crate::error::Result;
use crate::frame::Frame;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use std::convert::Infallible;

/// Packed 8-bit RGB, drawn upon with whatever lies outside left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Canvas {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

impl Canvas {
    /// Takes the picture of a frame; allocates only where the frame is larger than those before.
    ///
    /// # Errors
    /// If the frame is malformed.
    pub fn load(&mut self, frame: &Frame) -> Result<()> {
        frame.rgb_into(&mut self.rgb)?;
        (self.width, self.height) = (frame.width, frame.height);
        Ok(())
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> std::result::Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(at.x), usize::try_from(at.y)) else { continue };
            if x < self.width
                && let Some(px) = self.rgb.get_mut(3 * (y * self.width + x)..).and_then(|s| s.first_chunk_mut::<3>())
            {
                *px = [colour.r(), colour.g(), colour.b()];
            }
        }
        Ok(())
    }
}
