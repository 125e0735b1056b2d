//! What a student learns from its teacher, frame by frame.

use super::net::Answers;
use crate::spec::{BINS, Head};
use crate::train::loss::ccc_loss;
use burn::tensor::{Int, Tensor, activation};

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

/// `1 - CCC` between the change of the answers over `frames` frames and that of the labels, the mean of both dimensions; 0 to 2. An
/// answer that follows late changes when the labels no longer do: on slow affect, whose values differ little from those a moment
/// ago, this is what tells. Pairs of frames with a label missing on either side are left out; `None` if fewer than two are left.
pub fn changes(answers: &Answers, labels: &[[f32; 2]], frames: usize) -> Option<Tensor<1>> {
    let [clips, length, _] = answers.logits.dims();
    let (mut now, mut before, mut moved) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for clip in 0..clips {
        for t in frames..length {
            let (n, b) = (clip * length + t, clip * length + t - frames);
            let by = [0, 1].map(|d| labels[n][d] - labels[b][d]);
            if by.iter().all(|v| v.is_finite()) {
                now.push(n as i32);
                before.push(b as i32);
                by.into_iter().zip(&mut moved).for_each(|(v, all)| all.push(v));
            }
        }
    }
    if now.len() < 2 {
        return None;
    }
    let device = answers.logits.device();
    let at = |chosen: &[i32]| rows(&answers.logits, &Tensor::from_data(chosen, &device));
    let (now, before) = (at(&now), at(&before));
    let one = |head: Head, moved: &[f32]| {
        ccc_loss(value(&now, head) - value(&before, head), Tensor::from_data(moved, &device))
    };
    Some((one(Head::Arousal, &moved[0]) + one(Head::Valence, &moved[1])) * 0.5)
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

/// `1 - cosine` between the projected features and the teacher's, the mean over frames; 0 to 2.
pub fn features(answers: &Answers, lesson: &Lesson, pairs: &Pairs, projection: Tensor<2>) -> Tensor<1> {
    let s = pairs.student(&answers.features).matmul(projection);
    let t = pairs.teacher(&lesson.features);
    let dot = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() * b.clone()).sum_dim(1);
    let norms = (dot(&s, &s) * dot(&t, &t)).clamp_min(1e-12).sqrt();
    (dot(&s, &t) / norms).mean() * -1.0 + 1.0
}
