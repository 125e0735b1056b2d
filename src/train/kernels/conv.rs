//! A convolution and its two gradients.

use super::tile::{Loops, Outer, Run, TALL, WIDE};
use rayon::prelude::*;
use std::borrow::Cow;

/// Groups of pictures whose weight gradients are summed apart and then together.
const GROUPS: usize = 8;

/// A square convolution padded by half its kernel, on `pictures` of `height x width`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub pictures: usize,
    pub height: usize,
    pub width: usize,
    pub input: usize,
    pub out: usize,
    /// Odd.
    pub kernel: usize,
    pub stride: usize,
}

impl Geometry {
    pub fn out_height(&self) -> usize {
        self.height.div_ceil(self.stride)
    }

    pub fn out_width(&self) -> usize {
        self.width.div_ceil(self.stride)
    }

    fn pad(&self) -> usize {
        self.kernel / 2
    }

    /// Output channels in whole tiles.
    fn blocks(&self) -> usize {
        self.out.div_ceil(WIDE)
    }

    /// Numbers of one picture of outputs.
    fn out_area(&self) -> usize {
        self.out_height() * self.out_width() * self.out
    }

    /// Lines and places of a padded picture. A place or two more than the padding, so that tiles
    /// may read beyond.
    fn padded(&self) -> [usize; 2] {
        let reach = |n: usize| (n - 1) * self.stride + self.kernel;
        [
            reach(self.out_height()).max(self.height + 2 * self.pad()),
            reach(self.out_width()).max(self.width + 2 * self.pad()),
        ]
    }

    fn padded_area(&self) -> usize {
        let [lines, places] = self.padded();
        lines * places * self.input
    }
}

/// Zeros, written by all threads.
pub(super) fn zeros(n: usize) -> Vec<f32> {
    rayon::iter::repeat_n(0.0, n).with_min_len(1 << 14).collect()
}

/// Pictures `pictures x height x width x channels` with a border of zeros.
fn pad(
    x: &[f32],
    [height, width, channels]: [usize; 3],
    [top, left]: [usize; 2],
    [lines, places]: [usize; 2],
) -> Vec<f32> {
    let area = lines * places * channels;
    let pictures = x.len() / (height * width * channels).max(1);
    // What a tile reads beyond the last picture.
    let mut out = zeros(pictures * area + TALL.max(WIDE));
    out[..pictures * area].par_chunks_mut(area).zip(x.par_chunks(height * width * channels)).for_each(|(out, x)| {
        for (y, row) in x.chunks_exact(width * channels).enumerate() {
            out[((y + top) * places + left) * channels..][..width * channels].copy_from_slice(row);
        }
    });
    out
}

/// Weights, laid out for both directions.
pub struct Kernel {
    /// By block of output channels: `kernel * kernel * input` rows of [`WIDE`].
    forward: Vec<Vec<[f32; WIDE]>>,
    /// By block of input channels and tap: `out` rows.
    backward: Vec<Vec<Vec<[f32; WIDE]>>>,
    loops: Loops,
}

impl Kernel {
    /// From `out x input x kernel x kernel`.
    pub fn new(g: &Geometry, weights: &[f32]) -> Self {
        let taps = g.kernel * g.kernel;
        let at = |o: usize, c: usize, tap: usize| {
            if o < g.out && c < g.input { weights[(o * g.input + c) * taps + tap] } else { 0.0 }
        };
        let forward = (0..g.blocks()).map(|b| {
            let row = |i: usize| std::array::from_fn(|o| at(b * WIDE + o, i % g.input, i / g.input));
            (0..taps * g.input).map(row).collect()
        });
        let backward = (0..g.input.div_ceil(WIDE)).map(|b| {
            let tap = |t: usize| (0..g.out).map(|o| std::array::from_fn(|c| at(o, b * WIDE + c, t))).collect();
            (0..taps).map(tap).collect()
        });
        Self { forward: forward.collect(), backward: backward.collect(), loops: Loops::best() }
    }

    /// The input with its border, as [`Kernel::forward`] and [`Kernel::gradient`] take it.
    pub fn bordered(g: &Geometry, x: &[f32]) -> Vec<f32> {
        pad(x, [g.height, g.width, g.input], [g.pad(); 2], g.padded())
    }

