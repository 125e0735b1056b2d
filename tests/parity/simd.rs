//! The simd engine against the reference, to the bit, on every instruction set that this machine has.

use crate::{cases, rings, students};
use vaerr::engine::Engine;
use vaerr::engine::reference::{Reference, Trace};
use vaerr::engine::simd::{Isa, Simd};
use vaerr::error::ErrorKind;
use vaerr::model::{Bundle, ConvI8, Precision, Student, Trunk};
use vaerr::quant;
use vaerr::render::Rng;
use vaerr::spec::{ConvSpec, HEADS, StudentSpec};

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|x| x.to_bits()).collect()
}

/// Steps every instruction set of this machine over `rings` beside the reference, state and all; returns how many layer outputs were
/// compared on each.
fn compare(student: &Student, rings: &[Vec<u8>], what: &str) -> usize {
    let Trunk::Int8(convs) = &student.trunk else { panic!("{what} is not int8") };
    let mut oracle = Reference::open(student).unwrap();
    let (mut h0, mut y0) = (vec![0.0; student.spec.hidden], [0.0; HEADS]);
    let stream = |isa| (Simd::open_with(student, isa).unwrap(), h0.clone(), [0.0; HEADS]);
    let mut streams: Vec<_> = Isa::available().map(stream).collect();
    let (mut trace, mut compared) = (Trace::default(), 0);
    for (step, ring) in rings.iter().enumerate() {
        oracle.step_traced(ring, &mut h0, &mut y0, &mut trace).unwrap();
        compared += trace.layers.iter().map(Vec::len).sum::<usize>();
        for (engine, h, y) in &mut streams {
            let what = format!("{what} on {}, step {step}", engine.isa().name());
            engine.step(ring, h, y).unwrap();
            for (i, (want, conv)) in trace.layers.iter().zip(convs).enumerate() {
                let found: Vec<f32> = engine.layer(i).iter().map(|&v| f32::from(v) * conv.output_scale).collect();
                let wrong = found.iter().zip(want).filter(|(a, b)| a != b).count();
                assert!(found.len() == want.len() && wrong == 0, "{what}, layer {i}: {wrong} of {:?}", student.spec);
            }
            assert_eq!((bits(h), bits(y)), (bits(&h0), bits(&y0)), "{what}: state and logits");
        }
    }
    compared
}

#[test]
fn every_instruction_set_is_bit_exact_over_a_stream() {
    for isa in Isa::ALL {
        println!("{}: {}", isa.name(), if isa.is_available() { "runs" } else { "this CPU lacks it" });
    }
    for (name, student) in cases().into_iter().filter(|(_, s)| s.precision() == Precision::Int8) {
        assert!(compare(&student, &rings(&student.spec, 6), name) > 0);
    }
}

/// A student whose weights, biases and factors sit at the edges: weights of 127 either way, or small ones; factors that are powers of
/// two, so that many accumulators fall on a tie; and channels that saturate or die.
fn adversarial(rng: &mut Rng) -> Student {
    let pick = |rng: &mut Rng, of: &[usize]| of[rng.below(of.len())];
    let convs = (0..1 + rng.below(3)).map(|_| ConvSpec {
        out: pick(rng, &[1, 2, 3, 4, 5, 7, 8, 13, 15, 16, 17, 31, 32, 33, 47, 48, 64, 65, 97]),
        kernel: pick(rng, &[1, 1, 3, 3, 3, 5, 7, 11, 15]),
        stride: 1 + rng.below(4),
    });
    let spec = StudentSpec {
        convs: convs.collect(),
        ring: 1 + rng.below(16),
        size_px: pick(rng, &[16, 17, 18, 19, 20, 23, 25, 29]),
        input_zero_point: [0, 1, 127, 128, 255][rng.below(5)],
        hidden: pick(rng, &[1, 2, 7, 8, 9, 16, 23, 33]),
        ..StudentSpec::nano()
    };
    let mut student = students::int8(&spec, rng.below(1 << 30) as u64);
    let Trunk::Int8(layers) = &mut student.trunk else { unreachable!() };
    layers.iter_mut().zip(spec.shapes()).zip(&spec.convs).for_each(|((layer, (ch, _, _)), c)| {
        harden(rng, layer, ch * c.kernel * c.kernel);
    });
    let mut scale = spec.input_scale;
    for layer in layers {
        layer.input_scale = scale;
        scale = layer.output_scale;
        layer.requant = layer.weight_scale.iter().map(|&w| quant::requant_scale(layer.input_scale, w, scale)).collect();
    }
    student
}

