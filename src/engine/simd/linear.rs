//! A map's head: a 1x1 convolution without ReLU from a canvas to f32, in plain Rust that compilers
//! see pairs of 16-bit products in.

use super::canvas::{Canvas, Encoding};
use crate::model::MapHead;
use crate::spec::detector::CELL;

/// A head's numbers, a channel's pair of weights side by side for each value of a cell.
pub(super) struct Linear {
    /// For each pair of channels.
    weights: Vec<[[i16; 2]; CELL]>,
    bias: [i32; CELL],
    scale: [f32; CELL],
}

impl Linear {
    /// Packs a head that is valid.
    pub fn new(head: &MapHead) -> Self {
        let channels = head.weight.len() / CELL;
        let weight = |o: usize, c: usize| if c < channels { i16::from(head.weight[o * channels + c]) } else { 0 };
        let pair = |c: usize| std::array::from_fn(|o| [weight(o, c), weight(o, c + 1)]);
        Self {
            weights: (0..channels).step_by(2).map(pair).collect(),
            bias: std::array::from_fn(|o| head.bias[o]),
            scale: std::array::from_fn(|o| head.scale[o]),
        }
    }
}

/// Fills a cell for every pixel of `x`, row by row.
#[inline(always)]
pub(super) fn read(encoding: Encoding, head: &Linear, x: &Canvas, cells: &mut [[f32; CELL]]) {
    for (y, row) in cells.chunks_exact_mut(x.size[1]).enumerate() {
        for (pixel, out) in x.pixels(y).zip(row) {
            *out = match encoding {
                Encoding::U8 => cell(head, pixel.as_chunks::<2>().0, |&[a, b]| [a, b]),
                Encoding::S8 => cell(head, pixel.as_chunks::<2>().0, |&[a, b]| [a ^ 0x80, b ^ 0x80]),
                Encoding::I16 => cell(head, pixel.as_chunks::<4>().0, |&[a, _, b, _]| [a, b]),
            };
        }
    }
}

#[inline(always)]
fn cell<T>(head: &Linear, pairs: &[T], decode: impl Fn(&T) -> [u8; 2]) -> [f32; CELL] {
    let mut acc = head.bias;
    for (pair, weights) in pairs.iter().zip(&head.weights) {
        let [a, b] = decode(pair).map(i32::from);
        for (acc, w) in acc.iter_mut().zip(weights) {
            *acc += a * i32::from(w[0]) + b * i32::from(w[1]);
        }
    }
    std::array::from_fn(|o| acc[o] as f32 * head.scale[o])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_head_s_sum_in_every_encoding() {
        let value = |c: usize, i: usize| ((37 * c + 101 * i) % 256) as u8;
        for (encoding, channels) in [Encoding::U8, Encoding::S8, Encoding::I16].into_iter().zip([16, 7, 33]) {
            let weight: Vec<i8> = (0..CELL * channels).map(|k| ((53 * k) % 255) as i8).collect();
            let bias: Vec<i32> = (0..CELL).map(|o| 1000 * o as i32 - 7000).collect();
            let head = MapHead { weight, bias, scale: (1..=CELL).map(|o| 1.0 / (3 * o) as f32).collect() };
            let mut x = Canvas::new(encoding, 1, channels.next_multiple_of(16), [2, 3], 1, 0);
            for (i, c) in (0..6).flat_map(|i| (0..channels).map(move |c| (i, c))) {
                let at = x.inside(i / 3) + i % 3 * x.pixel + c * encoding.bytes();
                x.bytes[at] = encoding.dword([value(c, i); 4])[0];
            }
            let mut cells = [[0.0; CELL]; 6];
            read(encoding, &Linear::new(&head), &x, &mut cells);
            for (i, cell) in cells.iter().enumerate() {
                let product = |o: usize, c: usize| i32::from(head.weight[o * channels + c]) * i32::from(value(c, i));
                let acc = |o: usize| head.bias[o] + (0..channels).map(|c| product(o, c)).sum::<i32>();
                assert_eq!(*cell, std::array::from_fn(|o| acc(o) as f32 * head.scale[o]), "{encoding:?}, pixel {i}");
            }
        }
    }
}
