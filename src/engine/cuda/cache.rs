//! Kernels that were compiled on this machine, kept for the next start.
//!
//! One file an image, named by SHA-256 over source, headers, options, GPU, form and compiler; its first line holds the SHA-256 of the rest.

use super::compile::{Compiler, Form, Image, Sm, Unit, hex};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const MAGIC: &str = "vaerr-kernel 1 ";
const SUFFIX: &str = ".kernel";

/// A folder of compiled kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    dir: PathBuf,
}

/// A file in the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    pub bytes: u64,
}

impl Cache {
    /// In this folder, made when something is to be kept.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// `$VAERR_CACHE`, else `$XDG_CACHE_HOME/vaerr`, else `~/.cache/vaerr`; none if no home is known.
    pub fn of_user() -> Option<Self> {
        Self::of_environment(|name| std::env::var_os(name))
    }

    fn of_environment(get: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let named = |name: &str| get(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let dir = named("VAERR_CACHE")
            .or_else(|| named("XDG_CACHE_HOME").map(|d| d.join("vaerr")))
            .or_else(|| named("HOME").map(|d| d.join(".cache/vaerr")))?;
        Some(Self::at(dir.join("kernels")))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The unit as the compiler makes it, compiled only if it is not kept or damaged. Not being able to keep it is a warning.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn compile(&self, compiler: &dyn Compiler, unit: &Unit, sm: Sm, form: Form) -> Result<Image> {
        let path = self.path(compiler, unit, sm, form);
        let image = |bytes, how: &str| Image {
            form,
            sm,
            bytes,
            origin: format!("{} {how} {}", compiler.version(), path.display()),
        };
        match read(&path) {
            Ok(Some(bytes)) => return Ok(image(bytes, "through")),
            Ok(None) => {}
            Err(e) => log::warn!("{e}; compiling again"),
        }
        let bytes = compiler.compile(unit, sm, form)?;
        if let Err(e) = write(&path, &bytes) {
            log::warn!("the compiled kernels cannot be kept, so the next start compiles again: {e}");
        }
        Ok(image(bytes, "kept in"))
    }

    fn path(&self, compiler: &dyn Compiler, unit: &Unit, sm: Sm, form: Form) -> PathBuf {
        let what = format!("{}\n{sm}\n{}\n{}", unit.digest(), form.suffix(), compiler.version());
        let key = hex(&Sha256::digest(what));
        self.dir.join(format!("{}.{sm}.{key}.{}{SUFFIX}", unit.stem(), form.suffix()))
    }

    /// What it holds, by name.
    pub fn list(&self) -> Vec<Entry> {
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let ours = files.filter(|f| f.file_name().to_str().is_some_and(|n| n.ends_with(SUFFIX)));
        let mut all: Vec<Entry> =
            ours.filter_map(|f| Some(Entry { bytes: f.metadata().ok()?.len(), path: f.path() })).collect();
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// Deletes what it holds; gives the number of files.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn clear(&self) -> Result<usize> {
        let all = self.list();
        for entry in &all {
            std::fs::remove_file(&entry.path)
                .map_err(|e| Error::io("cannot be deleted").at(entry.path.display()).caused_by(e))?;
        }
        Ok(all.len())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("cannot be read").at(path.display()).caused_by(e)),
    };
    let head = MAGIC.len() + 64 + 1;
    let whole = bytes.len() >= head && bytes[..head] == *header(&bytes[head..]).as_bytes();
    if !whole {
        return Err(Error::input("the kept kernel is damaged").at(path.display()));
    }
    Ok(Some(bytes.split_off(head)))
}

/// Writes beside and renames, so that no reader sees half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let failed = |e: std::io::Error| Error::io("cannot be written").at(path.display()).caused_by(e);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let beside = path.with_extension(format!("{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let done = std::fs::write(&beside, [header(bytes).as_bytes(), bytes].concat())
        .and_then(|()| std::fs::rename(&beside, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done.map_err(failed)
}

fn header(bytes: &[u8]) -> String {
    format!("{MAGIC}{}\n", hex(&Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Fake {
        version: &'static str,
        runs: Cell<u32>,
    }

    impl Compiler for Fake {
        fn version(&self) -> String {
            self.version.into()
        }

        fn targets(&self) -> &[Sm] {
            &[Sm(87)]
        }

        fn compile_forms(&self, unit: &Unit, sm: Sm, forms: &[Form]) -> Result<Vec<Vec<u8>>> {
            self.runs.set(self.runs.get() + 1);
            if unit.source.is_empty() {
                return Err(Error::dependency("k.cu(1): error"));
            }
            Ok(forms.iter().map(|form| format!("{} {sm} {form:?}", unit.source).into_bytes()).collect())
        }
    }

    fn unit() -> Unit {
        Unit { name: "k.cu", source: "body".into(), headers: &[("h", "x")] }
    }

    fn fake(version: &'static str) -> Fake {
        Fake { version, runs: Cell::new(0) }
    }

    fn get(cache: &Cache, fake: &Fake, unit: &Unit, sm: u32, form: Form) -> Vec<u8> {
        cache.compile(fake, unit, Sm(sm), form).unwrap().bytes
    }

    #[test]
    fn the_second_start_compiles_nothing_and_gets_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, one) = (Cache::at(dir.path().join("new/folder")), fake("1"));
        for _ in 0..3 {
            assert_eq!(get(&cache, &one, &unit(), 87, Form::Ptx), b"body sm_87 Ptx");
        }
        assert_eq!((one.runs.get(), cache.list().len()), (1, 1));
        assert_eq!((cache.clear().unwrap(), cache.list().len()), (1, 0));
    }

    #[test]
    fn whatever_could_change_the_image_changes_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, one, two) = (Cache::at(dir.path()), fake("1"), fake("2"));
        get(&cache, &one, &unit(), 87, Form::Ptx);
        get(&cache, &two, &unit(), 87, Form::Ptx);
        get(&cache, &one, &unit(), 80, Form::Ptx);
        get(&cache, &one, &unit(), 87, Form::Cubin);
        get(&cache, &one, &Unit { source: "other".into(), ..unit() }, 87, Form::Ptx);
        get(&cache, &one, &Unit { headers: &[("h", "y")], ..unit() }, 87, Form::Ptx);
        assert_eq!((one.runs.get(), two.runs.get(), cache.list().len()), (5, 1, 6));
    }

