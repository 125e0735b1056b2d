//! The contract between the plan of a convolution and the kernels that compute it.

/// A few neighbouring output pixels of one row in one block of output channels.
///
/// A tap is a dword of the input, 4 channels of 8 bits or 2 of 16, that every pixel reads at the same offset from its own first
/// byte. For pixel `p` and channel `o`: `acc = bias[o] + sum over taps t of dot(x[p * x_step + taps[t] ..][..4], weights[t][o])`,
/// then `y = clamp(rne(f32(acc) * scale[o]), 0, 255)`.
pub(super) struct Tile<'a> {
    /// Input from the first tap of the first pixel on.
    pub x: &'a [u8],
    /// Bytes from one pixel's input to the next one's.
    pub x_step: usize,
    /// Byte offsets of the dwords.
    pub taps: &'a [u32],
    /// A dword for each tap and channel, in the order of [`Kernel::channel`].
    pub weights: &'a [u8],
    /// One for each channel of the block, in the same order.
    pub bias: &'a [i32],
    /// One for each channel of the block, in the same order.
    pub scale: &'a [f32],
    /// Output from the first pixel's first channel of the block on; channels in their natural order.
    pub y: &'a mut [u8],
    /// Bytes from one pixel's output to the next one's.
    pub y_step: usize,
}

/// A kernel and the shape of its tile.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Accumulators in one vector.
    pub lanes: usize,
    /// Vectors of accumulators for each pixel.
    pub vectors: usize,
    /// Most pixels of a tile.
    pub pixels: usize,
    /// Whether a dword's weights lie as two planes of pairs, all low pairs of a vector first.
    pub paired: bool,
    /// Computes a tile of so many pixels, at least 1 and at most `pixels`.
    ///
    /// # Safety
    /// The CPU must have the kernel's instruction set, and the slices of the tile must hold what the formula reads and writes.
    pub run: unsafe fn(usize, Tile<'_>),
}

impl Kernel {
    /// Output channels of a block.
    pub fn block(&self) -> usize {
        self.lanes * self.vectors
    }

    /// The channel within a block that stands in `lane` of vector `vector`.
    ///
    /// The x86 packing instructions work in each 128 bits apart: they join four lanes of every vector. Channels are dealt out so
    /// that the joined bytes come out in order.
    pub fn channel(&self, vector: usize, lane: usize) -> usize {
        lane / 4 * 4 * self.vectors + 4 * vector + lane % 4
    }
}

/// Runs `$tile::<P, ..>` for the `$pixels` in hand.
macro_rules! by_pixels {
    ($pixels:expr, $tile:expr, $kernel:ident; $($p:literal)*) => {
        match $pixels {
            $($p => $kernel::<$p>($tile),)*
            _ => debug_assert!(false, "a tile of {} pixels", $pixels),
        }
    };
    ($pixels:expr, $tile:expr, $kernel:ident, $vectors:literal; $($p:literal)*) => {
        match $pixels {
            $($p => $kernel::<$p, $vectors>($tile),)*
            _ => debug_assert!(false, "a tile of {} pixels", $pixels),
        }
    };
}
pub(super) use by_pixels;
