//! Labels at other times than their own, and on other scales.

use crate::render::Affect;

/// Values between which can be interpolated.
pub trait Mix: Copy {
    /// `self` at 0, `other` at 1.
    fn mix(self, other: Self, at: f64) -> Self;
}

impl Mix for f64 {
    fn mix(self, other: Self, at: f64) -> Self {
        self + (other - self) * at
    }
}

impl Mix for Affect {
    fn mix(self, other: Self, at: f64) -> Self {
        let one = |a: f32, b: f32| f64::from(a).mix(f64::from(b), at) as f32;
        Affect { arousal: one(self.arousal, other.arousal), valence: one(self.valence, other.valence) }
    }
}

/// The value at time `t` of a series known at `times`, which grow.
///
/// Between two known points: linear. On a known point: that value, exactly. Next to a missing value: `None`, so gaps
/// are never bridged. Before the first and after the last point: the end value for at most `hold_s` seconds, then
/// `None`.
pub fn at<T: Mix>(times: &[f64], values: &[Option<T>], t: f64, hold_s: f64) -> Option<T> {
    let n = times.len().min(values.len());
    let times = &times[..n];
    let next = times.partition_point(|known| *known <= t);
    if next == 0 {
        return values.first().copied().flatten().filter(|_| n > 0 && times[0] - t <= hold_s);
    }
    let (before, value) = (times[next - 1], values[next - 1]);
    if before == t {
        return value;
    }
    if next == n {
        return value.filter(|_| t - before <= hold_s);
    }
    Some(value?.mix(values[next]?, (t - before) / (times[next] - before)))
}

/// [`at`] for many times, with ends held for the series' [`step`].
pub fn resample<T: Mix>(times: &[f64], values: &[Option<T>], wanted: &[f64]) -> Vec<Option<T>> {
    // Half a nanosecond forgives the rounding of times written in decimals.
    let hold_s = step(times).unwrap_or(0.0) + 5e-10;
    wanted.iter().map(|t| at(times, values, *t, hold_s)).collect()
}

/// Median distance of neighbouring times in seconds.
pub fn step(times: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    steps.sort_by(f64::total_cmp);
    steps.get(steps.len() / 2).copied()
}

/// A linear map of a rating scale onto [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
}

impl Scale {
    /// Already [-1, 1].
    pub const UNIT: Self = Self { low: -1.0, high: 1.0 };

    /// -1 at the scale's low end, 1 at its high end.
    pub fn map(self, v: f64) -> f32 {
        ((2.0 * v - self.low - self.high) / (self.high - self.low)) as f32
    }

    /// The scale's values.
    pub fn range(self) -> std::ops::RangeInclusive<f64> {
        self.low..=self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn between_points_on_points_and_past_the_ends() {
        let (times, values) = ([1.0, 2.0, 4.0], [Some(0.0), Some(1.0), Some(-1.0)]);
        for (t, want) in [
            (0.4, None),
            (0.5, Some(0.0)),
            (1.0, Some(0.0)),
            (1.25, Some(0.25)),
            (2.0, Some(1.0)),
            (3.0, Some(0.0)),
            (4.5, Some(-1.0)),
            (4.6, None),
        ] {
            assert_eq!(at(&times, &values, t, 0.5), want, "{t}");
        }
        assert_eq!(at::<f64>(&[], &[], 1.0, 9.0), None);
    }

    #[test]
    fn gaps_are_not_bridged() {
        let (times, values) = ([0.0, 1.0, 2.0, 3.0], [Some(0.5), None, Some(0.1), Some(0.3)]);
        let got = resample(&times, &values, &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 4.0]);
        assert_eq!(got, [Some(0.5), None, None, None, Some(0.1), Some(0.2), Some(0.3)]);
    }

    #[test]
    fn arousal_and_valence_keep_their_places() {
        let affect = |arousal, valence| Some(Affect { arousal, valence });
        let got = resample(&[0.0, 1.0], &[affect(0.0, -1.0), affect(0.5, 1.0)], &[0.5]);
        assert_eq!(got, [affect(0.25, 0.0)]);
    }

    #[test]
    fn scales_map_their_ends_and_middle() {
        for (low, high) in [(-10.0, 10.0), (1.0, 7.0), (0.0, 1.0)] {
            let s = Scale { low, high };
            assert_eq!([s.map(low), s.map((low + high) / 2.0), s.map(high)], [-1.0, 0.0, 1.0]);
        }
        assert_eq!(Scale { low: -10.0, high: 10.0 }.map(4.0), 0.4);
    }

    proptest! {
        #[test]
        fn resampling_at_its_own_times_changes_nothing(v in proptest::collection::vec(proptest::option::of(-1.0f64..1.0), 1..40)) {
            let times: Vec<f64> = (0..v.len()).map(|i| i as f64 * 0.1).collect();
            prop_assert_eq!(resample(&times, &v, &times), v);
        }

        #[test]
        fn resampled_values_stay_between_their_neighbours(v in proptest::collection::vec(-1.0f64..1.0, 2..40), t in 0.0f64..3.0) {
            let times: Vec<f64> = (0..v.len()).map(|i| i as f64 * 0.1).collect();
            let known: Vec<Option<f64>> = v.iter().copied().map(Some).collect();
            if let Some(x) = at(&times, &known, t, 0.0) {
                prop_assert!(v.iter().any(|a| *a <= x + 1e-12) && v.iter().any(|a| *a >= x - 1e-12));
            }
        }
    }
}
