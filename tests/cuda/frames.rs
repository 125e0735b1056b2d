//! Whole pictures: the crops cut by the kernels, and the shipped student with state.

use crate::shim::{Order, ShimDevice, ShimOptions};
use crate::steps::{FORMS, engine, variants};
use crate::students;
use vaerr::engine::cuda::device::Device;
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::{Engine, FaceStep, FramePath, reference::Reference};
use vaerr::frame::Gray;
use vaerr::model::{Bundle, Precision, Student};
use vaerr::preprocess::{Cropper, Ring};
use vaerr::render::Rng;
use vaerr::spec::{CropRule, HEADS, StudentSpec};

/// A face as the host keeps it.
#[derive(Clone, PartialEq)]
struct Face {
    ring: Ring,
    hidden: Vec<f32>,
    logits: [f32; HEADS],
}

fn face(spec: &StudentSpec) -> Face {
    Face { ring: Ring::new(spec.ring, spec.size_px), hidden: vec![0.0; spec.hidden], logits: [0.0; HEADS] }
}

fn rule(spec: &StudentSpec) -> CropRule {
    CropRule { size_px: spec.size_px, detail_px: (spec.size_px * 3 / 5).max(8), ..CropRule::FERPLUS }
}

fn noise(width: usize, height: usize, seed: u64) -> Gray {
    let mut rng = Rng::new(seed, 3);
    Gray { width, height, data: (0..width * height).map(|_| rng.below(256) as u8).collect() }
}

/// Every third face is rolled.
fn roll(face: usize) -> f32 {
    if face % 3 == 1 { 0.4 } else { 0.0 }
}

/// What the resampler, the ring and the reference give.
fn reference_faces(oracle: &mut Reference, rule: &CropRule, picture: &Gray, faces: &mut [Face], squares: &[[f32; 3]]) {
    let mut cropper = Cropper::for_rule(rule);
    for (i, (f, &square)) in faces.iter_mut().zip(squares).enumerate() {
        f.ring.push(|out| cropper.level_into(picture, square, roll(i), out));
        oracle.step(f.ring.bytes(), &mut f.hidden, &mut f.logits).unwrap();
    }
}

fn step_faces(
    path: &mut dyn FramePath,
    rule: &CropRule,
    picture: &Gray,
    faces: &mut [Face],
    squares: &[[f32; 3]],
) -> vaerr::error::Result<()> {
    let mut steps: Vec<FaceStep<'_>> = (faces.iter_mut().zip(squares).enumerate())
        .map(|(i, (f, &crop))| FaceStep {
            stream: i as u64,
            crop,
            roll_rad: roll(i),
            ring: &mut f.ring,
            hidden: &mut f.hidden,
            logits: &mut f.logits,
        })
        .collect();
    path.step_faces(picture, rule, &mut steps)
}

/// Inside, over each edge, beyond, tiny, large, with too many taps for the device, and none.
const SQUARES: [[f32; 3]; 10] = [
    [10.0, 12.5, 40.0],
    [-7.3, 3.0, 33.0],
    [40.0, -20.0, 61.7],
    [50.0, 40.0, 100.0],
    [-500.0, 700.0, 20.0],
    [20.0, 20.0, 1.5],
    [-300.0, -200.0, 900.0],
    [0.0, 0.0, 4000.0],
    [f32::NAN, 0.0, 20.0],
    [30.0, 30.0, 0.0],
];

/// A few frames of two faces as bits, or the fault.
pub fn outcome<D: Device>(engine: &mut CudaEngine<D>, student: &Student) -> Result<Vec<u32>, String> {
    let rule = rule(&student.spec);
    let mut faces = vec![face(&student.spec), face(&student.spec)];
    for i in 0..3 {
        let (picture, at) = (noise(60, 50, i), 3 * i as usize);
        step_faces(engine, &rule, &picture, &mut faces, &SQUARES[at % 6..][..2]).map_err(|e| e.to_string())?;
    }
    let bits = |f: &Face| f.logits.iter().chain(&f.hidden).map(|v| v.to_bits()).collect::<Vec<_>>();
    Ok(faces.iter().flat_map(bits).chain(faces[0].ring.bytes().iter().map(|&b| u32::from(b))).collect())
}

/// Steps three faces through three pictures; a picture that fails must leave every face, and is shown again.
/// Returns how many failed.
pub fn faces_survive(engine: &mut dyn FramePath, student: &Student) -> usize {
    let rule = rule(&student.spec);
    let mut oracle = Reference::open(student).unwrap();
    let mut faces = vec![face(&student.spec); 3];
    let (mut want, mut faults) = (faces.clone(), 0);
    for i in 0..3 {
        let picture = noise(60 + 40 * i, 50, i as u64);
        let squares = &SQUARES[i..i + 3];
        if step_faces(engine, &rule, &picture, &mut faces, squares).is_err() {
            assert!(faces == want, "picture {i}");
            faults += 1;
            step_faces(engine, &rule, &picture, &mut faces, squares).unwrap();
        }
        reference_faces(&mut oracle, &rule, &picture, &mut want, squares);
        assert!(faces == want, "picture {i}");
    }
    faults
}

