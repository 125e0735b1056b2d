//! Reads `.safetensors`: eight bytes of header length, a JSON header, then the tensors' bytes, all little-endian.

use crate::error::{Error, Result};
use burn::store::burn_pack::{Error as PackError, Tensor as Stored};
use burn::tensor::{Bytes, DType, Shape};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// No header of a real network comes near; a damaged length must not ask for all memory.
const MAX_HEADER_BYTES: u64 = 8 << 20;

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// Types that weights and counters have; others are not read.
fn element(name: &str) -> Option<DType> {
    Some(match name {
        "F64" => DType::F64,
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "I64" => DType::I64,
        "I32" => DType::I32,
        _ => return None,
    })
}

fn malformed(what: impl Into<String>) -> Error {
    Error::input(format!("is no safetensors file: {}", what.into()))
}

/// Names, types and shapes; a tensor's bytes are read when asked for.
///
/// # Errors
/// If the file cannot be read or contradicts itself.
pub(super) fn read(path: &Path) -> Result<Vec<Stored>> {
    let io = |e: std::io::Error| malformed("it cannot be read").caused_by(e);
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length + 8 > size {
        return Err(malformed(format!("a header of {length} bytes")));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(io)?;
    let all: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|e| malformed("its header is no JSON").caused_by(e))?;
    let start = 8 + length;
    let tensors = all.into_iter().filter(|(name, _)| name != "__metadata__");
    tensors.map(|(name, entry)| tensor(path, name, entry, start, size)).collect()
}

fn tensor(path: &Path, name: String, entry: serde_json::Value, start: u64, size: u64) -> Result<Stored> {
    let wrong = |what: &str| malformed(format!("{name}: {what}"));
    let entry: Entry = serde_json::from_value(entry).map_err(|e| wrong("its entry is malformed").caused_by(e))?;
    let dtype = element(&entry.dtype).ok_or_else(|| wrong(&format!("elements of type {}", entry.dtype)))?;
    let bytes =
        entry.shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d)).ok_or_else(|| wrong("too large"))?;
    let [from, to] = entry.data_offsets;
    if to.checked_sub(from) != Some(bytes as u64) || start.checked_add(to).is_none_or(|end| end > size) {
        return Err(wrong("its bytes do not fit its shape or the file"));
    }
    let (path, at): (PathBuf, u64) = (path.to_owned(), start + from);
    let provide = move || {
        let mut data = vec![0; bytes];
        let read = File::open(&path).and_then(|mut f| {
            f.seek(SeekFrom::Start(at))?;
            f.read_exact(&mut data)
        });
        read.map_err(|e| PackError::IoError(e.to_string()))?;
        Ok(Bytes::from_bytes_vec(data))
    };
    Ok(Stored::deferred(name, dtype, Shape::from(entry.shape), None, bytes, provide))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::store::bridge;

    fn file(header: &str, data: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let whole = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
        std::fs::write(file.path(), whole).unwrap();
        file
    }

    #[test]
    fn tensors_are_found_by_offset() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},
            "a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        let data = [1f32.to_le_bytes(), (-2f32).to_le_bytes(), [0x00, 0x3c, 0x00, 0xc0]].concat();
        let file = file(header, &data);
        let tensors = read(file.path()).unwrap();
        let found: Vec<(String, Vec<usize>, Vec<f32>)> = tensors
            .into_iter()
            .map(|t| (t.name.clone(), t.shape.to_vec(), bridge::into_data(t).unwrap().iter::<f32>().collect()))
            .collect();
        assert_eq!(found, [("a".into(), vec![1, 2], vec![1.0, -2.0]), ("b".into(), vec![2], vec![1.0, -2.0])]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let cases = [
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "do not fit"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, "do not fit"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#, "do not fit"),
            (r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,4]}}"#, "too large"),
            (r#"{"a":{"dtype":"U4","shape":[1],"data_offsets":[0,4]}}"#, "elements of type U4"),
            (r#"{"a":1}"#, "entry is malformed"),
            ("{", "no JSON"),
        ];
        for (header, words) in cases {
            let message = read(file(header, &[0; 4]).path()).unwrap_err().to_string();
            assert!(message.contains(words), "{header}: {message}");
        }
        let short = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(short.path(), u64::MAX.to_le_bytes()).unwrap();
        assert!(read(short.path()).is_err());
    }
}
