//! Runs a packed convolution, tile by tile.

use super::canvas::{Canvas, Encoding};
use super::pack::Layer;
use super::tile::Tile;

impl Layer {
    /// Convolves `x` into `y`.
    ///
    /// # Safety
    /// The CPU must have the instruction set that the layer was packed for.
    pub unsafe fn run(&self, encoding: Encoding, x: &Canvas, y: &mut Canvas) {
        let (block, taps) = (self.kernel.block(), self.taps.len());
        let (x_row, x_step) = (self.stride * x.row(), self.stride * x.pixel);
        for b in 0..self.channels / block {
            for (r, row) in self.rows.iter().enumerate() {
                let [first, end] = row.taps;
                for &[left, pixels] in &self.tiles {
                    let (x_at, y_at) = (r * x_row + left * x_step, y.inside(r) + left * y.pixel);
                    let tile = Tile {
                        x: &x.bytes[x_at..][..(pixels - 1) * x_step + self.reach],
                        x_step,
                        taps: &self.taps[first..end],
                        weights: &self.weights[(b * taps + first) * block * 4..][..(end - first) * block * 4],
                        bias: &self.biases[row.bias + b * block..][..block],
                        scale: &self.scales[b * block..][..block],
                        y_step: y.pixel,
                        y: &mut y.bytes[y_at + b * block * encoding.bytes()..]
                            [..(pixels - 1) * y.pixel + block * encoding.bytes()],
                    };
                    // SAFETY: the caller vouches for the CPU. `reach` is the largest tap and its four bytes, weights hold a dword
                    // for each tap and channel, and the other slices were cut to the lengths that the formula uses.
                    unsafe { (self.kernel.run)(pixels, tile) }
                }
            }
        }
    }
}
