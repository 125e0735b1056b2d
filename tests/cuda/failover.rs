//! The engine loses its device at each of its calls in turn, in a stream of whole frames: another engine reads the same frame,
//! the stream comes back to the device, and every bit is the reference's.

use crate::shim::{ShimDevice, ShimOptions};
use crate::steps::FORMS;
use crate::students;
use std::sync::Arc;
use std::time::Duration;
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options};
use vaerr::engine::cuda::fault::{Fault, Faults, Faulty};
use vaerr::engine::{Engine, reference::Reference, simd::Simd};
use vaerr::face::TrackedFace;
use vaerr::frame::Gray;
use vaerr::model::Student;
use vaerr::session::failover::{Candidate, Started};
use vaerr::session::{Failover, Session};
use vaerr::spec::CropRule;

/// One frame a second, so that the first wait, five seconds, ends within the stream.
const FRAMES: u64 = 10;

fn picture(i: u64) -> Gray {
    let (width, height) = (64, 48);
    let at = |k: u64| (k * 7 + (k / 64) * (i + 3) + i * 31) % 251;
    Gray { width, height, data: (0..(width * height) as u64).map(|k| at(k) as u8).collect() }
}

/// Engine and estimates of each frame.
fn read(student: &Student, faces: u32, engines: &mut Failover) -> Vec<(&'static str, String)> {
    let rule = CropRule { size_px: student.spec.size_px, detail_px: 12, ..CropRule::FERPLUS };
    let mut sessions: Vec<_> = (0..faces).map(|_| Session::new(&student.spec, rule, true)).collect();
    let mut frame = |i: u64| {
        let at = |id: u32| [3.0 + 15.0 * id as f32, 4.0 + i as f32, 20.0 + (i % 3) as f32];
        let faces: Vec<_> =
            (0..faces).map(|id| TrackedFace { id, square: at(id), roll_rad: 0.2 * (id % 2) as f32 }).collect();
        let done = engines.step(&picture(i), &faces, &mut sessions, Duration::from_secs(i)).unwrap();
        // The shortest text that a number is read back from: equal where the bits are.
        let found = (done.engine, format!("{:?}", done.estimates));
        while engines.busy() {
            std::thread::yield_now();
        }
        found
    };
    (0..FRAMES).map(&mut frame).collect()
}

fn engines(student: &Student, mode: Mode, faults: &Faults) -> Started {
    let (cuda, simd, faults) = (Arc::new(student.clone()), Arc::new(student.clone()), faults.clone());
    let on_device = move || -> vaerr::Result<Box<dyn Engine>> {
        let device = Faulty::open(&faults, || ShimDevice::open(ShimOptions::default()))?;
        let options = Options { mode, slots: 4, ..Options::default() };
        Ok(Box::new(CudaEngine::with_form(device, FORMS[0], &cuda, options)?))
    };
    let on_cpu = move || -> vaerr::Result<Box<dyn Engine>> { Ok(Box::new(Simd::open(&simd)?)) };
    let list =
        vec![Candidate { name: "cuda", open: Arc::new(on_device) }, Candidate { name: "simd", open: Arc::new(on_cpu) }];
    Failover::open(list).unwrap()
}

#[test]
fn a_fault_at_any_call_of_the_device_loses_no_frame_and_no_bit() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    for (mode, faces) in [(Mode::Layers, 1), (Mode::Layers, 3), (Mode::Persistent, 3)] {
        let reference: Box<dyn Engine> = Box::new(Reference::open(&student).unwrap());
        let want: Vec<_> = read(&student, faces, &mut reference.into()).into_iter().map(|f| f.1).collect();
        let none = Faults::none();
        let sound = read(&student, faces, &mut engines(&student, mode, &none).failover);
        assert!(sound.iter().all(|f| f.0 == "cuda") && none.calls() > 20, "{}", none.calls());
        for call in 0..none.calls() {
            // The kinds take turns over the calls of all frames.
            let fault = Fault::ALL[(call % 4) as usize];
            let Started { mut failover, passed_over } = engines(&student, mode, &Faults::at(call, fault));
            let found = read(&student, faces, &mut failover);
            let context = format!("{fault:?} at call {call}, {mode:?}, {faces} faces");
            assert!(found.iter().map(|f| &f.1).eq(&want), "{context}");
            let tally = failover.tally();
            let failures = tally.engines[0].failures + passed_over.len() as u64;
            assert_eq!(
                (failures, tally.rescued, tally.engines[1].failures),
                (1, tally.engines[0].failures, 0),
                "{context}"
            );
            let away = found.iter().filter(|f| f.0 == "simd").count() as u64;
            let first = found.iter().position(|f| f.0 == "simd").unwrap() as u64;
            // Opened again at the frame five seconds after the failure; read from the one after that on.
            assert_eq!(away, (FRAMES - first).min(6), "{context}");
        }
    }
}
