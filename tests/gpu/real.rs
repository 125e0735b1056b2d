//! On a real GPU: `cargo test --release --features cuda --test gpu -- --ignored --nocapture --test-threads=1 gpu`.

use crate::students;
use std::time::Instant;
use vaerr::engine::cuda::device::{Buffers, Device, Memory};
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::cuda::{driver::CudaDevice, open_device, pack, plan};
use vaerr::engine::{Engine, FaceStep, FramePath, Stream, reference::Reference};
use vaerr::frame::Gray;
use vaerr::model::{Bundle, Precision, Student};
use vaerr::preprocess::{Cropper, Ring};
use vaerr::render::Rng;
use vaerr::spec::{CropRule, HEADS, StudentSpec};

const MODES: [Mode; 2] = [Mode::Layers, Mode::Persistent];
const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

fn engine(student: &Student, mode: Mode) -> CudaEngine<CudaDevice> {
    let device = open_device().unwrap_or_else(|e| panic!("{e}"));
    let sm = device.compiled_for().0;
    CudaEngine::open(device, sm, student, Options { mode, ..Options::default() }).unwrap()
}

fn shipped() -> Student {
    Bundle::shipped().unwrap().student(Precision::Int8).unwrap()
}

fn noise(rng: &mut Rng, n: usize) -> Vec<u8> {
    (0..n).map(|_| rng.below(256) as u8).collect()
}

