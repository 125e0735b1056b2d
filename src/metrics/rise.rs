//! How late predictions follow labels that jump.

/// Part of a held level over which predictions are taken to stay: late ones have arrived by then, early ones not yet left.
const SETTLED: [f64; 2] = [0.5, 0.7];

/// What came of the jumps of a recording's label.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rises {
    /// For each jump that was followed, the frames from the first that has the new label to the first whose prediction lies at or
    /// past the middle between the two levels that it settled at; negative where it came before.
    pub half: Vec<isize>,
    /// Jumps that were not followed: predictions settled less than half as far apart as the label, or the other way round.
    pub missed: usize,
}

impl Rises {
    /// Looks at every jump of `label` by at least `least` between two held levels. NaN in either is no level and ends one.
    ///
    /// A prediction may come early by 0.3 of the level before and late by half of the level after, so that networks that see the future are
    /// told from causal ones.
    pub fn of(prediction: &[f64], label: &[f64], least: f64) -> Self {
        let mut found = Self::default();
        let levels: Vec<&[f64]> = label.chunk_by(|a, b| a == b).collect();
        let mut start = 0;
        for pair in levels.windows(2) {
            let (before, at) = (start, start + pair[0].len());
            start = at;
            let end = (at + pair[1].len()).min(prediction.len());
            let jump = pair[1][0] - pair[0][0];
            if jump.is_nan() || jump.abs() < least || end <= at {
                continue;
            }
            match half(prediction, before, at, end, jump) {
                Some(frames) => found.half.push(frames),
                None => found.missed += 1,
            }
        }
        found
    }

    /// Appends the jumps of another recording.
    pub fn extend(&mut self, other: Self) {
        self.half.extend(other.half);
        self.missed += other.missed;
    }

    /// The quartiles of [`Self::half`] in frames: 0.25, 0.5, 0.75; `None` without any.
    pub fn quartiles(&self) -> Option<[f64; 3]> {
        let mut sorted: Vec<f64> = self.half.iter().map(|&f| f as f64).collect();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| [0.25, 0.5, 0.75].map(|share| super::percentile(&sorted, share)))
    }
}

/// Frames from `at` to the crossing of the middle; levels are `before..at` and `at..end`.
fn half(prediction: &[f64], before: usize, at: usize, end: usize, jump: f64) -> Option<isize> {
    let part = |from: usize, to: usize| SETTLED.map(|share| from + (share * (to - from) as f64) as usize);
    let settled = |from: usize, to: usize| {
        let [from, to] = part(from, to);
        let held = prediction.get(from..to).filter(|held| !held.is_empty())?;
        Some(held.iter().sum::<f64>() / held.len() as f64)
    };
    let (low, high) = (settled(before, at)?, settled(at, end)?);
    let gone = high - low;
    if gone.is_nan() || gone * jump.signum() < 0.5 * jump.abs() {
        return None;
    }
    let middle = low + 0.5 * gone;
    let past = |v: &f64| (v - middle) * gone.signum() >= 0.0;
    let [_, from] = part(before, at);
    let first = prediction[from..end].iter().position(past)?;
    Some((from + first) as isize - at as isize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOLD: usize = 20;

    /// Levels held for [`HOLD`] frames each.
    fn steps(levels: &[f64]) -> Vec<f64> {
        levels.iter().flat_map(|v| [*v; HOLD]).collect()
    }

    fn shifted(label: &[f64], by: isize) -> Vec<f64> {
        (0..label.len() as isize).map(|i| label[(i - by).clamp(0, label.len() as isize - 1) as usize]).collect()
    }

    proptest! {
        #[test]
        fn a_known_delay_is_found_whatever_bias_and_gain(by in -6isize..=10, gain in 0.6f64..2.0, bias in -0.5f64..0.5) {
            let label = steps(&[0.1, 0.7, 0.1, -0.6, 0.1]);
            let late: Vec<f64> = shifted(&label, by).iter().map(|v| gain * v + bias).collect();
            let found = Rises::of(&late, &label, 0.3);
            prop_assert_eq!((found.half, found.missed), (vec![by; 4], 0));
        }
    }

    #[test]
    fn a_low_pass_is_half_way_after_its_time_constant_times_the_logarithm_of_two() {
        let label = steps(&[0.0, 1.0]);
        let mut y = 0.0;
        let alpha = 1.0 - (-1.0f64 / 4.0).exp();
        let slow: Vec<f64> = label
            .iter()
            .map(|v| {
                y += alpha * (v - y);
                y
            })
            .collect();
        // 4 ln 2 = 2.77: the frame of the jump is the first that the filter sees.
        assert_eq!(Rises::of(&slow, &label, 0.3).half, [2]);
    }

    #[test]
    fn what_does_not_follow_is_counted_and_small_jumps_and_gaps_are_passed_over() {
        let label = steps(&[0.0, 0.8, 0.0]);
        assert_eq!(Rises::of(&vec![0.2; 60], &label, 0.3), Rises { half: vec![], missed: 2 });
        let against: Vec<f64> = label.iter().map(|v| -v).collect();
        assert_eq!(Rises::of(&against, &label, 0.3).missed, 2);
        assert_eq!(Rises::of(&label, &label, 0.9), Rises::default());
        let holed = [steps(&[0.0]), vec![f64::NAN; 5], steps(&[0.8])].concat();
        assert_eq!(Rises::of(&holed, &holed, 0.3), Rises::default());
        assert_eq!(Rises::default().quartiles(), None);
        assert_eq!(Rises::of(&[], &label, 0.3), Rises::default());
    }
}
