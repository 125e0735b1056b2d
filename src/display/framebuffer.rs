//! A Linux framebuffer: the picture scaled to fit, centred, black around it.

use super::{Canvas, Composer, View};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::spec::Reading;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// How a framebuffer lays out its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Visible size in pixels.
    pub width: usize,
    pub height: usize,
    /// Bytes of the first visible pixel, and from one row to the next.
    pub start: usize,
    pub stride: usize,
    /// 16 or 32.
    pub bits: u32,
    /// Lowest bit and number of bits of red, green and blue.
    pub red: (u32, u32),
    pub green: (u32, u32),
    pub blue: (u32, u32),
}

impl Mode {
    /// Refuses what [`Mode::put`] cannot write into `bytes` bytes.
    ///
    /// # Errors
    /// Another depth than 16 or 32 bits, channels outside a pixel, or rows outside the memory.
    pub fn validate(&self, bytes: usize) -> Result<()> {
        if ![16, 32].contains(&self.bits) {
            return Err(Error::unsupported(format!(
                "the framebuffer has {} bits a pixel, expected 16 or 32",
                self.bits
            ))
            .remedy("choose another mode, for example with fbset -depth 32"));
        }
        let fits = |(low, bits): (u32, u32)| (1..=8).contains(&bits) && low + bits <= self.bits;
        if ![self.red, self.green, self.blue].into_iter().all(fits) {
            return Err(Error::unsupported("the framebuffer is not in RGB"));
        }
        let row = self.width * self.bits as usize / 8;
        let end = (self.height.saturating_sub(1)).saturating_mul(self.stride).saturating_add(self.start + row);
        if self.width == 0 || self.height == 0 || self.stride < row || end > bytes {
            return Err(Error::unsupported(format!(
                "the framebuffer says {}x{} with rows of {} bytes, which its {bytes} bytes do not hold",
                self.width, self.height, self.stride
            )));
        }
        Ok(())
    }

    /// Writes the picture into the framebuffer's bytes: as large as fits, nearest pixel, centred, black around.
    pub fn put(&self, picture: &Canvas, out: &mut [u8]) {
        let (pw, ph) = (picture.width.max(1), picture.height.max(1));
        let wide = self.width.min(self.height * pw / ph).max(1);
        let high = self.height.min(self.width * ph / pw).max(1);
        let (left, top) = ((self.width - wide) / 2, (self.height - high) / 2);
        let bytes = self.bits as usize / 8;
        for y in 0..self.height {
            let Some(row) = out.get_mut(self.start + y * self.stride..).and_then(|r| r.get_mut(..self.width * bytes))
            else {
                return;
            };
            let source = y.checked_sub(top).filter(|y| *y < high).map(|y| y * ph / high * pw);
            for (x, pixel) in row.chunks_exact_mut(bytes).enumerate() {
                let from = x.checked_sub(left).filter(|x| *x < wide).zip(source).map(|(x, s)| 3 * (s + x * pw / wide));
                let rgb = from.and_then(|i| picture.rgb.get(i..)?.first_chunk::<3>()).copied().unwrap_or_default();
                let word = [self.red, self.green, self.blue]
                    .into_iter()
                    .zip(rgb)
                    .fold(0u32, |word, ((low, bits), v)| word | (u32::from(v) >> (8 - bits)) << low);
                pixel.copy_from_slice(&word.to_ne_bytes()[..bytes]);
            }
        }
    }
}

/// `struct fb_bitfield` of linux/fb.h.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Field {
    offset: u32,
    length: u32,
    msb_right: u32,
}

/// `struct fb_var_screeninfo` of linux/fb.h.
#[repr(C)]
#[derive(Default)]
struct VarInfo {
    xres: u32,
    yres: u32,
    xres_virtual: u32,
    yres_virtual: u32,
    xoffset: u32,
    yoffset: u32,
    bits_per_pixel: u32,
    grayscale: u32,
    red: Field,
    green: Field,
    blue: Field,
    transp: Field,
    rest: [u32; 20],
}

/// `struct fb_fix_screeninfo` of linux/fb.h.
#[repr(C)]
#[derive(Default)]
struct FixInfo {
    id: [u8; 16],
    smem_start: libc::c_ulong,
    smem_len: u32,
    kind: u32,
    type_aux: u32,
    visual: u32,
    xpanstep: u16,
    ypanstep: u16,
    ywrapstep: u16,
    line_length: u32,
    mmio_start: libc::c_ulong,
    mmio_len: u32,
    accel: u32,
    capabilities: u16,
    reserved: [u16; 2],
}

const FBIOGET_VSCREENINFO: u32 = 0x4600;
const FBIOGET_FSCREENINFO: u32 = 0x4602;

/// A mapped framebuffer device.
pub struct Framebuffer {
    memory: *mut u8,
    bytes: usize,
    mode: Mode,
    composer: Composer,
    path: PathBuf,
    _file: File,
}