    /// `pictures x out height x out width x out`.
    pub fn forward(&self, g: &Geometry, bordered: &[f32]) -> Vec<f32> {
        let [_, places] = g.padded();
        let run = g.kernel * g.input;
        let (lines, columns) = (g.out_height(), g.out_width());
        let mut y = zeros(g.pictures * g.out_area());
        y.par_chunks_mut(g.out_area()).enumerate().for_each(|(picture, y)| {
            let first = picture * g.padded_area();
            for line in 0..lines {
                for column in (0..columns).step_by(TALL) {
                    // Places beyond the line's end repeat its last.
                    let from = |ky: usize| {
                        std::array::from_fn(|i| {
                            let column = (column + i).min(columns - 1);
                            first + ((line * g.stride + ky) * places + column * g.stride) * g.input
                        })
                    };
                    for (b, weights) in self.forward.iter().enumerate() {
                        let mut sums = [[0.0; WIDE]; TALL];
                        for ky in 0..g.kernel {
                            let run = Run { from: from(ky), weights: &weights[ky * run..(ky + 1) * run] };
                            // SAFETY: `Loops::best` gives what this machine has.
                            unsafe { (self.loops.dot)(bordered, &[run], &mut sums) };
                        }
                        let n = WIDE.min(g.out - b * WIDE);
                        for (i, sums) in sums.iter().enumerate().take(columns - column) {
                            y[(line * columns + column + i) * g.out + b * WIDE..][..n].copy_from_slice(&sums[..n]);
                        }
                    }
                }
            }
        });
        y
    }

    /// Gradient of the weights, `out x input x kernel x kernel`, from that of the outputs.
    pub fn gradient(&self, g: &Geometry, bordered: &[f32], of_out: &[f32]) -> Vec<f32> {
        let [_, places] = g.padded();
        let (lines, columns, run) = (g.out_height(), g.out_width(), g.kernel * g.input);
        let (taps, blocks) = (g.kernel * g.kernel, g.blocks());
        let wide = blocks * WIDE;
        // Whole tiles of output channels.
        let whole = |row: &[f32]| -> Vec<f32> { (0..wide).map(|o| row.get(o).copied().unwrap_or(0.0)).collect() };
        let of_out: Cow<'_, [f32]> =
            if g.out == wide { of_out.into() } else { of_out.chunks_exact(g.out).flat_map(whole).collect() };
        let rows = run.div_ceil(TALL) * TALL;
        let of_group = |group: usize| {
            let mut sums = vec![[0.0f32; WIDE]; g.kernel * blocks * rows];
            for picture in (0..g.pictures).skip(group * g.pictures.div_ceil(GROUPS)).take(g.pictures.div_ceil(GROUPS)) {
                for ky in 0..g.kernel {
                    for b in 0..blocks {
                        for c in (0..run).step_by(TALL) {
                            let at = (ky * blocks + b) * rows + c;
                            let mut tile = [[0.0; WIDE]; TALL];
                            for line in 0..lines {
                                let outer = Outer {
                                    x: bordered,
                                    g: &of_out,
                                    x_from: picture * g.padded_area() + (line * g.stride + ky) * places * g.input + c,
                                    g_from: (picture * lines + line) * columns * wide + b * WIDE,
                                    x_step: g.stride * g.input,
                                    g_step: wide,
                                    places: columns,
                                };
                                // SAFETY: as above.
                                unsafe { (self.loops.outer)(&outer, &mut tile) };
                            }
                            for (sum, tile) in sums[at..at + TALL].iter_mut().zip(&tile) {
                                sum.iter_mut().zip(tile).for_each(|(s, t)| *s += t);
                            }
                        }
                    }
                }
            }
            sums
        };
        let mut groups: Vec<_> = (0..GROUPS).into_par_iter().map(of_group).collect();
        let mut total = groups.swap_remove(0);
        total.par_chunks_mut(64).enumerate().for_each(|(i, total)| {
            for group in &groups {
                for (sum, more) in total.iter_mut().zip(&group[i * 64..]) {
                    sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
                }
            }
        });
        let mut out = vec![0.0; g.out * g.input * taps];
        out.par_chunks_mut(g.input * taps).enumerate().for_each(|(o, of_out)| {
            for (c, of_input) in of_out.chunks_exact_mut(taps).enumerate() {
                for (tap, to) in of_input.iter_mut().enumerate() {
                    let (ky, row) = (tap / g.kernel, tap % g.kernel * g.input + c);
                    *to = total[(ky * blocks + o / WIDE) * rows + row][o % WIDE];
                }
            }
        });
        out
    }

