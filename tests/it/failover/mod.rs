//! A stream outlives its engines: no frame is lost or read twice, and every bit is that of the reference alone.

mod pipeline;
mod script;
mod streams;

use proptest::prelude::*;
use script::{Fault, Opening, Script};
use std::sync::Arc;
use std::time::Duration;
use streams::{Moment, Run, by_reference, logged, ms, settle, steady, student, wait_for};
use vaerr::ErrorKind;
use vaerr::model::Student;
use vaerr::session::Failover;
use vaerr::session::failover::{EngineTally, SETTLED_FRAMES, Started};

const FAULTS: [Fault; 7] = [
    Fault::Fail(ErrorKind::Device),
    Fault::Fail(ErrorKind::Unsupported),
    Fault::Fail(ErrorKind::Input),
    Fault::Spoil(0),
    Fault::Spoil(1),
    Fault::Spoil(3),
    Fault::NotANumber,
];

fn open(scripts: &[&Arc<Script>]) -> Started {
    Failover::open(scripts.iter().map(|s| s.candidate()).collect()).unwrap()
}

/// `cuda`, which fails at the calls that `at` picks, before a sound `simd`.
fn pair(student: &Student, at: impl Fn(u64) -> bool + Send + Sync + 'static) -> (Arc<Script>, Arc<Script>) {
    let at_call = Box::new(move |call| at(call).then_some(Fault::Spoil(1)));
    let first = Script { at_call, on_device: true, frame_path: true, ..Script::sound("cuda", student) };
    (Arc::new(first), Arc::new(Script::sound("simd", student)))
}

/// Stream seconds at which `cuda` was opened again, in a run of one frame a second.
fn reopenings(run: &mut Run, seconds: std::ops::Range<u64>) -> Vec<u64> {
    let mut found = Vec::new();
    for s in seconds {
        let before = run.failover.tally().engines[0].reopenings;
        run.step((Duration::from_secs(s), 1)).unwrap();
        settle(&run.failover);
        found.extend((run.failover.tally().engines[0].reopenings > before).then_some(s));
    }
    found
}

#[test]
fn whichever_call_fails_the_readings_are_those_of_the_reference() {
    let student = student();
    for faces in [1, 3] {
        let moments = steady(30, faces, 40);
        let want = by_reference(&student, &moments);
        for (n, frame_path, fault) in
            (0..30).flat_map(|n| [false, true].map(|p| (n, p))).flat_map(|(n, p)| FAULTS.map(|f| (n, p, f)))
        {
            let at_call = Box::new(move |call| (call == n).then_some(fault));
            let first = Arc::new(Script { frame_path, at_call, ..Script::sound("cuda", &student) });
            let second = Arc::new(Script::sound("simd", &student));
            let mut run = Run::new(&student, open(&[&first, &second]).failover);
            for (i, (&moment, want)) in moments.iter().zip(&want).enumerate() {
                let (engine, found) = run.step(moment).unwrap();
                assert_eq!(&found, want, "frame {i}, {fault:?} at {n}, frame path {frame_path}, {faces} faces");
                assert_eq!(engine, if (i as u64) < n { "cuda" } else { "simd" });
            }
            assert_eq!((first.calls(), second.calls()), (n + 1, 30 - n));
            let tally = run.failover.tally();
            assert_eq!((tally.rescued, tally.moves, tally.recoveries), (1, 1, 0));
            let cuda = EngineTally { name: "cuda", frames: n, failures: 1, reopenings: 0, refusals: 0 };
            assert_eq!(tally.engines, [cuda, EngineTally { name: "simd", frames: 30 - n, failures: 0, ..cuda }]);
        }
    }
}

#[test]
fn the_event_is_logged_with_the_engine_its_error_and_the_next_one() {
    let student = student();
    let (first, second) = pair(&student, |call| call == 3);
    let lines = logged(|| {
        Run::new(&student, open(&[&first, &second]).failover).check(&student, &steady(140, 2, 40));
    });
    assert_eq!(
        lines,
        [
            "WARN engine cuda failed at 0.120 s: failed on purpose; going on with simd int8",
            "INFO engine cuda is open again",
            "WARN back from engine simd to cuda at 5.160 s",
        ]
    );
}

#[test]
fn the_stream_moves_back_at_the_next_frame_with_its_state() {
    let student = student();
    let (first, second) = pair(&student, |call| call == 3);
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    // Fails at 0.12 s, is opened at 5.12 s, the frame 128, and steps from frame 129 on.
    let engines = run.check(&student, &steady(200, 3, 40));
    let want = |i| if (3..129).contains(&i) { "simd" } else { "cuda" };
    assert_eq!(engines, (0..200).map(want).collect::<Vec<_>>());
    let tally = run.failover.tally();
    assert_eq!((tally.rescued, tally.moves, tally.recoveries), (1, 2, 1));
    assert_eq!(tally.engines[0], EngineTally { name: "cuda", frames: 74, failures: 1, reopenings: 1, refusals: 0 });
}

