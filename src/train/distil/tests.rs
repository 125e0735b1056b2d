use super::*;
use crate::render::Rng;
use crate::spec::{BINS, HEADS, Head};
use crate::train::data::record::Votes;
use crate::train::full::{FullNet, FullSpec};
use crate::train::net::StudentNet;
use crate::train::pretext::views::Normalise;
use crate::train::run::{At, Batch, Method};
use burn::module::Param;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Tensor, TensorData, Tolerance, activation};

type Rows = Vec<Vec<f64>>;

/// Answers of which no state is asked.
fn told(logits: Tensor<3>, features: Tensor<3>) -> Answers {
    Answers { states: features.clone(), logits, features }
}

fn tensor(rows: &[Rows], device: &Device) -> Tensor<3> {
    let shape = [rows.len(), rows[0].len(), rows[0][0].len()];
    let values: Vec<f32> = rows.iter().flatten().flatten().map(|v| *v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn drawn(rng: &mut Rng, clips: usize, frames: usize, width: usize) -> Vec<Rows> {
    let mut row = || (0..width).map(|_| f64::from(rng.normal())).collect::<Vec<f64>>();
    (0..clips).map(|_| (0..frames).map(|_| row()).collect()).collect()
}

fn softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let e: Vec<f64> = row.iter().map(|v| (v / temperature).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|v| v / sum).collect()
}

fn ccc(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|p| f(p.0 - mx, p.1 - my)).sum::<f64>() / n;
    2.0 * sum(&|x, y| x * y) / (sum(&|x, _| x * x) + sum(&|_, y| y * y) + (mx - my).powi(2))
}

fn near(got: Tensor<1>, want: f64) {
    let got = f64::from(got.into_scalar::<f32>());
    assert!((got - want).abs() < 2e-6 * want.abs().max(1.0), "{got} instead of {want}");
}

#[test]
fn terms_equal_the_f64_oracle_at_every_shift_and_leave_out_what_shows_no_face() {
    let device = Device::flex();
    let mut rng = Rng::new(5, 0);
    let (clips, frames, most) = (2, 6, 2);
    let (s, t) = (drawn(&mut rng, clips, frames, HEADS), drawn(&mut rng, clips, frames, HEADS));
    let (sf, tf) = (drawn(&mut rng, clips, frames, 3), drawn(&mut rng, clips, frames, 4));
    let projection = &drawn(&mut rng, 1, 3, 4)[0];
    let answers = told(tensor(&s, &device), tensor(&sf, &device));
    let mut seen = vec![true; clips * frames];
    seen[4] = false;
    let lesson = Lesson { logits: tensor(&t, &device), features: tensor(&tf, &device), seen: seen.clone() };
    for shift in 0..=most {
        let pairs = Pairs::new(&lesson, shift, most).unwrap();
        let frame = |c: usize, k: usize| seen[c * frames + k];
        let kept: Vec<(usize, usize)> = (0..clips)
            .flat_map(|c| (most..frames).map(move |k| (c, k)))
            .filter(|(c, k)| frame(*c, *k) && frame(*c, k - shift))
            .collect();
        assert!(kept.len() < clips * (frames - most), "the frame without a face matters to none");
        let tanh = |row: &[f64], head: Head| (0.5 * row[head.value()]).tanh();
        let pair = |(c, k): &(usize, usize), head| (tanh(&s[*c][*k], head), tanh(&t[*c][k - shift], head));
        let [a, v] = Head::ALL.map(|head| 1.0 - ccc(&kept.iter().map(|p| pair(p, head)).collect::<Vec<_>>()));
        near(values(&answers, &lesson, &pairs), 0.5 * (a + v));

        let divergence = |head: Head| {
            let one = |(c, k): &(usize, usize)| {
                let p = softmax(&t[*c][k - shift][head.bins()], 3.0);
                let q = softmax(&s[*c][*k][head.bins()], 3.0);
                assert_eq!(p.len(), BINS);
                p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
            };
            kept.iter().map(one).sum::<f64>() / kept.len() as f64
        };
        let [a, v] = Head::ALL.map(divergence);
        near(bins(&answers, &lesson, &pairs, 3.0), 0.5 * 9.0 * (a + v));

        let cosine = |(c, k): &(usize, usize)| {
            let p: Vec<f64> = (0..4).map(|j| (0..3).map(|i| sf[*c][*k][i] * projection[i][j]).sum()).collect();
            let t = &tf[*c][k - shift];
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(&p, t) / (dot(&p, &p) * dot(t, t)).sqrt()
        };
        let want = 1.0 - kept.iter().map(cosine).sum::<f64>() / kept.len() as f64;
        let flat = tensor(std::slice::from_ref(projection), &device).squeeze_dim(0);
        near(features(&answers, &lesson, &pairs, flat), want);
    }
    let blind = Lesson { seen: vec![false; clips * frames], ..lesson };
    assert!(Pairs::new(&blind, 0, most).is_none());
}

