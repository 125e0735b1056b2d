//! First inputs of the trainer's readers.

use std::io::{Cursor, Write};
use std::path::Path;
use vaerr::train::data::npy;
use vaerr::train::data::record::Split;
use vaerr::train::shards::{AudioMeta, Index, Meta, Sample, Writer, WriterConfig};

/// Target, name, bytes.
type Put<'a> = &'a dyn Fn(&str, &str, &[u8]);

pub fn write(put: Put, repository: &Path) {
    arrays(put);
    shards(put);
    checkpoints(put, repository);
    tables(put);
}

fn array<T: npy::Item>(shape: &[usize], items: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    npy::write(&mut bytes, shape, items).expect("an array");
    bytes
}

fn zipped(members: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in members {
        archive.start_file(format!("{name}.npy"), options).expect("a member");
        archive.write_all(bytes).expect("a member");
    }
    archive.finish().expect("an archive").into_inner()
}

/// An array of any type; the type's name has as many bytes as ours.
fn typed(descr: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    [npy::Header::new(descr, shape).to_bytes(), bytes.to_vec()].concat()
}

fn arrays(put: Put) {
    let (bytes, floats) = (array(&[2, 3, 2], &[9_u8; 12]), array(&[2, 2], &[0.5_f32, -1.0, f32::NAN, 0.0]));
    put("npy", "bytes", &bytes);
    put("npy", "floats", &floats);
    let second =
        b"\x93NUMPY\x02\x00\x3a\x00\x00\x00{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }  \n\0\0\0\0";
    put("npy", "version-2", second);
    // The arrays of ICT-FaceKit's head, far too few.
    let head = [
        ("neutral", array(&[4, 3], &[1.0_f32; 12])),
        ("triangles", typed("<i4", &[1, 3], &[0; 12])),
        ("triangle_material", typed("<i4", &[1], &[0; 4])),
        (
            "material_names",
            typed("<U6", &[1], &"M_Face".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<_>>()),
        ),
        ("expression_names", typed("<U1", &[1], &[65, 0, 0, 0])),
        ("expression_deltas", typed("<f2", &[1, 4, 3], &[0; 24])),
        ("identity_deltas", typed("<f2", &[1, 4, 3], &[0; 24])),
        ("landmark68", typed("<i4", &[68], &[0; 272])),
    ];
    for (name, method) in [("stored", zip::CompressionMethod::Stored), ("deflated", zip::CompressionMethod::Deflated)] {
        put("npz", &format!("pictures-{name}"), &zipped(&[("arr_0", bytes.clone())], method));
        put("npz", &format!("head-{name}"), &zipped(&head, method));
    }
}

fn sample(number: usize) -> Sample {
    let meta = Meta {
        key: format!("v{number}-000"),
        video: format!("v{number}"),
        part: 0,
        subject: Some("s".into()),
        group: "g".into(),
        split: Split::Train,
        fps: 25.0,
        start_s: 0.0,
        frames: 2,
        size_px: 4,
        audio: (number == 1).then(|| AudioMeta { name: "test".into(), dims: 3 }),
        votes: (number == 0).then_some([0.5, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]),
        tags: Default::default(),
    };
    Sample {
        video: (0..32).collect(),
        labels: vec![[0.5, -0.5], [f32::NAN; 2]],
        audio: meta.audio.as_ref().map(|_| vec![0.25; 6]),
        meta,
    }
}

fn shards(put: Put) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = WriterConfig { size_px: 4, ..WriterConfig::default() };
    let mut writer = Writer::open(folder.path(), config).expect("a writer");
    (0..2).for_each(|i| writer.push(&sample(i)).expect("a sample"));
    let index = writer.finish().expect("an index");
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("a file of the folder");
    put("shard", "two-samples", &read(&index.shards(Split::Train)[0].file));
    put("shard_index", "two-samples", &read(Index::FILE));
}

fn checkpoints(put: Put, repository: &Path) {
    let golden = repository.join("tests/golden");
    for name in ["full-narrow.pth", "full-narrow-answers.pth"] {
        put("pth", name, &std::fs::read(golden.join(name)).expect("a checkpoint"));
    }
    let tensors = vaerr::fuzzing::checkpoint_tensors(&golden.join("full-narrow.pth")).expect("a checkpoint");
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).expect("JSON");
    put("safetensors", "narrow", &[&(header.len() as u64).to_le_bytes()[..], &header, &data].concat());
}

fn tables(put: Put) {
    let readings = "{\"time_s\":0.0,\"frame\":0,\"face\":1,\"arousal\":0.5,\"valence\":-0.25}\n\
                    {\"time_s\":0.04,\"frame\":1,\"face\":\"none\",\"arousal\":null,\"valence\":null}\n";
    // The first byte chooses csv, txt, tsv or jsonl.
    put("score", "readings", format!("\x03{readings}").as_bytes());
    for (name, text) in [
        ("csv", "\0time_s,frame,face,arousal,valence\n0.0,0,1,0.5,-0.25\n0.04,1,none,,\n"),
        ("faces", "\x0cframe,face,arousal,valence\n0,1,0.5,0.25\n0,2,0.1,0.2\n1,1,0.5,nan\n"),
        ("affwild2", "\x01image_location,valence,arousal\nv/00001.jpg,0.1,0.2\nv/00002.jpg,-5,-5\n"),
        ("sewa", "\0'frametime';'arousal';'valence'\n0.0;0.5;-1\n0.1;0.4;1\n"),
        ("subjects", "\x02video\tsubject\na\tp1\nb\tp2\n"),
    ] {
        put("score", name, text.as_bytes());
    }
}