#[test]
fn waits_double_to_five_minutes_while_it_cannot_be_opened() {
    let student = student();
    let (first, second) = pair(&student, |call| call == 0);
    let closed = |n| if n == 0 { Opening::Good } else { Opening::Fail(ErrorKind::Unsupported) };
    let first = Arc::new(Script { at_open: Box::new(closed), ..Arc::into_inner(first).unwrap() });
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    // Each wait counts from the frame that noticed, one after the opening.
    let want = [5, 5 + 11, 16 + 21, 37 + 41, 78 + 81, 159 + 161, 320 + 301, 621 + 301];
    assert_eq!(reopenings(&mut run, 0..1200), want);
    assert_eq!(run.failover.tally().engines[0].refusals, 8);
    assert_eq!(second.calls(), 1200);
}

#[test]
fn only_a_settled_engine_starts_from_the_first_wait_again() {
    let student = student();
    let settled = u64::from(SETTLED_FRAMES);
    // Fails at its first step, at the first after it is opened again, after `settled - 1` good ones, after one, after `settled`.
    let failing = [0, 1, settled + 1, settled + 3, 2 * settled + 4];
    let (first, second) = pair(&student, move |call| failing.contains(&call));
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    let a = 5;
    let b = a + 1 + 10;
    let c = b + 1 + (settled - 1) + 20;
    let d = c + 1 + 1 + 40;
    let e = d + 1 + settled + 5;
    assert_eq!(reopenings(&mut run, 0..e + 10), [a, b, c, d, e]);
    assert_eq!(run.failover.tally().engines[0].failures, 5);
    assert_eq!(run.failover.tally().rescued, 5);
}

#[test]
fn a_hanging_opening_never_stalls_the_stream_nor_a_drop() {
    let student = student();
    let (first, second) = pair(&student, |call| call == 2);
    let hang = |n| if n == 0 { Opening::Good } else { Opening::Hang };
    let first = Arc::new(Script { at_open: Box::new(hang), ..Arc::into_inner(first).unwrap() });
    let moments = steady(1000, 2, 1000);
    let want = by_reference(&student, &moments);
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    for (i, (&moment, want)) in moments.iter().zip(&want).enumerate() {
        let (engine, found) = run.step(moment).unwrap();
        assert_eq!((engine, &found), (if i < 2 { "cuda" } else { "simd" }, want));
    }
    wait_for("the opening", || first.opens() == 2);
    assert_eq!((first.alive(), run.failover.tally().engines[0].reopenings), (0, 1));
    drop(run);
    assert_eq!(second.alive(), 0);
    first.release();
    // The thread finds nobody waiting and drops what it opened; it holds one reference to the script.
    wait_for("the end of the thread", || Arc::strong_count(&first) == 1);
    assert_eq!(first.alive(), 0);
}

#[test]
fn a_slow_opening_is_taken_up_when_it_is_done() {
    let student = student();
    let (first, second) = pair(&student, |call| call == 2);
    let hang = |n| if n == 0 { Opening::Good } else { Opening::Hang };
    let first = Arc::new(Script { at_open: Box::new(hang), ..Arc::into_inner(first).unwrap() });
    let moments = steady(60, 2, 500);
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    for (i, (&moment, want)) in moments.iter().zip(&by_reference(&student, &moments)).enumerate() {
        let (engine, found) = run.step(moment).unwrap();
        assert_eq!((engine, &found), (if (2..41).contains(&i) { "simd" } else { "cuda" }, want), "frame {i}");
        if i == 40 {
            first.release();
            settle(&run.failover);
        }
    }
}

#[test]
fn an_opening_that_panics_is_one_that_failed() {
    let student = student();
    let (first, second) = pair(&student, |call| call == 0);
    let panics = |n| if n == 1 { Opening::Panic } else { Opening::Good };
    let first = Arc::new(Script { at_open: Box::new(panics), ..Arc::into_inner(first).unwrap() });
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    assert_eq!(reopenings(&mut run, 0..30), [5, 16]);
    assert_eq!(run.failover.tally().engines[0].refusals, 1);
    assert_eq!(run.step((Duration::from_secs(30), 1)).unwrap().0, "cuda");
}

