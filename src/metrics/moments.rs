//! Sums that say everything about the agreement of many frames, and that add up over videos.

use super::Agreement;

/// Centred second moments of predictions and labels, merged pairwise (Chan, Golub and LeVeque 1983).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    /// Frames.
    pub n: usize,
    mean: [f64; 2],
    /// Sums of squared distances from the means: prediction, label; and of their product.
    square: [f64; 2],
    product: f64,
    error: f64,
    same_sign: usize,
}

impl Moments {
    /// Of (prediction, label) pairs; a pair with a NaN is left out.
    pub fn of(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let kept = pairs.filter(|(p, l)| !p.is_nan() && !l.is_nan());
        let (mut n, mut sum) = (0, [0.0; 2]);
        for (p, l) in kept.clone() {
            n += 1;
            sum = [sum[0] + p, sum[1] + l];
        }
        let mean = sum.map(|s| if n == 0 { 0.0 } else { s / n as f64 });
        let mut m = Self { n, mean, ..Self::default() };
        for (p, l) in kept {
            let (dp, dl) = (p - mean[0], l - mean[1]);
            m.square = [m.square[0] + dp * dp, m.square[1] + dl * dl];
            m.product += dp * dl;
            m.error += (p - l) * (p - l);
            m.same_sign += usize::from(super::sign(p) == super::sign(l));
        }
        m
    }

    /// Of the frames of both.
    pub fn merge(&self, other: &Self) -> Self {
        let n = self.n + other.n;
        if n == 0 {
            return *self;
        }
        let weight = self.n as f64 * other.n as f64 / n as f64;
        let gap = [other.mean[0] - self.mean[0], other.mean[1] - self.mean[1]];
        let both = |i: usize| self.square[i] + other.square[i] + gap[i] * gap[i] * weight;
        Self {
            n,
            mean: [0, 1].map(|i| self.mean[i] + gap[i] * (other.n as f64 / n as f64)),
            square: [both(0), both(1)],
            product: self.product + other.product + gap[0] * gap[1] * weight,
            error: self.error + other.error,
            same_sign: self.same_sign + other.same_sign,
        }
    }

    /// Whether both predictions and labels vary.
    pub fn varies(&self) -> bool {
        self.square.iter().all(|s| *s > 0.0)
    }

    /// As [`Agreement::of`] up to rounding; the CCC of a series with itself is exactly 1.
    pub fn agreement(&self) -> Agreement {
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let (n, [vp, vl]) = (self.n as f64, self.square);
        let bias = self.mean[0] - self.mean[1];
        let same = self.error == 0.0 && vp > 0.0;
        Agreement {
            n: self.n,
            ccc: if same { 1.0 } else { ratio(2.0 * self.product, vp + vl + n * bias * bias) },
            pearson: ratio(self.product, (vp * vl).sqrt()),
            rmse: ratio(self.error, n).sqrt(),
            bias,
            gain: ratio(vp.sqrt(), vl.sqrt()),
        }
    }

    /// Share of frames whose prediction and label have the same sign, as [`super::sagr`].
    pub fn sagr(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.same_sign as f64 / self.n as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair() -> impl Strategy<Value = (f64, f64)> {
        (-1.0f64..1.0, -1.0f64..1.0)
    }

    proptest! {
        #[test]
        fn merged_moments_agree_with_the_whole(v in proptest::collection::vec(pair(), 2..60), cut in 0usize..60) {
            let cut = cut.min(v.len());
            let part = |s: &[(f64, f64)]| Moments::of(s.iter().copied());
            let merged = part(&v[..cut]).merge(&part(&v[cut..]));
            let (p, l): (Vec<f64>, Vec<f64>) = v.iter().copied().unzip();
            let (a, b) = (merged.agreement(), Agreement::of(&p, &l));
            prop_assert_eq!(a.n, b.n);
            for (a, b) in [(a.ccc, b.ccc), (a.rmse, b.rmse), (a.bias, b.bias), (a.pearson, b.pearson)] {
                prop_assert!((a - b).abs() < 1e-9, "{} {}", a, b);
            }
            prop_assert_eq!(merged.sagr(), crate::metrics::sagr(&p, &l));
        }

        #[test]
        fn ccc_of_a_series_with_itself_is_exactly_one(v in proptest::collection::vec(-1.0f64..1.0, 2..50), cut in 0usize..50) {
            prop_assume!(v.iter().any(|x| *x != v[0]));
            let part = |s: &[f64]| Moments::of(s.iter().map(|x| (*x, *x)));
            let cut = cut.min(v.len());
            prop_assert_eq!(part(&v[..cut]).merge(&part(&v[cut..])).agreement().ccc, 1.0);
        }
    }

    #[test]
    fn pairs_with_a_gap_are_left_out() {
        let m = Moments::of([(0.1, 0.2), (f64::NAN, 0.3), (0.4, f64::NAN), (0.5, 0.1)].into_iter());
        assert_eq!(m.n, 2);
        assert_eq!(Moments::of(std::iter::empty()).agreement().rmse, 0.0);
    }
}
