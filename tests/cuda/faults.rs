//! A device that fails at any call leaves the host as it was, and the next step is right again.

use crate::shim::{ShimDevice, ShimOptions};
use crate::steps::{FORMS, ring};
use crate::{frames, students};
use std::process::Command;
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::cuda::fault::{Fault, Faults, Faulty};
use vaerr::engine::{Engine, FaceStep, FramePath, reference::Reference};
use vaerr::error::{ErrorKind, Result};
use vaerr::frame::Gray;
use vaerr::model::Student;
use vaerr::preprocess::{Cropper, Ring};
use vaerr::render::Rng;
use vaerr::spec::{CropRule, HEADS, StudentSpec};

/// What the host keeps of a stream of rings and of a face in pictures.
#[derive(Clone, PartialEq)]
struct Host {
    stream: (Vec<f32>, [f32; HEADS]),
    face: (Ring, Vec<f32>, [f32; HEADS]),
}

impl Host {
    fn new(spec: &StudentSpec) -> Self {
        let (hidden, logits) = (vec![0.0; spec.hidden], [0.0; HEADS]);
        let ring = Ring::new(spec.ring, spec.size_px);
        Self { stream: (hidden.clone(), logits), face: (ring, hidden, logits) }
    }
}

/// The inputs of step `i`: a ring, or a picture and a square in it.
enum Input {
    Ring(Vec<u8>),
    Picture(Gray, [f32; 3]),
}

fn input(spec: &StudentSpec, i: usize, rng: &mut Rng) -> Input {
    if i.is_multiple_of(2) {
        return Input::Ring(ring(spec, i + 3, rng));
    }
    let data = (0..40 * 30).map(|_| rng.below(256) as u8).collect();
    Input::Picture(Gray { width: 40, height: 30, data }, [5.5, 3.0, 21.0])
}

fn rule(spec: &StudentSpec) -> CropRule {
    CropRule { size_px: spec.size_px, detail_px: 10, ..CropRule::FERPLUS }
}

fn attempt(engine: &mut CudaEngine<Faulty<ShimDevice>>, rule: &CropRule, input: &Input, host: &mut Host) -> Result<()> {
    match input {
        Input::Ring(ring) => engine.step(ring, &mut host.stream.0, &mut host.stream.1),
        Input::Picture(picture, crop) => {
            let (ring, hidden, logits) = &mut host.face;
            engine.step_faces(
                picture,
                rule,
                &mut [FaceStep { stream: 1, crop: *crop, roll_rad: 0.0, ring, hidden, logits }],
            )
        }
    }
}

fn expect(oracle: &mut Reference, rule: &CropRule, input: &Input, want: &mut Host) {
    match input {
        Input::Ring(ring) => oracle.step(ring, &mut want.stream.0, &mut want.stream.1).unwrap(),
        Input::Picture(picture, crop) => {
            let (ring, hidden, logits) = &mut want.face;
            ring.push(|out| Cropper::for_rule(rule).crop_into(picture, *crop, out));
            oracle.step(ring.bytes(), hidden, logits).unwrap();
        }
    }
}

/// Four steps; one that fails is tried again, on a new device if the old one was lost. Gives the failures.
fn run(student: &Student, options: Options, faults: &Faults, lost: bool) -> u32 {
    let open = || {
        let device = Faulty::open(faults, || ShimDevice::open(ShimOptions::default()))?;
        CudaEngine::with_form(device, FORMS[0], student, options)
    };
    let rule = rule(&student.spec);
    let mut oracle = Reference::open(student).unwrap();
    let (mut host, mut want) = (Host::new(&student.spec), Host::new(&student.spec));
    let (mut engine, mut failures, mut rng) = (None, 0, Rng::new(1, 0));
    for i in 0..4 {
        let input = input(&student.spec, i, &mut rng);
        let before = host.clone();
        let mut step = |host: &mut Host| {
            let opened = engine.take().map_or_else(open, Ok)?;
            attempt(engine.insert(opened), &rule, &input, host).inspect_err(|_| {
                if lost {
                    engine = None;
                }
            })
        };
        while let Err(e) = step(&mut host) {
            assert!(e.kind() == ErrorKind::Device && e.to_string().contains("on purpose"), "{e}");
            assert!(host == before, "a step that failed changed the host: {e}");
            failures += 1;
            assert_eq!(failures, 1, "{e}");
        }
        expect(&mut oracle, &rule, &input, &mut want);
        assert!(host == want, "step {i} after {failures} failures");
    }
    failures
}

#[test]
fn a_fault_at_any_call_leaves_the_host_as_it_was_and_the_next_step_is_right() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    for mode in [Mode::Layers, Mode::Persistent] {
        let options = Options { mode, slots: 2, ..Options::default() };
        let none = Faults::none();
        assert_eq!(run(&student, options, &none, true), 0);
        assert!(none.calls() > 15, "{}", none.calls());
        for fault in Fault::ALL {
            for call in 0..none.calls() {
                let failures = run(&student, options, &Faults::at(call, fault), fault != Fault::Memory);
                assert_eq!(failures, 1, "{mode:?}, {fault:?} at call {call}");
            }
        }
        println!("{mode:?}: each of {} calls failed in four ways", none.calls());
    }
}

/// Three faces in two slots, so that a fault may fall between two launches of one picture.
#[test]
fn a_fault_at_any_call_of_a_picture_leaves_every_face() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    let open = |faults: &Faults| {
        let device = Faulty::open(faults, || ShimDevice::open(ShimOptions::default())).unwrap();
        let options = Options { mode: Mode::Persistent, slots: 2, ..Options::default() };
        CudaEngine::with_form(device, FORMS[1], &student, options).unwrap()
    };
    let none = Faults::none();
    let mut engine = open(&none);
    let opened = none.calls();
    assert_eq!(frames::faces_survive(&mut engine, &student), 0);
    assert!(none.calls() - opened > 20);
    for call in opened..none.calls() {
        // The one fault after which the same device goes on.
        let faults = Faults::at(call, Fault::Memory);
        assert_eq!(frames::faces_survive(&mut open(&faults), &student), 1, "fault at call {call}");
    }
}

#[test]
fn what_the_kernels_cannot_run_is_refused() {
    let open = |student: &Student, sm| {
        let device = ShimDevice::open(ShimOptions::default()).unwrap();
        CudaEngine::open(device, sm, student, Options::default()).map(|_| ()).unwrap_err().kind()
    };
    assert_eq!(open(&students::fp32(&students::odd_spec(1, 16, 1), 1), 87), ErrorKind::Unsupported);
    assert_eq!(open(&students::int8(&students::odd_spec(1, 16, 1), 1), 53), ErrorKind::Unsupported);
}

/// Runs tests of this program again with the kernels compiled under the sanitizers.
#[test]
fn the_kernels_are_clean_under_the_sanitizers() {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let found = Command::new(compiler).arg("-print-file-name=libasan.so").output().unwrap();
    let asan = String::from_utf8(found.stdout).unwrap();
    let out = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--include-ignored",
            "--test-threads=1",
            "steps::every_form_runs_once",
            "frames::whole_frames_run_once",
        ])
        .env("LD_PRELOAD", asan.trim())
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .env("UBSAN_OPTIONS", "print_stacktrace=1")
        .env("VAERR_SHIM_FLAGS", "-fsanitize=address,undefined -fno-sanitize-recover=undefined")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("2 passed"), "{text}");
}
