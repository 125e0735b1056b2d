//! What ffmpeg prints: times never fall, and no line complains twice.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (times, complaints) = vaerr::fuzzing::showinfo(bytes);
    assert!(times.is_sorted(), "{times:?}");
    let lines = bytes.split(|b| *b == b'\n').map(|line| line.len() / 4096 + 1).sum::<usize>();
    assert!(complaints <= lines as u64 && times.len() <= lines + 2);
});