#[test]
fn a_device_that_will_not_close_holds_up_only_its_own_return() {
    let student = student();
    let (first, second) = pair(&student, |call| call == 2);
    let first = Arc::new(Script { hangs_closing: true, ..Arc::into_inner(first).unwrap() });
    let moments = steady(60, 1, 500);
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    for (i, (&moment, want)) in moments.iter().zip(&by_reference(&student, &moments)).enumerate() {
        let (engine, found) = run.step(moment).unwrap();
        assert_eq!((engine, &found), (if (2..41).contains(&i) { "simd" } else { "cuda" }, want), "frame {i}");
        if i == 40 {
            assert_eq!((first.opens(), first.alive()), (1, 1));
            first.release();
            settle(&run.failover);
        }
    }
    assert_eq!((first.opens(), first.alive()), (2, 1));
}

#[test]
fn engines_are_opened_when_needed_and_a_device_has_the_next_one_ready() {
    let student = student();
    for on_device in [false, true] {
        let always = |_| Some(Fault::Fail(ErrorKind::Device));
        let failing = |name| Script { at_call: Box::new(always), on_device, ..Script::sound(name, &student) };
        let [a, b] = ["cuda", "simd"].map(|n| Arc::new(failing(n)));
        let refusing =
            Script { at_open: Box::new(|_| Opening::Fail(ErrorKind::Model)), ..Script::sound("tract", &student) };
        let (c, d) = (Arc::new(refusing), Arc::new(Script::sound("reference", &student)));
        let opens = || [&a, &b, &c, &d].map(|s| s.opens());
        let mut run = Run::new(&student, open(&[&a, &b, &c, &d]).failover);
        assert_eq!(opens(), [1, u64::from(on_device), 0, 0]);
        let engines = run.check(&student, &steady(20, 1, 40));
        assert_eq!(engines, ["reference"; 20]);
        assert_eq!(opens(), [1, 1, 1, 1]);
        let tally = run.failover.tally();
        assert_eq!((tally.rescued, tally.moves, tally.failures()), (1, 1, 2));
        assert_eq!(tally.engines[2].refusals, 1);
    }
}

#[test]
fn what_kept_an_engine_from_opening_at_the_start_decides_whether_it_is_tried_again() {
    let student = student();
    for (kind, again) in [(ErrorKind::Device, true), (ErrorKind::Unsupported, false)] {
        let once = move |n| if n == 0 { Opening::Fail(kind) } else { Opening::Good };
        let first = Arc::new(Script { at_open: Box::new(once), ..Script::sound("cuda", &student) });
        let second = Arc::new(Script::sound("simd", &student));
        let started = open(&[&first, &second]);
        assert_eq!(started.passed_over, [("cuda", "will not open".to_owned())]);
        let mut run = Run::new(&student, started.failover);
        assert_eq!(run.failover.name(), "simd");
        assert_eq!(reopenings(&mut run, 0..400), if again { vec![5] } else { vec![] });
        assert_eq!(run.failover.name(), if again { "cuda" } else { "simd" });
    }
}

#[test]
fn no_engine_at_all_is_an_error_that_says_why() {
    let student = student();
    let shut =
        |name| Script { at_open: Box::new(|_| Opening::Fail(ErrorKind::Device)), ..Script::sound(name, &student) };
    let all = ["cuda", "simd"].map(|n| Arc::new(shut(n)).candidate());
    let e = Failover::open(all.to_vec()).err().unwrap().to_string();
    assert_eq!(e, "no engine can run this model: cuda: will not open; simd: will not open");
}

#[test]
fn an_engine_of_its_own_is_never_replaced_and_its_failure_leaves_the_sessions_as_they_were() {
    let student = student();
    for (n, frame_path) in [(0, false), (5, false), (0, true), (5, true)] {
        let at_call = Box::new(move |call| (call == n).then_some(Fault::Spoil(1)));
        let script = Arc::new(Script { at_call, frame_path, ..Script::sound("cuda", &student) });
        let mut run = Run::new(&student, script.open().unwrap().into());
        let moments = steady(10, 2, 40);
        for (i, (&moment, want)) in moments.iter().zip(&by_reference(&student, &moments)).enumerate() {
            if i as u64 == n {
                let e = run.step(moment).unwrap_err();
                assert_eq!((e.kind(), e.to_string().as_str()), (ErrorKind::Device, "failed on purpose"));
            }
            assert_eq!(run.step(moment).unwrap(), ("cuda", want.clone()));
        }
        assert_eq!(script.opens(), 1);
    }
}