#[test]
fn lateness_fits_answers_by_labels_and_slopes_a_constant_for_each_clip() {
    let device = Device::flex();
    let mut rng = Rng::new(6, 0);
    let (clips, frames, fps) = (3, 9, 12.5);
    let logits = drawn(&mut rng, clips, frames, HEADS);
    let answers = told(tensor(&logits, &device), tensor(&logits, &device));
    let mut labels: Vec<[f32; 2]> = (0..clips * frames).map(|_| [rng.range(-0.9, 0.9), rng.range(-0.9, 0.9)]).collect();
    labels[11][1] = f32::NAN;
    for (d, head) in Head::ALL.into_iter().enumerate() {
        // Normal equations of `answer = constant of the clip + gain * label - gain * late * slope`, by Gauss.
        let mut m = [[0.0f64; 6]; 5];
        for (c, t) in (0..clips).flat_map(|c| (1..frames - 1).map(move |t| (c, t))) {
            let at = |t: usize| f64::from(labels[c * frames + t][d]);
            let (own, slope) = (at(t), (at(t + 1) - at(t - 1)) * fps / 2.0);
            if !(own.is_finite() && slope.is_finite()) {
                continue;
            }
            let answer = (0.5 * logits[c][t][head.value()]).tanh();
            let mut row = [0.0; 5];
            (row[c], row[3], row[4]) = (1.0, own, -slope);
            for i in 0..5 {
                (0..5).for_each(|j| m[i][j] += row[i] * row[j]);
                m[i][5] += row[i] * answer;
            }
        }
        for k in 0..5 {
            for i in (0..5).filter(|i| *i != k) {
                let f = m[i][k] / m[k][k];
                (k..6).for_each(|j| m[i][j] -= f * m[k][j]);
            }
        }
        let late = m[4][5] / m[4][4] / (m[3][5] / m[3][3]).max(0.2);
        near(lateness(&answers, &labels, fps, head).unwrap(), late);
        assert!(lateness(&answers, &[[f32::NAN; 2]; 27], fps, head).is_none(), "no labels");
    }
    let still: Vec<[f32; 2]> = (0..27).map(|i| [i as f32 / 27.0, 0.3]).collect();
    for head in Head::ALL {
        assert!(lateness(&answers, &still, fps, head).is_none(), "labels that rise alike everywhere tell no lateness");
    }
}