/// Puts a layer's weights, biases and scales at the edges; see [`adversarial`].
pub fn harden(rng: &mut Rng, layer: &mut ConvI8, fan: usize) {
    let signs = rng.below(3);
    let extreme = rng.below(2) == 0;
    for w in layer.weight.iter_mut().filter(|_| extreme) {
        *w = if signs == 2 && rng.below(2) == 0 || signs == 1 { -127 } else { 127 };
    }
    layer.output_scale = [1.0, 0.25, 6.0 / 255.0][rng.below(3)];
    let top = (fan as f32 * if extreme { 127.0 * 255.0 } else { 9.0 * 255.0 }).log2() as i32;
    for (scale, bias) in layer.weight_scale.iter_mut().zip(&mut layer.bias) {
        *scale = 0.5f32.powi(top - 8 - 6 + rng.below(9) as i32 - 4);
        *bias = [0, 1, -1, 1 << 12, -(1 << 12), 1 << 20][rng.below(6)];
    }
}

#[test]
fn a_million_random_layer_outputs_are_the_reference_s() {
    let seed = std::env::var("VAERR_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(11);
    let mut rng = Rng::new(seed, 0);
    let (mut compared, mut students) = (0, 0);
    while compared < 1_000_000 || students < 40 {
        let student = adversarial(&mut rng);
        let len = student.spec.ring * student.spec.size_px * student.spec.size_px;
        let two_level = (0..len).map(|_| if rng.below(2) == 0 { 0 } else { 255 }).collect();
        let rings = [vec![255; len], two_level, (0..len).map(|_| rng.below(256) as u8).collect()];
        compared += compare(&student, &rings, &format!("student {students} of seed {seed}"));
        students += 1;
    }
    println!("{compared} outputs of {students} random students on each instruction set");
}

fn shipped(frames: usize) {
    let student = Bundle::shipped().unwrap().student(Precision::Int8).unwrap();
    let (len, area) = (student.spec.ring * student.spec.size_px * student.spec.size_px, 80 * 80);
    let mut rng = Rng::new(3, 0);
    let mut ring: Vec<u8> = vec![128; len];
    let rings: Vec<Vec<u8>> = (0..frames)
        .map(|i| {
            ring.copy_within(area.., 0);
            let (dx, noise) = (i % 80, 1 + 7 * (i % 9));
            for (k, b) in ring[len - area..].iter_mut().enumerate() {
                *b = ((k % 80 + dx) * 3 + k / 80 + rng.below(noise)) as u8;
            }
            ring.clone()
        })
        .collect();
    assert!(compare(&student, &rings, "the shipped student") > 0);
}

#[test]
fn the_shipped_student_is_bit_exact_with_state() {
    shipped(12);
}

#[test]
#[ignore = "a thousand frames of the reference take a while; run it optimised"]
fn the_shipped_student_is_bit_exact_over_a_thousand_frames() {
    shipped(1000);
}

#[test]
fn what_it_cannot_run_is_refused_by_kind_and_reason() {
    let fp32 = students::fp32(&students::odd_spec(3, 17, 2), 2);
    let error = Simd::open(&fp32).err().unwrap();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("int8 alone"), "{error}");
    let int8 = students::int8(&students::odd_spec(3, 17, 2), 2);
    for isa in Isa::ALL.into_iter().filter(|i| !i.is_available()) {
        assert_eq!(Simd::open_with(&int8, isa).err().unwrap().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn an_accumulator_that_could_overflow_is_refused_by_every_engine() {
    let mut student = students::int8(&students::odd_spec(3, 17, 2), 2);
    let Trunk::Int8(layers) = &mut student.trunk else { unreachable!() };
    layers[1].bias[3] = i32::MAX - 10;
    layers[1].weight.fill(1);
    for error in [Simd::open(&student).err().unwrap(), Reference::open(&student).err().unwrap()] {
        assert!(error.kind() == ErrorKind::Model && error.to_string().contains("conv1"), "{error}");
    }
}
