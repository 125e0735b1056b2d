//! Camera buffers, JPEG among them: six bytes of layout, then the buffer. What is unpacked is a valid frame, row by row
//! what the buffer holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaerr::capture::unpack::{Layout, Packing, unpack};
use vaerr::frame::{Frame, Gray, Range};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[width, w, height, stride, s, kind], buffer)) = bytes.split_first_chunk() else { return };
    let packing = Packing::ALL[usize::from(kind >> 1) % Packing::ALL.len()];
    let layout = Layout {
        width: usize::from(u16::from_le_bytes([width, w])),
        height: usize::from(height),
        stride: usize::from(u16::from_le_bytes([stride, s])),
        packing,
        range: if kind & 1 == 0 { Range::Full } else { Range::Limited },
    };
    let mut frame = Frame::default();
    if unpack(&layout, buffer, &mut frame).is_ok() {
        frame.validate().expect("bytes that match the shape");
        frame.luma_into(&mut Gray::default()).expect("luma");
        let row = match packing {
            Packing::Jpeg => return,
            Packing::Yuyv => 4 * layout.width.div_ceil(2),
            _ => layout.width,
        };
        let stride = if layout.stride == 0 { row } else { layout.stride };
        for (y, luma) in frame.data.chunks_exact(row).take(layout.height).enumerate() {
            assert_eq!(luma, &buffer[y * stride..][..row], "row {y} of {layout:?}");
        }
    }
});
