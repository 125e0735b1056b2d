//! Files of a data set by name, wherever its archives were unpacked.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Extensions of videos.
pub const VIDEO: &[&str] = &["mp4", "avi", "mov", "mkv", "m4v", "webm"];

/// How deep folders are searched: enough for any set, and an end for links that loop.
const DEPTH: usize = 8;

/// Entries of a folder by name.
///
/// # Errors
/// If it cannot be read.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |e| Error::input("cannot be read").at(dir.display()).caused_by(e);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(wrong)? {
        entries.push(entry.map_err(wrong)?.path());
    }
    entries.sort();
    Ok(entries)
}

/// File name without its extension; empty if it is not UTF-8.
pub fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|s| s.to_str()).unwrap_or("")
}

/// File name; empty if it is not UTF-8.
pub fn name(path: &Path) -> &str {
    path.file_name().and_then(|s| s.to_str()).unwrap_or("")
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.iter().any(|x| x.eq_ignore_ascii_case(e)))
}

/// Files with one of `extensions` directly in `dir`, by name.
///
/// # Errors
/// If the folder cannot be read.
pub fn listed(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    Ok(list(dir)?.into_iter().filter(|p| has_extension(p, extensions)).collect())
}

/// Visits the files below `dir`, but for those in folders called `without`.
fn walk(dir: &Path, without: &str, depth: usize, visit: &mut dyn FnMut(&Path)) -> Result<()> {
    for path in list(dir)? {
        if !path.is_dir() {
            visit(&path);
        } else if depth > 0 && (without.is_empty() || name(&path) != without) {
            walk(&path, without, depth - 1, visit)?;
        }
    }
    Ok(())
}

/// Files below a folder, each under a key.
pub struct Index {
    wanted: String,
    files: BTreeMap<String, Vec<PathBuf>>,
}

impl Index {
    /// Files below `root` with one of `extensions` by their stems.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn by_stem(root: &Path, extensions: &[&str]) -> Result<Self> {
        Self::by_stem_outside(root, extensions, "")
    }

    /// The same without what lies in folders called `without`.
    ///
    /// # Errors
    /// As there.
    pub fn by_stem_outside(root: &Path, extensions: &[&str], without: &str) -> Result<Self> {
        Self::new(root, extensions, without, |path| stem(path).to_owned())
    }

    /// The same by `folder/stem`, the folder being the one that holds the file.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn by_folder_and_stem(root: &Path, extensions: &[&str]) -> Result<Self> {
        Self::new(root, extensions, "", |path| format!("{}/{}", path.parent().map_or("", name), stem(path)))
    }

    fn new(root: &Path, extensions: &[&str], without: &str, key: impl Fn(&Path) -> String) -> Result<Self> {
        let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        walk(root, without, DEPTH, &mut |path| {
            if has_extension(path, extensions) {
                files.entry(key(path)).or_default().push(path.to_owned());
            }
        })?;
        Ok(Self { wanted: extensions.join("|"), files })
    }

    /// All files by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files.iter().flat_map(|(key, paths)| paths.iter().map(move |p| (&key[..], p.as_path())))
    }

    /// Whether any file is under `key`.
    pub fn has(&self, key: &str) -> bool {
        self.files.contains_key(key)
    }

    /// The one file under `key`.
    ///
    /// # Errors
    /// None, or several: a data set unpacked twice.
    pub fn one(&self, key: &str) -> Result<&Path> {
        match self.files.get(key).map(Vec::as_slice) {
            Some([one]) => Ok(one),
            Some([a, b, ..]) => Err(Error::input(format!("is there twice, also as {}", b.display())).at(a.display())),
            _ => Err(Error::input(format!("its companion {key}.({}) is missing", self.wanted))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    #[test]
    fn one_file_is_found_wherever_it_lies_and_two_are_refused() {
        let tree = Tree::new();
        tree.file("a/b/x.MP4", "").file("c/y.avi", "").file("d/y.mp4", "").file("x.csv", "");
        let index = Index::by_stem(tree.path(), VIDEO).unwrap();
        assert!(index.one("x").unwrap().ends_with("a/b/x.MP4"));
        assert!(index.one("y").unwrap_err().to_string().contains("is there twice"));
        assert!(index.one("z").unwrap_err().to_string().contains("z.(mp4|avi"));
        let index = Index::by_folder_and_stem(tree.path(), VIDEO).unwrap();
        assert!(index.one("c/y").is_ok() && index.one("d/y").is_ok());
    }
}
