//! NumPy's npy arrays: the header (format versions 1 to 3 are read, 1 is written) and arrays of u8 and f32.
//!
//! Layout: `\x93NUMPY`, two version bytes, the header's length (u16 LE in version 1, else u32 LE), a Python dictionary such
//! as `{'descr': '<f4', 'fortran_order': False, 'shape': (5, 2), }` padded with spaces and ended by a newline so that the
//! data begin on a multiple of 64 bytes; then the items, row by row, little endian.

use crate::error::{Error, Result};
use std::io::{Read, Write};

/// Longest header that is read, in bytes.
const MAX_HEADER: u64 = 65_536;

/// Most bytes that deflate makes of one: what a compressed file can hold at most.
const MOST_INFLATED: u64 = 1032;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Type of an item, e.g. `|u1` or `<f4`.
    pub descr: String,
    /// Column by column instead of row by row.
    pub fortran: bool,
    pub shape: Vec<usize>,
}

impl Header {
    /// Of an array stored row by row.
    pub fn new(descr: &str, shape: &[usize]) -> Self {
        Self { descr: descr.into(), fortran: false, shape: shape.into() }
    }

    /// Reads up to the first item; gives the bytes read as well.
    ///
    /// # Errors
    /// An end before the header's, no NUMPY mark, or a dictionary of another form.
    pub fn read(from: &mut impl Read) -> std::io::Result<(Self, u64)> {
        let mut start = [0; 8];
        from.read_exact(&mut start)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(std::io::Error::other("no NUMPY mark"));
        }
        let mut length = [0; 4];
        let counted = if start[6] == 1 { 2 } else { 4 };
        from.read_exact(&mut length[..counted])?;
        let length = u64::from(u32::from_le_bytes(length));
        let mut text = String::new();
        if length > MAX_HEADER || from.take(length).read_to_string(&mut text)? as u64 != length {
            return Err(std::io::Error::other(format!("its header of {length} bytes is cut off or too long")));
        }
        let header = Self::parse(&text).ok_or_else(|| std::io::Error::other("its header is of another form"))?;
        Ok((header, (start.len() + counted) as u64 + length))
    }

    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| text.split_once(key).map(|(_, rest)| rest);
        let descr = after("'descr':")?.split('\'').nth(1)?.to_owned();
        let fortran = after("'fortran_order':")?.trim_start().starts_with("True");
        let inside = after("'shape':")?.split_once('(')?.1.split_once(')')?.0;
        let numbers = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
        Some(Self { descr, fortran, shape: numbers.map(|s| s.parse().ok()).collect::<Option<_>>()? })
    }

    /// Bytes of an item; `None` for types that are not a letter and a number.
    pub fn item_bytes(&self) -> Option<u64> {
        self.descr.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    }

    /// Bytes of all items; `None` where that cannot be told or does not fit.
    pub fn data_bytes(&self) -> Option<u64> {
        self.shape.iter().try_fold(self.item_bytes()?, |n, side| n.checked_mul(*side as u64))
    }

    /// Refuses a shape that an archive of `archive_bytes` cannot hold, whatever its members claim, and arrays without a byte, of which
    /// a header alone could have any number of rows.
    ///
    /// # Errors
    /// Says which of the two.
    pub fn ensure_held_by(&self, archive_bytes: u64) -> Result<()> {
        match self.data_bytes() {
            Some(0) => Err(Error::input(format!("is an empty array {:?} of {}", self.shape, self.descr))),
            Some(bytes) if bytes <= archive_bytes.saturating_mul(MOST_INFLATED) => Ok(()),
            _ => Err(Error::input(format!(
                "is an array {:?} of {}, more than a file of {archive_bytes} bytes can hold",
                self.shape, self.descr
            ))),
        }
    }

    /// The header as bytes, a multiple of 64.
    pub fn to_bytes(&self) -> Vec<u8> {
        let sides: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let shape = if sides.len() == 1 { format!("({},)", sides[0]) } else { format!("({})", sides.join(", ")) };
        let order = if self.fortran { "True" } else { "False" };
        let mut text = format!("{{'descr': '{}', 'fortran_order': {order}, 'shape': {shape}, }}", self.descr);
        // 10 bytes stand before the dictionary, one newline ends it.
        text.push_str(&" ".repeat((64 - (text.len() + 11) % 64) % 64));
        text.push('\n');
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
        out
    }
}

/// Items that are stored.
pub trait Item: Sized {
    /// As npy writes it.
    const DESCR: &'static str;
    /// Little-endian bytes of `items`.
    fn bytes(items: &[Self]) -> std::borrow::Cow<'_, [u8]>;
    /// The reverse.
    fn items(bytes: Vec<u8>) -> Vec<Self>;
}

impl Item for u8 {
    const DESCR: &'static str = "|u1";

    fn bytes(items: &[Self]) -> std::borrow::Cow<'_, [u8]> {
        items.into()
    }

    fn items(bytes: Vec<u8>) -> Vec<Self> {
        bytes
    }
}

impl Item for f32 {
    const DESCR: &'static str = "<f4";

