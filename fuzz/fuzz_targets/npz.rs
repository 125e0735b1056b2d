//! npz files: pictures of data sets and the layout of ICT-FaceKit's head.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::fuzzing::{npz_frames, npz_shape};
use vaerr::train::corpus::ict::IctModel;

fuzz_target!(|bytes: &[u8]| {
    let path = vaerr_fuzz::file("npz", bytes);
    let _ = IctModel::load(&path);
    let shape = npz_shape(&path, "arr_0");
    let mut seen = 0;
    let read = npz_frames(&path, "arr_0", &mut |i, pixels| {
        let [_, h, w] = *shape.as_ref().expect("a shape before frames");
        assert_eq!((i, pixels.len()), (seen, h * w));
        seen += 1;
        Ok(())
    });
    if read.is_ok() {
        assert_eq!(seen, shape.expect("a shape")[0]);
    }
});
