//! Arrays of pictures in npz files.

use crate::error::{Error, Result};
use crate::train::data::npy::{Header, Item};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Opens the three-dimensional array `key` and hands on its header and what follows that, which is long enough for it.
fn open<T>(path: &Path, key: &str, then: impl FnOnce(&Header, [usize; 3], &mut dyn Read) -> Result<T>) -> Result<T> {
    let place = format!("{}:{key}", path.display());
    let bad = |what: &str| Error::input(what).at(&place).remedy("expected an npz file with an array of T x H x W");
    let file = File::open(path).map_err(|e| bad("cannot be opened").caused_by(e))?;
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
        let read = |name: &str, key| shape(&tree.path().join(name), key);
        assert_eq!(read("a.npz", "arr_0").unwrap(), [5, 4, 3]);
        for (name, key, want) in [
            ("a.npz", "data", "a.npz:data: is not there"),
            ("short.npz", "arr_0", "is cut off"),
            ("flat.npz", "arr_0", "has 1 dimensions, expected 3"),
            ("no.npz", "arr_0", "not a readable npz"),
            ("none.npz", "arr_0", "cannot be opened"),
        ] {
            let e = read(name, key).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
    }
}