#[test]
fn lateness_tells_seconds_whatever_gain_and_the_bias_of_a_clip_and_counts_where_it_is_weighed() {
    let device = Device::flex();
    // Slow waves, and answers that say them at `gain` and `by` seconds later, each clip with a bias of its own.
    let fps = 12.5;
    let wave = |c: usize, t: f64| 0.4 * (t * (1.0 + 0.2 * c as f64) + c as f64).sin();
    let labels: Vec<[f32; 2]> = (0..180).map(|i| [wave(i / 60, f64::from(i as u32 % 60) / fps) as f32; 2]).collect();
    let late = |by: f64, gain: f64| {
        let logit = |c: usize, t: u32| 2.0 * (gain * wave(c, f64::from(t) / fps - by) + 0.1 * c as f64).atanh();
        let all: Vec<Rows> = (0..3).map(|c| (0..60).map(|t| vec![logit(c, t); HEADS]).collect()).collect();
        let answers = told(tensor(&all, &device), tensor(&all, &device));
        Head::ALL.map(|head| f64::from(lateness(&answers, &labels, fps, head).unwrap().into_scalar::<f32>()))
    };
    for (by, gain) in [(0.0, 1.0), (0.08, 1.0), (0.24, 1.0), (0.24, 0.5), (-0.16, 1.2)] {
        for found in late(by, gain) {
            assert!((found - by).abs() < 0.05 * by.abs() + 1e-3, "{by} at {gain}: {found}");
        }
    }

    let none = Terms { values: 0.0, bins: 0.0, features: 0.0, ..Terms::default() };
    let mut distil = task(LagMode::None, Terms { lateness: 0.5, ..none }, 0);
    let (net, batch) = (pupil(&distil), batch(true));
    let with = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
    assert_eq!(with.terms.iter().map(|t| t.0).collect::<Vec<_>>(), ["lateness", "labels"]);
    let without = task(LagMode::None, none, 0).loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
    near(with.total.clone() - without.total, 0.5 * with.terms[0].1);

    // The first step's mean is its own lateness; the next step's is drawn towards it, and the term is the square's tangent there.
    let first = distil.running.late.map(Option::unwrap);
    near(Tensor::from_data([with.terms[0].1 as f32], &device), 0.5 * first.iter().map(|l| l * l).sum::<f64>());
    distil.running.late = [Some(0.5), Some(-0.25)];
    let next = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
    let mut want = 0.0;
    for (i, old) in [0.5, -0.25].into_iter().enumerate() {
        let mean = 0.9 * old + 0.1 * first[i];
        assert!((distil.running.late[i].unwrap() - mean).abs() < 1e-6);
        want += 0.5 * mean * (2.0 * first[i] - mean);
    }
    near(Tensor::from_data([next.terms[0].1 as f32], &device), want);
    let dir = tempfile::tempdir().unwrap();
    distil.save(dir.path()).unwrap();
    let mut resumed = task(LagMode::None, none, 0);
    resumed.load(dir.path()).unwrap();
    assert_eq!(resumed.running, distil.running);
}

#[test]
fn the_gradient_of_lateness_is_that_of_the_square_at_its_running_mean() {
    let device = Device::flex().autodiff();
    let mut rng = Rng::new(8, 0);
    let (clips, frames) = (3, 9);
    let (logits, step) = (drawn(&mut rng, clips, frames, HEADS), drawn(&mut rng, clips, frames, HEADS));
    let labels: Vec<[f32; 2]> = (0..clips * frames).map(|_| [rng.range(-0.9, 0.9), rng.range(-0.9, 0.9)]).collect();
    let mut distil = task(LagMode::None, Terms { lateness: 1.0, ..Terms::default() }, 0);
    let means = [0.3, -0.2];
    distil.running.late = means.map(Some);
    let x = tensor(&logits, &device).require_grad();
    let answers = told(x.clone(), x.clone());
    let grads = distil.lateness(&answers, &labels).unwrap().backward();
    let gradient: Vec<f32> = x.grad(&grads).unwrap().into_data().try_to_vec().unwrap();
    let along: f64 = gradient.iter().zip(step.iter().flatten().flatten()).map(|(g, s)| f64::from(*g) * s).sum();
    let late = |by: f64, head: Head| {
        let moved: Vec<Rows> = logits
            .iter()
            .zip(&step)
            .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + by * b).collect()).collect())
            .collect();
        let x = tensor(&moved, &device);
        f64::from(lateness(&told(x.clone(), x), &labels, 12.5, head).unwrap().into_scalar::<f32>())
    };
    // The mean of both squares' tangents: (2 m late' + 2 m late') / 2, at the means that this batch has moved.
    let want: f64 = Head::ALL
        .into_iter()
        .zip(distil.running.late)
        .map(|(head, m)| m.unwrap() * (late(1e-2, head) - late(-1e-2, head)) / 2e-2)
        .sum();
    assert!(want.abs() > 1e-4 && (along - want).abs() < 0.02 * want.abs(), "{along} {want}");
}

