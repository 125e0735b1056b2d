//! Ridge regression by normal equations in f64.

use crate::error::{Error, Result};

/// Sums over samples of a regression of several targets; the last column stands for the intercept.
#[derive(Debug, Clone)]
pub struct Ridge {
    /// Upper triangle of `x x'`, row by row; `columns * columns` places.
    gram: Vec<f64>,
    /// `x y'`, `columns` places a target.
    moment: Vec<f64>,
    columns: usize,
    samples: usize,
}

impl Ridge {
    /// No samples of `features` features and `targets` targets yet.
    pub fn new(features: usize, targets: usize) -> Self {
        let columns = features + 1;
        Self { gram: vec![0.0; columns * columns], moment: vec![0.0; columns * targets], columns, samples: 0 }
    }

    /// Adds a sample.
    pub fn add(&mut self, features: &[f32], targets: &[f64]) {
        debug_assert_eq!(features.len() + 1, self.columns);
        debug_assert_eq!(targets.len() * self.columns, self.moment.len());
        for (i, &a) in features.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            let a = f64::from(a);
            let row = &mut self.gram[i * self.columns..][..self.columns];
            row[self.columns - 1] += a;
            row[i..self.columns - 1].iter_mut().zip(&features[i..]).for_each(|(g, &b)| *g += a * f64::from(b));
        }
        self.gram[self.columns * self.columns - 1] += 1.0;
        for (moment, target) in self.moment.chunks_exact_mut(self.columns).zip(targets) {
            moment.iter_mut().zip(features).for_each(|(m, &f)| *m += target * f64::from(f));
            moment[features.len()] += target;
        }
        self.samples += 1;
    }

    /// The sums of both.
    pub fn merge(mut self, other: &Self) -> Self {
        self.gram.iter_mut().zip(&other.gram).for_each(|(a, b)| *a += b);
        self.moment.iter_mut().zip(&other.moment).for_each(|(a, b)| *a += b);
        self.samples += other.samples;
        self
    }

    /// Weights target by target, the intercept last, that minimise the mean squared error plus `penalty` times the
    /// weights' squares.
    ///
    /// # Errors
    /// If the equations are singular, as without samples.
    pub fn solve(&self, penalty: f64) -> Result<Vec<f64>> {
        let (n, u) = (self.columns, self.factor(penalty)?);
        let mut solutions = self.moment.clone();
        for x in solutions.chunks_exact_mut(n) {
            for i in 0..n {
                x[i] /= u[i * n + i];
                let (done, rest) = x.split_at_mut(i + 1);
                rest.iter_mut().zip(&u[i * n + i + 1..]).for_each(|(v, p)| *v -= done[i] * p);
            }
            for i in (0..n).rev() {
                let known: f64 = (i + 1..n).map(|j| u[i * n + j] * x[j]).sum();
                x[i] = (x[i] - known) / u[i * n + i];
            }
        }
        Ok(solutions)
    }

    /// Cholesky's factor: `u' u` is the penalised Gram matrix, `u` upper triangular.
    fn factor(&self, penalty: f64) -> Result<Vec<f64>> {
        let n = self.columns;
        let mut u = self.gram.clone();
        for i in 0..n - 1 {
            u[i * n + i] += penalty * self.samples as f64;
        }
        for k in 0..n {
            let (head, tail) = u.split_at_mut((k + 1) * n);
            let pivot = &mut head[k * n..];
            if pivot[k].is_nan() || pivot[k] <= 1e-9 {
                return Err(Error::input("too few samples for a regression"));
            }
            let root = pivot[k].sqrt();
            pivot[k..].iter_mut().for_each(|v| *v /= root);
            for (row, i) in tail.chunks_exact_mut(n).zip(k + 1..) {
                let factor = pivot[i];
                row[i..].iter_mut().zip(&pivot[i..]).for_each(|(v, p)| *v -= factor * p);
            }
        }
        Ok(u)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    #[test]
    fn recovers_a_line_and_its_intercept_in_parts() {
        let mut rng = Rng::new(1, 0);
        let want = [2.0, -3.0, 0.5, 7.0];
        let mut parts = [Ridge::new(3, 2), Ridge::new(3, 2)];
        for i in 0..400 {
            let x = [rng.normal(), rng.normal(), rng.normal()];
            let y = want[3] + (0..3).map(|k| want[k] * f64::from(x[k])).sum::<f64>();
            parts[i % 2].add(&x, &[y, -y]);
        }
        let [a, b] = parts;
        let all = a.merge(&b);
        let found = all.solve(0.0).unwrap();
        assert!((0..8).all(|i| (found[i] - want[i % 4] * [1.0, -1.0][i / 4]).abs() < 1e-6), "{found:?}");
        let shrunk = all.solve(10.0).unwrap();
        assert!(shrunk[..3].iter().zip(&want).all(|(s, w)| s.abs() < 0.5 * w.abs()), "{shrunk:?}");
    }

    #[test]
    fn no_samples_are_an_error() {
        assert!(Ridge::new(2, 1).solve(0.0).is_err());
    }
}
