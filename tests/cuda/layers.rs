//! Layer outputs at every tile edge, with random and adversarial weights.

use crate::shim::{Order, ShimDevice, ShimOptions};
use crate::steps::{FORMS, engine, ring, variants};
use crate::students;
use vaerr::engine::Engine;
use vaerr::engine::cuda::device::Device;
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::reference::{Reference, Trace};
use vaerr::model::{Student, Trunk};
use vaerr::quant;
use vaerr::render::Rng;
use vaerr::spec::{ConvSpec, HEADS, StudentSpec};

fn spec(ring: usize, size_px: usize, convs: &[(usize, usize, usize)], hidden: usize) -> StudentSpec {
    let convs = convs.iter().map(|&(out, kernel, stride)| ConvSpec { out, kernel, stride }).collect();
    StudentSpec { ring, size_px, convs, hidden, ..StudentSpec::nano() }
}

/// Weights at the ends of their range, factors that are powers of two (so that halves are met), and large biases.
fn adversarial(spec: &StudentSpec, seed: u64) -> Student {
    let mut student = students::int8(spec, seed);
    let mut rng = Rng::new(seed, 7);
    let Trunk::Int8(convs) = &mut student.trunk else { unreachable!() };
    let mut input = spec.input_scale;
    for c in convs {
        c.input_scale = input;
        c.output_scale = 1.0 / 64.0;
        let pattern = rng.below(4);
        for w in &mut c.weight {
            *w = match pattern {
                0 => 127,
                1 => -127,
                2 => [127, -127][rng.below(2)],
                _ => [0, 1, -1, 127, -127][rng.below(5)],
            };
        }
        for (o, b) in c.bias.iter_mut().enumerate() {
            *b = [0, 1, -1, 128, 1 << 28, -(1 << 28)][o % 6];
            c.weight_scale[o] = [0.5, 1.0 / 256.0, 1.0 / 8192.0, 1.0, 3.0e-5][rng.below(5)];
            c.requant[o] = quant::requant_scale(input, c.weight_scale[o], c.output_scale);
        }
        input = c.output_scale;
    }
    student
}

/// Compares every layer of two steps, then results and state; returns how many layer outputs there were.
pub fn compare<D: Device>(student: &Student, engine: &mut CudaEngine<D>, what: &str) -> usize {
    let Trunk::Int8(convs) = &student.trunk else { unreachable!() };
    let mut oracle = Reference::open(student).unwrap();
    let mut rng = Rng::new(11, 0);
    let (mut h, mut h0) = (vec![0.0; student.spec.hidden], vec![0.0; student.spec.hidden]);
    let (mut y, mut y0) = ([0.0; HEADS], [0.0; HEADS]);
    let (mut trace, mut seen) = (Trace::default(), 0);
    for i in 2..4 {
        let ring = ring(&student.spec, i, &mut rng);
        oracle.step_traced(&ring, &mut h0, &mut y0, &mut trace).unwrap();
        engine.step(&ring, &mut h, &mut y).unwrap();
        for (k, (want, c)) in trace.layers.iter().zip(convs).enumerate() {
            let have = engine.layer_outputs(k).unwrap();
            let (channels, area) = (c.bias.len(), want.len() / c.bias.len());
            assert_eq!(have.len(), want.len());
            for (at, &q) in have.iter().enumerate() {
                let (pixel, channel) = (at / channels, at % channels);
                let want = want[channel * area + pixel];
                assert!(f32::from(q) * c.output_scale == want, "{what}: layer {k}, pixel {pixel}, channel {channel}");
            }
            seen += have.len();
        }
        assert!((&h, &y) == (&h0, &y0), "{what}: results");
    }
    seen
}

/// Channels about the tile of 8 and the chunk of 32, pixels about the tile of 16, kernels about the piece of 8; each with random and with
/// adversarial weights.
pub fn at_tile_edges() -> Vec<Student> {
    let shapes = [
        spec(1, 16, &[(1, 1, 1), (1, 1, 1)], 1),
        spec(2, 17, &[(7, 7, 4), (8, 3, 1), (9, 3, 2)], 4),
        spec(3, 19, &[(31, 9, 2), (32, 5, 3), (33, 1, 1)], 5),
        spec(16, 16, &[(33, 15, 4), (65, 3, 4), (2, 3, 1)], 6),
        spec(5, 23, &[(63, 3, 3), (64, 7, 2), (40, 15, 4)], 31),
        spec(4, 31, &[(5, 5, 1), (41, 9, 4)], 33),
    ];
    let both = |(i, s): (usize, &StudentSpec)| [students::int8(s, i as u64), adversarial(s, i as u64)];
    shapes.iter().enumerate().flat_map(both).collect()
}

