use super::*;
use crate::engine::reference::{Reference, Trace};
use crate::frame::Gray;
use crate::model::{Student, Trunk};
use crate::render::Rng;
use crate::spec::{ConvSpec, CropRule, HEADS, StudentSpec};
use crate::train::data::ferplus::Still;
use crate::train::fold::values;
use crate::train::quantize::tests::{rings, small_spec, student};
use crate::train::quantize::{Calibrate, Data, Equalise, Ptq, PtqConfig, WeightRange, integer, ptq};
use crate::train::run::config::LoopConfig;
use crate::train::run::ranks::Alone;
use crate::train::run::{At, Batch, Loss};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

static NEVER: AtomicBool = AtomicBool::new(false);

fn start(spec: &StudentSpec, seed: u64, config: &PtqConfig) -> Ptq {
    ptq(&student(spec, 2.0, seed), &rings(spec, 5, seed), config, &|_| (), &NEVER).unwrap()
}

/// Layers and features by the oracle, one ring after the other.
fn oracle(student: &Student, rings: &[u8]) -> (Vec<Vec<u8>>, Vec<f32>) {
    let Trunk::Int8(convs) = &student.trunk else { unreachable!() };
    let spec = &student.spec;
    let mut engine = Reference::open(student).unwrap();
    let (mut layers, mut features) = (vec![Vec::new(); convs.len()], Vec::new());
    for ring in rings.chunks(spec.ring * spec.size_px * spec.size_px) {
        let mut trace = Trace::default();
        engine.step_traced(ring, &mut vec![0.0; spec.hidden], &mut [0.0; HEADS], &mut trace).unwrap();
        for (i, (layer, conv)) in trace.layers.iter().zip(convs).enumerate() {
            layers[i].extend(layer.iter().map(|v| (v / conv.output_scale).round() as u8));
        }
        let (last, scale) = (trace.layers.last().unwrap(), convs.last().unwrap().output_scale);
        let area = last.len() / spec.features();
        let sum = |plane: &[f32]| plane.iter().map(|v| (v / scale).round() as i32).sum::<i32>();
        features.extend(last.chunks(area).map(|plane| sum(plane) as f32 * (scale / area as f32)));
    }
    (layers, features)
}

/// The network's trunk in training and its exported student give the same bits.
fn agrees(net: &QatNet, spec: &StudentSpec, rings: &[u8]) {
    let exported = net.int8(spec).unwrap();
    let (layers, want) = oracle(&exported, rings);
    let Trunk::Int8(convs) = &exported.trunk else { unreachable!() };
    assert_eq!(integer::all_outputs(spec, convs, rings).unwrap(), layers);
    for learn in [false, true] {
        let found = values(net.features(spec, rings, learn).unwrap()).unwrap();
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&want), "learn {learn}");
    }
    assert!(want.iter().any(|v| *v > 0.0));
}

fn odd_spec(rng: &mut Rng) -> StudentSpec {
    let convs = (0..1 + rng.below(4))
        .map(|_| ConvSpec { out: 1 + rng.below(20), kernel: 1 + 2 * rng.below(4), stride: 1 + rng.below(2) })
        .collect();
    StudentSpec { ring: 1 + rng.below(5), size_px: 16 + rng.below(9), convs, hidden: 1 + rng.below(6), ..small_spec() }
}

#[test]
fn a_network_starts_as_the_calibrated_student_to_the_bit() {
    let mut rng = Rng::new(11, 0);
    for seed in 0..8 {
        let config = PtqConfig {
            calibrate: [Calibrate::MinMax, Calibrate::Mse][rng.below(2)],
            weights: [WeightRange::Max, WeightRange::Mse][rng.below(2)],
            equalise: [Equalise::Off, Equalise::Activations][rng.below(2)],
            bias_correction: rng.chance(0.5),
            ..PtqConfig::default()
        };
        let spec = odd_spec(&mut rng);
        let made = student(&spec, 1.0, seed);
        // A net that is dead on its data cannot be calibrated.
        let Ok(start) = ptq(&made, &rings(&spec, 4, seed), &config, &|_| (), &NEVER) else { continue };
        let net = QatNet::new(&start, &Device::flex().autodiff()).unwrap();
        assert_eq!(net.int8(&spec).unwrap(), start.int8, "seed {seed}: {spec:?} {config:?}");
        agrees(&net, &spec, &rings(&spec, 3, 100 + seed));
    }
}

