//! Shapes of arrays in npz files, without reading their data.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Shape of the three-dimensional array `key`.
///
/// # Errors
/// Not an npz file, no such array, another number of dimensions, or fewer bytes than the shape needs.
pub fn shape(path: &Path, key: &str) -> Result<[usize; 3]> {
    let place = format!("{}:{key}", path.display());
    let bad = |what: &str| Error::input(what).at(&place).remedy("expected an npz file with an array of T x H x W");
    let file = File::open(path).map_err(|e| bad("cannot be opened").caused_by(e))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| bad("is not a readable npz file").caused_by(e))?;
    let mut member = archive.by_name(&format!("{key}.npy")).map_err(|e| bad("is not there").caused_by(e))?;
    let total = member.size();
    let (header, before) = header(&mut member).map_err(|e| bad("has no readable npy header").caused_by(e))?;
    let total = total.saturating_sub(before);
    let (shape, item_bytes) = parse(&header).ok_or_else(|| bad("has an npy header of another form"))?;
    let &[t, h, w] = &shape[..] else {
        return Err(bad(&format!("has {} dimensions, expected 3", shape.len())));
    };
    let needed = shape.iter().try_fold(item_bytes, |n, s| n.checked_mul(*s as u64));
    if needed.is_none_or(|n| total < n) {
        return Err(bad(&format!("is cut off: {total} bytes hold no {t} x {h} x {w} array")));
    }
    Ok([t, h, w])
}

/// The dictionary text of an npy file (NumPy's format 1 to 3), and the bytes before its data.
fn header(from: &mut impl Read) -> std::io::Result<(String, u64)> {
    let mut start = [0; 8];
    from.read_exact(&mut start)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(std::io::Error::other("no NUMPY mark"));
    }
    let mut length = [0; 4];
    let counted = if start[6] == 1 { 2 } else { 4 };
    from.read_exact(&mut length[..counted])?;
    let mut text = String::new();
    from.take(u64::from(u32::from_le_bytes(length)).min(65536)).read_to_string(&mut text)?;
    let before = (start.len() + counted + text.len()) as u64;
    Ok((text, before))
}

/// Shape and bytes an item of `{'descr': '|u1', 'fortran_order': False, 'shape': (500, 96, 96), }`.
fn parse(header: &str) -> Option<(Vec<usize>, u64)> {
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest);
    let kind = after("'descr':")?.split('\'').nth(1)?;
    let item_bytes = kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
    let inside = after("'shape':")?.split_once('(')?.1.split_once(')')?.0;
    let numbers = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
    Some((numbers.map(|s| s.parse().ok()).collect::<Option<_>>()?, item_bytes))
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

    #[test]
    fn headers_of_another_form_are_refused() {
        assert_eq!(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"), Some((vec![2, 3], 4)));
        assert_eq!(parse("{'descr': '<f4', 'shape': (2, x)}"), None);
        assert_eq!(parse("nothing"), None);
    }
}
