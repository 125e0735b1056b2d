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

/// Lateness, settling and votes.
mod terms;

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
        targets: Vec::new(),
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
        (with(|c| c.terms.lateness_of[1] = -1.0), "terms.lateness_of"),
        (with(|c| (c.terms.lateness, c.terms.lateness_of) = (1.0, [0.0; 2])), "terms.lateness_of"),
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

#[test]
fn runs_that_name_one_start_in_a_text_are_still_read() {
    let config = DistilConfig::default();
    let kept = |starts: &[&str]| Kept {
        config: config.clone(),
        teacher: "t".into(),
        taught: 3,
        most: 0,
        started_from: starts.iter().map(|s| (*s).to_owned()).collect(),
    };
    let read = |text: serde_json::Value| serde_json::from_value::<Kept>(text).unwrap();
    let mut text = serde_json::to_value(kept(&["a"])).unwrap();
    assert_eq!(read(text.clone()), kept(&["a"]));
    text["started_from"] = "a".into();
    assert_eq!(read(text), kept(&["a"]));
    for starts in [&[][..], &["a", "b"][..]] {
        assert_eq!(read(serde_json::to_value(kept(starts)).unwrap()), kept(starts));
    }
}
