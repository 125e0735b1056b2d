//! The ring, or a picture as a ring of one, as the stem's kernel wants it.
//!
//! Whole groups of crops are interleaved, so that a dword holds one pixel of several crops. Each crop left over gets a plane of
//! its own in which a dword holds several neighbouring pixels of a row. For five crops and a kernel seven wide that makes 63
//! dwords of four values where 61.25 would be the least.

use super::canvas::{Canvas, Encoding};

/// Planes of the stem's input.
pub(super) fn planes(ring: usize, encoding: Encoding) -> usize {
    ring / encoding.group() + ring % encoding.group()
}

/// An empty input for `ring` crops of `size`, filled with the zero point.
pub(super) fn canvas(ring: usize, size: [usize; 2], halo: usize, encoding: Encoding, zero: u8) -> Canvas {
    Canvas::new(encoding, planes(ring, encoding), encoding.group(), size, halo, zero)
}

/// The scratch row of [`fill`] for the canvas `out`: the width within the halo and four more, all
/// of the zero point.
pub(super) fn row(out: &Canvas, zero: u8) -> Vec<u8> {
    vec![zero; out.size[1] + 2 * out.halo + 4]
}

/// Lays the ring out. `scratch`: a [`row`], whose ends keep the zero point.
#[inline(always)]
pub(super) fn fill(encoding: Encoding, ring: &[u8], scratch: &mut [u8], out: &mut Canvas) {
    let ([height, width], halo, plane) = (out.size, out.halo, out.plane());
    let crops = ring.len() / (height * width);
    let whole = crops / encoding.group();
    for g in 0..whole {
        for y in 0..height {
            let source =
                |j: usize| &ring[((g * encoding.group() + j % encoding.group()) * height + y) * width..][..width];
            let at = g * plane + out.inside(y);
            interleave(encoding, [0, 1, 2, 3].map(source), &mut out.bytes[at..][..4 * width]);
        }
    }
    for crop in whole * encoding.group()..crops {
        for y in 0..height {
            scratch[halo..][..width].copy_from_slice(&ring[(crop * height + y) * width..][..width]);
            let wide = width + 2 * halo;
            let at = (whole + crop - whole * encoding.group()) * plane + out.inside(y) - 4 * halo;
            interleave(encoding, [0, 1, 2, 3].map(|j| &scratch[j..][..wide]), &mut out.bytes[at..][..4 * wide]);
        }
    }
}

/// `out[i] = encoding.dword(rows[..][i])`, in arithmetic on whole dwords that compilers vectorise.
#[inline(always)]
fn interleave(encoding: Encoding, rows: [&[u8]; 4], out: &mut [u8]) {
    match encoding {
        Encoding::U8 => join(rows, out, |[a, b, c, d]| a | b << 8 | c << 16 | d << 24),
        Encoding::S8 => join(rows, out, |[a, b, c, d]| (a | b << 8 | c << 16 | d << 24) ^ 0x8080_8080),
        Encoding::I16 => join(rows, out, |[a, b, ..]| a | b << 16),
    }
}

#[inline(always)]
fn join(rows: [&[u8]; 4], out: &mut [u8], dword: impl Fn([u32; 4]) -> u32) {
    let (out, _) = out.as_chunks_mut::<4>();
    let [a, b, c, d] = rows.map(|r| &r[..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        *out = dword([a[i], b[i], c[i], d[i]].map(u32::from)).to_le_bytes();
    }
}
