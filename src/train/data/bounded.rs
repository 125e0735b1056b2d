//! Reading what may be of any size, up to a limit.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// All of a file.
///
/// # Errors
/// If it cannot be read, or has more than `most` bytes, of which no more are read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e))?;
    read_from(file, most).map_err(|e| e.at(path.display()))
}

/// All that `from` gives; a member of an archive is believed by what it gives, not by the size that the archive names.
///
/// # Errors
/// As [`read`].
pub fn read_from(from: impl Read, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::input("cannot be read").caused_by(e))?;
    if bytes.len() as u64 > most {
        return Err(
            Error::input(format!("has more than {most} bytes")).remedy("check that it is the file it is named for")
        );
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_limit_and_one_byte() {
        let mut endless = std::io::repeat(7);
        assert!(read_from(&mut endless, 1000).unwrap_err().to_string().contains("has more than 1000 bytes"));
        assert_eq!(read_from(&[1, 2, 3][..], 3).unwrap(), [1, 2, 3]);
        let e = read(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string();
        assert!(e.starts_with("/dev/zero: has more than 1048576 bytes"), "{e}");
        assert!(read(Path::new("/nowhere"), 1).unwrap_err().to_string().contains("/nowhere: cannot be read"));
    }
}
