use super::*;
use crate::train::pretext::tests::*;

const CLIPS: usize = 3;
const LOCAL: usize = 2;

fn config() -> DinoConfig {
    DinoConfig {
        hidden: 6,
        bottleneck: 4,
        batch_norm: false,
        prototypes: 7,
        teacher_temperature: [0.04, 0.07],
        local_crops: LOCAL,
        warmup: 0.5,
        momentum: Momentum::from(0.9),
        ..DinoConfig::small(4, 4, 2)
    }
}

fn net_of(config: &DinoConfig, seed: u64) -> DinoNet<Flat> {
    let (rng, device) = (&mut Rng::new(seed, 0), Device::flex().autodiff());
    DinoNet::new(Flat::new(16, 5, rng, &device), 5, config, rng, &device)
}

fn net(seed: u64) -> DinoNet<Flat> {
    net_of(&config(), seed)
}

fn crops(device: &Device) -> Crops {
    let rng = &mut Rng::new(7, 0);
    let global = noise([2 * CLIPS, 3, 4, 4], rng, device);
    Crops { global, local: Some(noise([LOCAL * CLIPS, 2, 4, 4], rng, device)) }
}

fn again(crops: &Crops) -> Crops {
    Crops { global: crops.global.clone(), local: crops.local.clone() }
}

/// Error function by its Maclaurin series.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn outputs(clips: &Tensor<4>, p: &Params) -> Rows {
    let norm = |x: Rows, i: usize| {
        let name = format!("head.norms.{i}");
        if p.contains_key(&format!("{name}.gamma")) { batch_norm(&x, p, &name) } else { x }
    };
    let gelu = |v: f64| 0.5 * v * (1.0 + erf(v / 2f64.sqrt()));
    let x = each(&norm(affine(&pooled(clips, p, "backbone.map"), p, "head.layers.0"), 0), gelu);
    let x = affine(&each(&norm(affine(&x, p, "head.layers.1"), 1), gelu), p, "head.layers.2");
    let (shape, w) = &p["head.prototypes"];
    let column = |k: usize| unit(&(0..shape[0]).map(|i| w[i * shape[1] + k]).collect::<Vec<f64>>());
    let cosine = |row: &Vec<f64>, k: usize| unit(row).iter().zip(column(k)).map(|(a, b)| a * b).sum::<f64>();
    x.iter().map(|row| (0..shape[1]).map(|k| cosine(row, k)).collect()).collect()
}

/// Algorithm 1 of the paper, crop by crop and clip by clip, in f64.
fn oracle(student: &Params, teacher: &Params, centre: &[f64], temperature: f64, crops: &Crops) -> f64 {
    let local = crops.local.as_ref().map_or(Vec::new(), |l| outputs(l, student));
    let seen: Rows = outputs(&crops.global, student).into_iter().chain(local).collect();
    let taught = outputs(&crops.global, teacher);
    let (mut sum, mut pairs) = (0.0, 0);
    for g in 0..2 {
        for v in (0..2 + LOCAL).filter(|v| *v != g) {
            for clip in 0..CLIPS {
                let t: Vec<f64> =
                    taught[g * CLIPS + clip].iter().zip(centre).map(|(o, c)| (o - c) / temperature).collect();
                let s: Vec<f64> = seen[v * CLIPS + clip].iter().map(|o| o / 0.1).collect();
                sum -= softmax(&t).iter().zip(softmax(&s)).map(|(t, s)| t * s.ln()).sum::<f64>();
            }
            pairs += 1;
        }
    }
    sum / (pairs * CLIPS) as f64
}

#[test]
fn loss_parameters_teacher_and_centre_after_one_step_equal_the_oracles() {
    compare(&config());
}

#[test]
fn so_they_do_with_batch_norm_in_the_head() {
    compare(&DinoConfig { batch_norm: true, ..config() });
}

fn compare(config: &DinoConfig) {
    let input = input();
    let crops = crops(&input.device);
    let mut dino = Dino::new(config.clone(), input.clone(), &net_of(config, 2)).unwrap();
    let centre: Vec<f64> = (0..7).map(|k| 0.1 * f64::from(k) - 0.3).collect();
    let values: Vec<f32> = centre.iter().map(|c| *c as f32).collect();
    dino.centre.value = Param::from_data(&values[..], &Device::flex());
    let net = net_of(config, 1);
    let (before, teacher) = (params(&net), params(dino.teacher()));

    // A fifth of the run: two fifths of the way from 0.04 to 0.07.
    let at = At { epoch: 0, step: 20, steps: 100 };
    let loss = dino.loss_of(&net, again(&crops), at).unwrap().total;
    let got = numbers(loss.clone())[0];
    let want = oracle(&before, &teacher, &centre, 0.052, &crops);
    assert!((got - want).abs() < 2e-5, "{got}, the oracle says {want}");

    let net = sgd_step(net, &loss, 0.1);
    let after = descended(&before, 0.1, |p| oracle(p, &teacher, &centre, 0.052, &crops));
    assert_moved_alike(&params(&net), &after, &before, 2e-5);

    dino.step(&net, at);
    let m = 1.0 - 0.1 * ((std::f64::consts::PI * 0.2).cos() + 1.0) / 2.0;
    for (name, (_, values)) in params(dino.teacher()).iter().filter(|(n, _)| !n.contains("running_")) {
        for ((v, old), new) in values.iter().zip(&teacher[name].1).zip(&after[name].1) {
            assert!((v - (m * old + (1.0 - m) * new)).abs() < 1e-5, "{name}");
        }
    }
    let taught = outputs(&crops.global, &teacher);
    for (k, (got, old)) in numbers(dino.centre()).iter().zip(&centre).enumerate() {
        let mean = taught.iter().map(|row| row[k]).sum::<f64>() / taught.len() as f64;
        assert!((got - (0.9 * old + 0.1 * mean)).abs() < 1e-6, "centre {k}");
    }
}

