//! Turning a wide crop so that a rolled head stands upright, in integers, so that a GPU gives the
//! same bits.

/// Rolls smaller than this, two degrees, are left as they are.
pub const FLAT_RAD: f32 = 0.034_906_585;

/// Fraction bits of a turn's cosine and sine.
const TURN_BITS: u32 = 16;
/// Fraction bits of a bilinear weight.
const WEIGHT_BITS: u32 = 8;
/// Fraction bits of a place in the wide crop: half pixels times [`TURN_BITS`].
const PLACE_BITS: u32 = TURN_BITS + 1;

/// Side in pixels of the upright crop that a levelled crop of `size_px` is turned out of: `size_px`
/// and on every side half of `(sqrt(2) - 1) * size_px`, rounded up, and one more for the bilinear
/// taps.
pub fn wide_px(size_px: usize) -> usize {
    let pad = (0.5 * (std::f64::consts::SQRT_2 - 1.0) * size_px as f64).ceil() as usize + 1;
    size_px + 2 * pad
}

/// A rotation in fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// `rne(65536 * cos(roll))`.
    pub cos: i32,
    /// `rne(65536 * sin(roll))`.
    pub sin: i32,
}

impl Turn {
    /// The turn that levels a head rolled clockwise by `roll_rad`; `None` where it is flat enough
    /// or not finite.
    pub fn of(roll_rad: f32) -> Option<Self> {
        if !roll_rad.is_finite() || roll_rad.abs() < FLAT_RAD {
            return None;
        }
        let fixed = |v: f64| (v * f64::from(1 << TURN_BITS)).round_ties_even() as i32;
        let (sin, cos) = f64::from(roll_rad).sin_cos();
        Some(Self { cos: fixed(cos), sin: fixed(sin) })
    }

    /// Where the output pixel `(i, j)` of a crop of `size_px` lies in the wide crop of `wide`
    /// pixels: column and row with 17 fraction bits, pixel centres at whole numbers.
    ///
    /// With `u = 2 i + 1 - size_px` and `v = 2 j + 1 - size_px`, half pixels from the centre:
    /// `((wide - 1) << 16) + [cos u - sin v, sin u + cos v]`, exact in i32 for sides up to 8,191.
    pub fn place(self, i: usize, j: usize, size_px: usize, wide: usize) -> [i32; 2] {
        let from_centre = |k: usize| (2 * k + 1) as i32 - size_px as i32;
        let (u, v) = (from_centre(i), from_centre(j));
        let middle = (wide as i32 - 1) << TURN_BITS;
        [middle + self.cos * u - self.sin * v, middle + self.sin * u + self.cos * v]
    }

    /// Turns `wide` (`n * n` bytes) into `out` (`size_px * size_px` bytes), bilinear.
    ///
    /// Column and row are the places' whole parts, the weights `fx` and `fy` the next 8 bits, the
    /// rest cut off; `out = (top * (256 - fy) + bottom * fy + 32768) >> 16` with `top = left * (256
    /// - fx) + right * fx`.
    pub fn apply(self, wide: &[u8], n: usize, out: &mut [u8], size_px: usize) {
        debug_assert!(n >= wide_px(size_px) && wide.len() == n * n && out.len() == size_px * size_px);
        let split = |place: i32| {
            let fraction = (place >> (PLACE_BITS - WEIGHT_BITS)) & ((1 << WEIGHT_BITS) - 1);
            ((place >> PLACE_BITS) as usize, fraction as u32)
        };
        let mix = |a: u32, b: u32, f: u32| a * ((1 << WEIGHT_BITS) - f) + b * f;
        for (j, line) in out.chunks_exact_mut(size_px).enumerate() {
            for (i, o) in line.iter_mut().enumerate() {
                let [x, y] = self.place(i, j, size_px, n);
                let ((column, fx), (row, fy)) = (split(x), split(y));
                let at = |k: usize| u32::from(wide[row * n + column + k]);
                let (top, bottom) = (mix(at(0), at(1), fx), mix(at(n), at(n + 1), fx));
                *o = ((mix(top, bottom, fy) + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_odd_rolls_are_flat() {
        for roll in [0.0, 0.99 * FLAT_RAD, -0.99 * FLAT_RAD, f32::NAN, f32::INFINITY] {
            assert_eq!(Turn::of(roll), None, "{roll}");
        }
        assert_eq!(Turn::of(std::f32::consts::FRAC_PI_2), Some(Turn { cos: 0, sin: 65_536 }));
    }

    #[test]
    fn every_tap_lies_inside_the_wide_crop() {
        for size in [1, 2, 16, 47, 80, 113, 512] {
            let n = wide_px(size);
            for step in 0..720 {
                let Some(turn) = Turn::of((step as f32).to_radians() / 2.0) else { continue };
                let corners = [(0, 0), (size - 1, 0), (0, size - 1), (size - 1, size - 1)];
                for place in corners.iter().flat_map(|&(i, j)| turn.place(i, j, size, n)) {
                    assert!(place >= 0 && (place >> PLACE_BITS) as usize + 1 < n, "{size} {step}");
                }
            }
        }
    }

    #[test]
    fn a_quarter_turn_moves_pixels_whole() {
        let size = 4;
        let n = wide_px(size);
        let pad = (n - size) / 2;
        let wide: Vec<u8> = (0..n * n).map(|i| (i * 13 % 256) as u8).collect();
        let mut out = vec![0; size * size];
        Turn { cos: 0, sin: 1 << 16 }.apply(&wide, n, &mut out, size);
        for (at, &o) in out.iter().enumerate() {
            let (i, j) = (at % size, at / size);
            // Clockwise: what lies to the right of the wide crop comes out on top.
            assert_eq!(o, wide[(pad + i) * n + pad + size - 1 - j], "{i} {j}");
        }
    }
}
