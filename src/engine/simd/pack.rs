//! A convolution as the kernels want it: taps, packed weights, folded biases and the plan of its
//! rows and tiles.

use super::canvas::{Aligned, Canvas, Encoding};
use super::tile::Kernel;
use crate::model::ConvI8;
use crate::spec::ConvSpec;

/// A dword that every output pixel reads.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    /// From the pixel's top left corner, in bytes.
    pub offset: usize,
    /// Places of its values' weights within an output channel's `in * kernel * kernel`; none for padding.
    pub weights: [Option<usize>; 4],
}

/// Taps of the stem, kernel row by kernel row (see [`super::stem`] for the layout they read).
pub(super) fn stem_taps(kernel: usize, ring: usize, encoding: Encoding, x: &Canvas) -> Vec<Tap> {
    let group = encoding.group();
    let whole = ring / group;
    let mut taps = Vec::new();
    for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
        let place = |crop: usize, kx: usize| (kx < kernel).then_some((crop * kernel + ky) * kernel + kx);
        let at = ky * x.row() + kx * x.pixel;
        for g in 0..whole {
            let weights = four(group, |j| place(g * group + j, kx));
            taps.push(Tap { offset: g * x.plane() + at, weights });
        }
        for crop in (whole * group..ring).filter(|_| kx.is_multiple_of(group)) {
            let plane = whole + crop - whole * group;
            taps.push(Tap { offset: plane * x.plane() + at, weights: four(group, |j| place(crop, kx + j)) });
        }
    }
    taps
}

/// Taps of a later convolution, kernel row by kernel row; pixels hold `channels` values and padding.
pub(super) fn taps(kernel: usize, channels: usize, encoding: Encoding, x: &Canvas) -> Vec<Tap> {
    let group = encoding.group();
    let mut taps = Vec::new();
    for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
        for first in (0..channels).step_by(group) {
            let place = |j: usize| (first + j < channels).then_some(((first + j) * kernel + ky) * kernel + kx);
            let offset = ky * x.row() + kx * x.pixel + first * encoding.bytes();
            taps.push(Tap { offset, weights: four(group, place) });
        }
    }
    taps
}

fn four(group: usize, place: impl Fn(usize) -> Option<usize>) -> [Option<usize>; 4] {
    [0, 1, 2, 3].map(|j| if j < group { place(j) } else { None })
}

/// One output row: the kernel rows that lie within the picture, and their biases.
pub(super) struct Row {
    /// First of its taps and one past the last.
    pub taps: [usize; 2],
    /// Where its biases begin.
    pub bias: usize,
}

/// A packed convolution. Channels are padded to whole blocks with weights, biases and factors of zero.
pub(super) struct Layer {
    pub kernel: Kernel,
    pub stride: usize,
    /// Output channels with padding.
    pub channels: usize,
    pub taps: Vec<u32>,
    /// Blocks x taps x vectors x lanes x dword.
    pub weights: Aligned,
    pub biases: Vec<i32>,
    pub scales: Vec<f32>,
    pub rows: Vec<Row>,
    /// First pixel and length of the tiles of a row.
    pub tiles: Vec<[usize; 2]>,
    /// Bytes that a pixel reads from its first byte on.
    pub reach: usize,
}

/// What a layer sees.
#[derive(Clone, Copy)]
pub(super) struct Input {
    /// Height and width, in pixels.
    pub size: [usize; 2],
    /// The value that stands for zero.
    pub zero: u8,
}

/// Output channels as they lie in memory.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

impl Layer {
    /// Packs `conv` and fits it to its first input.
    pub fn new(kernel: Kernel, encoding: Encoding, spec: ConvSpec, conv: &ConvI8, taps: &[Tap], input: Input) -> Self {
        let channels = padded(spec.out);
        let order = order(&kernel, channels);
        let mut layer = Self {
            kernel,
            stride: spec.stride,
            channels,
            taps: Vec::new(),
            weights: Aligned::zeroed(channels * taps.len() * 4),
            biases: Vec::new(),
            scales: order.iter().map(|&o| conv.requant.get(o).copied().unwrap_or(0.0)).collect(),
            rows: Vec::new(),
            tiles: Vec::new(),
            reach: 0,
        };
        layer.pack_weights(encoding, conv, taps, &order);
        layer.fit(encoding, spec, conv, taps, input);
        layer
    }