fn ring_bytes(spec: &StudentSpec) -> usize {
    spec.ring * spec.size_px * spec.size_px
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn gpu_streams_agree_with_the_reference_to_the_bit() {
    let cases = [
        ("shipped", shipped(), 100),
        ("odd", students::int8(&students::odd_spec(3, 17, 2), 2), 1000),
        ("ring of one", students::int8(&students::odd_spec(1, 16, 1), 3), 1000),
        ("stride three", students::int8(&students::odd_spec(2, 31, 3), 4), 1000),
    ];
    for (name, student, steps) in &cases {
        for mode in MODES {
            let mut engine = engine(student, mode);
            let mut oracle = Reference::open(student).unwrap();
            let mut rng = Rng::new(21, 0);
            let mut got = vec![(vec![0.0f32; student.spec.hidden], [0.0f32; HEADS]); 3];
            let mut want = got.clone();
            for step in 0..*steps {
                let rings: Vec<Vec<u8>> =
                    (0..1 + step % 3).map(|_| noise(&mut rng, ring_bytes(&student.spec))).collect();
                let mut streams: Vec<Stream<'_>> = rings
                    .iter()
                    .zip(&mut got)
                    .map(|(ring, (hidden, logits))| Stream { ring, hidden, logits })
                    .collect();
                engine.step_batch(&mut streams).unwrap();
                for (ring, (hidden, logits)) in rings.iter().zip(&mut want) {
                    oracle.step(ring, hidden, logits).unwrap();
                }
                assert!(got == want, "{name}, {mode:?}, step {step}");
            }
            println!("{name}, {mode:?}: {steps} steps of one to three streams agree to the bit");
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn gpu_batches_of_every_size_agree_with_the_reference_to_the_bit() {
    let student = students::int8(&StudentSpec::nano(), 1);
    let mut oracle = Reference::open(&student).unwrap();
    for mode in MODES {
        let mut engine = engine(&student, mode);
        for n in BATCHES {
            let mut rng = Rng::new(n as u64, 0);
            let rings: Vec<Vec<u8>> = (0..n).map(|_| noise(&mut rng, ring_bytes(&student.spec))).collect();
            let mut got = vec![(vec![0.0f32; student.spec.hidden], [0.0f32; HEADS]); n];
            let mut want = got.clone();
            let mut streams: Vec<Stream<'_>> =
                rings.iter().zip(&mut got).map(|(ring, (hidden, logits))| Stream { ring, hidden, logits }).collect();
            engine.step_batch(&mut streams).unwrap();
            for (ring, (hidden, logits)) in rings.iter().zip(&mut want) {
                oracle.step(ring, hidden, logits).unwrap();
            }
            assert!(got == want, "{mode:?}, batch of {n}");
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn gpu_crops_agree_with_the_resampler_to_the_bit() {
    let student = shipped();
    let rule = CropRule { size_px: student.spec.size_px, ..CropRule::FERPLUS };
    let mut rng = Rng::new(4, 0);
    let picture = Gray { width: 1280, height: 720, data: noise(&mut rng, 1280 * 720) };
    for mode in MODES {
        let mut engine = engine(&student, mode);
        let mut oracle = Reference::open(&student).unwrap();
        let mut cropper = Cropper::for_rule(&rule);
        let new = || Ring::new(student.spec.ring, student.spec.size_px);
        let (mut ring, mut expected) = (new(), new());
        let (mut h, mut h0) = (vec![0.0; student.spec.hidden], vec![0.0; student.spec.hidden]);
        let (mut y, mut y0) = ([0.0; HEADS], [0.0; HEADS]);
        // Inside, small, large, over each edge.
        for crop in [
            [400.0, 200.0, 200.5],
            [3.25, 7.75, 31.0],
            [100.0, 0.0, 719.0],
            [-40.0, -30.0, 150.0],
            [1200.0, 650.0, 180.0],
        ] {
            let mut faces =
                [FaceStep { stream: 1, crop, roll_rad: 0.0, ring: &mut ring, hidden: &mut h, logits: &mut y }];
            engine.step_faces(&picture, &rule, &mut faces).unwrap();
            expected.push(|out| cropper.crop_into(&picture, crop, out));
            oracle.step(expected.bytes(), &mut h0, &mut y0).unwrap();
            assert!(ring.bytes() == expected.bytes() && h == h0 && y == y0, "{mode:?}, {crop:?}");
        }
    }
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * p).round() as usize]
}

/// Microseconds of whole steps, copies and wait included: p50, p95, p99, p99.9.
fn step_us(engine: &mut CudaEngine<CudaDevice>, spec: &StudentSpec, n: usize, steps: usize) -> [f64; 4] {
    let mut rng = Rng::new(1, 0);
    let area = spec.size_px * spec.size_px;
    let mut rings: Vec<Vec<u8>> = (0..n).map(|_| noise(&mut rng, ring_bytes(spec))).collect();
    let mut states = vec![(vec![0.0f32; spec.hidden], [0.0f32; HEADS]); n];
    let mut took = Vec::with_capacity(steps);
    for step in 0..steps + 50 {
        // As in a stream: the oldest crop leaves, a new one comes.
        for ring in &mut rings {
            let newest = ring.len() - area;
            ring.copy_within(area.., 0);
            ring[newest..].fill(step as u8);
        }
        let mut streams: Vec<Stream<'_>> =
            rings.iter().zip(&mut states).map(|(ring, (hidden, logits))| Stream { ring, hidden, logits }).collect();
        let start = Instant::now();
        engine.step_batch(&mut streams).unwrap();
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let took = &mut took[50..];
    took.sort_unstable_by(f64::total_cmp);
    [0.5, 0.95, 0.99, 0.999].map(|p| percentile(took, p))
}

/// Microseconds of a step's kernels alone, many queued at once.
fn kernels_us(student: &Student, mode: Mode, n: usize) -> f64 {
    const REPEATS: usize = 500;
    let mut device = open_device().unwrap();
    let form = plan::Form::best(device.compiled_for().0).unwrap();
    let packed = pack::pack(student, 64).unwrap();
    let mut model = device.alloc(packed.model.len(), Memory::Device).unwrap();
    device.write(&mut model, 0, &packed.model).unwrap();
    let arena = device.alloc(packed.map.arena_bytes, Memory::Device).unwrap();
    // All zero: every stream steps slot 0 with the crops that it holds.
    let io = device.alloc(packed.map.inputs_at() + pack::Map::entries_bytes(64), Memory::Staging).unwrap();
    let buffers = Buffers { model: &model, arena: &arena, io: &io };
    let launches = match mode {
        Mode::Layers => plan::by_layer(&packed.map, form, n, false, plan::WIDE_FROM),
        Mode::Persistent => {
            let resident = device.resident_blocks(&plan::at_once(&packed.map, form, n, usize::MAX)).unwrap();
            vec![plan::at_once(&packed.map, form, n, resident as usize)]
        }
    };
    let graph = device.record(&launches, &buffers).unwrap();
    let mut once = |repeats: usize| {
        let start = Instant::now();
        (0..repeats).for_each(|_| device.replay(&graph).unwrap());
        device.read(&io, 0, &mut [0; 4]).unwrap();
        start.elapsed().as_secs_f64() * 1e6 / repeats as f64
    };
    once(50);
    once(REPEATS)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn gpu_times() {
    let student = shipped();
    println!("{}", open_device().unwrap().describe());
    println!("shipped student; whole step (copies and wait included), then kernels alone, microseconds");
    println!(
        "| launch | batch | p50 | p95 | p99 | p99.9 | a face at p50 | kernels alone |\n|---|---|---|---|---|---|---|---|"
    );
    for mode in MODES {
        for n in BATCHES {
            let [p50, p95, p99, p999] = step_us(&mut engine(&student, mode), &student.spec, n, 2000);
            let alone = kernels_us(&student, mode, n);
            let a_face = p50 / n as f64;
            println!("| {mode:?} | {n} | {p50:.1} | {p95:.1} | {p99:.1} | {p999:.1} | {a_face:.2} | {alone:.1} |");
        }
    }
}