#[test]
fn settling_is_the_square_by_which_gates_keep_the_state_longer_than_two_seconds() {
    let device = Device::flex();
    let mut rng = Rng::new(12, 0);
    let kept: Vec<f64> = (0..60).map(|_| 4.0 * f64::from(rng.normal())).collect();
    let rows: Vec<f32> = kept.iter().map(|v| *v as f32).collect();
    // At 12.5 frames a second a share of exp(-1/25) a frame is 1/e in two seconds.
    let most = -((1.0f64 / 25.0).exp() - 1.0).ln();
    let want = kept.iter().map(|v| (v - most).max(0.0).powi(2)).sum::<f64>() / 60.0;
    near(settling(Tensor::from_data(TensorData::new(rows, [6, 10]), &device), 12.5), want);
}

#[test]
fn settling_opens_gates_that_are_shut_and_counts_only_where_it_is_weighed() {
    let none = Terms { values: 0.0, bins: 0.0, features: 0.0, ..Terms::default() };
    let mut distil = task(LagMode::None, Terms { settling: 0.1, ..none }, 0);
    let (mut net, batch) = (pupil(&distil), batch(true));
    let (hidden, device) = (distil.spec.hidden, distil.device.clone());
    // Shut gates: the state takes thousands of frames to move, and the sigmoid has next to no gradient.
    let shut: Vec<f32> = (0..3 * hidden).map(|i| if i < hidden { 8.0 } else { 0.0 }).collect();
    net.student.gru.wb = Param::from_tensor(Tensor::from_data(shut.as_slice(), &device));

    let rings = method::views(&batch, &distil.config, &distil.spec, &mut Rng::new(1, 0), &device);
    let answers = net.student.answers(rings, batch.clips, false);
    let cell = &net.student.gru;
    let [clips, frames, _] = answers.features.dims();
    let at = |t: &Tensor<3>, frame: usize| t.clone().narrow(1, frame, 1).reshape([clips, t.dims()[2]]);
    let kept = net.student.update_logits(&answers).reshape([clips, frames - 1, hidden]);
    for t in 1..frames {
        // A step is `new + gate * (state - new)`: where states are 1 and -1 apart, so are the next by twice the gate, but for the
        // recurrence, which this gate does not depend on when its weights are left out.
        let mut still = cell.clone();
        still.r = Param::from_tensor(Tensor::zeros([hidden, 3 * hidden], &device));
        let step =
            |h: f32| still.step(still.project(at(&answers.features, t)), Tensor::ones([clips, hidden], &device) * h);
        let gate = (step(1.0) - step(-1.0)) / 2.0;
        let want = activation::sigmoid(still.update_logits(at(&answers.features, t), at(&answers.states, t - 1)));
        gate.into_data().assert_approx_eq::<f32>(&want.into_data(), Tolerance::absolute(1e-5));
        let own = cell.update_logits(at(&answers.features, t), at(&answers.states, t - 1)).into_data();
        at(&kept, t - 1).into_data().assert_approx_eq::<f32>(&own, Tolerance::absolute(1e-4));
    }

    let mut optimiser = AdamWConfig::new().init();
    let mut first = None;
    for _ in 0..150 {
        let loss = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
        assert_eq!(loss.terms.iter().map(|t| t.0).collect::<Vec<_>>(), ["labels", "settling"]);
        let now = loss.terms[1].1;
        if now < 0.01 * *first.get_or_insert(now) {
            break;
        }
        net = optimiser.step(5e-2, net.clone(), GradientsParams::from_grads(loss.total.backward(), &net));
    }
    let with = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
    assert!(first.unwrap() > 5.0 && with.terms[1].1 < 0.01 * first.unwrap(), "{first:?} {:?}", with.terms);
    distil.config.terms.settling = 0.0;
    let without = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
    near(with.total - without.total, 0.1 * with.terms[1].1);
}

