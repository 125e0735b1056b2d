//! Times that never fall, out of stamps that may be missing, frozen, set back or wild.

use std::time::Duration;

/// A step of less than this is never doubted.
const PLAUSIBLE_NS: i128 = 1_000_000_000;
/// Nor is one of fewer usual steps than this.
const PLAUSIBLE_STEPS: i128 = 8;
/// No stamp is taken for larger, either way: 292 years.
const FARTHEST_NS: i128 = i64::MAX as i128;

/// Places frames on the stream's time by their own stamps, in nanoseconds of any origin.
///
/// A stamp is odd if it does not come after the one before, or lies far ahead of both its neighbours. An odd stamp is
/// counted, and time goes on at the stream's rate; a real gap, after which the stamps go on from where they are, is kept.
/// A clock that was set back and goes on from there is followed.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// The usual step from frame to frame.
    step: i128,
    /// The stamp of time 0.
    origin: Option<i128>,
    /// The latest stamp that was believed.
    believed: Option<i128>,
    /// A stamp that fell back and may be where the clock goes on from.
    fell_to: Option<i128>,
    last: Option<i128>,
    /// The latest frame's stamp was believed.
    steady: bool,
    odd: u64,
}

impl Timeline {
    /// Time 0 is the first frame; `nominal` is the step at the nominal rate, which a missing stamp counts as.
    pub fn new(nominal: Duration) -> Self {
        let step = i128::try_from(nominal.as_nanos()).unwrap_or(PLAUSIBLE_NS).clamp(1, FARTHEST_NS);
        Self { step, origin: None, believed: None, fell_to: None, last: None, steady: false, odd: 0 }
    }

    /// The same with time 0 at stamp 0.
    pub fn from_zero(nominal: Duration) -> Self {
        Self { origin: Some(0), ..Self::new(nominal) }
    }

    /// The same, once a frame without a stamp was placed at `last`.
    pub fn after(self, last: Duration) -> Self {
        let last = i128::try_from(last.as_nanos()).unwrap_or(FARTHEST_NS).min(FARTHEST_NS);
        Self { last: Some(last), ..self }
    }

    /// Whether `stamp` lies so far ahead that only the stamp after it tells whether it is wild.
    pub fn doubts(&self, stamp: i128) -> bool {
        let ahead = |b: i128| stamp.saturating_sub(b) > PLAUSIBLE_NS.max(self.step.saturating_mul(PLAUSIBLE_STEPS));
        self.believed.is_some_and(ahead)
    }

    /// Odd stamps so far.
    pub fn odd(&self) -> u64 {
        self.odd
    }

    /// The time of the next frame; `following` is the stamp of the frame after it, where that is known.
    pub fn place(&mut self, stamp: Option<i128>, following: Option<i128>) -> Duration {
        let guess = self.last.map_or(0, |l| l.saturating_add(self.step).min(FARTHEST_NS));
        let within = |s: i128| s.clamp(-FARTHEST_NS, FARTHEST_NS);
        let before = self.believed;
        let time = match stamp.map(within) {
            None => guess,
            Some(s) => self.judge(s, guess, following.map(within)),
        };
        self.steady = self.believed != before;
        let time = time.max(self.last.unwrap_or(0));
        self.last = Some(time);
        Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
    }

    fn judge(&mut self, stamp: i128, guess: i128, following: Option<i128>) -> i128 {
        let Some(believed) = self.believed else {
            let origin = *self.origin.get_or_insert(stamp.saturating_sub(guess));
            return self.believe(stamp, origin);
        };
        let origin = self.origin.unwrap_or(believed);
        if stamp > believed {
            let wild = self.doubts(stamp) && following.is_some_and(|f| f < stamp);
            let goes_on = self.fell_to.is_some_and(|low| stamp > low && self.doubts(stamp));
            if !wild && !goes_on {
                return self.believe(stamp, origin);
            }
        } else if self.fell_to.is_some_and(|low| stamp > low) {
            // The second stamp in a row that goes on from a lower one: the clock was set back.
            self.odd += 1;
            self.fell_to = None;
            self.believed = Some(stamp);
            self.origin = Some(stamp.saturating_sub(guess));
            return guess;
        } else {
            self.fell_to = Some(stamp);
        }
        self.odd += 1;
        let room = following.filter(|f| *f > believed).map(|f| f.saturating_sub(origin));
        room.map_or(guess, |next| guess.min(self.last.unwrap_or(0).midpoint(next)))
    }

    fn believe(&mut self, stamp: i128, origin: i128) -> i128 {
        let step = self.believed.filter(|_| self.steady).map(|b| stamp.saturating_sub(b));
        if let Some(step) = step.filter(|s| (1..PLAUSIBLE_NS).contains(s)) {
            self.step += (step - self.step) / 4;
        }
        (self.believed, self.fell_to) = (Some(stamp), None);
        stamp.saturating_sub(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: i128 = 1_000_000;

    /// Times in milliseconds of stamps in milliseconds at 25 a second, each judged beside the one after it.
    fn placed(stamps: &[Option<i128>]) -> (Vec<u128>, u64) {
        let mut line = Timeline::new(Duration::from_millis(40));
        let ns = |s: &Option<i128>| s.map(|v| v * MS);
        let times = (0..stamps.len()).map(|i| {
            let following = stamps.get(i + 1).and_then(ns);
            line.place(ns(&stamps[i]), following).as_millis()
        });
        (times.collect(), line.odd())
    }

    fn all(stamps: &[i128]) -> (Vec<u128>, u64) {
        placed(&stamps.iter().map(|s| Some(*s)).collect::<Vec<_>>())
    }

    #[test]
    fn one_wild_stamp_is_told_from_a_real_gap() {
        assert_eq!(all(&[0, 40, 80, 30_000, 160, 200]), (vec![0, 40, 80, 120, 160, 200], 1));
        assert_eq!(all(&[0, 40, 80, 30_000, 30_040]), (vec![0, 40, 80, 30_000, 30_040], 0));
    }

    #[test]
    fn frozen_and_falling_stamps_go_on_at_the_stream_s_rate() {
        assert_eq!(all(&[0, 40, 40, 40, 160]), (vec![0, 40, 80, 120, 160], 2));
        assert_eq!(all(&[0, 40, 10, 120]), (vec![0, 40, 80, 120], 1));
    }

    #[test]
    fn a_clock_that_was_set_back_is_followed() {
        assert_eq!(all(&[9000, 9040, 0, 40, 80, 120]), (vec![0, 40, 80, 120, 160, 200], 2));
    }

    #[test]
    fn missing_stamps_are_guessed() {
        let stamps = [None, Some(500), None, Some(700)];
        assert_eq!(placed(&stamps), (vec![0, 40, 80, 240], 0));
    }

    #[test]
    fn a_slow_stream_is_not_doubted() {
        let stamps: Vec<i128> = (0..6).map(|i| i * 900).collect();
        assert_eq!(all(&stamps).1, 0);
    }

    proptest! {
        #[test]
        fn time_never_falls_and_never_overflows(
            stamps in proptest::collection::vec(proptest::option::of(any::<i128>()), 1..40),
            near in proptest::collection::vec(-5000i128..5000, 1..40),
        ) {
            for mut line in [Timeline::new(Duration::from_millis(40)), Timeline::from_zero(Duration::MAX)] {
                let mut last = Duration::ZERO;
                let mixed = stamps.iter().copied().chain(near.iter().map(|n| Some(n * MS)));
                for s in mixed {
                    let time = line.place(s, Some(40 * MS));
                    prop_assert!(time >= last);
                    last = time;
                }
            }
        }
    }
}
