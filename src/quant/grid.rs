//! Matrices of f32 whose rows lie on int8 grids, so that a file may hold them in int8 and give back the same f32.

use super::{quantize_weight, weight_scale};

/// Low bits of the significand that a grid's scale has clear. Sixteen significant bits are left, and times the seven of
/// a weight the product is exact in f32.
const CLEAR: u32 = 0xff;

/// A matrix in int8: `w[i][j] = scales[i] * values[i][j]` exactly, values in [-127, 127].
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// One a row, positive.
    pub scales: Vec<f32>,
    /// Row by row.
    pub values: Vec<i8>,
}

impl Grid {
    /// The matrix in f32; `values` holds as many in each row.
    pub fn real(&self) -> Vec<f32> {
        let width = self.values.len() / self.scales.len().max(1);
        self.values.iter().enumerate().map(|(i, &q)| f32::from(q) * self.scales[i / width]).collect()
    }

    /// Rounds the rows of `width` of a matrix to the nearest points of grids that reach their largest weight.
    pub fn round(weights: &[f32], width: usize) -> Self {
        let scale = |row: &[f32]| f32::from_bits((weight_scale(row).to_bits() + CLEAR) & !CLEAR);
        let scales: Vec<f32> = weights.chunks_exact(width).map(scale).collect();
        let values = weights.iter().enumerate().map(|(i, &w)| quantize_weight(w, scales[i / width])).collect();
        Self { scales, values }
    }

    /// The grid that every row of `width` lies on, as [`Grid::round`] leaves them; `None` if a single weight does not.
    pub fn find(weights: &[f32], width: usize) -> Option<Self> {
        // A row's largest weight is 127 steps of its scale, both exact in f32, so the quotient is the scale again.
        let scales: Vec<f32> = weights.chunks_exact(width).map(weight_scale).collect();
        let step = |(i, &w): (usize, &f32)| {
            let q = quantize_weight(w, scales[i / width]);
            (f32::from(q) * scales[i / width]).to_bits().eq(&w.to_bits()).then_some(q)
        };
        let values = weights.iter().enumerate().map(step).collect::<Option<Vec<i8>>>()?;
        scales.iter().all(|s| s.to_bits() & CLEAR == 0).then_some(Self { scales, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_rounded_matrix_is_found_again_and_lies_within_half_a_step(
            rows in proptest::collection::vec(proptest::array::uniform5(-3f32..3.0), 1..9), power in -60i32..60,
        ) {
            let weights: Vec<f32> = rows.as_flattened().iter().map(|w| w * 2f32.powi(power)).collect();
            let grid = Grid::round(&weights, 5);
            let real = grid.real();
            prop_assert_eq!(Grid::find(&real, 5), Some(grid.clone()));
            for (i, (a, b)) in weights.iter().zip(&real).enumerate() {
                prop_assert!((a - b).abs() <= 0.5001 * grid.scales[i / 5]);
            }
        }
    }

    #[test]
    fn trained_weights_lie_on_no_grid_and_rows_of_zeros_do() {
        assert_eq!(Grid::find(&[0.5, -1.27, 0.1], 3), None);
        assert_eq!(Grid::find(&[0.0, 0.0, 1.27, 0.3], 2), None);
        assert_eq!(Grid::find(&[0.0, 0.0], 2), Some(Grid { scales: vec![1.0], values: vec![0, 0] }));
        let one_off = {
            let mut w = Grid::round(&[0.9, -0.4, 0.2], 3).real();
            w[1] = w[1].next_up();
            w
        };
        assert_eq!(Grid::find(&one_off, 3), None);
    }
}
