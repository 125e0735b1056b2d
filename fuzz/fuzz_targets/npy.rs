//! npy arrays: an array that is read is written to the same bytes where they are ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::train::data::npy::{self, Header};

fuzz_target!(|bytes: &[u8]| {
    let Ok((header, before)) = Header::read(&mut &bytes[..]) else { return };
    assert!(before <= bytes.len() as u64);
    let total = bytes.len() as u64;
    if let Ok(items) = npy::read::<u8>(&mut &bytes[..], total, &header.shape) {
        assert_eq!(items, bytes[before as usize..]);
    }
    if let Ok(items) = npy::read::<f32>(&mut &bytes[..], total, &header.shape) {
        let mut written = Vec::new();
        npy::write(&mut written, &header.shape, &items).expect("an array can be written");
        assert_eq!(written.len() as u64, npy::file_bytes::<f32>(&header.shape, items.len()));
        assert!(written.ends_with(&bytes[before as usize..]));
    }
});
