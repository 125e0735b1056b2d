//! What `driver.rs` runs under the stand-in driver, each in a process of its own.

use crate::counting::allocations;
use crate::students;
use libloading::Library;
use std::time::{Duration, Instant};
use vaerr::engine::cuda::compile::{Compiler, Form, Sm, Unit};
use vaerr::engine::cuda::device::{Buffers, Device, Launch, Memory};
use vaerr::engine::cuda::driver::{CudaDevice, Settings};
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::cuda::images::Images;
use vaerr::engine::cuda::{gpu, units};
use vaerr::engine::{Engine, Stream, reference::Reference};
use vaerr::error::{Error, ErrorKind, Result};
use vaerr::model::Student;
use vaerr::render::Rng;
use vaerr::spec::HEADS;

/// Gives what the stand-in takes for a compiled unit.
pub struct Pretend(pub &'static [u8]);

impl Compiler for Pretend {
    fn version(&self) -> String {
        "pretended".into()
    }

    fn targets(&self) -> &[Sm] {
        &[Sm(61), Sm(75), Sm(87)]
    }

    fn compile_forms(&self, _: &Unit, _: Sm, forms: &[Form]) -> Result<Vec<Vec<u8>>> {
        Ok(forms.iter().map(|_| self.0.to_vec()).collect())
    }
}

/// The stand-in's own functions.
struct StandIn(Library);

impl StandIn {
    /// None outside of the process that a test of `driver` starts.
    fn here() -> Option<Self> {
        std::env::var_os("STAND_IN")?;
        // SAFETY: the stand-in has no initialisers; it is the library that the driver module loads.
        Some(Self(unsafe { Library::new("libcuda.so.1") }.unwrap()))
    }

    fn fail(&self, at: i64, status: i32) {
        // SAFETY: the type is that of stand_in.h.
        unsafe { self.0.get::<unsafe extern "C" fn(i64, i32)>(b"stand_in_fail").unwrap()(at, status) }
    }

    fn hang(&self, on: i32) {
        // SAFETY: as above.
        unsafe { self.0.get::<unsafe extern "C" fn(i32)>(b"stand_in_hang").unwrap()(on) }
    }

    fn calls(&self) -> i64 {
        // SAFETY: as above.
        unsafe { self.0.get::<unsafe extern "C" fn() -> i64>(b"stand_in_calls").unwrap()() }
    }

    fn alive(&self) -> i64 {
        // SAFETY: as above.
        unsafe { self.0.get::<unsafe extern "C" fn() -> i64>(b"stand_in_alive").unwrap()() }
    }
}

fn settings(ms: u64) -> Settings {
    Settings { timeout: Duration::from_millis(ms), ..Settings::default() }
}

fn device(ms: u64) -> Result<CudaDevice> {
    let mut images = Images::new(Vec::new(), None, || Ok(Box::new(Pretend(b"stand-in"))));
    CudaDevice::open(&settings(ms), &units(), &mut images)
}

fn engine(student: &Student, mode: Mode, ms: u64) -> Result<CudaEngine<CudaDevice>> {
    let device = device(ms)?;
    let sm = device.compiled_for().0;
    CudaEngine::open(device, sm, student, Options { mode, slots: 3, ..Options::default() })
}

fn student() -> Student {
    students::int8(&students::odd_spec(3, 17, 2), 2)
}

fn noise(rng: &mut Rng, n: usize) -> Vec<u8> {
    (0..n).map(|_| rng.below(256) as u8).collect()
}

#[test]
#[ignore = "run by the tests of `driver` under the stand-in"]
fn say_why_not() {
    match gpu() {
        Ok(found) => println!("{found}"),
        Err(why) => println!("{why}"),
    }
}

#[test]
#[ignore = "run by the tests of `driver` under the stand-in"]
fn streams_agree_with_the_reference() {
    let Some(stand_in) = StandIn::here() else { return };
    let student = student();
    let len = student.spec.ring * student.spec.size_px * student.spec.size_px;
    for mode in [Mode::Layers, Mode::Persistent] {
        let mut engine = engine(&student, mode, 1000).unwrap();
        let mut oracle = Reference::open(&student).unwrap();
        let mut rng = Rng::new(11, 0);
        let mut state = vec![(vec![0.0f32; student.spec.hidden], [0.0f32; HEADS]); 5];
        let mut want = state.clone();
        for step in 0..6 {
            // One to five streams on three slots: some are sent anew, some in a second launch.
            let n = 1 + step % 5;
            let rings: Vec<Vec<u8>> = (0..n).map(|_| noise(&mut rng, len)).collect();
            let mut streams: Vec<Stream<'_>> =
                rings.iter().zip(&mut state).map(|(ring, (hidden, logits))| Stream { ring, hidden, logits }).collect();
            engine.step_batch(&mut streams).unwrap();
            for (ring, (hidden, logits)) in rings.iter().zip(&mut want) {
                oracle.step(ring, hidden, logits).unwrap();
            }
            assert!(state == want, "{mode:?}, step {step}");
        }
        assert!(stand_in.alive() > 0);
        drop(engine);
        assert_eq!(stand_in.alive(), 0, "something was not freed");
    }
}

/// Opens an engine and steps twice, from known states; what is not a clean error panics.
fn two_steps(student: &Student, mode: Mode) -> Result<[Vec<f32>; 2]> {
    let mut rng = Rng::new(3, 0);
    let len = student.spec.ring * student.spec.size_px * student.spec.size_px;
    let mut engine = engine(student, mode, 1000)?;
    let mut hidden = vec![0.25; student.spec.hidden];
    let mut out = [Vec::new(), Vec::new()];
    for step in &mut out {
        let (ring, before) = (noise(&mut rng, len), hidden.clone());
        let kept = ring.clone();
        let done = engine.step(&ring, &mut hidden, &mut [0.0; HEADS]);
        assert_eq!(ring, kept);
        if let Err(e) = done {
            assert_eq!(hidden, before, "the state changed in a step that failed: {e}");
            let again = engine.step(&ring, &mut hidden, &mut [0.0; HEADS]);
            assert!(again.is_ok() || hidden == before);
            return Err(e);
        }
        *step = hidden.clone();
    }
    Ok(out)
}

#[test]
#[ignore = "run by the tests of `driver` under the stand-in"]
fn every_call_may_fail() {
    let Some(stand_in) = StandIn::here() else { return };
    let student = student();
    for mode in [Mode::Layers, Mode::Persistent] {
        stand_in.fail(-1, 0);
        let want = two_steps(&student, mode).unwrap();
        let calls = stand_in.calls();
        assert!(calls > 20, "{calls}");
        for status in [2, 700, 719] {
            let mut recovered = 0;
            for at in 0..calls {
                stand_in.fail(at, status);
                match two_steps(&student, mode) {
                    Ok(got) => {
                        assert!(got == want, "call {at}, status {status}");
                        recovered += 1;
                    }
                    Err(e) => {
                        assert!(matches!(e.kind(), ErrorKind::Device | ErrorKind::Dependency), "call {at}: {e}");
                        assert!(e.to_string().contains("CUDA_ERROR_"), "call {at}: {e}");
                    }
                }
                assert_eq!(stand_in.alive(), 0, "call {at}, status {status}: something was not freed");
            }
            // Machine code that is refused leaves PTX; nothing else is tried twice.
            assert_eq!(recovered, i32::from(status == 2), "status {status}");
        }
        stand_in.fail(-1, 0);
        assert!(two_steps(&student, mode).unwrap() == want, "a device opened after failures differs");
        println!("{mode:?}: each of {calls} calls failed in three ways");
    }
}

#[test]
#[ignore = "run by the tests of `driver` under the stand-in"]
fn a_warm_step_allocates_nothing() {
    let Some(_stand_in) = StandIn::here() else { return };
    let student = student();
    let mut ring = vec![7; student.spec.ring * student.spec.size_px * student.spec.size_px];
    let mut hidden = vec![0.5; student.spec.hidden];
    for mode in [Mode::Layers, Mode::Persistent] {
        let mut engine = engine(&student, mode, 1000).unwrap();
        let mut before = 0;
        for step in 0..12 {
            if step == 4 {
                before = allocations();
            }
            // Now and then a stream that the device does not hold, which is sent whole.
            if step % 3 == 0 {
                ring.fill(step as u8);
                hidden.fill(step as f32 / 16.0);
            }
            engine.step(&ring, &mut hidden, &mut [0.0; HEADS]).unwrap();
        }
        assert_eq!(allocations() - before, 0, "{mode:?}");
    }
}

#[test]
#[ignore = "run by the tests of `driver` under the stand-in"]
fn a_hang_is_a_time_out() {
    let Some(stand_in) = StandIn::here() else { return };
    let student = student();
    let ring = vec![7; student.spec.ring * student.spec.size_px * student.spec.size_px];
    let mut engine = engine(&student, Mode::Persistent, 200).unwrap();
    let mut hidden = vec![0.5; student.spec.hidden];
    engine.step(&ring, &mut hidden, &mut [0.0; HEADS]).unwrap();
    let before = hidden.clone();
    stand_in.hang(1);
    let start = Instant::now();
    let e = engine.step(&ring, &mut hidden, &mut [0.0; HEADS]).unwrap_err();
    let took = start.elapsed();
    assert!(
        e.kind() == ErrorKind::Device && e.to_string().contains("time-out: the GPU has not finished after 200 ms"),
        "{e}"
    );
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(hidden, before);
    let start = Instant::now();
    let e = engine.step(&ring, &mut hidden, &mut [0.0; HEADS]).unwrap_err();
    assert!(e.to_string().contains("lost earlier: time-out"), "{e}");
    drop(engine);
    assert!(start.elapsed() < Duration::from_secs(1), "waiting for a GPU that hangs");
    stand_in.hang(0);
    // The thread that gives the context back is no longer held up.
    for _ in 0..500 {
        if stand_in.alive() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(stand_in.alive(), 0);
    two_steps(&student, Mode::Layers).unwrap();
}

#[test]
#[ignore = "run by the tests of `driver` under the stand-in"]
fn copies_keep_their_order() {
    let Some(_stand_in) = StandIn::here() else { return };
    let mut device = device(1000).unwrap();
    let mut rng = Rng::new(5, 0);
    for memory in [Memory::Staging, Memory::Device] {
        // Above two megabytes, so that the bounce buffer goes round.
        let len = 2_300_001;
        let mut buffer = device.alloc(len, memory).unwrap();
        let mut model = vec![0u8; len];
        for round in 0..40 {
            let n = if round % 8 == 0 { len } else { 1 + rng.below(50_000) };
            let at = rng.below(len - n + 1);
            // The same memory is filled again and again: what is sent must have been taken before.
            let mut bytes = noise(&mut rng, n);
            device.write(&mut buffer, at, &bytes).unwrap();
            model[at..at + n].copy_from_slice(&bytes);
            bytes.fill(0xee);
            if round % 7 == 6 {
                let mut back = vec![0; n];
                device.read(&buffer, at, &mut back).unwrap();
                assert!(back == model[at..at + n], "{memory:?}, round {round}");
            }
        }
        let mut back = vec![1; len];
        device.read(&buffer, 0, &mut back).unwrap();
        assert!(back == model, "{memory:?}");
        assert!(
            device.write(&mut buffer, len - 1, &[0; 2]).is_err() && device.read(&buffer, usize::MAX, &mut [0]).is_err()
        );
    }
    for memory in [Memory::Staging, Memory::Device] {
        each_kernel_sees_what_was_written_before_it(&mut device, memory);
    }
    let fresh = device.alloc(1000, Memory::Staging).unwrap();
    let mut back = vec![1; 1000];
    device.read(&fresh, 0, &mut back).unwrap();
    assert_eq!(back, vec![0; 1000], "memory comes zeroed");
    let launch =
        Launch { kernel: "nothing", grid: 1, block: 1, shared_bytes: 0, cooperative: false, layer: 0, streams: 1 };
    let e = device.launch(&launch, &Buffers { model: &fresh, arena: &fresh, io: &fresh }).unwrap_err();
    assert!(e.kind() == ErrorKind::Unsupported && e.to_string().contains("nothing"), "{e}");
    device.read(&fresh, 0, &mut back).expect("an unknown kernel does not lose the GPU");
}

/// Writes and launches in turn without a wait between: no write may reach a launch that was queued before it.
fn each_kernel_sees_what_was_written_before_it(device: &mut CudaDevice, memory: Memory) {
    const LEN: usize = 70_000;
    const TURNS: usize = 40;
    let mut io = device.alloc(LEN, memory).unwrap();
    let arena = device.alloc(LEN * TURNS, Memory::Device).unwrap();
    let mut rng = Rng::new(8, 0);
    let mut want = vec![0u8; LEN];
    let mut all = Vec::new();
    for turn in 0..TURNS {
        let (at, n) = if turn % 4 == 3 { (1000, LEN - 3000) } else { (0, LEN) };
        want[at..at + n].copy_from_slice(&noise(&mut rng, n));
        device.write(&mut io, at, &want[at..at + n]).unwrap();
        let launch = Launch {
            kernel: "copy_io",
            grid: 1,
            block: 1,
            shared_bytes: 0,
            cooperative: false,
            layer: turn as i32,
            streams: LEN as i32,
        };
        device.launch(&launch, &Buffers { model: &arena, arena: &arena, io: &io }).unwrap();
        all.extend_from_slice(&want);
    }
    let mut back = vec![0; LEN * TURNS];
    device.read(&arena, 0, &mut back).unwrap();
    assert!(back == all, "{memory:?}");
}

#[test]
#[ignore = "run by the tests of `driver` under the stand-in"]
fn a_refused_image_says_why() {
    let Some(stand_in) = StandIn::here() else { return };
    let mut images = Images::new(Vec::new(), None, || Ok(Box::new(Pretend(b"something else"))));
    let e = CudaDevice::open(&settings(1000), &units(), &mut images).map(|_| ()).unwrap_err().to_string();
    for want in ["no kernels for sm_87", "cuModuleLoadDataEx", "218", "line 1: no such instruction"] {
        assert!(e.contains(want), "{want:?} is not in {e}");
    }
    let mut images = Images::new(Vec::new(), None, || Err(Error::dependency("no compiler")));
    assert!(CudaDevice::open(&settings(1000), &units(), &mut images).is_err());
    assert_eq!(stand_in.alive(), 0);
}
