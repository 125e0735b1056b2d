//! Steps of single streams and of batches.

use crate::shim::{Order, ShimDevice, ShimOptions};
use crate::students;
use vaerr::engine::cuda::device::Device;
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::cuda::plan::Form;
use vaerr::engine::cuda::wire;
use vaerr::engine::{Engine, Stream, reference::Reference};
use vaerr::model::Student;
use vaerr::render::Rng;
use vaerr::spec::{HEADS, StudentSpec};

pub const FORMS: [Form; 3] = [Form::Dp4a, Form::Mma75, Form::Mma80];

pub fn engine(student: &Student, form: Form, order: Order, options: Options) -> CudaEngine<ShimDevice> {
    let device = ShimDevice::open(ShimOptions { order, ..ShimOptions::default() }).unwrap();
    CudaEngine::with_form(device, form, student, options).unwrap()
}

/// Every form, both plans, every order; by the layer also with a warp a tile.
pub fn variants() -> Vec<(Form, Order, Options)> {
    let of = |mode, wide_from| Options { mode, wide_from, slots: 6, ..Options::default() };
    let (narrow, wide) = (of(Mode::Layers, usize::MAX), of(Mode::Layers, 0));
    let persistent = of(Mode::Persistent, 0);
    let ways = [
        (Order::Ascending, narrow),
        (Order::Descending, narrow),
        (Order::Descending, wide),
        (Order::Lazy, wide),
        (Order::Ascending, persistent),
        (Order::Lazy, persistent),
        (Order::Straggling, persistent),
    ];
    FORMS.iter().flat_map(|&form| ways.map(|(order, options)| (form, order, options))).collect()
}

/// Black, white, a chequerboard, then noise.
pub fn ring(spec: &StudentSpec, i: usize, rng: &mut Rng) -> Vec<u8> {
    let len = spec.ring * spec.size_px * spec.size_px;
    match i {
        0 => vec![0; len],
        1 => vec![255; len],
        2 => (0..len).map(|k| if (k + k / spec.size_px).is_multiple_of(2) { 0 } else { 255 }).collect(),
        _ => (0..len).map(|_| rng.below(256) as u8).collect(),
    }
}

/// What the reference gives for a stream of rings.
struct Expected {
    rings: Vec<Vec<u8>>,
    outputs: Vec<(Vec<f32>, [f32; HEADS])>,
}

fn expected(student: &Student, steps: usize, seed: u64) -> Expected {
    let mut rng = Rng::new(seed, 0);
    let mut oracle = Reference::open(student).unwrap();
    let (mut h, mut y) = (vec![0.0; student.spec.hidden], [0.0; HEADS]);
    let rings: Vec<Vec<u8>> = (0..steps).map(|i| ring(&student.spec, i, &mut rng)).collect();
    let outputs = rings.iter().map(|r| {
        oracle.step(r, &mut h, &mut y).unwrap();
        (h.clone(), y)
    });
    Expected { outputs: outputs.collect(), rings }
}

pub fn cases() -> Vec<(&'static str, Student)> {
    vec![
        ("nano", students::int8(&StudentSpec::nano(), 1)),
        ("odd", students::int8(&students::odd_spec(3, 17, 2), 2)),
        ("ring of one", students::int8(&students::odd_spec(1, 16, 1), 3)),
        ("stride three", students::int8(&students::odd_spec(2, 31, 3), 4)),
    ]
}

#[test]
fn host_and_kernels_agree_on_the_tables() {
    assert_eq!(ShimDevice::open(ShimOptions::default()).unwrap().table_sizes(), wire::SIZES);
}

#[test]
fn every_variant_agrees_with_the_reference_to_the_bit() {
    for (name, student) in cases() {
        let want = expected(&student, 5, 9);
        for (form, order, options) in variants() {
            let mut engine = engine(&student, form, order, options);
            let (mut h, mut y) = (vec![0.0; student.spec.hidden], [0.0; HEADS]);
            for (i, (ring, want)) in want.rings.iter().zip(&want.outputs).enumerate() {
                engine.step(ring, &mut h, &mut y).unwrap();
                assert!((&h, &y) == (&want.0, &want.1), "{name} {form:?} {order:?} {options:?} step {i}");
            }
        }
    }
}

/// Steps `n` streams together, each of which must be as it is alone.
pub fn batch<D: Device>(student: &Student, engine: &mut CudaEngine<D>, n: usize, what: &str) {
    let want: Vec<Expected> = (0..n).map(|k| expected(student, 4, 30 + k as u64)).collect();
    let mut states = vec![(vec![0.0; student.spec.hidden], [0.0; HEADS]); n];
    for step in 0..4 {
        let mut streams: Vec<Stream<'_>> = (want.iter().zip(&mut states))
            .map(|(w, (hidden, logits))| Stream { ring: &w.rings[step], hidden, logits })
            .collect();
        engine.step_batch(&mut streams).unwrap();
        for (k, w) in want.iter().enumerate() {
            assert!(states[k] == w.outputs[step], "{what} stream {k} of {n}, step {step}");
        }
    }
}

#[test]
fn a_batch_is_the_same_as_its_streams_alone() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    for (form, order, options) in variants() {
        for n in [1, 2, 3, 5, 17] {
            let what = format!("{form:?} {order:?} {options:?}");
            batch(&student, &mut engine(&student, form, order, options), n, &what);
        }
    }
}

#[test]
#[ignore = "for the run under the sanitizers"]
fn every_form_runs_once() {
    for (name, student) in cases() {
        let want = expected(&student, 2, 9);
        for (form, order, options) in variants().into_iter().filter(|v| v.1 != Order::Descending || name == "odd") {
            let mut engine = engine(&student, form, order, options);
            let (mut h, mut y) = (vec![0.0; student.spec.hidden], [0.0; HEADS]);
            for (ring, want) in want.rings.iter().zip(&want.outputs) {
                engine.step(ring, &mut h, &mut y).unwrap();
                assert!((&h, &y) == (&want.0, &want.1), "{name} {form:?} {options:?}");
            }
        }
    }
}
