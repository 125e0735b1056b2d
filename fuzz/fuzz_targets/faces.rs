//! The face detector: a byte of width, then pixels. What is found is finite, and a second search finds the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use vaerr::face::Detector;
use vaerr::frame::Gray;
use vaerr::session::Finder;
use vaerr::spec::Range;

thread_local! {
    static DETECTOR: RefCell<Finder> = RefCell::new(Finder::shipped(Range::Near).expect("the embedded detector"));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&width, pixels)) = bytes.split_first() else { return };
    let width = usize::from(width).max(1);
    let height = pixels.len() / width;
    let picture = Gray { width, height, data: pixels[..width * height].to_vec() };
    DETECTOR.with_borrow_mut(|detector| {
        let (mut once, mut again) = (Vec::new(), Vec::new());
        detector.detect(&picture, &mut once).expect("a search");
        detector.detect(&picture, &mut again).expect("a search");
        assert_eq!(once, again);
        let finite = |v: &f32| v.is_finite();
        assert!(once.iter().all(|f| f.rect.iter().chain(f.points.as_flattened()).all(finite)), "{once:?}");
    });
});
