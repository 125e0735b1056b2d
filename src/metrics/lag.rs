//! How far predictions trail labels.

use super::Moments;

/// A shift of predictions against labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// Frames by which predictions come late; negative if they come early.
    pub frames: isize,
    /// Pearson's correlation at that shift.
    pub pearson: f64,
}

/// The shift within `most` frames either way at which predictions, moved back by it, correlate best with the labels.
///
/// `videos` holds (predictions, labels) on one regular time grid each; NaN on either side marks a frame to leave out.
/// Videos are shifted one by one and compared concatenated. Correlation is used because it does not see bias and gain.
/// A shift that leaves less than half of the comparable frames is not considered; of equals the smallest wins. `None`
/// if nothing varies.
pub fn best_lag(videos: &[(&[f64], &[f64])], most: usize) -> Option<Lag> {
    let enough = shifted(videos, 0).n.div_ceil(2).max(2);
    let most = isize::try_from(most).unwrap_or(isize::MAX);
    let mut best: Option<Lag> = None;
    for frames in (0..=most).flat_map(|k| [k, -k]) {
        let moments = shifted(videos, frames);
        if moments.n < enough || !moments.varies() {
            continue;
        }
        let pearson = moments.agreement().pearson;
        if best.is_none_or(|b| pearson > b.pearson) {
            best = Some(Lag { frames, pearson });
        }
    }
    best
}

/// Moments of `(prediction[i + frames], label[i])` over all videos.
fn shifted(videos: &[(&[f64], &[f64])], frames: isize) -> Moments {
    let mut all = Moments::default();
    let ahead = frames.unsigned_abs();
    for &(prediction, label) in videos {
        let rest = |v: &[f64], by: usize| v.get(by..).map_or(0, <[f64]>::len);
        let (p, l) = if frames < 0 {
            (prediction, &label[label.len() - rest(label, ahead)..])
        } else {
            (&prediction[prediction.len() - rest(prediction, ahead)..], label)
        };
        all = all.merge(&Moments::of(p.iter().copied().zip(l.iter().copied())));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A wave that does not repeat within the tests' lengths.
    fn wave(n: usize, shift: isize) -> Vec<f64> {
        (0..n as isize).map(|i| (i - shift) as f64).map(|t| (t * 0.11).sin() + 0.4 * (t * 0.031).cos()).collect()
    }

    proptest! {
        #[test]
        fn a_known_shift_is_found_whatever_bias_and_gain(shift in -12isize..=12, gain in 0.2f64..2.0, bias in -0.5f64..0.5) {
            let label = wave(300, 0);
            let late: Vec<f64> = wave(300, shift).iter().map(|v| gain * v + bias).collect();
            let lag = best_lag(&[(&late, &label)], 15).unwrap();
            prop_assert_eq!(lag.frames, shift);
            prop_assert!(lag.pearson > 1.0 - 1e-9);
        }
    }

    #[test]
    fn the_search_is_bounded() {
        let (label, late) = (wave(300, 0), wave(300, 9));
        assert_eq!(best_lag(&[(&late, &label)], 5).unwrap().frames, 5);
    }

    #[test]
    fn videos_are_shifted_one_by_one() {
        let (a, b) = (wave(120, 0), wave(90, 40));
        let (late_a, late_b) = (wave(120, 3), wave(90, 43));
        assert_eq!(best_lag(&[(&late_a, &a), (&late_b, &b)], 8).unwrap().frames, 3);
    }

    #[test]
    fn frames_without_a_value_are_left_out_without_moving_the_others() {
        let (mut label, late) = (wave(200, 0), wave(200, 4));
        (50..90).for_each(|i| label[i] = f64::NAN);
        assert_eq!(best_lag(&[(&late, &label)], 8).unwrap().frames, 4);
    }

    #[test]
    fn what_does_not_vary_has_no_lag() {
        assert_eq!(best_lag(&[(&[0.5; 9], &[0.1; 9])], 3), None);
        assert_eq!(best_lag(&[], 3), None);
        let (p, l) = ([1.0, 2.0], [1.0, 2.0]);
        assert_eq!(best_lag(&[(&p, &l)], 100).unwrap().frames, 0);
    }
}
