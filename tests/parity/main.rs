//! Every engine against the reference over one list of cases.

#[path = "../it/detectors.rs"]
mod detectors;
#[path = "../it/grids.rs"]
mod grids;
#[path = "../it/students.rs"]
mod students;

mod maps;
mod simd;

use vaerr::engine::{ENGINES, Engine, EngineEntry, reference::Reference};
use vaerr::error::ErrorKind;
use vaerr::model::{Student, onnx};
use vaerr::render::Rng;
use vaerr::spec::{HEADS, StudentSpec};

fn cases() -> Vec<(&'static str, Student)> {
    vec![
        ("nano fp32", students::fp32(&StudentSpec::nano(), 1)),
        ("nano int8", students::int8(&StudentSpec::nano(), 1)),
        ("pico int8", students::int8(&StudentSpec::pico(), 5)),
        ("small int8", students::int8(&StudentSpec::small(), 6)),
        ("odd fp32", students::fp32(&students::odd_spec(3, 17, 2), 2)),
        ("odd int8", students::int8(&students::odd_spec(3, 17, 2), 2)),
        ("ring of one fp32", students::fp32(&students::odd_spec(1, 16, 1), 3)),
        ("odd int8, GRU and head on grids", grids::on_grids(students::int8(&students::odd_spec(3, 17, 2), 8))),
        ("pico fp32, GRU and head on grids", grids::on_grids(students::fp32(&StudentSpec::pico(), 9))),
        ("stride three int8", students::int8(&students::odd_spec(2, 31, 3), 4)),
    ]
}

/// Black, white, a chequerboard, then noise.
fn rings(spec: &StudentSpec, n: usize) -> Vec<Vec<u8>> {
    let len = spec.ring * spec.size_px * spec.size_px;
    let mut rng = Rng::new(5, 0);
    let one = |i: usize| match i {
        0 => vec![0; len],
        1 => vec![255; len],
        2 => (0..len).map(|k| if (k + k / spec.size_px).is_multiple_of(2) { 0 } else { 255 }).collect(),
        _ => (0..len).map(|_| rng.below(256) as u8).collect(),
    };
    (0..n).map(one).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// Which engines the suite runs on here, and why not the others; `VAERR_REQUIRE_ENGINES=simd,tract` makes the want of one a failure.
#[test]
fn engines_that_do_not_run_say_why_and_those_required_run() {
    let required = std::env::var("VAERR_REQUIRE_ENGINES").unwrap_or_default();
    let mut required: Vec<&str> = required.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
    for entry in ENGINES {
        let why = (entry.unavailable)();
        println!("engine {}: {}", entry.name, why.as_deref().map_or("runs".into(), |w| format!("does not run: {w}")));
        assert!(why.is_none() || !required.contains(&entry.name), "{} is required: {why:?}", entry.name);
        required.retain(|n| *n != entry.name);
    }
    assert!(required.is_empty(), "VAERR_REQUIRE_ENGINES names engines that do not exist: {required:?}");
}

#[test]
fn every_engine_agrees_with_the_reference_over_a_stream() {
    for entry in ENGINES.iter().filter(|e| (e.unavailable)().is_none()) {
        for (name, student) in cases() {
            let opened = (entry.open)(&student);
            if let Some(gap) = (entry.gap)(student.precision()) {
                let kind = opened.err().map(|e| e.kind());
                assert_eq!(kind, Some(ErrorKind::Unsupported), "{} on {name} is a listed gap: {gap}", entry.name);
                println!("{} on {name}: listed gap: {gap}", entry.name);
                continue;
            }
            let mut engine = opened.unwrap_or_else(|e| panic!("{} {name}: {e}", entry.name));
            let mut oracle = Reference::open(&student).unwrap();
            let (mut h, mut h0) = (vec![0.0; student.spec.hidden], vec![0.0; student.spec.hidden]);
            let (mut y, mut y0) = ([0.0; HEADS], [0.0; HEADS]);
            let mut most = 0.0f32;
            for (i, ring) in rings(&student.spec, 8).iter().enumerate() {
                engine.step(ring, &mut h, &mut y).unwrap();
                oracle.step(ring, &mut h0, &mut y0).unwrap();
                let gap = worst(&y, &y0).max(worst(&h, &h0));
                let allowed = (entry.tolerance)(student.precision());
                assert!(gap <= allowed, "{} on {name}, step {i}: {gap} > {allowed}", entry.name);
                most = most.max(gap);
            }
            println!("{} on {name}: largest gap {most:e}", entry.name);
        }
    }
}

/// Every engine that runs the student's arithmetic here.
fn runs(student: &Student) -> impl Iterator<Item = &'static EngineEntry> {
    let precision = student.precision();
    ENGINES.iter().filter(move |e| (e.unavailable)().is_none() && (e.gap)(precision).is_none())
}

/// Opens them.
fn engines_for(student: &Student) -> Vec<Box<dyn Engine>> {
    runs(student).map(|e| (e.open)(student).unwrap()).collect()
}

#[test]
fn a_stream_may_change_engines_at_any_step() {
    let spec = students::odd_spec(3, 17, 2);
    for student in [students::fp32(&spec, 7), students::int8(&spec, 7)] {
        let mut engines = engines_for(&student);
        let mut oracle = Reference::open(&student).unwrap();
        let (mut h, mut h0) = (vec![0.0; 7], vec![0.0; 7]);
        let (mut y, mut y0) = ([0.0; HEADS], [0.0; HEADS]);
        for (i, ring) in rings(&student.spec, 12).iter().enumerate() {
            let n = engines.len();
            engines[i % n].step(ring, &mut h, &mut y).unwrap();
            oracle.step(ring, &mut h0, &mut y0).unwrap();
            let allowed = runs(&student).map(|e| (e.tolerance)(student.precision())).fold(0.0, f32::max);
            assert!(worst(&y, &y0) <= allowed);
        }
    }
}

#[test]
fn a_wrong_length_is_an_error_and_leaves_the_state() {
    let spec = students::odd_spec(3, 17, 2);
    for student in [students::fp32(&spec, 7), students::int8(&spec, 7)] {
        for mut engine in engines_for(&student) {
            let mut h = vec![0.5; 7];
            assert!(engine.step(&[0; 5], &mut h, &mut [0.0; HEADS]).is_err());
            assert_eq!(h, [0.5; 7]);
            assert!(engine.step(&rings(&student.spec, 1)[0], &mut [0.0; 3], &mut [0.0; HEADS]).is_err());
        }
    }
}

#[test]
fn students_survive_the_round_trip_through_onnx() {
    for (name, student) in cases() {
        assert!(onnx::read_student(&onnx::write_student(&student)).unwrap() == student, "{name}");
    }
}

#[cfg(feature = "tflite")]
#[test]
fn the_program_finds_its_library_beside_itself() {
    // Cargo's own path to libraries would hide that it is not there.
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_vaerr"))
        .args(["doctor", "--json"])
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    assert!(program.status.success(), "{}", String::from_utf8_lossy(&program.stderr));
}
