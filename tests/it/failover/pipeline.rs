//! A whole run that loses its engine.

use super::script::{Fault, Script};
use std::sync::Arc;
use vaerr::ErrorKind;
use vaerr::capture::synthetic::Synthetic;
use vaerr::model::{Bundle, Precision};
use vaerr::pipeline::{self, Counts, Pipeline};
use vaerr::session::Failover;
use vaerr::spec::Reading;

/// The readings of a short clip of two people, and the counts of the run.
fn read(bundle: &Bundle, engines: impl Into<Failover>) -> (vaerr::Result<Counts>, Vec<Reading>) {
    let mut source = Synthetic::parse("synthetic:seconds=1.2,fps=10,size=400x200,people=2,seed=4").unwrap();
    let mut pipeline = Pipeline::new(engines, bundle.manifest(), true).unwrap();
    let mut all = Vec::new();
    let counts = pipeline::run(&mut source, &mut pipeline, |_, readings, _| {
        all.extend(readings.iter().map(|r| Reading { latency_us: 0, ..r.clone() }));
        Ok(true)
    });
    (counts, all)
}

#[test]
fn a_run_that_loses_its_engine_reads_every_frame_and_says_which_engine_did() {
    let bundle = Bundle::shipped().unwrap();
    let student = bundle.student(Precision::Int8).unwrap();
    let sound = Arc::new(Script::sound("reference", &student));
    let (counts, want) = read(&bundle, sound.open().unwrap());
    let counts = counts.unwrap();
    assert!(counts.frames == 12 && want.iter().filter(|r| r.face.id() == Some(2)).count() > 8, "{counts:?}");
    let at_call = Box::new(|call| (call == 5).then_some(Fault::Spoil(1)));
    let first = Arc::new(Script { at_call, frame_path: true, ..Script::sound("cuda", &student) });
    let list = || vec![first.candidate(), sound.candidate()];
    let (found, readings) = read(&bundle, Failover::open(list()).unwrap().failover);
    assert_eq!(found.unwrap(), Counts { rescued: 1, moves: 1, ..counts });
    let at = readings.iter().find(|r| r.engine == "reference").unwrap().frame;
    let want = want.into_iter().map(|r| Reading { engine: if r.frame < at { "cuda" } else { "reference" }, ..r });
    assert_eq!(readings, want.collect::<Vec<_>>());
    assert_eq!(first.calls(), 6);
}

#[test]
fn a_named_engine_that_fails_ends_the_run() {
    let bundle = Bundle::shipped().unwrap();
    let student = bundle.student(Precision::Int8).unwrap();
    let at_call = Box::new(|call| (call == 2).then_some(Fault::Fail(ErrorKind::Device)));
    let script = Arc::new(Script { at_call, ..Script::sound("cuda", &student) });
    let (done, readings) = read(&bundle, script.open().unwrap());
    assert_eq!(done.unwrap_err().to_string(), "failed on purpose");
    assert!(readings.iter().filter(|r| r.face.id() == Some(1)).count() == 2 && script.calls() == 3);
}
