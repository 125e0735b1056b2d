//! From a clean picture to what a camera and its compression leave of it.

use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::render::{Rng, clip::soften};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// One camera's faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    pub gain: f32,
    /// Exponent on reflectance: below 1 lifts the shadows.
    pub gamma: f32,
    /// Standard deviation of noise at mid grey, in grey levels; it grows with the root of brightness.
    pub noise: f32,
    /// Out of focus by a pixel.
    pub soft: bool,
    /// Share of a frame's time during which the shutter is open.
    pub shutter: f32,
    /// JPEG quality, 25 to 95; `None` for no compression.
    pub quality: Option<u8>,
}

impl Camera {
    /// A flawless camera.
    pub const CLEAN: Self = Self { gain: 1.0, gamma: 1.0, noise: 0.0, soft: false, shutter: 0.0, quality: None };

    pub(super) fn draw(r: &mut Rng) -> Self {
        Self {
            gain: r.range(0.75, 1.3),
            gamma: r.range(0.7, 1.1),
            noise: 5.0 * r.unit() * r.unit(),
            soft: r.chance(0.35),
            shutter: r.range(0.1, 0.9),
            quality: r.chance(0.8).then(|| 25 + r.below(71) as u8),
        }
    }

    /// Takes `clean`, `light` times as bright, with the noise that `rng` gives.
    ///
    /// # Errors
    /// The compression fails.
    pub fn take(&self, clean: &mut Gray, light: f32, rng: &mut Rng) -> Result<()> {
        if self.soft {
            soften(clean);
        }
        let tone: [f32; 256] =
            std::array::from_fn(|v| 255.0 * (self.gain * light * v as f32 / 255.0).max(0.0).powf(self.gamma).min(1.2));
        for p in &mut clean.data {
            let v = tone[usize::from(*p)];
            let spread = self.noise * (0.3 + 0.7 * (v / 128.0).sqrt());
            // Three uniform numbers of 21 bits: near normal, in one draw.
            let bits = rng.next_u64();
            let sum = (bits & 0x1F_FFFF) + ((bits >> 21) & 0x1F_FFFF) + ((bits >> 42) & 0x1F_FFFF);
            *p = (v + 2.0 * spread * (sum as f32 / 2_097_152.0 - 1.5) + 0.5) as u8;
        }
        self.quality.map_or(Ok(()), |q| compress(clean, q))
    }
}

/// To JPEG and back.
fn compress(picture: &mut Gray, quality: u8) -> Result<()> {
    let failed = |e: image::ImageError| Error::unsupported("cannot compress a rendered picture").caused_by(e);
    let mut bytes = Vec::with_capacity(picture.data.len() / 4);
    let (w, h) = (picture.width as u32, picture.height as u32);
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(&picture.data, w, h, ExtendedColorType::L8)
        .map_err(failed)?;
    let back = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).map_err(failed)?;
    picture.data = back.into_luma8().into_raw();
    Ok(())
}
