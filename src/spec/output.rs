//! The student's 42 outputs, as in SS-VAERR (arXiv 2210.11341): per dimension 20 bins and a value.

/// Bins a dimension, equal widths over [-1, 1].
pub const BINS: usize = 20;

/// Outputs in all: 20 arousal bins, arousal, 20 valence bins, valence. Engines return *logits*;
/// softmax (bins) and `2 * sigmoid(x) - 1` (values) are applied by `session::decode`.
pub const HEADS: usize = 2 * (BINS + 1);

/// One of the two predicted dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// How excited the reaction looks.
    Arousal,
    /// How pleasant the reaction looks.
    Valence,
}

impl Head {
    /// Both, in output order.
    pub const ALL: [Head; 2] = [Head::Arousal, Head::Valence];

    /// Range of this head's bin logits in the output vector.
    pub fn bins(self) -> std::ops::Range<usize> {
        match self {
            Head::Arousal => 0..BINS,
            Head::Valence => BINS + 1..2 * BINS + 1,
        }
    }

    /// Index of this head's value logit in the output vector.
    pub fn value(self) -> usize {
        self.bins().end
    }
}

/// Width of a bin in units of the label.
pub fn bin_width() -> f32 {
    2.0 / BINS as f32
}

/// Centre of bin `i` in [-1, 1].
pub fn bin_center(i: usize) -> f32 {
    -1.0 + (i as f32 + 0.5) * bin_width()
}

/// The bin that holds `value`; values outside [-1, 1] go to the end bins.
pub fn bin_of(value: f32) -> usize {
    (((value + 1.0) / bin_width()).floor().max(0.0) as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_round_trip_and_cover_the_ends() {
        for i in 0..BINS {
            assert_eq!(bin_of(bin_center(i)), i);
        }
        assert_eq!(bin_of(-1.0), 0);
        assert_eq!(bin_of(1.0), BINS - 1);
        assert_eq!(bin_of(-7.0), 0);
    }

    #[test]
    fn heads_tile_the_output_vector() {
        assert_eq!(Head::Arousal.value(), 20);
        assert_eq!(Head::Valence.bins(), 21..41);
        assert_eq!(Head::Valence.value(), HEADS - 1);
    }
}
