//! What a student learns from its teacher, frame by frame.

use super::net::Answers;
use crate::spec::{BINS, Head};
use crate::train::data::record::{EMOTIONS, Votes};
use crate::train::loss::ccc_loss;
use burn::tensor::{Int, Tensor, TensorData, activation};

/// A teacher's outputs for clips; no gradient reaches it.
pub struct Lesson {
    /// `clips x frames x 42`.
    pub logits: Tensor<3>,
    /// `clips x frames x features`.
    pub features: Tensor<3>,
    /// Whether a frame shows a face, clips x frames.
    pub seen: Vec<bool>,
}

/// Frames of both sides that belong together when the student answers `shift` frames late: the student's frame `t` and the
/// teacher's `t - shift`.
pub struct Pairs {
    student: Tensor<1, Int>,
    teacher: Tensor<1, Int>,
}

impl Pairs {
    /// `None` if no two frames with a face are left. The first `most` frames of every clip are left out whatever the shift, so that all
    /// shifts are judged on the same answers.
    pub fn new(lesson: &Lesson, shift: usize, most: usize) -> Option<Self> {
        let [clips, frames, _] = lesson.logits.dims();
        let (mut student, mut teacher) = (Vec::new(), Vec::new());
        for clip in 0..clips {
            for t in most..frames {
                let (s, k) = (clip * frames + t, clip * frames + t - shift);
                if lesson.seen[s] && lesson.seen[k] {
                    student.push(s as i32);
                    teacher.push(k as i32);
                }
            }
        }
        let device = lesson.logits.device();
        (student.len() > 1).then(|| Self {
            student: Tensor::from_data(student.as_slice(), &device),
            teacher: Tensor::from_data(teacher.as_slice(), &device),
        })
    }

    fn student(&self, t: &Tensor<3>) -> Tensor<2> {
        rows(t, &self.student)
    }

    fn teacher(&self, t: &Tensor<3>) -> Tensor<2> {
        rows(t, &self.teacher)
    }
}

fn rows(t: &Tensor<3>, chosen: &Tensor<1, Int>) -> Tensor<2> {
    let [clips, frames, width] = t.dims();
    t.clone().reshape([clips * frames, width]).select(0, chosen.clone())
}

/// Arousal or valence in [-1, 1], from `n x 42` logits; [`Head::value`] says which column.
fn value(logits: &Tensor<2>, head: Head) -> Tensor<1> {
    let [n, _] = logits.dims();
    (logits.clone().narrow(1, head.value(), 1).reshape([n]) * 0.5).tanh()
}

/// `1 - CCC` between both sides' values, the mean of both dimensions; 0 to 2.
pub fn values(answers: &Answers, lesson: &Lesson, pairs: &Pairs) -> Tensor<1> {
    let (s, t) = (pairs.student(&answers.logits), pairs.teacher(&lesson.logits));
    let [a, v] = Head::ALL.map(|head| ccc_loss(value(&s, head), value(&t, head)));
    (a + v) * 0.5
}

/// Least variance of a label's slope within clips, per second squared, that tells how late answers to it are.
const LEAST_SLOPE: f64 = 1e-4;

/// Least gain by which answers follow labels within clips that lateness is taken for what it is; below it, it is of this gain.
const LEAST_GAIN: f64 = 0.2;

/// Seconds by which the answers of this dimension are late, negative if they are early. Answers of gain `g` that come `late` seconds
/// late are `g * (label - late * slope)` where the label rises by `slope` a second; `g` and `late` are what fits the answers best,
/// in the sense of least squares with a constant for each clip. Lateness says nothing of bias and gain, which other terms are
/// about. Frames without a label on either side or their own are left out; `None` where the label does not move.
pub fn lateness(answers: &Answers, labels: &[[f32; 2]], fps: f64, head: Head) -> Option<Tensor<1>> {
    let [clips, frames, width] = answers.logits.dims();
    let device = answers.logits.device();
    let label: Vec<f64> = labels.iter().map(|l| f64::from(l[head as usize])).collect();
    let values = value(&answers.logits.clone().reshape([clips * frames, width]), head);
    let [gain, drop] = shares(&label, frames, fps)?.map(|shares| {
        let shares: Vec<f32> = shares.into_iter().map(|s| s as f32).collect();
        (values.clone() * Tensor::from_data(shares.as_slice(), &device)).sum()
    });
    Some(drop / gain.clamp_min(LEAST_GAIN))
}

