//! Whole arrays out of an npz file.

use crate::error::{Error, Result};
use crate::train::data::npy::Header;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of an array.
const MAX_BYTES: u64 = 256 << 20;

/// An npz file.
pub(super) struct Npz {
    path: PathBuf,
    /// Of the file.
    bytes: u64,
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
        let bytes = file.metadata().map_err(|e| bad("cannot be opened").caused_by(e))?.len();
        let archive = zip::ZipArchive::new(file).map_err(|e| bad("is not a readable npz file").caused_by(e))?;
        Ok(Self { path: path.into(), bytes, archive })
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
        // A character has four bytes; the header counts characters.
        let wide = if kind == "<U" { 4 } else { 1 };
        let bytes = header.data_bytes().filter(|n| fits && n.saturating_mul(wide) <= MAX_BYTES);
        let (Some(total), Some(item)) = (bytes, header.item_bytes()) else {
            return Err(bad(format!(
                "is an array {:?} of {}, expected {dims} dimensions of {kind}, row by row",
                header.shape, header.descr
            )));
        };
        header.ensure_held_by(self.bytes).map_err(|e| e.at(&place))?;
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

    #[test]
    fn arrays_that_the_file_cannot_hold_or_that_are_empty_are_refused_before_they_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        for (shape, want) in [
            (&[1 << 20, 50][..], "bytes can hold"),
            (&[1 << 40, 1], "expected 2 dimensions of <f4"),
            (&[1 << 60, 0], "is an empty array"),
            (&[2, 3], "is cut off: 8 bytes, expected 24"),
        ] {
            let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
            zip.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
            let whole = [Header::new("<f4", shape).to_bytes(), vec![0; 8]].concat();
            std::io::Write::write_all(&mut zip, &whole).unwrap();
            zip.finish().unwrap();
            let e = Npz::open(&path).unwrap().floats("a", 2).unwrap_err().to_string();
            assert!(e.contains("a.npz:a: ") && e.contains(want), "{e}");
        }
    }
}