#[test]
fn votes_are_the_divergence_of_what_a_layer_reads_off_the_features_of_clips_that_have_them() {
    let device = Device::flex();
    let mut rng = Rng::new(7, 0);
    let (clips, frames, width) = (3, 2, 4);
    let features = drawn(&mut rng, clips, frames, width);
    let answers = told(tensor(&features, &device), tensor(&features, &device));
    let layer = drawn(&mut rng, 1, width, 8).remove(0);
    let shares: [Votes; 2] = [[0.5, 0.3, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]];
    let given = [Some(shares[0]), None, Some(shares[1])];
    let one = |frame: &Vec<f64>, votes: &Votes| {
        let read: Vec<f64> = (0..8).map(|k| (0..width).map(|i| frame[i] * layer[i][k]).sum()).collect();
        let q = softmax(&read, 1.0);
        let part = |(p, q): (&f32, &f64)| if *p > 0.0 { f64::from(*p) * (f64::from(*p) / q).ln() } else { 0.0 };
        votes.iter().zip(&q).map(part).sum::<f64>()
    };
    let of = |clip: usize, votes: &Votes| features[clip].iter().map(|frame| one(frame, votes)).sum::<f64>();
    let want = (of(0, &shares[0]) + of(2, &shares[1])) / 4.0;
    let flat = tensor(std::slice::from_ref(&layer), &device).squeeze_dim(0);
    near(votes(&answers, &given, flat.clone()).unwrap(), want);
    assert!(votes(&answers, &[None; 3], flat.clone()).is_none() && votes(&answers, &[], flat).is_none());
}

#[test]
fn votes_teach_the_trunk_of_single_frames_and_only_where_they_are_weighed() {
    let none = Terms { values: 0.0, bins: 0.0, features: 0.0, ..Terms::default() };
    let mut distil = task(LagMode::None, Terms { votes: 1.0, ..none }, 0);
    let mut net = pupil(&distil);
    let mut batch = batch(true);
    (batch.clips, batch.frames) = (batch.clips * batch.frames, 1);
    // Darker pictures are sad and brighter ones happy; nobody was asked about the first.
    let area = batch.size_px * batch.size_px;
    batch
        .video
        .chunks_exact_mut(area)
        .enumerate()
        .for_each(|(i, v)| v.iter_mut().for_each(|v| *v = *v / 2 + 100 * (i % 2) as u8));
    batch.votes = (0..batch.clips).map(|i| Some(std::array::from_fn(|k| f32::from(k == 3 - 2 * (i % 2))))).collect();
    batch.votes[0] = None;
    let rings = method::views(&batch, &distil.config, &distil.spec, &mut Rng::new(1, 0), &distil.device);
    assert_eq!(rings.dims(), [batch.clips, 1, 20, 20], "one crop in place of a ring of equal ones");
    let mut optimiser = AdamWConfig::new().init();
    let mut first = None;
    let trunk = net.student.convs[0].main.val().into_data();
    for _ in 0..40 {
        let loss = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
        assert_eq!(loss.terms.iter().map(|t| t.0).collect::<Vec<_>>(), ["labels", "votes"]);
        let now = loss.terms[1].1;
        let begun = *first.get_or_insert(now);
        if now < 0.2 * begun {
            break;
        }
        net = optimiser.step(2e-2, net.clone(), GradientsParams::from_grads(loss.total.backward(), &net));
    }
    let loss = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
    assert!(loss.terms[1].1 < 0.3 * first.unwrap(), "{:?}", loss.terms);
    assert_ne!(net.student.convs[0].main.val().into_data(), trunk);
    let without = task(LagMode::None, none, 0).loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
    near(loss.total.clone() - without.total, loss.terms[1].1);
}