#[test]
fn training_and_export_agree_to_the_bit_after_steps_that_move_everything() {
    let spec = small_spec();
    for learn in [true, false] {
        let start = start(&spec, 2, &PtqConfig::default());
        let mut net = QatNet::new(&start, &Device::flex().autodiff()).unwrap();
        let mut optimizer = AdamWConfig::new().init();
        let rings = rings(&spec, 4, 9);
        for step in 0..6 {
            let features = net.features(&spec, &rings, learn).unwrap();
            let loss = (features - 0.3 * step as f32).powi_scalar(2).mean();
            let grads = GradientsParams::from_grads(loss.backward(), &net);
            net = optimizer.step(5e-3, net, grads);
            agrees(&net, &spec, &rings);
        }
        let now = net.int8(&spec).unwrap();
        let (Trunk::Int8(a), Trunk::Int8(b)) = (&start.int8.trunk, &now.trunk) else { unreachable!() };
        for (a, b) in a.iter().zip(b) {
            assert!(a.weight != b.weight && a.bias != b.bias);
            assert_eq!(a.output_scale != b.output_scale, learn);
            assert_eq!(a.weight_scale != b.weight_scale, learn);
        }
    }
}

/// The straight-through gradients of one layer, in f64 from the definitions.
#[test]
fn gradients_are_those_of_lsq_and_stop_where_values_saturate() {
    let spec = StudentSpec { convs: vec![ConvSpec { out: 4, kernel: 3, stride: 2 }], ..small_spec() };
    // Scales that saturate a part of both weights and activations.
    let tight = PtqConfig { calibrate: Calibrate::Percentile, percentile: 0.8, ..PtqConfig::default() };
    let mut start = start(&spec, 3, &tight);
    let Trunk::Fp32(convs) = &mut start.equalised.trunk else { unreachable!() };
    convs[0].weight.iter_mut().step_by(7).for_each(|w| *w *= 3.0);
    let folded = convs[0].clone();
    let (rings, device) = (rings(&spec, 2, 4), Device::flex().autodiff());
    let net = QatNet::new(&start, &device).unwrap();
    let conv = net.quantized(&spec).unwrap().remove(0);
    let grads = GradientsParams::from_grads(net.features(&spec, &rings, true).unwrap().sum().backward(), &net);
    let read = |t: Option<burn::tensor::Tensor<1>>| values(t.unwrap()).unwrap();
    let layer = &net.convs[0];
    let weights = values(grads.get::<4>(layer.weight.id).unwrap()).unwrap();
    let (shift, unit) = (read(grads.get(layer.weight_shift.id)), read(grads.get(layer.output_shift.id))[0]);
    let biases = read(grads.get(layer.bias.id));

    let (px, out_px, fan) = (spec.size_px, 9, spec.ring * 9);
    let area = f64::from(out_px * out_px);
    let s = f64::from(conv.output_scale);
    let (mut dw, mut dscale, mut dunit, mut db) = (vec![0.0; 4 * fan], vec![0.0; 4], 0.0, vec![0.0; 4]);
    for ring in rings.chunks(spec.ring * px * px) {
        for (o, y, x) in (0..4).flat_map(|o| (0..81).map(move |k| (o, k / 9, k % 9))) {
            let input = |tap: usize| {
                let (c, ky, kx) = (tap / 9, tap / 3 % 3, tap % 3);
                let (row, column) = ((2 * y + ky).wrapping_sub(1), (2 * x + kx).wrapping_sub(1));
                let inside = row < px && column < px;
                if inside { (f64::from(ring[(c * px + row) * px + column]) - 128.0) / 64.0 } else { 0.0 }
            };
            let step = f64::from(conv.weight_scale[o]);
            let bias = f64::from(conv.bias[o]) * f64::from(conv.input_scale) * step;
            let v = bias + (0..fan).map(|t| step * f64::from(conv.weight[o * fan + t]) * input(t)).sum::<f64>();
            let g = 1.0 / area;
            if v / s > 0.0 && v / s < 255.0 {
                dunit += g * s * ((v / s).round_ties_even() - v / s);
                db[o] += g;
                for t in 0..fan {
                    let (w, q) = (f64::from(folded.weight[o * fan + t]), f64::from(conv.weight[o * fan + t]));
                    let inside = (w / step).abs() < 127.0;
                    dw[o * fan + t] += if inside { g * input(t) } else { 0.0 };
                    dscale[o] += g * input(t) * step * (q - if inside { w / step } else { 0.0 });
                }
            } else if v / s >= 255.0 {
                dunit += g * s * 255.0;
            }
        }
    }
    let close =
        |a: f32, b: f64, what: &str| assert!((f64::from(a) - b).abs() < 2e-3 * (1.0 + b.abs()), "{what}: {a} {b}");
    assert!(dw.iter().filter(|d| **d == 0.0).count() > 5 && dunit != 0.0);
    weights.iter().zip(&dw).for_each(|(a, b)| close(*a, *b, "weight"));
    biases.iter().zip(&db).for_each(|(a, b)| close(*a, *b, "bias"));
    shift.iter().zip(&dscale).for_each(|(a, b)| close(*a, b / (fan as f64 * 127.0).sqrt(), "weight scale"));
    close(unit, dunit / (4.0 * area * 255.0).sqrt(), "output scale");
}