#[test]
fn when_all_fail_the_error_names_all_and_the_frame_can_be_read_again() {
    let student = student();
    let failing = |name| {
        let at_call = Box::new(|call| (call == 4).then_some(Fault::Spoil(1)));
        Arc::new(Script { at_call, ..Script::sound(name, &student) })
    };
    let (first, second) = (failing("cuda"), failing("simd"));
    // So that both are at their call 4 in the same frame.
    let mut warm = Run::new(&student, open(&[&second]).failover);
    warm.check(&student, &steady(4, 1, 40));
    let mut run = Run::new(&student, open(&[&first, &second]).failover);
    let moments = steady(10, 3, 40);
    for (i, (&moment, want)) in moments.iter().zip(&by_reference(&student, &moments)).enumerate() {
        if i == 4 {
            let e = run.step(moment).unwrap_err().to_string();
            assert_eq!(e, "every engine failed: cuda: failed on purpose; simd: failed on purpose");
            settle(&run.failover);
        }
        assert_eq!(run.step(moment).unwrap(), ("cuda", want.clone()));
    }
}

#[test]
fn faces_and_sessions_must_be_as_many() {
    let student = student();
    let script = Arc::new(Script::sound("cuda", &student));
    let mut failover = open(&[&script]).failover;
    let e = failover.step(&Default::default(), &[], &mut streams::sessions(&student, 1), ms(0)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Usage);
}

#[test]
fn what_a_device_holds_of_a_stream_is_not_believed_after_a_step_elsewhere() {
    let student = student();
    let script = Arc::new(Script { frame_path: true, ..Script::sound("cuda", &student) });
    let mut run = Run::new(&student, script.open().unwrap().into());
    let moments = steady(9, 1, 40);
    for (i, (&moment, want)) in moments.iter().zip(&by_reference(&student, &moments)).enumerate() {
        let found = if i % 3 == 1 { run.step_one(moment) } else { run.step(moment).unwrap().1 };
        assert_eq!(&found, want, "frame {i}");
    }
}

fn any_fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![6 => Just(None), 1 => (0..FAULTS.len()).prop_map(|i| Some(FAULTS[i]))]
}

fn any_opening() -> impl Strategy<Value = Opening> {
    let fail = |k| Opening::Fail(k);
    prop_oneof![3 => Just(Opening::Good), 1 => Just(fail(ErrorKind::Device)), 1 => Just(fail(ErrorKind::Model))]
}

/// What an engine goes through, again and again.
#[derive(Debug, Clone)]
struct Fate {
    faults: Vec<Option<Fault>>,
    openings: Vec<Opening>,
    on_device: bool,
    frame_path: bool,
}

impl Fate {
    fn script(self, name: &'static str, student: &Student) -> Arc<Script> {
        let Self { faults, openings, on_device, frame_path } = self;
        let at_call = Box::new(move |n| faults[n as usize % faults.len()]);
        let at_open = Box::new(move |n| openings[n as usize % openings.len()]);
        Arc::new(Script { at_call, at_open, on_device, frame_path, ..Script::sound(name, student) })
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let (faults, openings) = (prop::collection::vec(any_fault(), 1..20), prop::collection::vec(any_opening(), 1..6));
    let parts = (faults, openings, any::<bool>(), any::<bool>());
    parts.prop_map(|(faults, openings, on_device, frame_path)| Fate { faults, openings, on_device, frame_path })
}

fn any_moments() -> impl Strategy<Value = Vec<(Moment, bool)>> {
    prop::collection::vec((0u64..1500, 0usize..=3, any::<bool>()), 1..80).prop_map(|steps| {
        let mut time = 0;
        let mut moment = |(dt, faces, settles)| {
            time += dt;
            ((ms(time), faces), settles)
        };
        steps.into_iter().map(&mut moment).collect()
    })
}

proptest! {
    #[test]
    fn no_script_of_failures_loses_or_doubles_a_frame(
        cuda in any_fate(), simd in any_fate(), moments in any_moments(),
    ) {
        let student = student();
        let (cuda, simd) = (cuda.script("cuda", &student), simd.script("simd", &student));
        let last = Arc::new(Script::sound("reference", &student));
        let mut run = Run::new(&student, open(&[&cuda, &simd, &last]).failover);
        let want = by_reference(&student, &moments.iter().map(|m| m.0).collect::<Vec<_>>());
        for (&(moment, settles), want) in moments.iter().zip(&want) {
            prop_assert_eq!(&run.step(moment).unwrap().1, want);
            if settles {
                settle(&run.failover);
            }
        }
        let tally = run.failover.tally();
        let frames: u64 = tally.engines.iter().map(|e| e.frames).sum();
        prop_assert_eq!(frames, moments.iter().filter(|((_, n), _)| *n > 0).count() as u64);
        let calls: u64 = [&cuda, &simd, &last].iter().map(|s| s.calls()).sum();
        prop_assert_eq!(calls, frames + tally.failures());
        prop_assert_eq!(tally.engines[2].failures, 0);
    }
}
