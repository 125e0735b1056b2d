use super::*;
use crate::train::pretext::tests::*;

const CLIPS: usize = 3;
const FRAMES: usize = 4;
const AUDIO: usize = 2;

fn config() -> LiraConfig {
    let conformer = ConformerConfig { blocks: 2, dims: 4, heads: 2, expansion: 2, kernel: 3 };
    LiraConfig { conformer, hidden: 5, ..LiraConfig::small(4) }
}

fn net(seed: u64) -> LiraNet<Flat> {
    let (rng, device) = (&mut Rng::new(seed, 0), Device::flex().autodiff());
    LiraNet::new(Flat::new(16, 5, rng, &device), [5, AUDIO], &config(), rng, &device)
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

fn swish(v: f64) -> f64 {
    v * sigmoid(v)
}

fn feed_forward(x: &Rows, p: &Params, name: &str) -> Rows {
    let inner = affine(&layer_norm(x, p, &format!("{name}.norm")), p, &format!("{name}.up"));
    added(x, &affine(&each(&inner, swish), p, &format!("{name}.down")), 0.5)
}

/// Two heads over the frames of each clip.
fn attention(x: &Rows, p: &Params, name: &str) -> Rows {
    let all = affine(&layer_norm(x, p, &format!("{name}.norm")), p, &format!("{name}.inputs"));
    let mut mixed = vec![vec![0.0; 4]; x.len()];
    for (i, head) in (0..x.len()).flat_map(|i| [(i, 0), (i, 1)]) {
        let first = i / FRAMES * FRAMES;
        let (q, k, v) = (2 * head, 4 + 2 * head, 8 + 2 * head);
        let score = |j: usize| (0..2).map(|d| all[i][q + d] * all[j][k + d]).sum::<f64>() / 2f64.sqrt();
        let weights = softmax(&(first..first + FRAMES).map(score).collect::<Vec<f64>>());
        for d in 0..2 {
            mixed[i][2 * head + d] = (0..FRAMES).map(|j| weights[j] * all[first + j][v + d]).sum();
        }
    }
    added(x, &affine(&mixed, p, &format!("{name}.output")), 1.0)
}

fn convolution(x: &Rows, p: &Params, name: &str) -> Rows {
    let both = affine(&layer_norm(x, p, &format!("{name}.norm")), p, &format!("{name}.gated"));
    let gated: Rows = both.iter().map(|r| (0..4).map(|k| r[k] * sigmoid(r[4 + k])).collect()).collect();
    let kernel = &p[&format!("{name}.depthwise")].1;
    let mut over_time = vec![vec![0.0; 4]; x.len()];
    for (i, row) in over_time.iter_mut().enumerate() {
        for tap in 0..3 {
            let j = (i + tap).checked_sub(1).filter(|j| *j < x.len() && j / FRAMES == i / FRAMES);
            let Some(j) = j else { continue };
            (0..4).for_each(|k| row[k] += kernel[3 * k + tap] * gated[j][k]);
        }
    }
    let inner = each(&batch_norm(&over_time, p, &format!("{name}.batch_norm")), swish);
    added(x, &affine(&inner, p, &format!("{name}.output")), 1.0)
}

/// Backbone's stand-in, Conformer and perceptron in f64, from the papers' equations.
fn predicted(p: &Params, clips: &Tensor<4>) -> Rows {
    let features = affine(&rows(&numbers(clips.clone()), 16), p, "backbone.map");
    let mut x = affine(&features, p, "conformer.input");
    for (i, row) in x.iter_mut().enumerate() {
        let t = (i % FRAMES) as f64;
        let positions = [t.sin(), t.cos(), (t / 100.0).sin(), (t / 100.0).cos()];
        row.iter_mut().zip(positions).for_each(|(v, position)| *v += position);
    }
    for b in 0..2 {
        let name = |part: &str| format!("conformer.blocks.{b}.{part}");
        x = feed_forward(&x, p, &name("before"));
        x = attention(&x, p, &name("attention"));
        x = convolution(&x, p, &name("convolution"));
        x = layer_norm(&feed_forward(&x, p, &name("after")), p, &name("norm"));
    }
    affine(&each(&affine(&x, p, "up"), |v| v.max(0.0)), p, "down")
}

fn oracle(p: &Params, clips: &Tensor<4>, targets: &Targets) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (i, row) in predicted(p, clips).iter().enumerate().filter(|(i, _)| targets.heard[*i]) {
        for (k, v) in row.iter().enumerate() {
            sum += (v - f64::from(targets.values[i * AUDIO + k])).abs();
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn loss_and_parameters_after_one_step_equal_the_oracles() {
    let input = input();
    let rng = &mut Rng::new(7, 0);
    let clips = noise([CLIPS, FRAMES, 4, 4], rng, &input.device);
    // The second clip has no sound: whatever stands in its place does not count.
    let values = (0..CLIPS * FRAMES * AUDIO).map(|_| 3.0 * rng.normal()).collect();
    let heard = (0..CLIPS * FRAMES).map(|i| i / FRAMES != 1).collect();
    let targets = Targets { values, heard };
    let kept = Targets { values: targets.values.clone(), heard: targets.heard.clone() };
    let lira = Lira::<Flat>::new(config(), input, AUDIO).unwrap();
    let net = net(1);
    let before = params(&net);
    let loss = lira.loss_of(&net, clips.clone(), targets).unwrap().total;
    let got = numbers(loss.clone())[0];
    let want = oracle(&before, &clips, &kept);
    assert!((got - want).abs() < 1e-5, "{got}, the oracle says {want}");

    let net = sgd_step(net, &loss, 0.5);
    let after = descended(&before, 0.5, |p| oracle(p, &clips, &kept));
    assert_moved_alike(&params(&net), &after, &before, 2e-5);
}

/// A batch whose row of clip `c`, frame `t` is `[10 c + t, 1]`.
fn batch() -> Batch {
    let row = |i: usize| [(10 * (i / FRAMES) + i % FRAMES) as f32, 1.0];
    Batch { audio: Some((AUDIO, (0..CLIPS * FRAMES).flat_map(row).collect())), ..clips(1, CLIPS, FRAMES, 4) }
}

fn identity() -> LiraConfig {
    let statistics = Some(Statistics { mean: vec![0.0; AUDIO], std: vec![1.0; AUDIO] });
    LiraConfig { statistics, ..config() }
}

#[test]
fn targets_are_those_of_the_frames_in_view() {
    let mut lira = Lira::<Flat>::new(identity(), input(), AUDIO).unwrap();
    let spans = [(0, 3), (1, 2), (2, 1)].map(|(start, stride)| Span { start, stride, frames: 2 });
    let mut batch = batch();
    batch.audio.as_mut().unwrap().1[FRAMES * AUDIO..2 * FRAMES * AUDIO].fill(f32::NAN);
    let targets = lira.targets(&batch, &spans).unwrap();
    assert_eq!(targets.heard, [true, true, false, false, true, true]);
    assert_eq!(targets.values, [0.0, 1.0, 3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 22.0, 1.0, 23.0, 1.0]);
}

#[test]
fn a_batch_without_sound_or_with_another_is_refused() {
    let mut lira = Lira::<Flat>::new(identity(), input(), AUDIO).unwrap();
    let spans = [Span { start: 0, stride: 1, frames: FRAMES }; CLIPS];
    let mut error = |batch: &Batch| lira.targets(batch, &spans).err().unwrap().to_string();
    let mut silent = batch();
    silent.audio.as_mut().unwrap().1.fill(f32::NAN);
    assert!(error(&silent).contains("no clip of the batch has audio"));
    assert!(error(&Batch { audio: None, ..batch() }).contains("--audio"));
    assert!(error(&Batch { audio: Some((3, vec![0.0; CLIPS * FRAMES * 3])), ..batch() }).contains("3 dimensions"));
    let mut conformer = config().conformer;
    conformer.kernel = 4;
    assert!(Lira::<Flat>::new(LiraConfig { conformer, ..config() }, input(), AUDIO).is_err());
}
