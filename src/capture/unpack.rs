//! Camera buffers into frames: padded rows, interleaved chroma, JPEG.

use super::huffman;
use crate::error::{Error, Result};
use crate::frame::{Frame, MAX_AREA_PX, MAX_SIDE_PX, PixelFormat, Range};

/// How a camera lays out its bytes, by the names Video4Linux2 gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `YUYV`: Y0 U Y1 V.
    Yuyv,
    /// `GREY`: one byte a pixel.
    Grey,
    /// `NV12`: luma, then U and V in turn at half size.
    Nv12,
    /// `YU12`: luma, then U, then V, each at half size; chroma rows lie half a luma stride apart.
    Yu12,
    /// `MJPG`: each buffer is one JPEG picture.
    Jpeg,
}

impl Packing {
    /// All, the cheapest to read first.
    pub const ALL: [Packing; 5] = [Packing::Yuyv, Packing::Grey, Packing::Nv12, Packing::Yu12, Packing::Jpeg];

    /// The four characters that name it.
    pub fn fourcc(self) -> &'static [u8; 4] {
        match self {
            Packing::Yuyv => b"YUYV",
            Packing::Grey => b"GREY",
            Packing::Nv12 => b"NV12",
            Packing::Yu12 => b"YU12",
            Packing::Jpeg => b"MJPG",
        }
    }
}

/// What a camera agreed to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Bytes from one luma row to the next; 0 means tightly packed.
    pub stride: usize,
    /// Order of the bytes.
    pub packing: Packing,
    /// Meaning of luma values; JPEG is always full range.
    pub range: Range,
}

/// Copies `rows` rows of `row` bytes, `stride` apart in `from`; the last row need not be padded.
/// Gives what follows the last full stride.
fn rows<'a>(from: &'a [u8], to: &mut [u8], row: usize, stride: usize) -> Option<&'a [u8]> {
    if stride < row {
        return None;
    }
    let mut at = 0;
    for out in to.chunks_exact_mut(row) {
        out.copy_from_slice(from.get(at..at + row)?);
        at += stride;
    }
    Some(from.get(at..).unwrap_or(&[]))
}

fn nv12(l: &Layout, from: &[u8], to: &mut [u8], stride: usize) -> Option<()> {
    let (luma, chroma) = to.split_at_mut(l.width * l.height);
    let rest = rows(from, luma, l.width, stride)?;
    let cw = l.width.div_ceil(2);
    let (u, v) = chroma.split_at_mut(cw * l.height.div_ceil(2));
    // An odd stride cannot hold the last pair of an odd width.
    let stride = stride.next_multiple_of(2);
    for (i, (u, v)) in u.chunks_exact_mut(cw).zip(v.chunks_exact_mut(cw)).enumerate() {
        let pairs = rest.get(i * stride..i * stride + 2 * cw)?.chunks_exact(2);
        for ((u, v), pair) in u.iter_mut().zip(v).zip(pairs) {
            (*u, *v) = (pair[0], pair[1]);
        }
    }
    Some(())
}

fn yu12(l: &Layout, from: &[u8], to: &mut [u8], stride: usize) -> Option<()> {
    let (luma, chroma) = to.split_at_mut(l.width * l.height);
    let cw = l.width.div_ceil(2);
    let (u, v) = chroma.split_at_mut(cw * l.height.div_ceil(2));
    let rest = rows(from, luma, l.width, stride)?;
    let rest = rows(rest, u, cw, stride.div_ceil(2))?;
    rows(rest, v, cw, stride.div_ceil(2)).map(|_| ())
}

fn jpeg(from: &[u8], frame: &mut Frame) -> Result<()> {
    if huffman::lacks_tables(from) {
        let (start, rest) = from.split_at(2);
        return decode(&[start, &huffman::DHT.concat(), rest].concat(), frame);
    }
    decode(from, frame)
}