#[test]
fn crops_cut_on_the_device_are_the_croppers_to_the_bit() {
    for (ring, size) in [(3, 17), (1, 16), (2, 31)] {
        let student = students::int8(&students::odd_spec(ring, size, 2), 2);
        let rule = rule(&student.spec);
        for (form, order, options) in variants() {
            // Seven faces in six slots: two launches, and slots change hands.
            let mut engine = engine(&student, form, order, options);
            let mut oracle = Reference::open(&student).unwrap();
            let mut faces = vec![face(&student.spec); 7];
            let mut want = faces.clone();
            for i in 0..5 {
                let picture = noise(97 - 13 * i, 61 + 5 * i, i as u64);
                let squares: Vec<[f32; 3]> = (0..7).map(|k| SQUARES[(k + 3 * i) % SQUARES.len()]).collect();
                let n = [7, 3, 7, 1, 7][i];
                step_faces(&mut engine, &rule, &picture, &mut faces[..n], &squares).unwrap();
                reference_faces(&mut oracle, &rule, &picture, &mut want[..n], &squares);
                for k in 0..7 {
                    assert!(faces[k] == want[k], "{size} {form:?} {order:?} {options:?} frame {i} face {k}");
                }
                if i == 2 {
                    for f in [&mut faces[1], &mut want[1]] {
                        f.ring.clear();
                        f.hidden.fill(0.0);
                    }
                }
            }
        }
    }
}

#[test]
fn pictures_and_crops_of_one_stream_may_alternate() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    let (rule, options) = (rule(&student.spec), Options { slots: 3, ..Options::default() });
    let mut engine = engine(&student, FORMS[0], Order::Ascending, options);
    let mut oracle = Reference::open(&student).unwrap();
    let mut cropper = Cropper::for_rule(&rule);
    let (mut faces, mut want) = (vec![face(&student.spec)], vec![face(&student.spec)]);
    for i in 0..12 {
        let (picture, square) = (noise(64, 48, i as u64), SQUARES[i % 6]);
        if i % 3 == 1 {
            let f = &mut faces[0];
            f.ring.push(|out| cropper.crop_into(&picture, square, out));
            engine.step(f.ring.bytes(), &mut f.hidden, &mut f.logits).unwrap();
        } else {
            step_faces(&mut engine, &rule, &picture, &mut faces, &[square]).unwrap();
        }
        reference_faces(&mut oracle, &rule, &picture, &mut want, &[square]);
        assert!(faces == want, "frame {i}");
    }
}

#[test]
fn a_warm_stream_sends_one_crop_or_the_rows_it_needs() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    let rule = rule(&student.spec);
    let mut engine = engine(&student, FORMS[0], Order::Ascending, Options { slots: 3, ..Options::default() });
    let (mut f, mut cropper) = (face(&student.spec), Cropper::for_rule(&rule));
    let mut sent = Vec::new();
    for i in 0..4 {
        let before = engine.device().writes;
        f.ring.push(|out| cropper.crop_into(&noise(64, 48, i), SQUARES[0], out));
        engine.step(f.ring.bytes(), &mut f.hidden, &mut f.logits).unwrap();
        let after = engine.device().writes;
        sent.push((after.0 - before.0, after.1 - before.1));
    }
    assert_eq!(sent[1..], [(1, 64 + 304); 3]);
    let mut one = vec![f];
    for i in 0..2 {
        let before = engine.device().writes;
        step_faces(&mut engine, &rule, &noise(64, 480, i), &mut one, &[[5.0, 200.0, 20.0]]).unwrap();
        let after = engine.device().writes;
        let bytes = after.1 - before.1;
        assert!(after.0 - before.0 == 2 && bytes < 64 * 26 + 800, "{bytes}");
    }
}

fn shipped() -> Student {
    Bundle::shipped().unwrap().student(Precision::Int8).unwrap()
}

/// A face that drifts and grows over a picture that changes.
pub fn film<D: Device>(engine: &mut CudaEngine<D>, student: &Student, frames: usize) {
    let mut oracle = Reference::open(student).unwrap();
    let (mut faces, mut want) = (vec![face(&student.spec)], vec![face(&student.spec)]);
    for i in 0..frames {
        let mut picture = noise(160, 120, i as u64 / 7);
        picture.data.iter_mut().enumerate().for_each(|(k, v)| *v = *v / 4 + (k % 160 + i) as u8 / 2);
        let t = i as f32 * 0.1;
        let square = [40.0 + 50.0 * t.sin(), 20.0 + 40.0 * (0.7 * t).cos(), 70.0 + 30.0 * (0.3 * t).sin()];
        step_faces(engine, &CropRule::FERPLUS, &picture, &mut faces, &[square]).unwrap();
        reference_faces(&mut oracle, &CropRule::FERPLUS, &picture, &mut want, &[square]);
        assert!(faces == want, "frame {i}");
    }
}

#[test]
fn whole_frames_of_the_shipped_student_agree() {
    let student = shipped();
    for form in FORMS {
        for (mode, order) in [(Mode::Layers, Order::Ascending), (Mode::Persistent, Order::Lazy)] {
            film(&mut engine(&student, form, order, Options { mode, ..Options::default() }), &student, 3);
        }
    }
}

#[test]
#[ignore = "some minutes"]
fn a_thousand_frames_of_the_shipped_student_agree() {
    let student = shipped();
    let device = ShimDevice::open(ShimOptions::default()).unwrap();
    let mut by_layer = CudaEngine::with_form(device, FORMS[2], &student, Options::default()).unwrap();
    film(&mut by_layer, &student, 1000);
    for (form, mode) in [(FORMS[0], Mode::Layers), (FORMS[1], Mode::Layers), (FORMS[2], Mode::Persistent)] {
        film(&mut engine(&student, form, Order::Descending, Options { mode, ..Options::default() }), &student, 50);
    }
}

#[test]
#[ignore = "for the run under the sanitizers"]
fn whole_frames_run_once() {
    let student = shipped();
    film(&mut engine(&student, FORMS[2], Order::Ascending, Options::default()), &student, 2);
    for form in FORMS {
        let student = students::int8(&students::odd_spec(3, 17, 2), 2);
        outcome(
            &mut engine(&student, form, Order::Descending, Options { mode: Mode::Persistent, ..Options::default() }),
            &student,
        )
        .unwrap();
    }
}
