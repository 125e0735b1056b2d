//! A device that fails at any call leaves the host as it was, and the next step is right again.

use crate::shim::{ShimBuffer, ShimDevice, ShimGraph, ShimOptions};
use crate::steps::{FORMS, ring};
use crate::{frames, students};
use std::cell::Cell;
use std::process::Command;
use std::rc::Rc;
use vaerr::engine::cuda::device::{Buffers, Device, Launch, Memory};
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::{Engine, reference::Reference};
use vaerr::error::{Error, ErrorKind, Result};
use vaerr::model::Student;
use vaerr::render::Rng;
use vaerr::spec::HEADS;

/// Counts down to the call that fails; below zero none does.
struct Failing {
    inner: ShimDevice,
    left: Rc<Cell<i64>>,
}

// SAFETY: the tests keep device and counter on one thread.
unsafe impl Send for Failing {}

impl Failing {
    fn call(&self) -> Result<()> {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 { Err(Error::device("injected")) } else { Ok(()) }
    }
}

impl Device for Failing {
    type Buffer = ShimBuffer;
    type Graph = ShimGraph;

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn resident_blocks(&mut self, launch: &Launch) -> Result<u32> {
        self.call()?;
        self.inner.resident_blocks(launch)
    }

    fn alloc(&mut self, bytes: usize, memory: Memory) -> Result<ShimBuffer> {
        self.call()?;
        self.inner.alloc(bytes, memory)
    }

    fn write(&mut self, buffer: &mut ShimBuffer, at: usize, bytes: &[u8]) -> Result<()> {
        self.call()?;
        self.inner.write(buffer, at, bytes)
    }

    fn read(&mut self, buffer: &ShimBuffer, at: usize, into: &mut [u8]) -> Result<()> {
        into.fill(0xee);
        self.call()?;
        self.inner.read(buffer, at, into)
    }

    fn launch(&mut self, launch: &Launch, buffers: &Buffers<'_, ShimBuffer>) -> Result<()> {
        self.call()?;
        self.inner.launch(launch, buffers)
    }

    fn record(&mut self, launches: &[Launch], buffers: &Buffers<'_, ShimBuffer>) -> Result<ShimGraph> {
        self.call()?;
        self.inner.record(launches, buffers)
    }

    fn replay(&mut self, graph: &ShimGraph) -> Result<()> {
        self.call()?;
        self.inner.replay(graph)
    }
}

#[test]
fn a_fault_at_any_call_leaves_the_state_and_the_next_step_is_right() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    for mode in [Mode::Layers, Mode::Persistent] {
        let options = Options { mode, slots: 2, ..Options::default() };
        for at in 1.. {
            let left = Rc::new(Cell::new(at));
            let inner = ShimDevice::open(ShimOptions::default()).unwrap();
            let device = Failing { inner, left: left.clone() };
            let Ok(mut engine) = CudaEngine::with_form(device, FORMS[0], &student, options) else {
                assert_eq!(left.get(), 0);
                continue;
            };
            let mut oracle = Reference::open(&student).unwrap();
            let (mut h, mut h0) = (vec![0.0; 7], vec![0.0; 7]);
            let (mut y, mut y0) = ([0.0; HEADS], [0.0; HEADS]);
            let mut rng = Rng::new(1, 0);
            for i in 0..3 {
                let ring = ring(&student.spec, i, &mut rng);
                let before = h.clone();
                if engine.step(&ring, &mut h, &mut y).is_err() {
                    assert!(left.get() == 0 && h == before && y == y0);
                    engine.step(&ring, &mut h, &mut y).unwrap();
                }
                oracle.step(&ring, &mut h0, &mut y0).unwrap();
                assert!(h == h0 && y == y0, "{mode:?} fault at call {at}, step {i}");
            }
            if left.get() > 0 {
                assert!(at > 10);
                break;
            }
        }
    }
}

/// Three faces in two slots, so that a fault may fall between two launches of one picture.
#[test]
fn a_fault_at_any_call_of_a_picture_leaves_every_face() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    for at in 1.. {
        let left = Rc::new(Cell::new(i64::MAX));
        let device = Failing { inner: ShimDevice::open(ShimOptions::default()).unwrap(), left: left.clone() };
        let options = Options { mode: Mode::Persistent, slots: 2, ..Options::default() };
        let mut engine = CudaEngine::with_form(device, FORMS[1], &student, options).unwrap();
        left.set(at);
        let faults = frames::faces_survive(&mut engine, &student);
        if left.get() > 0 {
            assert!(at > 20 && faults == 0);
            break;
        }
        assert_eq!(faults, 1, "fault at call {at}");
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