    /// Gradient of the input, `pictures x height x width x input`, from that of the outputs.
    pub fn backward(&self, g: &Geometry, of_out: &[f32]) -> Vec<f32> {
        let (lines, columns) = (g.out_height(), g.out_width());
        // Outputs that an input may have reached lie at most a kernel away.
        let border = g.kernel;
        let bordered = [lines + 2 * border, columns + 2 * border];
        let of_out = pad(of_out, [lines, columns, g.out], [border; 2], bordered);
        let area = bordered[0] * bordered[1] * g.out;
        let mut dx = zeros(g.pictures * g.height * g.width * g.input);
        // Taps by which inputs at a place of this remainder are reached, and how far on their
        // outputs lie.
        let taps = |remainder: usize| -> Vec<(usize, isize)> {
            let tap = |k: usize| {
                let from = (remainder + g.pad()) as isize - k as isize;
                (from.rem_euclid(g.stride as isize) == 0).then(|| (k, from.div_euclid(g.stride as isize)))
            };
            (0..g.kernel).filter_map(tap).collect()
        };
        let by_remainder: Vec<_> = (0..g.stride).map(taps).collect();
        dx.par_chunks_mut(g.height * g.width * g.input).enumerate().for_each(|(picture, dx)| {
            let first = picture * area;
            for y in 0..g.height {
                for remainder in 0..g.stride {
                    let count = (g.width + g.stride - 1 - remainder) / g.stride;
                    for column in (0..count).step_by(TALL) {
                        for (b, weights) in self.backward.iter().enumerate() {
                            let mut sums = [[0.0; WIDE]; TALL];
                            for (ky, dy) in &by_remainder[y % g.stride] {
                                for (kx, dx) in &by_remainder[remainder] {
                                    let line = ((y / g.stride + border) as isize + dy) as usize;
                                    let from = std::array::from_fn(|i| {
                                        let column = (column + i).min(count - 1) + border;
                                        first + (line * bordered[1] + (column as isize + dx) as usize) * g.out
                                    });
                                    let run = Run { from, weights: &weights[ky * g.kernel + kx] };
                                    // SAFETY: as above.
                                    unsafe { (self.loops.dot)(&of_out, &[run], &mut sums) };
                                }
                            }
                            let n = WIDE.min(g.input - b * WIDE);
                            for (i, sums) in sums.iter().enumerate().take(count - column) {
                                let x = (column + i) * g.stride + remainder;
                                dx[(y * g.width + x) * g.input + b * WIDE..][..n].copy_from_slice(&sums[..n]);
                            }
                        }
                    }
                }
            }
        });
        dx
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    /// Outputs and both gradients in f64, by the definition.
    fn plain(g: &Geometry, x: &[f32], w: &[f32], of_out: &[f32]) -> [Vec<f64>; 3] {
        let (lines, columns, pad) = (g.out_height(), g.out_width(), g.pad() as isize);
        let mut y = vec![0.0; g.pictures * g.out_area()];
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        for (i, y) in y.iter_mut().enumerate() {
            let (o, column, line, picture) =
                (i % g.out, i / g.out % columns, i / g.out / columns % lines, i / g.out_area());
            for c in 0..g.input {
                for tap in 0..g.kernel * g.kernel {
                    let v = (line * g.stride + tap / g.kernel) as isize - pad;
                    let u = (column * g.stride + tap % g.kernel) as isize - pad;
                    if v < 0 || u < 0 || v >= g.height as isize || u >= g.width as isize {
                        continue;
                    }
                    let at = ((picture * g.height + v as usize) * g.width + u as usize) * g.input + c;
                    let wt = (o * g.input + c) * g.kernel * g.kernel + tap;
                    *y += f64::from(x[at]) * f64::from(w[wt]);
                    dx[at] += f64::from(of_out[i]) * f64::from(w[wt]);
                    dw[wt] += f64::from(of_out[i]) * f64::from(x[at]);
                }
            }
        }
        [y, dx, dw]
    }

    #[test]
    fn a_convolution_and_its_gradients_are_those_of_f64_at_every_shape_and_border() {
        let mut rng = Rng::new(3, 0);
        for (height, width) in [(1, 1), (2, 3), (5, 7), (6, 6), (13, 8)] {
            for (input, out) in [(1, 16), (3, 5), (16, 16), (17, 33), (32, 48)] {
                for (kernel, stride) in [(1, 1), (3, 1), (3, 2), (5, 2), (1, 2), (5, 1)] {
                    let g = Geometry { pictures: 3, height, width, input, out, kernel, stride };
                    let mut draw = |n: usize| (0..n).map(|_| rng.normal()).collect::<Vec<f32>>();
                    let x = draw(3 * height * width * input);
                    let w = draw(out * input * kernel * kernel);
                    let of_out = draw(3 * g.out_area());
                    let k = Kernel::new(&g, &w);
                    let bordered = Kernel::bordered(&g, &x);
                    let have = [k.forward(&g, &bordered), k.backward(&g, &of_out), k.gradient(&g, &bordered, &of_out)];
                    for (what, (have, want)) in
                        ["outputs", "input", "weights"].iter().zip(have.iter().zip(plain(&g, &x, &w, &of_out)))
                    {
                        assert_eq!(have.len(), want.len());
                        let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
                        for (h, w) in have.iter().zip(&want) {
                            assert!((f64::from(*h) - w).abs() < 1e-5 * scale, "{what} of {g:?}: {h} for {w}");
                        }
                    }
                }
            }
        }
    }
}