#[test]
fn mixup_changes_what_is_learned_but_of_clips_that_are_alike() {
    let terms = Terms { values: 0.0, bins: 0.0, features: 0.0, votes: 1.0, ..Terms::default() };
    let loss = |mixup: f64, alike: bool| {
        let mut distil = task(LagMode::None, terms, 0);
        distil.config.mixup = mixup;
        let (net, mut batch) = (pupil(&distil), batch(true));
        batch.votes = (0..batch.clips).map(|i| Some(std::array::from_fn(|k| f32::from(k == i)))).collect();
        if alike {
            let (pixels, frames) = (batch.video.len() / batch.clips, batch.frames);
            batch.video = batch.video[..pixels].repeat(batch.clips);
            batch.labels = batch.labels[..frames].repeat(batch.clips);
            batch.votes = vec![batch.votes[0]; batch.clips];
        }
        let loss = distil.loss(&net, &batch, At::default(), &mut Rng::new(4, 0)).unwrap();
        loss.terms.iter().map(|t| t.1).collect::<Vec<f64>>()
    };
    let apart = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| (a - b).abs()).collect::<Vec<f64>>();
    assert!(apart(loss(1.0, false), loss(0.0, false)).iter().all(|d| *d > 1e-3));
    assert!(apart(loss(1.0, true), loss(0.0, true)).iter().all(|d| *d < 1e-4));
}

/// A narrow student of 20 pixels.
fn spec() -> StudentSpec {
    let mut spec = StudentSpec::pico();
    spec.size_px = 20;
    spec.hidden = 8;
    spec.convs.truncate(2);
    spec.convs.iter_mut().for_each(|c| c.out = 4);
    spec
}

fn task(mode: LagMode, terms: Terms, most: usize) -> Distil {
    let device = Device::flex().autodiff();
    let model = FullSpec { size_px: 16, width: 1, hidden: 3, layers: 1 };
    let normalise = Normalise { mean: 0.5, std: 0.2 };
    let config =
        DistilConfig { terms, augment: false, lag: LagConfig { mode, most_s: 0.5 }, ..DistilConfig::default() };
    Distil {
        recipe: config.recipe().unwrap(),
        config,
        spec: spec(),
        teacher: FullNet::new(&model, 1, &device).unwrap().valid(),
        reader: finetune::Predictor { size_px: 16, normalise, every: 1, by_bins: [None, None], device: Device::flex() },
        most,
        fps: 12.5,
        device,
        running: Running::default(),
    }
}

fn batch(labels: bool) -> Batch {
    let mut rng = Rng::new(9, 0);
    let (clips, frames, size_px) = (3, 8, 20);
    let label = |rng: &mut Rng| if labels { [rng.range(-0.9, 0.9), rng.range(-0.9, 0.9)] } else { [f32::NAN; 2] };
    Batch {
        clips,
        frames,
        size_px,
        video: (0..clips * frames * size_px * size_px).map(|_| rng.below(256) as u8).collect(),
        labels: (0..clips * frames).map(|_| label(&mut rng)).collect(),
        audio: None,
        votes: Vec::new(),
    }
}

fn pupil(task: &Distil) -> Pupil {
    Pupil::new(&task.spec, 512 / 64, task.most, 4, &task.device)
}