#[test]
fn the_centre_follows_all_micro_batches_of_a_step_alike() {
    let input = input();
    let net = net(1);
    let mut dino = Dino::new(config(), input.clone(), &net).unwrap();
    let first = crops(&input.device);
    let second = Crops { global: first.global.clone() * -2.0, local: None };
    let teacher = params(dino.teacher());
    let taught = [outputs(&first.global, &teacher), outputs(&second.global, &teacher)].concat();
    for c in [first, second] {
        dino.loss_of(&net, c, At::default()).unwrap();
    }
    dino.step(&net, At::default());
    for (k, got) in numbers(dino.centre()).iter().enumerate() {
        let mean = taught.iter().map(|row| row[k]).sum::<f64>() / taught.len() as f64;
        assert!((got - 0.1 * mean).abs() < 1e-6, "centre {k}: {got}");
    }
}

#[test]
fn local_crops_reach_the_student_alone() {
    let input = input();
    let net = net(1);
    let full = crops(&input.device);
    let seen = |local: Option<Tensor<4>>| {
        let mut dino = Dino::new(config(), input.clone(), &net).unwrap();
        let crops = Crops { global: full.global.clone(), local };
        let total = numbers(dino.loss_of(&net, crops, At::default()).unwrap().total);
        let (sum, count) = dino.seen.unwrap();
        (numbers(sum), count, total)
    };
    let with = seen(full.local.clone());
    let other = seen(full.local.clone().map(|l| l * 3.0 + 1.0));
    let without = seen(None);
    assert_eq!((&with.0, with.1), (&without.0, 2 * CLIPS));
    assert_eq!((&with.0, with.1), (&other.0, other.1));
    assert!(with.2 != other.2 && with.2 != without.2);
}

#[test]
fn crops_have_the_sizes_and_lengths_that_were_asked_for() {
    let config = DinoConfig { local_crops: 3, ..DinoConfig::small(6, 4, 5) };
    let (rng, device) = (&mut Rng::new(1, 0), Device::flex().autodiff());
    let net = DinoNet::new(Flat::new(36, 5, rng, &device), 5, &config, rng, &device);
    let dino = Dino::new(config, input(), &net).unwrap();
    let crops = dino.crops(&clips(1, 2, 5, 12), rng).unwrap();
    assert_eq!(crops.global.dims(), [4, 3, 6, 6]);
    assert_eq!(crops.local.unwrap().dims(), [6, 2, 4, 4]);
}

#[test]
fn frozen_prototypes_stay_while_the_rest_learns() {
    let input = input();
    let config = DinoConfig { frozen_epochs: 1, ..config() };
    let mut dino = Dino::new(config, input.clone(), &net(1)).unwrap();
    for (epoch, moves) in [(0, false), (1, true)] {
        let net = net(1);
        let before = params(&net);
        let loss = dino.loss_of(&net, crops(&input.device), At { epoch, step: 0, steps: 9 }).unwrap().total;
        let after = params(&sgd_step(net, &loss, 0.5));
        assert_eq!(before["head.prototypes"] != after["head.prototypes"], moves);
        assert_ne!(before["backbone.map.weight"], after["backbone.map.weight"]);
    }
}

#[test]
fn the_teachers_temperature_rises_and_stays() {
    let at = |step| config().temperature(At { epoch: 0, step, steps: 100 });
    assert!((at(0) - 0.04).abs() < 1e-12 && (at(25) - 0.055).abs() < 1e-12);
    assert!((at(50) - 0.07).abs() < 1e-12 && (at(99) - 0.07).abs() < 1e-12);
    let flat = DinoConfig { warmup: 0.0, ..config() };
    assert_eq!(flat.temperature(At { epoch: 0, step: 0, steps: 10 }), 0.07);
}

#[test]
fn a_teacher_that_gives_every_clip_one_class_is_called_collapsed() {
    let input = input();
    let net = net(1);
    // A centre that follows at once: without one, an untrained teacher gives one class to all.
    let config = DinoConfig { centre_momentum: 0.0, ..config() };
    let mut dino = Dino::new(config, input.clone(), &net).unwrap();
    let term = |dino: &mut Dino<Flat>, name: &str| {
        let terms = dino.loss_of(&net, crops(&input.device), At::default()).unwrap().terms;
        terms.iter().find(|(n, _)| *n == name).unwrap().1
    };
    assert_eq!(term(&mut dino, "collapsed"), 1.0);
    dino.step(&net, At::default());
    assert_eq!(term(&mut dino, "collapsed"), 0.0);
    assert!(term(&mut dino, "kl") > 0.0);
    let mut pull = [0.0f32; 7];
    pull[2] = -4.0;
    dino.centre.value = Param::from_data(pull, &Device::flex());
    assert_eq!(term(&mut dino, "collapsed"), 1.0);
    assert!(term(&mut dino, "teacher_usage") < 1e-6);
}
