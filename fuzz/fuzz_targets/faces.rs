//! The face detector, most of whose code is unsafe: a byte of width, then pixels. Faces lie about the picture, and a second
//! search finds the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use vaerr::face::{Detector, SeetaDetector};
use vaerr::frame::Gray;

thread_local! {
    static DETECTOR: RefCell<SeetaDetector> = RefCell::new(SeetaDetector::new().expect("the embedded detector"));
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
        assert!(once.iter().all(|f| f.square.iter().all(|v| v.is_finite()) && f.square[2] >= 0.0), "{once:?}");
    });
});