#[test]
fn the_student_learns_from_the_teacher_alone_and_labels_are_used_where_there_are_any() {
    let mut distil = task(LagMode::Searched, Terms::default(), 2);
    let mut net = pupil(&distil);
    let (unlabelled, mut rng) = (batch(false), Rng::new(1, 0));
    let mut optimiser = AdamWConfig::new().init();
    let mut totals = Vec::new();
    for _ in 0..30 {
        let loss = distil.loss(&net, &unlabelled, At::default(), &mut rng).unwrap();
        let names: Vec<&str> = loss.terms.iter().map(|t| t.0).collect();
        assert_eq!(names, ["lag_frames", "teacher_features", "teacher_values", "teacher_bins"]);
        totals.push(loss.total.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.total.backward(), &net);
        net = optimiser.step(5e-3, net, gradients);
    }
    assert!(totals[29] < 0.8 * totals[0], "{totals:?}");
    let loss = distil.loss(&net, &batch(true), At::default(), &mut rng).unwrap();
    assert!(loss.terms.iter().any(|t| t.0 == "labels"));
    let mut deaf = task(LagMode::None, Terms { values: 0.0, bins: 0.0, features: 0.0, ..Terms::default() }, 0);
    let e = deaf.loss(&net, &unlabelled, At::default(), &mut rng).unwrap_err().to_string();
    assert!(e.contains("teaches"), "{e}");
}

#[test]
fn a_frozen_trunk_keeps_its_weights_and_statistics_while_gru_and_head_learn() {
    let mut distil = task(LagMode::Searched, Terms { features: 0.0, ..Terms::default() }, 2);
    distil.config.frozen_trunk = true;
    let mut net = pupil(&distil);
    let trunk = |net: &Pupil| {
        let conv = &net.student.convs[1];
        [conv.main.val().into_data(), conv.norm.running_mean.value_sync().into_data()]
    };
    let (gru, batch) = (net.student.gru.w.val().into_data(), batch(true));
    let views = || method::views(&batch, &distil.config, &distil.spec, &mut Rng::new(1, 0), &distil.device);
    let [frozen, still, free] = [(&net, true), (&net.clone().valid(), false), (&net, false)]
        .map(|(net, frozen)| net.student.answers(views(), batch.clips, frozen).logits.into_data());
    assert_eq!(frozen, still, "BatchNorm goes by running statistics");
    assert_ne!(frozen, free);
    // After the free pass, which moves the running statistics.
    let before = trunk(&net);
    let mut optimiser = AdamWConfig::new().init();
    let mut totals = Vec::new();
    for _ in 0..20 {
        let loss = distil.loss(&net, &batch, At::default(), &mut Rng::new(1, 0)).unwrap();
        totals.push(loss.total.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.total.backward(), &net);
        net = optimiser.step(1e-2, net, gradients);
    }
    assert!(totals[19] < 0.9 * totals[0], "{totals:?}");
    assert_eq!(trunk(&net), before);
    assert_ne!(net.student.gru.w.val().into_data(), gru);
}

#[test]
fn the_newest_tap_alone_answers_equal_crops_as_all_taps_do_and_a_change_at_once() {
    let distil = task(LagMode::None, Terms::default(), 0);
    let net = pupil(&distil).student;
    let moved = net.clone().newest_tap();
    let (ring, side) = (distil.spec.ring, distil.spec.size_px);
    let device = Device::flex();
    let crop = |of: f32| Tensor::<4>::ones([1, 1, side, side], &device) * of;
    let rings = |newest: f32| Tensor::cat([vec![crop(0.3); ring - 1], vec![crop(newest)]].concat(), 1);
    let features = |net: &StudentNet, x: Tensor<4>| net.valid().features(x).into_data();
    features(&moved, rings(0.3)).assert_approx_eq::<f32>(&features(&net, rings(0.3)), Tolerance::absolute(1e-5));
    let all_new = Tensor::cat(vec![crop(0.9); ring], 1);
    features(&moved, rings(0.9)).assert_approx_eq::<f32>(&features(&moved, all_new.clone()), Tolerance::absolute(1e-5));
    let (late, there) = (features(&net, rings(0.9)), features(&net, all_new));
    assert!(late.iter::<f32>().zip(there.iter::<f32>()).any(|(a, b)| (a - b).abs() > 1e-2));
    assert!(moved.convs[0].main.is_require_grad(), "training may move all taps again");
}

