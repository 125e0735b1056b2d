//! Once warm, reading a face allocates nothing.

use crate::counting::allocations;
use crate::{detectors, students};
use std::time::Duration;
use vaerr::Result;
use vaerr::capture::{FrameSource, Next, synthetic::Synthetic};
use vaerr::engine::maps::{MapEngine, Maps};
use vaerr::engine::reference::{MapReference, Reference};
use vaerr::engine::simd::{Isa, MapSimd, Simd};
use vaerr::engine::{Engine, FaceStep, FramePath};
use vaerr::face::TrackedFace;
use vaerr::frame::{Frame, Gray};
use vaerr::model::{Bundle, Precision, Student};
use vaerr::pipeline::Pipeline;
use vaerr::preprocess::Cropper;
use vaerr::render::Rng;
use vaerr::session::{Failover, Session};
use vaerr::spec::detector::DetectorSpec;
use vaerr::spec::{CropRule, HEADS, StudentSpec};

#[test]
fn the_counter_sees_an_allocation() {
    let before = allocations();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(allocations() > before);
}

/// A reference that cuts the crops itself.
struct ByPicture(Reference, Cropper);

impl Engine for ByPicture {
    fn name(&self) -> &'static str {
        "by picture"
    }
    fn precision(&self) -> Precision {
        self.0.precision()
    }
    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()> {
        self.0.step(ring, hidden, logits)
    }
    fn frame_path(&mut self) -> Option<&mut dyn FramePath> {
        Some(self)
    }
}