#[test]
fn layers_agree_at_every_tile_edge() {
    let mut seen = 0;
    for (i, student) in at_tile_edges().iter().enumerate() {
        for (form, order, options) in variants() {
            let what = format!("student {i} {form:?} {order:?} {options:?}");
            seen += compare(student, &mut engine(student, form, order, options), &what);
        }
    }
    assert!(seen > 500_000, "{seen}");
}

/// Students of random shapes, every third with adversarial weights.
pub fn of_random_shapes(n: u64) -> Vec<Student> {
    let mut rng = Rng::new(21, 0);
    let mut pick = |from: &[usize]| from[rng.below(from.len())];
    let mut student = |i| {
        let n = pick(&[1, 2, 3]);
        let convs: Vec<_> = (0..n)
            .map(|k| {
                let out = pick(&[1, 3, 8, 15, 16, 17, 24, 32, 37, 64, 100, 128]);
                if k == 0 {
                    (out, pick(&[1, 3, 5, 7, 11]), pick(&[1, 1, 2, 3]))
                } else {
                    (out, pick(&[1, 3, 3, 5]), pick(&[1, 2]))
                }
            })
            .collect();
        let spec = spec(pick(&[1, 2, 5]), 16 + pick(&[0, 1, 4, 13, 31]), &convs, pick(&[1, 8, 13, 64]));
        if i % 3 == 0 { adversarial(&spec, i) } else { students::int8(&spec, i) }
    };
    (0..n).map(&mut student).collect()
}

#[test]
fn a_million_random_layer_outputs_agree() {
    let mut seen = 0;
    for (i, student) in of_random_shapes(24).iter().enumerate() {
        for form in FORMS {
            let mode = [Mode::Layers, Mode::Persistent][i % 2];
            let options = Options { mode, slots: 1, ..Options::default() };
            let what = format!("{:?} {form:?} {mode:?}", student.spec);
            seen += compare(student, &mut engine(student, form, Order::ALL[i % 4], options), &what);
        }
    }
    println!("{seen} layer outputs");
    assert!(seen >= 1_000_000, "{seen}");
}

/// What a student gives in every order and both plans, or what fault was found.
fn outcomes(student: &Student, sources: Option<&str>) -> Vec<Result<Vec<u32>, String>> {
    let mut all = Vec::new();
    for order in Order::ALL {
        for mode in [Mode::Layers, Mode::Persistent] {
            let device =
                ShimDevice::open(ShimOptions { order, resident: 3, sources: sources.map(str::to_owned) }).unwrap();
            let options = Options { mode, slots: 2, ..Options::default() };
            let mut engine = CudaEngine::with_form(device, FORMS[2], student, options).unwrap();
            all.push(crate::frames::outcome(&mut engine, student));
        }
    }
    all
}

/// Drops barrier `i` of the kernels and says whether that shows.
fn shows(i: usize, student: &Student, right: &[Result<Vec<u32>, String>]) -> bool {
    let text: String = vaerr::engine::cuda::kernels::SOURCES[1..].iter().map(|(_, t)| *t).collect();
    let (at, barrier) = text.match_indices("__syncthreads();").nth(i).unwrap();
    let broken = format!("{}{}", &text[..at], &text[at + barrier.len()..]);
    outcomes(student, Some(&broken)) != right
}

fn barriers() -> usize {
    vaerr::engine::cuda::kernels::SOURCES[1..].iter().map(|(_, t)| t.matches("__syncthreads();").count()).sum()
}

#[test]
fn a_dropped_barrier_shows() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    let right = outcomes(&student, None);
    assert!(right.iter().all(|r| r.is_ok() && *r == right[0]));
    // The first stands between the warps' sums and their joining.
    assert!(shows(0, &student, &right));
}

#[test]
#[ignore = "compiles the kernels once for each barrier"]
fn every_dropped_barrier_shows() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    let right = outcomes(&student, None);
    let unseen: Vec<usize> = (0..barriers()).filter(|&i| !shows(i, &student, &right)).collect();
    println!("{} barriers", barriers());
    assert!(barriers() >= 10 && unseen.is_empty(), "{unseen:?} of {}", barriers());
}