impl Framebuffer {
    /// Opens and maps `device`.
    ///
    /// # Errors
    /// A device that is missing, not ours to open, no framebuffer, or in a mode that cannot be drawn.
    pub fn open(device: &Path) -> Result<Self> {
        let fail = |what: &str| Error::unsupported(what).at(device.display());
        let file = File::options().read(true).write(true).open(device).map_err(|e| {
            let remedy = match e.kind() {
                std::io::ErrorKind::PermissionDenied => "add the user to the group video and log in again",
                _ => "see what there is with: ls /dev/fb*",
            };
            fail("the framebuffer cannot be opened").caused_by(e).remedy(remedy)
        })?;
        let (mut var, mut fix) = (VarInfo::default(), FixInfo::default());
        // SAFETY: the kernel fills these two structures, whose layouts are those of linux/fb.h, and nothing beyond.
        let asked = unsafe {
            libc::ioctl(file.as_raw_fd(), FBIOGET_VSCREENINFO as _, &raw mut var) == 0
                && libc::ioctl(file.as_raw_fd(), FBIOGET_FSCREENINFO as _, &raw mut fix) == 0
        };
        if !asked {
            return Err(fail("is not a framebuffer").caused_by(std::io::Error::last_os_error()));
        }
        let field = |f: Field| (f.offset, f.length);
        let (bytes, stride) = (fix.smem_len as usize, fix.line_length as usize);
        let mode = Mode {
            width: var.xres as usize,
            height: var.yres as usize,
            start: var.yoffset as usize * stride + var.xoffset as usize * var.bits_per_pixel as usize / 8,
            stride,
            bits: var.bits_per_pixel,
            red: field(var.red),
            green: field(var.green),
            blue: field(var.blue),
        };
        mode.validate(bytes).map_err(|e| e.at(device.display()))?;
        // SAFETY: a fresh shared mapping of the open device over the length that its driver gave; unmapped in `drop`.
        let memory = unsafe {
            let flags = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), bytes, flags, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(fail("the framebuffer cannot be mapped").caused_by(std::io::Error::last_os_error()));
        }
        let memory = memory.cast();
        Ok(Self { memory, bytes, mode, composer: Composer::default(), path: device.into(), _file: file })
    }
}

impl View for Framebuffer {
    fn show(&mut self, frame: &Frame, readings: &[Reading]) -> Result<()> {
        let picture = self.composer.compose(frame, readings).map_err(|e| e.at(self.path.display()))?;
        // SAFETY: the mapping lives until `drop`, is `bytes` long, and only this view writes through it.
        let out = unsafe { std::slice::from_raw_parts_mut(self.memory, self.bytes) };
        self.mode.put(picture, out);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Framebuffer {
    fn drop(&mut self) {
        // SAFETY: `open` mapped exactly this range, and nothing uses it any more.
        unsafe { libc::munmap(self.memory.cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGB32: Mode =
        Mode { width: 4, height: 2, start: 0, stride: 20, bits: 32, red: (16, 8), green: (8, 8), blue: (0, 8) };

    fn picture(width: usize, height: usize) -> Canvas {
        let rgb = (0..width * height).flat_map(|i| [200 + i as u8, 100 + i as u8, i as u8]).collect();
        Canvas { width, height, rgb }
    }

    #[test]
    fn a_picture_is_centred_with_black_around_and_rows_end_where_the_stride_says() {
        let mut out = vec![7; 40];
        RGB32.put(&picture(2, 2), &mut out);
        let pixel = |x: usize, y: usize| u32::from_ne_bytes(*out[y * 20 + 4 * x..].first_chunk().unwrap());
        assert_eq!([pixel(0, 0), pixel(1, 0), pixel(2, 0), pixel(3, 0)], [0, 0xc8_64_00, 0xc9_65_01, 0]);
        assert_eq!(pixel(1, 1), 0xca_66_02);
        assert_eq!(out[16..20], [7; 4]);
    }

    #[test]
    fn five_six_five_keeps_the_high_bits() {
        let mode = Mode { bits: 16, red: (11, 5), green: (5, 6), blue: (0, 5), stride: 8, ..RGB32 };
        let mut out = vec![0; 16];
        let white = Canvas { width: 2, height: 1, rgb: vec![255, 255, 255, 255, 0, 0] };
        mode.put(&white, &mut out);
        assert_eq!(out[..8], [0xff, 0xff, 0xff, 0xff, 0x00, 0xf8, 0x00, 0xf8]);
    }

    #[test]
    fn modes_that_cannot_be_written_are_refused() {
        assert!(RGB32.validate(40).is_ok());
        for (mode, bytes) in [
            (RGB32, 30),
            (Mode { bits: 24, ..RGB32 }, 100),
            (Mode { stride: 8, ..RGB32 }, 100),
            (Mode { red: (30, 8), ..RGB32 }, 100),
            (Mode { width: 0, ..RGB32 }, 100),
            (Mode { start: usize::MAX / 2, ..RGB32 }, 100),
        ] {
            assert!(mode.validate(bytes).is_err(), "{mode:?}");
        }
    }

    #[test]
    fn a_device_that_is_no_framebuffer_says_so() {
        let said = |path: &str| Framebuffer::open(Path::new(path)).err().unwrap().to_string();
        assert!(said("/dev/null").contains("is not a framebuffer"));
        assert!(said("/dev/fb-none").contains("ls /dev/fb*"));
    }
}