/// A lesson, and answers that say the same two frames later.
fn late() -> (Answers, Lesson) {
    let device = Device::flex().autodiff();
    let mut rng = Rng::new(3, 0);
    let taught = drawn(&mut rng, 4, 12, HEADS);
    let late: Vec<Rows> = taught.iter().map(|clip| (0..12).map(|t| clip[t.max(2) - 2].clone()).collect()).collect();
    let lesson = Lesson { logits: tensor(&taught, &device), features: tensor(&taught, &device), seen: vec![true; 48] };
    (told(tensor(&late, &device), tensor(&late, &device)), lesson)
}

#[test]
fn a_searched_shift_is_the_one_by_which_the_answers_are_late() {
    let (answers, lesson) = late();
    let mut distil = task(LagMode::Searched, Terms { features: 0.0, ..Terms::default() }, 3);
    let net = pupil(&distil);
    let loss = distil.teach(&net, &answers, &lesson).unwrap();
    assert_eq!((distil.shift(), distil.running.mismatch.len()), (2, 4));
    assert_eq!(loss.terms[0], ("lag_frames", 2.0));
    assert!(loss.terms[1..].iter().all(|(_, v)| v.abs() < 1e-5), "{:?}", loss.terms);
    let dir = tempfile::tempdir().unwrap();
    distil.save(dir.path()).unwrap();
    let mut again = task(LagMode::Searched, Terms::default(), 3);
    again.load(dir.path()).unwrap();
    assert_eq!(again.running.mismatch, distil.running.mismatch);
    assert!(task(LagMode::Searched, Terms::default(), 1).load(dir.path()).is_err());
}

#[test]
fn learned_shares_move_to_the_shift_by_which_the_answers_are_late() {
    let (answers, lesson) = late();
    let mut distil = task(LagMode::Learned, Terms { features: 0.0, ..Terms::default() }, 3);
    let mut net = pupil(&distil);
    let mut optimiser = AdamWConfig::new().init();
    for _ in 0..60 {
        let loss = distil.teach(&net, &answers, &lesson).unwrap();
        let gradients = GradientsParams::from_grads(loss.total.backward(), &net);
        net = optimiser.step(0.1, net, gradients);
    }
    let shares: Vec<f32> = net.shares().into_data().try_to_vec().unwrap();
    assert!(shares[2] > 0.9, "{shares:?}");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let with = |change: fn(&mut DistilConfig)| {
        let mut config = DistilConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert!(DistilConfig::default().validate().is_ok());
    for (told, word) in [
        (with(|c| c.size = "huge".into()), "huge"),
        (with(|c| c.loss = "9".into()), "clusters"),
        (with(|c| c.terms.values = -1.0), "terms"),
        (with(|c| c.terms.temperature = 0.0), "temperature"),
        (with(|c| c.terms.lateness = f64::NAN), "terms"),
        (
            with(|c| c.terms = Terms { labels: 0.0, values: 0.0, bins: 0.0, features: 0.0, lateness: 1.0, ..c.terms }),
            "alone",
        ),
        (with(|c| c.terms.settling = -1.0), "terms"),
        (with(|c| c.mixup = 1.5), "mixup"),
        (with(|c| c.mixup = 0.2), "teacher"),
        (with(|c| c.clips.apart = true), "frozen_trunk"),
        (with(|c| (c.terms.votes, c.frozen_trunk) = (1.0, true)), "terms.votes"),
        (with(|c| c.lag.most_s = 9.0), "most_s"),
        (with(|c| c.clips.every = 2), "--fps"),
        (with(|c| c.run.mixed_precision = true), "full model"),
    ] {
        assert!(told.contains(word), "{told}");
    }
}
