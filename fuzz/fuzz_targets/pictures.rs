//! Pictures of every format: what is decoded is a valid frame, and as a source it keeps the contract.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::capture::contract;
use vaerr::capture::pictures::{self, Pictures};
use vaerr::frame::{Frame, Gray};

fuzz_target!(|bytes: &[u8]| {
    let path = vaerr_fuzz::file("png", bytes);
    let mut frame = Frame::default();
    if pictures::read(&path, &mut frame).is_ok() {
        frame.validate().expect("bytes that match the shape");
        frame.luma_into(&mut Gray::default()).expect("luma");
        let mut source = Pictures::stills(&path).expect("a picture that was read");
        let again = contract::check(&mut source, usize::MAX).expect("the contract holds");
        assert!(again.len() == 1 && again[0].data == frame.data);
    }
});