    fn bytes(items: &[Self]) -> std::borrow::Cow<'_, [u8]> {
        items.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn items(bytes: Vec<u8>) -> Vec<Self> {
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

/// Bytes that [`write`] gives.
pub fn file_bytes<T: Item>(shape: &[usize], items: usize) -> u64 {
    (Header::new(T::DESCR, shape).to_bytes().len() + items * size_of::<T>()) as u64
}

/// Writes an array of `shape`, whose product is the number of `items`.
///
/// # Errors
/// Another number of items; what the writer refuses.
pub fn write<T: Item>(to: &mut impl Write, shape: &[usize], items: &[T]) -> std::io::Result<()> {
    if shape.iter().product::<usize>() != items.len() {
        return Err(std::io::Error::other(format!("{} items do not fill {shape:?}", items.len())));
    }
    to.write_all(&Header::new(T::DESCR, shape).to_bytes())?;
    to.write_all(&T::bytes(items))
}

/// Reads the array that fills `from`, which is `total` bytes long and must be of `shape`, row by row.
///
/// # Errors
/// Another type, order or shape; more or fewer bytes than it needs. Nothing is allocated before `total` bears it out.
pub fn read<T: Item>(from: &mut impl Read, total: u64, shape: &[usize]) -> Result<Vec<T>> {
    let unreadable = |e: std::io::Error| Error::input("is not a readable npy array").caused_by(e);
    let (header, before) = Header::read(from).map_err(unreadable)?;
    if header != Header::new(T::DESCR, shape) {
        let order = if header.fortran { ", column by column" } else { "" };
        return Err(Error::input(format!(
            "is an array {:?} of {}{order}, expected {shape:?} of {}",
            header.shape,
            header.descr,
            T::DESCR
        )));
    }
    let needed = header.data_bytes().filter(|n| Some(*n) == total.checked_sub(before));
    let Some(needed) = needed.and_then(|n| usize::try_from(n).ok()) else {
        return Err(Error::input(format!("has {total} bytes, which is not what an array {shape:?} needs")));
    };
    let mut bytes = vec![0; needed];
    from.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(T::items(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_what_the_format_s_document_says() {
        let bytes = Header::new("<f4", &[3, 2]).to_bytes();
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
        let want = [&b"\x93NUMPY\x01\x00\x76\x00"[..], format!("{text:<117}\n").as_bytes()].concat();
        assert_eq!((bytes.len(), &bytes[..]), (128, &want[..]));
        assert!(String::from_utf8_lossy(&Header::new("|u1", &[7]).to_bytes()).contains("'shape': (7,), }"));
    }

    #[test]
    fn headers_of_another_form_are_refused() {
        let parsed = Header::parse("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }").unwrap();
        assert_eq!((parsed.fortran, parsed.item_bytes(), parsed.data_bytes()), (true, Some(8), Some(48)));
        assert_eq!(Header::parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, x)}"), None);
        assert_eq!(Header::parse("nothing"), None);
        assert_eq!(Header::new("|u1", &[usize::MAX, 3]).data_bytes(), None);
    }

    #[test]
    fn a_shape_is_held_against_the_archive_it_came_in() {
        let held = |shape: &[usize], bytes| Header::new("|u1", shape).ensure_held_by(bytes);
        assert!(held(&[1032, 10], 10).is_ok());
        for (shape, want) in [
            (&[1033, 10][..], "more than a file of 10 bytes can hold"),
            (&[usize::MAX, 3], "can hold"),
            (&[usize::MAX, 0], "is an empty array"),
        ] {
            assert!(held(shape, 10).unwrap_err().to_string().contains(want), "{shape:?}");
        }
        assert!(
            Header::new("|V0", &[1 << 60]).ensure_held_by(10).unwrap_err().to_string().contains("is an empty array")
        );
    }

    #[test]
    fn another_type_shape_order_or_length_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[2, 3], &[1_u8, 2, 3, 4, 5, 6]).unwrap();
        let total = bytes.len() as u64;
        let read_as = |bytes: &[u8], total, shape: &[usize]| read::<u8>(&mut &bytes[..], total, shape);
        assert_eq!(read_as(&bytes, total, &[2, 3]).unwrap(), [1, 2, 3, 4, 5, 6]);
        let turned = Header { fortran: true, ..Header::new("|u1", &[2, 3]) }.to_bytes();
        for (error, want) in [
            (read_as(&bytes, total, &[3, 2]), "is an array [2, 3] of |u1, expected [3, 2] of |u1"),
            (read_as(&bytes, total - 1, &[2, 3]), "which is not what an array [2, 3] needs"),
            (read_as(&bytes[..total as usize - 1], total, &[2, 3]), "is not a readable npy array"),
            (read_as(&turned, total, &[2, 3]), "column by column"),
            (read_as(&bytes[..20], 20, &[2, 3]), "is cut off or too long"),
            (read_as(b"PK nonsense", 11, &[2, 3]), "no NUMPY mark"),
        ] {
            let e = error.unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
        let e = read::<f32>(&mut &bytes[..], total, &[2, 3]).unwrap_err().to_string();
        assert!(e.contains("of |u1, expected [2, 3] of <f4"), "{e}");
        assert!(write(&mut Vec::new(), &[2, 2], &[1_u8]).is_err());
    }

    proptest! {
        #[test]
        fn arrays_come_back_bit_for_bit(rows in 0_usize..7, bits in prop::collection::vec(any::<u32>(), 0..64)) {
            let columns = bits.len().checked_div(rows).unwrap_or(0);
            let items: Vec<f32> = bits[..rows * columns].iter().map(|b| f32::from_bits(*b)).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, &[rows, columns], &items).unwrap();
            let total = bytes.len() as u64;
            prop_assert_eq!(total, file_bytes::<f32>(&[rows, columns], items.len()));
            let back = read::<f32>(&mut &bytes[..], total, &[rows, columns]).unwrap();
            prop_assert!(back.iter().zip(&items).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
