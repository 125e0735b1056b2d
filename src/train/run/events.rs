//! Event files that TensorBoard reads, written without TensorFlow.
//!
//! A file is a row of TFRecords, each `length: u64 | masked CRC of the length: u32 | data | masked CRC of the data: u32`,
//! little-endian, the CRC being CRC32C (TensorFlow, `record_writer.h`). The data is the protobuf message `Event`; field
//! numbers are those of the public event.proto and summary.proto. The first record names the format's version.

use crate::error::{Error, Result};
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What the first record of every file says.
const VERSION: &str = "brain.Event:2";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<TextTensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

/// The part of TensorProto that holds strings.
#[derive(Clone, PartialEq, Message)]
struct TextTensor {
    /// 7 for strings.
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1 for the start of a session.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Writes one event file; every call reaches the file before it returns.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Begins a new file in `folder`, beside those of earlier parts of the run: TensorBoard reads them all in the order
    /// of their names. A run resumed `from_step` says so, and TensorBoard then forgets what an interrupted part wrote
    /// from that step on; 0 for a run from the start. `unix_s` is now, in seconds since 1970, here and below.
    ///
    /// # Errors
    /// If the folder or the file cannot be written.
    pub fn create(folder: &Path, from_step: u64, unix_s: f64) -> Result<Self> {
        let fail = |path: &Path, e| Error::io("cannot begin an event file").at(path.display()).caused_by(e);
        std::fs::create_dir_all(folder).map_err(|e| fail(folder, e))?;
        let mut number = 0;
        let (file, path) = loop {
            let path = folder.join(format!("events.out.tfevents.{:010}.{number:04}.vaerr", unix_s as u64));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (file, path),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(fail(&path, e)),
            }
        };
        let mut writer = Self { file, path };
        let version = Event { wall_time: unix_s, file_version: Some(VERSION.to_owned()), ..Event::default() };
        writer.write(&version)?;
        if from_step > 0 {
            let session_log = Some(SessionLog { status: 1 });
            writer.write(&Event { wall_time: unix_s, step: signed(from_step), session_log, ..Event::default() })?;
        }
        Ok(writer)
    }

    /// Writes figures of one step, stored as f32; a `/` in a tag makes a group.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalars(&mut self, step: u64, unix_s: f64, values: &[(&str, f64)]) -> Result<()> {
        let value = |(tag, v): &(&str, f64)| Value {
            tag: (*tag).to_owned(),
            simple_value: Some(*v as f32),
            ..Value::default()
        };
        self.summary(step, unix_s, values.iter().map(value).collect())
    }

    /// Writes a text, which TensorBoard shows as Markdown: the settings of a run, say.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn text(&mut self, step: u64, unix_s: f64, tag: &str, text: &str) -> Result<()> {
        let plugin_data = Some(PluginData { plugin_name: "text".to_owned() });
        let shape = Some(Shape { dim: vec![Dim { size: 1 }] });
        let value = Value {
            tag: tag.to_owned(),
            tensor: Some(TextTensor { dtype: 7, shape, string_val: vec![text.as_bytes().to_vec()] }),
            metadata: Some(Metadata { plugin_data }),
            ..Value::default()
        };
        self.summary(step, unix_s, vec![value])
    }

    /// The file being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn summary(&mut self, step: u64, unix_s: f64, value: Vec<Value>) -> Result<()> {
        let summary = Some(Summary { value });
        self.write(&Event { wall_time: unix_s, step: signed(step), summary, ..Event::default() })
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let record = framed(&event.encode_to_vec());
        self.file.write_all(&record).map_err(|e| Error::io("cannot be written").at(self.path.display()).caused_by(e))
    }
}

fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

