//! Arrays of pictures in npz files.

use crate::error::{Error, Result};
use crate::train::data::npy::{Header, Item};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Most pixels of a picture's side, as of a sample's frames.
const MOST_SIDE_PX: usize = 4096;

/// Opens the three-dimensional array `key` and hands on its header and what follows that, which is long enough for it.
fn open<T>(path: &Path, key: &str, then: impl FnOnce(&Header, [usize; 3], &mut dyn Read) -> Result<T>) -> Result<T> {
    let place = format!("{}:{key}", path.display());
    let bad = |what: &str| Error::input(what).at(&place).remedy("expected an npz file with an array of T x H x W");
    let file = File::open(path).map_err(|e| bad("cannot be opened").caused_by(e))?;
    let archive_bytes = file.metadata().map_err(|e| bad("cannot be opened").caused_by(e))?.len();
    let mut archive = zip::ZipArchive::new(file).map_err(|e| bad("is not a readable npz file").caused_by(e))?;
    let mut member = archive.by_name(&format!("{key}.npy")).map_err(|e| bad("is not there").caused_by(e))?;
    let total = member.size();
    let (header, before) = Header::read(&mut member).map_err(|e| bad("has no readable npy header").caused_by(e))?;
    let total = total.saturating_sub(before);
    let &[t, h, w] = &header.shape[..] else {
        return Err(bad(&format!("has {} dimensions, expected 3", header.shape.len())));
    };
    if header.data_bytes().is_none_or(|n| total < n) {
        return Err(bad(&format!("is cut off: {total} bytes hold no {t} x {h} x {w} array")));
    }
    // The total above is what the archive claims.
    header.ensure_held_by(archive_bytes).map_err(|e| bad("is no array of pictures").caused_by(e))?;
    if h > MOST_SIDE_PX || w > MOST_SIDE_PX {
        return Err(bad(&format!("has pictures of {h} x {w}, at most {MOST_SIDE_PX} a side are read")));
    }
    then(&header, [t, h, w], &mut member)
}

/// Shape of the three-dimensional array `key`; its data are not read.
///
/// # Errors
/// Not an npz file, no such array, another number of dimensions, or fewer bytes than the shape needs.
pub fn shape(path: &Path, key: &str) -> Result<[usize; 3]> {
    open(path, key, |_, shape, _| Ok(shape))
}

/// Hands on the number and the `H * W` pixels of every frame of the array `key`, one at a time.
///
/// # Errors
/// As [`shape`]; items that are not u8 stored row by row; damaged data; what `take` gives.
pub fn each_frame(path: &Path, key: &str, take: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
    open(path, key, |header, [t, h, w], data| {
        let at = |e: Error| e.at(format!("{}:{key}", path.display()));
        if *header != Header::new(u8::DESCR, &header.shape) {
            let order = if header.fortran { " column by column" } else { "" };
            return Err(at(Error::unsupported(format!("holds {}{order}, expected u8 row by row", header.descr))));
        }
        let mut pixels = vec![0; h * w];
        for i in 0..t {
            data.read_exact(&mut pixels).map_err(|e| at(Error::input("is damaged").caused_by(e)))?;
            take(i, &pixels)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, npz};
    use super::*;

    #[test]
    fn the_shape_is_read_from_the_header() {
        let tree = Tree::new();
        tree.file("a.npz", npz("arr_0", &[5, 4, 3], 60)).file("short.npz", npz("arr_0", &[5, 4, 3], 59));
        tree.file("flat.npz", npz("arr_0", &[60], 60)).file("no.npz", "PK nonsense");
        tree.file("empty.npz", npz("arr_0", &[1 << 60, 0, 3], 0)).file("wide.npz", npz("arr_0", &[1, 2, 4097], 8194));
        let read = |name: &str, key| shape(&tree.path().join(name), key);
        assert_eq!(read("a.npz", "arr_0").unwrap(), [5, 4, 3]);
        for (name, key, want) in [
            ("a.npz", "data", "a.npz:data: is not there"),
            ("short.npz", "arr_0", "is cut off"),
            ("flat.npz", "arr_0", "has 1 dimensions, expected 3"),
            ("no.npz", "arr_0", "not a readable npz"),
            ("none.npz", "arr_0", "cannot be opened"),
            ("empty.npz", "arr_0", "is an empty array"),
            ("wide.npz", "arr_0", "at most 4096 a side"),
        ] {
            let e = read(name, key).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
    }

    #[test]
    fn sizes_that_archive_and_header_claim_alike_are_not_believed() {
        let tree = Tree::new();
        let mut bytes = npz("arr_0", &[4000, 1000, 1000], 64);
        // The member's uncompressed size, in its local and its central header.
        for (mark, at) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
            let start = bytes.windows(4).position(|w| w == mark).unwrap() + at;
            bytes[start..start + 4].copy_from_slice(&4_100_000_000_u32.to_le_bytes());
        }
        tree.file("bomb.npz", bytes);
        let e = shape(&tree.path().join("bomb.npz"), "arr_0").unwrap_err().to_string();
        assert!(e.contains("more than a file of") && e.contains("bytes can hold"), "{e}");
    }
}
