//! The output filter: a first-order low-pass on arousal and valence, on by default and off by `--raw`.

use std::time::Duration;

/// Time constant in seconds; also the filter's lag for slow changes.
///
/// Chosen small because lag costs agreement: half a second more costs about 3 % of CCC on SEWA development labels.
pub const TAU_S: f32 = 0.12;

/// `y += (1 - exp(-dt / TAU_S)) (x - y)`, causal, with `dt` from the frames' time stamps; the first value passes through.
#[derive(Debug, Clone, Default)]
pub struct Smoother {
    last: Option<([f32; 2], Duration)>,
}

impl Smoother {
    /// Forgets the past.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// Filters the values of the frame at `time`.
    pub fn push(&mut self, values: [f32; 2], time: Duration) -> [f32; 2] {
        let next = match self.last {
            None => values,
            Some((y, then)) => {
                let dt = time.saturating_sub(then).as_secs_f32();
                let alpha = 1.0 - (-dt / TAU_S).exp();
                [0, 1].map(|d| y[d] + alpha * (values[d] - y[d]))
            }
        };
        self.last = Some((next, time));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ramp_comes_out_late_by_the_time_constant() {
        let mut s = Smoother::default();
        let mut out = 0.0;
        for i in 0..=200 {
            out = s.push([0.005 * i as f32, 0.0], Duration::from_millis(5 * i))[0];
        }
        let lag = 1.0 - out;
        assert!((lag - TAU_S).abs() < 0.005, "{lag}");
    }

    proptest! {
        #[test]
        fn output_stays_between_the_inputs(v in proptest::collection::vec((-1f32..1.0, 0u64..500), 1..40)) {
            let mut s = Smoother::default();
            let (mut t, mut low, mut high) = (0, f32::MAX, f32::MIN);
            for (x, dt) in v {
                t += dt;
                (low, high) = (low.min(x), high.max(x));
                let y = s.push([x, -x], Duration::from_millis(t))[0];
                prop_assert!(y >= low - 1e-6 && y <= high + 1e-6);
            }
        }
    }
}