const RULE: CropRule = CropRule { size_px: 17, detail_px: 12, ..CropRule::FERPLUS };

/// Pictures whose light tells arousal and whose slope tells valence.
fn stills(count: usize, seed: u64) -> Vec<Still> {
    let one = |i: usize| {
        let mut rng = Rng::new(seed, i as u64);
        let (arousal, valence) = (rng.range(-0.8, 0.8), rng.range(-0.8, 0.8));
        let pixel = |k: usize| 128.0 + 50.0 * arousal + 4.0 * valence * ((k % 20) as f32 - 9.5) + 3.0 * rng.normal();
        let data = (0..400).map(pixel).map(|v| v.clamp(0.0, 255.0) as u8).collect();
        Still { name: format!("{i}"), image: Gray { width: 20, height: 20, data }, arousal, valence }
    };
    (0..count).map(one).collect()
}

fn tiny() -> QatConfig {
    let run = LoopConfig { epochs: 6, batch: 8, learning_rate: 1e-2, checkpoint_steps: 1, ..LoopConfig::default() };
    QatConfig { loss: "ccc=0.5,mse=1".into(), augment: false, run, ..QatConfig::default() }
}

fn losses(folder: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let line = |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap()["train/loss"].as_f64();
    text.lines().filter_map(line).collect()
}

#[test]
fn the_loss_falls_the_best_student_is_the_exported_one_and_a_stopped_run_resumes_to_the_bit() {
    let spec = small_spec();
    let start = start(&spec, 5, &PtqConfig::default());
    let data = Data::Stills { rule: RULE, train: stills(48, 1), held: stills(24, 2) };
    let dir = tempfile::tempdir().unwrap();
    let train = |name: &str, resume: bool, stop: &AtomicBool, cut_after: usize| {
        let config = tiny();
        let folder = dir.path().join(name);
        let from = QatStart { ptq: &start, data: &data, folder: &folder };
        let (mut labels, mut steps) = (config.objective().unwrap(), 0);
        let objective = |outputs: &Outputs, batch: &Batch, at: At, rng: &mut Rng| -> crate::Result<Loss> {
            steps += 1;
            stop.fetch_or(steps == cut_after, Ordering::Relaxed);
            assert_eq!(outputs.features.dims(), [8, 1, spec.features()]);
            assert_eq!(outputs.logits.dims(), [8, 3, HEADS]);
            labels.loss(outputs, batch, at, rng)
        };
        qat(&config, &from, objective, resume, &Alone, stop, false)
    };
    let (whole, done) = train("whole", false, &NEVER, usize::MAX).unwrap();
    let losses = losses(&dir.path().join("whole"));
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    assert_eq!((losses.len(), done.epochs), (36, 6));
    assert!(mean(&losses[30..]) < 0.7 * mean(&losses[..6]), "{losses:?}");

    let stop = AtomicBool::new(false);
    let cut = train("cut", false, &stop, 9).unwrap_err();
    assert_eq!(cut.kind(), crate::ErrorKind::Interrupted);
    let (resumed, again) = train("cut", true, &NEVER, usize::MAX).unwrap();
    assert_eq!((&resumed, again), (&whole, done));

    let other = QatConfig { learn_scales: false, ..tiny() };
    let folder = dir.path().join("whole");
    let from = QatStart { ptq: &start, data: &data, folder: &folder };
    let refused = qat(&other, &from, other.objective().unwrap(), true, &Alone, &NEVER, false).unwrap_err();
    assert!(refused.to_string().contains("learn_scales"), "{refused}");
}

