//! Made-up trees in the sets' layouts, and what holds for every set.

use super::*;
use crate::render::Affect;
use crate::train::data::record::{Labels, Recording};

/// A folder that a test fills.
pub struct Tree(tempfile::TempDir);

impl Tree {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and the folders above it.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub fn remove(&self, path: &str) -> &Self {
        std::fs::remove_file(self.path().join(path)).unwrap();
        self
    }

    pub fn open(&self, set: &str) -> Loaded {
        self.open_with(set, &Options::default())
    }

    pub fn open_with(&self, set: &str, options: &Options) -> Loaded {
        Dataset::named(set).unwrap().open(self.path(), options).unwrap()
    }

    /// Writes each content to `path`; the set must then report one bad file whose note holds the text given, and with
    /// the first content, a good one, none.
    pub fn each_is_bad(&self, set: &str, path: &str, good: &str, cases: &[(&str, &str)]) {
        let bad = |content: &[u8]| {
            self.file(path, content);
            self.open(set).report.bad
        };
        let plain = bad(good.as_bytes());
        assert!(plain.is_empty(), "{plain:?}");
        let windows = [b"\xEF\xBB\xBF", good.replace('\n', "\r\n").as_bytes()].concat();
        assert!(bad(&windows).is_empty(), "a byte order mark and CRLF are read");
        for (content, want) in cases {
            let notes = bad(content.as_bytes());
            assert!(notes.len() == 1 && notes[0].why.contains(want), "{content:?}: expected {want:?}, got {notes:?}");
        }
        self.file(path, good);
    }
}

/// The recording called `id`.
pub fn by_id<'a>(loaded: &'a Loaded, id: &str) -> &'a Recording {
    loaded.recordings.iter().find(|r| r.id == id).unwrap_or_else(|| panic!("no {id} in {loaded:?}"))
}

/// Rows of a series.
pub fn rows(r: &Recording) -> &[Option<Affect>] {
    match &r.labels {
        Labels::Series(a) => &a.values,
        Labels::Clip(_) | Labels::Voted(..) => panic!("{} has a clip's label", r.id),
    }
}

pub fn affect(arousal: f32, valence: f32) -> Option<Affect> {
    Some(Affect { arousal, valence })
}

/// An npz file with one u1 array whose header says `shape` and that holds `bytes` bytes.
pub fn npz(key: &str, shape: &[usize], bytes: usize) -> Vec<u8> {
    let sides: String = shape.iter().map(|s| format!("{s}, ")).collect();
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({sides}), }}");
    header.push_str(&" ".repeat(63 - (header.len() + 10) % 64));
    header.push('\n');
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend_from_slice(&(header.len() as u16).to_le_bytes());
    npy.extend_from_slice(header.as_bytes());
    npy.resize(npy.len() + bytes, 7);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(format!("{key}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut zip, &npy).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn names_differ_and_an_unknown_one_lists_them() {
    let mut names: Vec<&str> = DATASETS.iter().map(|d| d.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), DATASETS.len());
    assert!(Dataset::named("nope").err().unwrap().to_string().contains("sewa, sewa-vaerr"));
}

#[test]
fn a_folder_of_something_else_says_what_was_expected() {
    let tree = Tree::new();
    tree.file("readme.txt", "nothing");
    for set in DATASETS {
        for root in [tree.path(), &tree.path().join("nowhere")] {
            let e = set.open(root, &Options::default()).unwrap_err().to_string();
            assert!(e.contains("expected "), "{}: {e}", set.name);
        }
    }
}