    #[test]
    fn a_damaged_entry_is_compiled_again_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, one) = (Cache::at(dir.path()), fake("1"));
        let good = get(&cache, &one, &unit(), 87, Form::Cubin);
        let path = cache.list().remove(0).path;
        let whole = std::fs::read(&path).unwrap();
        for damage in [0, 20, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[damage] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(get(&cache, &one, &unit(), 87, Form::Cubin), good);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        std::fs::write(&path, &whole[..30]).unwrap();
        assert_eq!(get(&cache, &one, &unit(), 87, Form::Cubin), good);
        assert_eq!(one.runs.get(), 5);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_only_slower() {
        let (cache, one) = (Cache::at("/dev/null/nowhere"), fake("1"));
        for _ in 0..2 {
            assert_eq!(get(&cache, &one, &unit(), 87, Form::Ptx), b"body sm_87 Ptx");
        }
        assert_eq!(one.runs.get(), 2);
    }

    #[test]
    fn a_compile_error_is_passed_on_and_nothing_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, one) = (Cache::at(dir.path()), fake("1"));
        let broken = Unit { source: "".into(), ..unit() };
        assert!(cache.compile(&one, &broken, Sm(87), Form::Ptx).is_err() && cache.list().is_empty());
    }

    #[test]
    fn the_folder_follows_the_environment() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, OsString)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let found = Cache::of_environment(|name| pairs.iter().find(|p| p.0 == name).map(|p| p.1.clone()));
            found.map(|c| c.dir().display().to_string())
        };
        let home = ("HOME", "/h");
        assert_eq!(of(&[("VAERR_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), home]).unwrap(), "/c/kernels");
        assert_eq!(of(&[("XDG_CACHE_HOME", "/x"), home]).unwrap(), "/x/vaerr/kernels");
        assert_eq!(of(&[("XDG_CACHE_HOME", ""), home]).unwrap(), "/h/.cache/vaerr/kernels");
        assert_eq!(of(&[]), None);
    }
}