impl FramePath for ByPicture {
    fn step_faces(&mut self, picture: &Gray, _: &CropRule, faces: &mut [FaceStep<'_>]) -> Result<()> {
        faces.iter_mut().try_for_each(|f| {
            f.ring.push(|out| self.1.level_into(picture, f.crop, f.roll_rad, out));
            self.0.step(f.ring.bytes(), f.hidden, f.logits)
        })
    }
}

fn picture() -> Gray {
    Gray { width: 320, height: 240, data: (0..320 * 240).map(|i| (i * 7 % 251) as u8).collect() }
}

fn square(i: u64, face: u32) -> [f32; 3] {
    [60.0 + i as f32, 40.0 * face as f32, 90.0 + 11.0 * (i % 3) as f32]
}

/// Allocations of six readings, once six have warmed everything up.
fn allocations_of_a_session(student: &Student, engine: &mut dyn Engine) -> u64 {
    let rule = CropRule { size_px: student.spec.size_px, detail_px: 16, ..CropRule::FERPLUS };
    let mut session = Session::new(&student.spec, rule, true);
    let picture = picture();
    let mut read = |i: u64| {
        // Level and rolled by turns.
        session.step(engine, &picture, square(i, 1), 0.3 * (i % 2) as f32, Duration::from_millis(40 * i)).unwrap();
    };
    (0..6).for_each(&mut read);
    let before = allocations();
    (6..12).for_each(&mut read);
    allocations() - before
}

/// Allocations of six frames after six others, each with three faces.
fn of_three_faces(student: &Student, engine: Box<dyn Engine>) -> u64 {
    let mut engines = Failover::from(engine);
    let mut sessions: Vec<_> = (0..3).map(|_| Session::new(&student.spec, CropRule::FERPLUS, true)).collect();
    let picture = picture();
    let mut read = |i: u64| {
        let faces = [1, 2, 3].map(|id| TrackedFace { id, square: square(i, id), roll_rad: 0.3 * (i % 2) as f32 });
        let found = engines.step(&picture, &faces, &mut sessions, Duration::from_millis(40 * i)).unwrap();
        assert_eq!(found.estimates.len(), 3);
    };
    (0..6).for_each(&mut read);
    let before = allocations();
    (6..12).for_each(&mut read);
    allocations() - before
}

#[test]
fn three_faces_a_frame_allocate_nothing_once_warm() {
    let student = students::int8(&StudentSpec::nano(), 1);
    let reference = || Reference::open(&student).unwrap();
    assert_eq!(of_three_faces(&student, Box::new(reference())), 0);
    assert_eq!(of_three_faces(&student, Box::new(Simd::open(&student).unwrap())), 0);
    let by_picture = ByPicture(reference(), Cropper::for_rule(&CropRule::FERPLUS));
    assert_eq!(of_three_faces(&student, Box::new(by_picture)), 0);
}

#[test]
fn a_session_on_the_reference_engine_allocates_nothing_once_warm() {
    let odd = students::odd_spec(3, 17, 2);
    for student in
        [students::int8(&StudentSpec::nano(), 1), students::fp32(&StudentSpec::nano(), 1), students::int8(&odd, 1)]
    {
        let mut engine = Reference::open(&student).unwrap();
        assert_eq!(allocations_of_a_session(&student, &mut engine), 0, "{:?}", student.precision());
    }
}

#[test]
fn a_session_on_the_simd_engine_allocates_nothing_on_any_instruction_set() {
    for spec in [StudentSpec::nano(), students::odd_spec(3, 17, 2)] {
        let student = students::int8(&spec, 1);
        for isa in Isa::available() {
            let mut engine = Simd::open_with(&student, isa).unwrap();
            assert_eq!(allocations_of_a_session(&student, &mut engine), 0, "{}", isa.name());
        }
    }
}

#[test]
fn maps_of_pictures_of_one_size_allocate_nothing() {
    let model = detectors::random(&DetectorSpec::small(), 128, 1);
    let mut rng = Rng::new(1, 0);
    let [wide, high, other] = [(90, 61), (61, 90), (90, 61)].map(|(w, h)| detectors::picture(w, h, &mut rng));
    let mut engines: Vec<Box<dyn MapEngine>> = vec![Box::new(MapReference::open(&model).unwrap())];
    engines
        .extend(Isa::available().map(|isa| Box::new(MapSimd::open_with(&model, isa).unwrap()) as Box<dyn MapEngine>));
    for engine in &mut engines {
        let mut maps = Maps::default();
        [&high, &wide].into_iter().for_each(|p| engine.run(p, &mut maps).unwrap());
        let before = allocations();
        [&other, &wide].into_iter().for_each(|p| engine.run(p, &mut maps).unwrap());
        assert_eq!(allocations() - before, 0, "{}", engine.name());
    }
}

#[cfg(feature = "tflite")]
#[test]
fn a_session_on_tflite_allocates_nothing_of_ours() {
    for student in [students::int8(&StudentSpec::nano(), 1), students::fp32(&StudentSpec::nano(), 1)] {
        let mut engine = vaerr::engine::tflite::Tflite::open(&student).unwrap();
        assert_eq!(allocations_of_a_session(&student, &mut engine), 0, "{:?}", student.precision());
    }
}

#[test]
fn whole_frames_allocate_nothing_once_warm() {
    // Found, followed, levelled, cut and read; the picture is reduced by a whole factor, and by another.
    for size in ["640x480", "500x376"] {
        let mut source = Synthetic::parse(&format!("synthetic:people=2,seconds=0,size={size}")).unwrap();
        let bundle = Bundle::shipped().unwrap();
        let engine = Simd::open(&bundle.student(Precision::Int8).unwrap()).unwrap();
        let mut pipeline = Pipeline::new(Box::new(engine) as Box<dyn Engine>, bundle.manifest(), true).unwrap();
        let frames: Vec<Frame> = (0..24)
            .map(|_| {
                let mut frame = Frame::default();
                assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
                frame
            })
            .collect();
        let mut read = |frames: &[Frame]| {
            frames.iter().map(|f| pipeline.process(f).unwrap().iter().filter(|r| r.face.id().is_some()).count()).sum()
        };
        let warm: usize = read(&frames[..16]);
        let before = allocations();
        let seen: usize = read(&frames[16..]);
        assert_eq!(allocations() - before, 0, "{size}: {warm} and {seen} readings");
        assert_eq!((warm, seen), (32, 16), "{size}");
    }
}