#[test]
fn clips_carry_the_state_and_their_ring() {
    let spec = small_spec();
    let start = start(&spec, 6, &PtqConfig::default());
    let net = QatNet::new(&start, &Device::flex().autodiff()).unwrap();
    let (mut rng, frames) = (Rng::new(3, 3), 4);
    let video: Vec<u8> = (0..2 * frames * 400).map(|_| rng.below(256) as u8).collect();
    let batch = Batch {
        clips: 2,
        frames,
        size_px: 20,
        video,
        labels: vec![[0.0; 2]; 2 * frames],
        audio: None,
        votes: Vec::new(),
        targets: Vec::new(),
    };
    let qat = Qat {
        spec: spec.clone(),
        rule: RULE,
        augment: None,
        learn_scales: true,
        shown: 3,
        objective: tiny().objective().unwrap(),
    };
    let outputs = qat.outputs(&net, &batch, &mut rng).unwrap();
    let found = values(outputs.logits).unwrap();

    // The exported student in the reference engine, through the runtime's own ring.
    let mut engine = Reference::open(&net.int8(&spec).unwrap()).unwrap();
    let mut cropper = crate::preprocess::Cropper::for_rule(&RULE);
    for (c, clip) in batch.video.chunks(frames * 400).enumerate() {
        let mut ring = crate::preprocess::Ring::new(spec.ring, spec.size_px);
        let mut hidden = vec![0.0; spec.hidden];
        for (t, frame) in clip.chunks(400).enumerate() {
            let picture = Gray { width: 20, height: 20, data: frame.to_vec() };
            ring.push(|out| cropper.crop_into(&picture, [0.0, 0.0, 20.0], out));
            let (mut logits, mut trace) = ([0.0; HEADS], Trace::default());
            engine.step_traced(ring.bytes(), &mut hidden, &mut logits, &mut trace).unwrap();
            for (a, b) in found[(c * frames + t) * HEADS..].iter().zip(logits) {
                assert!((a - b).abs() < 1e-5, "clip {c} frame {t}: {a} {b}");
            }
        }
    }
    let empty = Batch { clips: 0, frames: 0, ..batch };
    assert!(qat.outputs(&net, &empty, &mut rng).is_err());
}

#[test]
fn students_that_are_not_a_pair_are_refused() {
    let spec = small_spec();
    let good = start(&spec, 7, &PtqConfig::default());
    let device = Device::flex().autodiff();
    let same = Ptq { int8: good.equalised.clone(), ..good.clone() };
    assert!(QatNet::new(&same, &device).is_err());
    let other = start(&StudentSpec { hidden: 6, ..spec }, 7, &PtqConfig::default());
    let mixed = Ptq { int8: other.int8, ..good };
    assert!(QatNet::new(&mixed, &device).unwrap_err().to_string().contains("different shapes"));
    assert!(QatConfig { loss: "11".into(), ..QatConfig::default() }.validate().is_err());
    assert!(StillFeed::new(stills(3, 1), 4, 1).is_err());
}
