//! Activations in memory, as the kernels read and write them.

/// How an instruction set wants its activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Bytes as they are.
    U8,
    /// Bytes less 128, for instructions that multiply signed by signed. The bias takes it back.
    S8,
    /// 16 bits, little-endian.
    I16,
}

impl Encoding {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        if self == Encoding::I16 { 2 } else { 1 }
    }

    /// Values of a dword.
    pub fn group(self) -> usize {
        4 / self.bytes()
    }

    /// What is taken off a value when it is stored.
    pub fn offset(self) -> i32 {
        if self == Encoding::S8 { 128 } else { 0 }
    }

    /// The dword of four values or, at 16 bits, of the first two.
    #[inline(always)]
    pub fn dword(self, v: [u8; 4]) -> [u8; 4] {
        match self {
            Encoding::U8 => v,
            Encoding::S8 => v.map(|b| b ^ 0x80),
            Encoding::I16 => [v[0], 0, v[1], 0],
        }
    }
}

/// Bytes on a cache line's boundary, so that no 64-byte load of a weight block crosses one.
pub(super) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0u8; len + 63];
        let start = bytes.as_ptr().align_offset(64).min(63);
        Self { bytes, start, len }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

/// Planes of pictures within a halo that holds the zero point, `planes` x rows x columns x `pixel`
/// bytes.
pub(super) struct Canvas {
    pub bytes: Aligned,
    /// Bytes of a pixel in one plane.
    pub pixel: usize,
    /// Height and width without the halo, in pixels.
    pub size: [usize; 2],
    /// Width of the halo, in pixels.
    pub halo: usize,
}

impl Canvas {
    /// Filled with `zero`, a value before encoding.
    pub fn new(encoding: Encoding, planes: usize, channels: usize, size: [usize; 2], halo: usize, zero: u8) -> Self {
        let pixel = channels * encoding.bytes();
        let [high, wide] = size.map(|side| side + 2 * halo);
        let mut bytes = Aligned::zeroed(planes * high * wide * pixel);
        bytes.as_chunks_mut::<4>().0.fill(encoding.dword([zero; 4]));
        Self { bytes, pixel, size, halo }
    }

    /// Bytes from one row to the next.
    pub fn row(&self) -> usize {
        (self.size[1] + 2 * self.halo) * self.pixel
    }

    /// Bytes from one plane to the next.
    pub fn plane(&self) -> usize {
        (self.size[0] + 2 * self.halo) * self.row()
    }

    /// Where row `y` of the first plane begins within the halo.
    pub fn inside(&self, y: usize) -> usize {
        (y + self.halo) * self.row() + self.halo * self.pixel
    }

    /// The pixels of row `y` of the first plane.
    #[inline(always)]
    pub fn pixels(&self, y: usize) -> std::slice::ChunksExact<'_, u8> {
        self.bytes[self.inside(y)..][..self.size[1] * self.pixel].chunks_exact(self.pixel)
    }

    /// The values channel by channel, decoded.
    pub fn planes(&self, encoding: Encoding, channels: usize) -> Vec<u8> {
        let flip = encoding.dword([0; 4])[0];
        let [height, width] = self.size;
        let places = |c: usize| (0..height * width).map(move |i| (c, i / width, i % width));
        let value = |(c, y, x)| self.bytes[self.inside(y) + x * self.pixel + c * encoding.bytes()] ^ flip;
        (0..channels).flat_map(places).map(value).collect()
    }

    /// Sums of each of `sums.len()` channels over the picture, exact.
    #[inline(always)]
    pub fn sum_into(&self, encoding: Encoding, sums: &mut [i32]) {
        sums.fill(0);
        for y in 0..self.size[0] {
            for pixel in self.pixels(y) {
                match encoding {
                    Encoding::U8 => sums.iter_mut().zip(pixel).for_each(|(s, &b)| *s += i32::from(b)),
                    Encoding::S8 => sums.iter_mut().zip(pixel).for_each(|(s, &b)| *s += i32::from(b ^ 0x80)),
                    Encoding::I16 => {
                        sums.iter_mut().zip(pixel.as_chunks::<2>().0).for_each(|(s, b)| *s += i32::from(b[0]));
                    }
                }
            }
        }
    }
}