/// What an answer of 1 in each frame gives to the gain, and to the gain times the lateness in seconds, of all answers: the solution of
/// the normal equations, of labels and slopes less the means of their clip.
fn shares(label: &[f64], frames: usize, fps: f64) -> Option<[Vec<f64>; 2]> {
    let (mut level, mut slope) = (vec![0.0; label.len()], vec![0.0; label.len()]);
    let (mut ll, mut ls, mut ss, mut counted) = (0.0, 0.0, 0.0, 0);
    for (clip, label) in label.chunks_exact(frames).enumerate() {
        let used: Vec<(usize, f64, f64)> = (1..frames.saturating_sub(1))
            .map(|t| (clip * frames + t, label[t], (label[t + 1] - label[t - 1]) * fps / 2.0))
            .filter(|(_, label, slope)| label.is_finite() && slope.is_finite())
            .collect();
        let mean = |of: fn(&(usize, f64, f64)) -> f64| used.iter().map(of).sum::<f64>() / used.len() as f64;
        let (mean_label, mean_slope) = (mean(|u| u.1), mean(|u| u.2));
        for (at, l, s) in &used {
            (level[*at], slope[*at]) = (l - mean_label, s - mean_slope);
            ll += level[*at] * level[*at];
            ls += level[*at] * slope[*at];
            ss += slope[*at] * slope[*at];
        }
        counted += used.len();
    }
    let determinant = ll * ss - ls * ls;
    if ss <= LEAST_SLOPE * counted as f64 || determinant <= 1e-9 * ll * ss {
        return None;
    }
    let solve = |by_level: f64, by_slope: f64| {
        level.iter().zip(&slope).map(|(l, s)| (by_level * l + by_slope * s) / determinant).collect()
    };
    Some([solve(ss, -ls), solve(ls, -ll)])
}

/// Seconds in which a state is to fade to 1/e.
const FADES_S: f64 = 2.0;

/// The square by which `update_logits`, those of update gates, lie above those of a state that fades to 1/e within two seconds, the mean over all
/// frames and units. It is taken of logits because a gate that is shut has no gradient left that would open it.
pub fn settling(update_logits: Tensor<2>, fps: f64) -> Tensor<1> {
    let share = (-1.0 / (FADES_S * fps)).exp();
    let most = (share / (1.0 - share)).ln();
    activation::relu(update_logits - most).powi_scalar(2).mean()
}

/// `T^2 KL(teacher || student)` in nats of the bins at temperature `T`, the mean over frames and both dimensions.
pub fn bins(answers: &Answers, lesson: &Lesson, pairs: &Pairs, temperature: f64) -> Tensor<1> {
    let (s, t) = (pairs.student(&answers.logits), pairs.teacher(&lesson.logits));
    let one = |head: Head| {
        let of = |logits: &Tensor<2>| {
            activation::log_softmax(logits.clone().narrow(1, head.bins().start, BINS) / temperature, 1)
        };
        let (s, t) = (of(&s), of(&t));
        (t.clone().exp() * (t - s)).sum_dim(1).mean()
    };
    let [a, v] = Head::ALL.map(one);
    (a + v) * (0.5 * temperature * temperature)
}

/// `KL(votes || student)` in nats between the shares of the votes for each emotion and what is read of them off the features by
/// `emotions`, the mean over all frames of the clips that have votes; `None` if none has.
pub fn votes(answers: &Answers, votes: &[Option<Votes>], emotions: Tensor<2>) -> Option<Tensor<1>> {
    let [clips, frames, width] = answers.features.dims();
    let mut shares = vec![0.0; clips * frames * EMOTIONS];
    let (mut entropy, mut voted) = (0.0, 0);
    for (to, votes) in shares.chunks_exact_mut(frames * EMOTIONS).zip(votes) {
        let Some(votes) = votes else { continue };
        to.chunks_exact_mut(EMOTIONS).for_each(|to| to.copy_from_slice(votes));
        entropy -= votes.iter().filter(|v| **v > 0.0).map(|v| f64::from(*v) * f64::from(*v).ln()).sum::<f64>();
        voted += 1;
    }
    if voted == 0 {
        return None;
    }
    let read = answers.features.clone().reshape([clips * frames, width]).matmul(emotions);
    let shares = Tensor::<2>::from_data(TensorData::new(shares, [clips * frames, EMOTIONS]), &read.device());
    let cross = (activation::log_softmax(read, 1) * shares).sum() * -1.0;
    Some(cross / (voted * frames) as f64 - entropy / voted as f64)
}

/// `1 - cosine` between the projected features and the teacher's, the mean over frames; 0 to 2.
pub fn features(answers: &Answers, lesson: &Lesson, pairs: &Pairs, projection: Tensor<2>) -> Tensor<1> {
    let s = pairs.student(&answers.features).matmul(projection);
    let t = pairs.teacher(&lesson.features);
    let dot = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() * b.clone()).sum_dim(1);
    let norms = (dot(&s, &s) * dot(&t, &t)).clamp_min(1e-12).sqrt();
    (dot(&s, &t) / norms).mean() * -1.0 + 1.0
}
