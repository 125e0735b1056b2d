//! Tables of predictions and labels: a byte of what kind of file, then its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::train::score::{Side, read, subjects};

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, text)) = bytes.split_first() else { return };
    let path = vaerr_fuzz::file(["csv", "txt", "tsv", "jsonl"][usize::from(kind) % 4], text);
    let _ = subjects(&path);
    let face = (kind & 4 != 0).then_some(u32::from(kind >> 3));
    for side in [Side::Prediction { face }, Side::Label] {
        let Ok(tracks) = read(&path, side) else { continue };
        for track in tracks.values() {
            let rows = track.values[0].len();
            assert_eq!(track.values[1].len(), rows);
            if let Some(times) = &track.times {
                assert!(times.len() == rows && times.is_sorted_by(|a, b| a < b), "{times:?}");
            }
            if let Some(frames) = &track.frames {
                assert!(frames.len() == rows && frames.is_sorted_by(|a, b| a < b), "{frames:?}");
            }
            let legal = |v: &f64| v.is_nan() || side != Side::Label || (-1.0..=1.0).contains(v);
            assert!(track.values.iter().flatten().all(legal), "{track:?}");
        }
    }
});