/// `data` as a TFRecord.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// CRC32C turned and shifted, so that a CRC of data that holds CRCs stays meaningful (TensorFlow, `crc32c.h`).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole events of a file, and whether it ends in the middle of one. Panics on a wrong checksum.
    fn read(path: &Path) -> (Vec<Event>, bool) {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while let Some((head, after)) = rest.split_at_checked(12) {
            let n = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked_crc(&head[..8]).to_le_bytes());
            let Some((body, after)) = after.split_at_checked(n + 4) else { break };
            assert_eq!(body[n..], masked_crc(&body[..n]).to_le_bytes());
            events.push(Event::decode(&body[..n]).unwrap());
            rest = after;
        }
        (events, !rest.is_empty())
    }

    /// (tag, step, value) of all figures.
    fn figures(events: &[Event]) -> Vec<(String, i64, f32)> {
        let of = |e: &Event| e.summary.iter().flat_map(|s| s.value.clone()).map(|v| (v, e.step)).collect::<Vec<_>>();
        let figure = |(v, step): (Value, i64)| Some((v.tag, step, v.simple_value?));
        events.iter().flat_map(of).filter_map(figure).collect()
    }

    /// The checksums were computed bit by bit from the polynomial 0x1EDC6F41, apart from this program.
    #[test]
    fn a_file_is_byte_for_byte_what_tensorboard_expects() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = EventWriter::create(dir.path(), 0, 1.0).unwrap();
        w.scalars(3, 2.0, &[("loss", 0.5)]).unwrap();
        let version: &[&[u8]] = &[
            &[24, 0, 0, 0, 0, 0, 0, 0, 0xA3, 0x7F, 0x4B, 0x22],
            &[0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0x1A, 13],
            b"brain.Event:2",
            &[0x86, 0xBF, 0x57, 0x7A],
        ];
        let scalar: &[&[u8]] = &[
            &[26, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x9B, 0xD8, 0x2D],
            &[0x09, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x10, 3, 0x2A, 13, 0x0A, 11, 0x0A, 4],
            b"loss",
            &[0x15, 0, 0, 0, 0x3F],
            &[0xBA, 0xC3, 0x6B, 0x94],
        ];
        assert_eq!(std::fs::read(w.path()).unwrap(), [version.concat(), scalar.concat()].concat());
        assert_eq!(masked_crc(b"123456789"), 0xC78A_B0E5);
    }

    #[test]
    fn figures_and_texts_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = EventWriter::create(dir.path(), 0, 10.5).unwrap();
        w.scalars(0, 11.0, &[("loss/total", 0.0), ("loss/ccc", -1.25)]).unwrap();
        w.text(1, 12.0, "settings", "seed = 1").unwrap();
        let (events, torn) = read(w.path());
        assert!(!torn && events[0].file_version.as_deref() == Some(VERSION) && events[0].wall_time == 10.5);
        assert_eq!(figures(&events), [("loss/total".to_owned(), 0, 0.0), ("loss/ccc".to_owned(), 0, -1.25)]);
        let text = events[2].summary.as_ref().unwrap().value[0].clone();
        assert_eq!(text.metadata.unwrap().plugin_data.unwrap().plugin_name, "text");
        assert_eq!(text.tensor.unwrap().string_val, [b"seed = 1".to_vec()]);
    }

    #[test]
    fn a_resumed_run_begins_another_file_and_says_from_where() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = EventWriter::create(dir.path(), 0, 7.0).unwrap();
        (0..5).for_each(|i| first.scalars(i, 7.0, &[("loss", 1.0)]).unwrap());
        let kept = std::fs::read(first.path()).unwrap();
        // In the same second, and after the stop lost what lay past step 3.
        let second = EventWriter::create(dir.path(), 3, 7.9).unwrap();
        assert_eq!(std::fs::read(first.path()).unwrap(), kept);
        assert!(first.path() < second.path());
        let (events, _) = read(second.path());
        assert_eq!((events[1].step, events[1].session_log.as_ref().unwrap().status), (3, 1));
        assert!(second.path().file_name().unwrap().to_str().unwrap().contains("tfevents"));
    }

    #[test]
    fn a_torn_tail_loses_the_last_record_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = EventWriter::create(dir.path(), 0, 1.0).unwrap();
        w.scalars(1, 1.0, &[("a", 1.0)]).unwrap();
        let whole = std::fs::metadata(w.path()).unwrap().len();
        w.scalars(2, 1.0, &[("a", 2.0)]).unwrap();
        let end = std::fs::metadata(w.path()).unwrap().len();
        for cut in whole..end {
            File::options().write(true).open(w.path()).unwrap().set_len(end - (cut - whole) - 1).unwrap();
            let (events, torn) = read(w.path());
            assert_eq!((figures(&events), torn), (vec![("a".to_owned(), 1, 1.0)], cut + 1 < end));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let e = EventWriter::create(&file, 0, 1.0).unwrap_err();
        assert!(e.kind() == crate::ErrorKind::Io && e.to_string().contains("file"), "{e}");
    }
}
