//! Microseconds a frame at 640x480 on one thread: detect, crop, student, whole pipeline.

#[path = "../tests/it/detectors.rs"]
mod detectors;

use divan::Bencher;
use vaerr::capture::{FrameSource, Next, synthetic::Synthetic};
use vaerr::engine::maps::{MapEngine, Maps};
use vaerr::engine::simd::{Isa, MapSimd, Simd};
use vaerr::engine::{Choice, Engine, open};
use vaerr::face::Detector;
use vaerr::frame::{Frame, Gray};
use vaerr::model::{Bundle, Precision};
use vaerr::pipeline::Pipeline;
use vaerr::preprocess::Cropper;
use vaerr::render::Rng;
use vaerr::render::film::{Film, Occlusion, Portrait, Subject};
use vaerr::session::Finder;
use vaerr::spec::detector::DetectorSpec;
use vaerr::spec::{CropRule, HEADS, Range};

fn main() {
    divan::main();
}

fn frame() -> Frame {
    let mut frame = Frame::default();
    let mut source = Synthetic::parse("synthetic").unwrap();
    assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
    frame
}

fn gray() -> Gray {
    let mut gray = Gray::default();
    frame().luma_into(&mut gray).unwrap();
    gray
}

#[divan::bench(args = Range::ALL.map(Range::name))]
fn detect(bencher: Bencher, range: &str) {
    let (picture, mut found) = (gray(), Vec::new());
    let mut detector = Finder::shipped(range.parse().unwrap()).unwrap();
    bencher.bench_local(|| detector.detect(&picture, &mut found).unwrap());
}

#[divan::bench]
fn crop(bencher: Bencher) {
    let (picture, mut out) = (gray(), vec![0; 6400]);
    let mut cropper = Cropper::for_rule(&Bundle::shipped().unwrap().manifest().crop);
    bencher.bench_local(|| cropper.crop_into(&picture, [230.0, 150.0, 170.0], &mut out));
}

#[divan::bench(args = [Precision::Fp32, Precision::Int8])]
fn student_reference(bencher: Bencher, precision: Precision) {
    let bundle = Bundle::shipped().unwrap();
    let mut engine = open(&bundle, &Choice::Named("reference".into()), Some(precision)).unwrap().engine;
    let (ring, mut hidden, mut logits) = (vec![90; 5 * 6400], vec![0.0; 128], [0.0; HEADS]);
    bencher.bench_local(|| engine.step(&ring, &mut hidden, &mut logits).unwrap());
}

/// The whole step on each instruction set of this machine.
#[divan::bench(args = Isa::available().map(Isa::name))]
fn student_step(bencher: Bencher, isa: &str) {
    let student = Bundle::shipped().unwrap().student(Precision::Int8).unwrap();
    let isa = Isa::available().find(|i| i.name() == isa).unwrap();
    let mut engine = Simd::open_with(&student, isa).unwrap();
    let (ring, mut hidden, mut logits) = (vec![90; 5 * 6400], vec![0.0; 128], [0.0; HEADS]);
    bencher.bench_local(|| engine.step(&ring, &mut hidden, &mut logits).unwrap());
}

/// The maps of a picture of 320x240 on each instruction set of this machine.
#[divan::bench(args = Isa::available().map(Isa::name))]
fn detector_maps(bencher: Bencher, isa: &str) {
    let isa = Isa::available().find(|i| i.name() == isa).unwrap();
    let model = detectors::random(&DetectorSpec::small(), 128, 1);
    let mut engine = MapSimd::open_with(&model, isa).unwrap();
    let (picture, mut maps) = (detectors::picture(320, 240, &mut Rng::new(1, 0)), Maps::default());
    bencher.bench_local(|| engine.run(&picture, &mut maps).unwrap());
}

#[divan::bench]
fn whole_pipeline(bencher: Bencher) {
    let bundle = Bundle::shipped().unwrap();
    let engine = open(&bundle, &Choice::Auto, None).unwrap().engine;
    let mut pipeline = Pipeline::new(engine, bundle.manifest(), true).unwrap();
    let mut frame = frame();
    bencher.bench_local(|| {
        frame.index += 1;
        frame.time += std::time::Duration::from_millis(40);
        pipeline.process(&frame).unwrap().len()
    });
}

/// A frame of a rendered corpus, from head to crop.
#[divan::bench]
fn film_frame(bencher: Bencher) {
    let rule = CropRule { size_px: 96, detail_px: 96, ..CropRule::FERPLUS };
    let film = Film::new(Subject::new(1), 1, 30.0, 25.0, rule, &Occlusion::NONE, false);
    let (mut head, mut cropper) = (Portrait::new(film.subject.person.clone()), Cropper::for_rule(&rule));
    let (mut i, mut out) = (0, vec![0; 96 * 96]);
    bencher.bench_local(|| {
        let picture = film.picture(i % 750, &mut head).unwrap();
        cropper.crop_into(&picture.gray, picture.crop, &mut out);
        i += 1;
    });
}
