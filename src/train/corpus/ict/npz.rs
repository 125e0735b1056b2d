//! Whole arrays out of an npz file.

use crate::error::{Error, Result};
use crate::train::data::npy::Header;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of an array.
const MAX_BYTES: u64 = 1 << 30;

/// An npz file.
pub(super) struct Npz {
    path: PathBuf,
    archive: zip::ZipArchive<File>,
}

/// An array's shape and bytes, little endian, row by row.
struct Array {
    shape: Vec<usize>,
    bytes: Vec<u8>,
    item_bytes: usize,
}

impl Npz {
    /// # Errors
    /// A file that cannot be opened, or is no zip.
    pub fn open(path: &Path) -> Result<Self> {
        let bad = |what: &str| Error::input(what).at(path.display());
        let file = File::open(path).map_err(|e| bad("cannot be opened").caused_by(e))?;
        let archive = zip::ZipArchive::new(file).map_err(|e| bad("is not a readable npz file").caused_by(e))?;
        Ok(Self { path: path.into(), archive })
    }

    /// The place of `key` in messages.
    pub fn place(&self, key: &str) -> String {
        format!("{}:{key}", self.path.display())
    }

    fn array(&mut self, key: &str, kind: &str, dims: usize) -> Result<Array> {
        let place = self.place(key);
        let bad = |what: String| Error::input(what).at(&place);
        let member = self.archive.by_name(&format!("{key}.npy"));
        let mut member = member.map_err(|e| bad("is not there".into()).caused_by(e))?;
        let unreadable = |e| bad("cannot be read".into()).caused_by(e);
        let (header, _) = Header::read(&mut member).map_err(unreadable)?;
        let fits = header.descr.starts_with(kind) && !header.fortran && header.shape.len() == dims;
        let bytes = header.data_bytes().filter(|n| fits && *n <= MAX_BYTES);
        let (Some(total), Some(item)) = (bytes, header.item_bytes()) else {
            return Err(bad(format!(
                "is an array {:?} of {}, expected {dims} dimensions of {kind}, row by row",
                header.shape, header.descr
            )));
        };
        let wide = if kind == "<U" { 4 } else { 1 };
        let mut data = Vec::new();
        member.take(total * wide).read_to_end(&mut data).map_err(unreadable)?;
        if data.len() as u64 != total * wide {
            return Err(bad(format!("is cut off: {} bytes, expected {}", data.len(), total * wide)));
        }
        Ok(Array { shape: header.shape, bytes: data, item_bytes: (item * wide) as usize })
    }

    /// Numbers of an `<i4` array of `dims` dimensions, and its shape.
    pub fn ints(&mut self, key: &str, dims: usize) -> Result<(Vec<usize>, Vec<i32>)> {
        let a = self.array(key, "<i4", dims)?;
        Ok((a.shape, a.bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect()))
    }

    /// Numbers of an `<f4` array.
    pub fn floats(&mut self, key: &str, dims: usize) -> Result<(Vec<usize>, Vec<f32>)> {
        let a = self.array(key, "<f4", dims)?;
        Ok((a.shape, a.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }

    /// Bits of an `<f2` array; [`half`] gives their numbers.
    pub fn halves(&mut self, key: &str, dims: usize) -> Result<(Vec<usize>, Vec<u16>)> {
        let a = self.array(key, "<f2", dims)?;
        Ok((a.shape, a.bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect()))
    }

    /// Texts of a `<U` array of one dimension.
    pub fn texts(&mut self, key: &str) -> Result<Vec<String>> {
        let a = self.array(key, "<U", 1)?;
        let letter = |b: &[u8; 4]| char::from_u32(u32::from_le_bytes(*b)).filter(|c| *c != '\0');
        let text = |item: &[u8]| item.as_chunks().0.iter().filter_map(letter).collect();
        Ok(a.bytes.chunks_exact(a.item_bytes.max(1)).map(text).collect())
    }
}

/// The number of an IEEE 754 half.
pub(super) fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3FF));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2f32.powi(e - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read() {
        for (bits, want) in [(0, 0.0), (0x3C00, 1.0), (0xC000, -2.0), (0x3555, 0.333_251_95), (1, 5.960_464_5e-8)] {
            assert_eq!(half(bits), want);
        }
        assert!(half(0x7C01).is_nan() && half(0xFC00) == f32::NEG_INFINITY);
    }
}