    /// Plans the layer for another input, off which `taps` were made; the packed weights stay.
    pub fn fit(&mut self, encoding: Encoding, spec: ConvSpec, conv: &ConvI8, taps: &[Tap], input: Input) {
        let [height, width] = input.size.map(|side| side.div_ceil(spec.stride));
        self.taps = taps.iter().map(|t| t.offset as u32).collect();
        self.reach = taps.iter().map(|t| t.offset + 4).max().unwrap_or(0);
        self.tiles = tiles(width, self.kernel.pixels);
        self.plan_rows(spec, conv, taps, [input.size[0], height], encoding.offset() - i32::from(input.zero));
    }

    fn pack_weights(&mut self, encoding: Encoding, conv: &ConvI8, taps: &[Tap], order: &[usize]) {
        let (fan, block, lanes) = (conv.weight.len() / conv.bias.len(), self.kernel.block(), self.kernel.lanes);
        let (group, bytes) = (encoding.group(), encoding.bytes());
        for (slot, &o) in order.iter().enumerate().filter(|(_, o)| **o < conv.bias.len()) {
            let (lane, first) = (slot % lanes, slot % block / lanes * lanes);
            for (t, tap) in taps.iter().enumerate() {
                let dwords = (slot / block * taps.len() + t) * block + first;
                for (j, place) in tap.weights.iter().take(group).enumerate() {
                    let at = if self.kernel.paired { (j / 2 * lanes + lane) * 2 + j % 2 } else { lane * group + j };
                    let w = place.map_or(0, |p| conv.weight[o * fan + p]);
                    self.weights[dwords * 4 + at * bytes..][..bytes]
                        .copy_from_slice(&i16::from(w).to_le_bytes()[..bytes]);
                }
            }
        }
    }

    /// Rows of the kernel that fall on the halo add nothing, so a row leaves them out; the zero
    /// point in its bias is that of the others alone. `before` and `after`: rows of input and
    /// output. `stored`: what a stored value lies above the true one, times minus one.
    fn plan_rows(&mut self, spec: ConvSpec, conv: &ConvI8, taps: &[Tap], [before, after]: [usize; 2], stored: i32) {
        let order = order(&self.kernel, self.channels);
        let (fan, pad, per_row) = (conv.weight.len() / conv.bias.len(), spec.kernel / 2, taps.len() / spec.kernel);
        let mut known: Vec<([usize; 2], usize)> = Vec::new();
        self.rows.clear();
        self.biases.clear();
        for y in 0..after {
            let first = pad.saturating_sub(y * spec.stride);
            let end = spec.kernel.min(before + pad - y * spec.stride);
            let span = [first * per_row, end * per_row];
            let bias = known.iter().find(|(s, _)| *s == span).map(|(_, b)| *b).unwrap_or_else(|| {
                let at = self.biases.len();
                let places = || taps[span[0]..span[1]].iter().flat_map(|t| t.weights).flatten();
                self.biases.extend(order.iter().map(|&o| match conv.bias.get(o) {
                    Some(b) => places().fold(*b, |b, p| b.wrapping_add(stored * i32::from(conv.weight[o * fan + p]))),
                    None => 0,
                }));
                known.push((span, at));
                at
            });
            self.rows.push(Row { taps: span, bias });
        }
    }
}

/// The channel of every slot, in the order of blocks, vectors and lanes.
fn order(kernel: &Kernel, channels: usize) -> Vec<usize> {
    let slots = (0..channels).map(|slot| {
        let within = slot % kernel.block();
        slot - within + kernel.channel(within / kernel.lanes, within % kernel.lanes)
    });
    slots.collect()
}

/// Cuts `n` pixels into as few tiles of at most `most` as can be, as even as can be.
fn tiles(n: usize, most: usize) -> Vec<[usize; 2]> {
    let count = n.div_ceil(most);
    (0..count).map(|i| [i * n / count, (i + 1) * n / count - i * n / count]).collect()
}
