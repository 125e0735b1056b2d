//! The ring as the stem's kernel wants it.
//!
//! Whole groups of crops are interleaved, so that a dword holds one pixel of several crops. Each crop left over gets a plane of
//! its own in which a dword holds several neighbouring pixels of a row. For five crops and a kernel seven wide that makes 63
//! dwords of four values where 61.25 would be the least.

use super::canvas::{Canvas, Encoding};
use crate::spec::StudentSpec;

/// Planes of the stem's input.
pub(super) fn planes(ring: usize, encoding: Encoding) -> usize {
    ring / encoding.group() + ring % encoding.group()
}

/// An empty input.
pub(super) fn canvas(spec: &StudentSpec, encoding: Encoding) -> Canvas {
    let halo = spec.convs.first().map_or(0, |c| c.kernel / 2);
    let planes = planes(spec.ring, encoding);
    Canvas::new(encoding, planes, encoding.group(), spec.size_px, halo, spec.input_zero_point)
}

/// Lays the ring out. `row`: a scratch row of `size_px + 2 * halo + 4` bytes whose ends hold the zero point.
#[inline(always)]
pub(super) fn fill(encoding: Encoding, ring: &[u8], row: &mut [u8], out: &mut Canvas) {
    let (px, halo, plane) = (out.px, out.halo, out.plane());
    let crops = ring.len() / (px * px);
    let whole = crops / encoding.group();
    for g in 0..whole {
        for y in 0..px {
            let source = |j: usize| &ring[((g * encoding.group() + j % encoding.group()) * px + y) * px..][..px];
            let at = g * plane + out.inside(y);
            interleave(encoding, [0, 1, 2, 3].map(source), &mut out.bytes[at..][..4 * px]);
        }
    }
    for crop in whole * encoding.group()..crops {
        for y in 0..px {
            row[halo..][..px].copy_from_slice(&ring[(crop * px + y) * px..][..px]);
            let wide = px + 2 * halo;
            let at = (whole + crop - whole * encoding.group()) * plane + out.inside(y) - 4 * halo;
            interleave(encoding, [0, 1, 2, 3].map(|j| &row[j..][..wide]), &mut out.bytes[at..][..4 * wide]);
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