fn decode(from: &[u8], frame: &mut Frame) -> Result<()> {
    let bad = |e: image::ImageError| Error::input("a JPEG picture cannot be decoded").caused_by(e);
    let mut reader = image::ImageReader::with_format(std::io::Cursor::new(from), image::ImageFormat::Jpeg);
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX as u32);
    limits.max_image_height = Some(MAX_SIDE_PX as u32);
    limits.max_alloc = Some(4 * MAX_AREA_PX as u64);
    reader.limits(limits);
    let picture = reader.decode().map_err(bad)?.into_rgb8();
    frame.reshape(picture.width() as usize, picture.height() as usize, PixelFormat::Rgb8, Range::Full)?;
    frame.data.copy_from_slice(&picture);
    Ok(())
}

/// Writes a camera's buffer into `frame`, leaving its time and number as they are.
///
/// Formats become `Yuyv`, `Gray8`, `Yuv420p` (NV12 and YU12) and `Rgb8` (JPEG, in the picture's own size, decoded
/// through a fresh allocation).
///
/// # Errors
/// A size no frame can have, a stride shorter than a row, too few bytes, or a broken JPEG.
pub fn unpack(l: &Layout, from: &[u8], frame: &mut Frame) -> Result<()> {
    let (format, row) = match l.packing {
        Packing::Jpeg => return jpeg(from, frame),
        Packing::Yuyv => (PixelFormat::Yuyv, 4 * l.width.div_ceil(2)),
        Packing::Grey => (PixelFormat::Gray8, l.width),
        Packing::Nv12 | Packing::Yu12 => (PixelFormat::Yuv420p, l.width),
    };
    frame.reshape(l.width, l.height, format, l.range)?;
    let stride = if l.stride == 0 { row } else { l.stride };
    let done = match l.packing {
        Packing::Nv12 => nv12(l, from, &mut frame.data, stride),
        Packing::Yu12 => yu12(l, from, &mut frame.data, stride),
        _ => rows(from, &mut frame.data, row, stride).map(|_| ()),
    };
    done.ok_or_else(|| {
        let Layout { width, height, packing, .. } = l;
        let n = from.len();
        Error::input(format!("{n} bytes in rows of {stride} hold no {packing:?} picture of {width}x{height}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(width: usize, height: usize, stride: usize, packing: Packing) -> Layout {
        Layout { width, height, stride, packing, range: Range::Limited }
    }

    fn unpacked(l: Layout, from: &[u8]) -> Result<Vec<u8>> {
        let mut frame = Frame::default();
        unpack(&l, from, &mut frame)?;
        frame.validate()?;
        assert_eq!((frame.width, frame.height, frame.range), (l.width, l.height, l.range));
        Ok(frame.data)
    }

    #[test]
    fn row_padding_is_left_out() {
        let grey = layout(3, 2, 5, Packing::Grey);
        assert_eq!(unpacked(grey, &[1, 2, 3, 0, 0, 4, 5, 6]).unwrap(), [1, 2, 3, 4, 5, 6]);
        let yuyv = layout(2, 2, 6, Packing::Yuyv);
        assert_eq!(unpacked(yuyv, &[1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0]).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn nv12_chroma_comes_apart_at_even_and_odd_sizes() {
        let even = layout(2, 2, 0, Packing::Nv12);
        assert_eq!(unpacked(even, &[1, 2, 3, 4, 5, 6]).unwrap(), [1, 2, 3, 4, 5, 6]);
        let odd = layout(3, 3, 4, Packing::Nv12);
        let from = [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 10, 20, 11, 21, 12, 22, 13, 23];
        assert_eq!(unpacked(odd, &from).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20, 21, 22, 23]);
    }

    #[test]
    fn yu12_chroma_rows_lie_half_a_stride_apart() {
        let l = layout(3, 2, 6, Packing::Yu12);
        let from = [1, 2, 3, 0, 0, 0, 4, 5, 6, 0, 0, 0, 7, 8, 0, 9, 10];
        assert_eq!(unpacked(l, &from).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn one_byte_short_is_refused_and_so_is_a_stride_below_a_row() {
        for (packing, format) in [
            (Packing::Grey, PixelFormat::Gray8),
            (Packing::Yuyv, PixelFormat::Yuyv),
            (Packing::Nv12, PixelFormat::Yuv420p),
            (Packing::Yu12, PixelFormat::Yuv420p),
        ] {
            let n = format.bytes(6, 4);
            let l = layout(6, 4, 0, packing);
            assert!(unpacked(l, &vec![7; n]).is_ok(), "{packing:?}");
            let e = unpacked(l, &vec![7; n - 1]).unwrap_err().to_string();
            assert!(e.contains("6x4") && e.contains(&format!("{} bytes", n - 1)), "{e}");
            assert!(unpacked(Layout { stride: 5, ..l }, &vec![7; 4 * n]).is_err(), "{packing:?}");
            assert!(unpacked(l, &[]).is_err(), "{packing:?}");
        }
        assert!(unpacked(layout(0, 4, 0, Packing::Grey), &[0; 9]).is_err());
    }

    fn picture() -> Vec<u8> {
        let mut out = std::io::Cursor::new(Vec::new());
        let image = image::RgbImage::from_fn(33, 17, |x, y| image::Rgb([(x * 7) as u8, (y * 15) as u8, 90]));
        image.write_to(&mut out, image::ImageFormat::Jpeg).unwrap();
        out.into_inner()
    }

    #[test]
    fn jpeg_is_decoded_in_its_own_size_and_a_broken_one_refused() {
        let bytes = picture();
        let (l, mut frame) = (layout(640, 480, 0, Packing::Jpeg), Frame::default());
        // Cameras pad the buffer after the picture.
        let padded = [bytes.as_slice(), &[0; 100]].concat();
        unpack(&l, &padded, &mut frame).unwrap();
        assert_eq!((frame.width, frame.height, frame.format, frame.range), (33, 17, PixelFormat::Rgb8, Range::Full));
        for bad in [&bytes[..30], &[][..], &[0; 500], b"not a picture"] {
            assert!(unpack(&l, bad, &mut frame).unwrap_err().to_string().contains("JPEG"));
        }
    }

    #[test]
    fn jpeg_without_huffman_tables_is_read_with_the_standard_ones() {
        let bytes = picture();
        let (mut bare, mut at) = (bytes[..2].to_vec(), 2);
        while bytes[at + 1] != 0xDA {
            let end = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            if bytes[at + 1] != 0xC4 {
                bare.extend_from_slice(&bytes[at..end]);
            }
            at = end;
        }
        bare.extend_from_slice(&bytes[at..]);
        assert!(bare.len() < bytes.len());
        let (l, mut whole, mut frame) = (layout(33, 17, 0, Packing::Jpeg), Frame::default(), Frame::default());
        unpack(&l, &bytes, &mut whole).unwrap();
        unpack(&l, &bare, &mut frame).unwrap();
        assert_eq!(frame.data, whole.data);
    }

    proptest! {
        #[test]
        fn any_layout_and_any_bytes_give_a_valid_frame_or_an_error(
            (width, height, stride, which) in (0usize..20, 0usize..20, 0usize..50, 0usize..5),
            from in proptest::collection::vec(any::<u8>(), 0..900),
        ) {
            let mut frame = Frame::default();
            let l = layout(width, height, stride, Packing::ALL[which]);
            if unpack(&l, &from, &mut frame).is_ok() {
                frame.validate().unwrap();
            }
        }

        #[test]
        fn luma_survives_any_stride(width in 1usize..20, height in 1usize..20, pad in 0usize..9, which in 1usize..4) {
            let stride = width + pad;
            let from: Vec<u8> = (0..4 * stride * (height + 2)).map(|i| (i * 31) as u8).collect();
            let data = unpacked(layout(width, height, stride, Packing::ALL[which]), &from).unwrap();
            for y in 0..height {
                prop_assert_eq!(&data[y * width..(y + 1) * width], &from[y * stride..y * stride + width]);
            }
        }
    }
}
