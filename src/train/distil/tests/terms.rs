use super::*;

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
    let weights = [0.5, 2.0];
    let mut distil = task(LagMode::None, Terms { lateness: 1.0, lateness_of: weights, ..Terms::default() }, 0);
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
    // The weighed mean of both squares' tangents: (w 2 m late' + w 2 m late') / 2, at the means that this batch has moved.
    let want: f64 = Head::ALL
        .into_iter()
        .zip(distil.running.late)
        .zip(weights)
        .map(|((head, m), w)| w * m.unwrap() * (late(1e-2, head) - late(-1e-2, head)) / 2e-2)
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
