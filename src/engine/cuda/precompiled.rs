//! Kernels compiled elsewhere, for boards without NVRTC: a folder with `kernels.toml` and the images that it names.

use super::compile::{Compiler, Form, Image, Sm, Unit, hex};
use super::ptx;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Name of the list.
pub const LIST: &str = "kernels.toml";

/// The form of the list that this build reads and writes.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    format: u32,
    image: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Name of the source file.
    unit: String,
    /// [`Unit::digest`] of what was compiled.
    digest: String,
    /// Compute capability, 87 for 8.7.
    sm: u32,
    /// `cubin` or `ptx`.
    form: String,
    /// Name of the file in the same folder.
    file: String,
    /// SHA-256 of the file.
    sha256: String,
    /// What compiled it.
    compiler: String,
}

/// Compiles units into a folder, one file a unit, GPU and form; gives the files written. PTX gets the lowest version line that it can have.
///
/// # Errors
/// As the compiler, or if the folder cannot be written.
pub fn build(dir: &Path, units: &[Unit], sm: Sm, forms: &[Form], compiler: &dyn Compiler) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).map_err(|e| unwritable(dir, e))?;
    let mut list = List { format: FORMAT, image: Vec::new() };
    for unit in units {
        for (&form, bytes) in forms.iter().zip(compiler.compile_forms(unit, sm, forms)?) {
            let bytes = if form == Form::Ptx { lowered(unit, bytes)? } else { bytes };
            let file = format!("{}.{sm}.{}", unit.stem(), form.suffix());
            std::fs::write(dir.join(&file), &bytes).map_err(|e| unwritable(dir, e))?;
            list.image.push(Entry {
                unit: unit.name.into(),
                digest: unit.digest(),
                sm: sm.0,
                form: form.suffix().into(),
                file,
                sha256: hex(&Sha256::digest(&bytes)),
                compiler: compiler.version(),
            });
        }
    }
    let text = toml::to_string(&list).map_err(|e| Error::io("the list of kernels cannot be written").caused_by(e))?;
    std::fs::write(dir.join(LIST), text).map_err(|e| unwritable(dir, e))?;
    Ok(list.image.iter().map(|e| dir.join(&e.file)).chain([dir.join(LIST)]).collect())
}

fn lowered(unit: &Unit, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let text =
        String::from_utf8(bytes).map_err(|e| Error::dependency("the compiler's PTX is not text").caused_by(e))?;
    ptx::lower_version(&text).map(String::into_bytes).map_err(|e| e.at(unit.name))
}

fn unwritable(dir: &Path, e: std::io::Error) -> Error {
    Error::io("cannot be written").at(dir.display()).caused_by(e)
}

/// The images of a unit in a folder that a GPU can run, the best first: its own machine code, then PTX of the newest GPU up to it.
///
/// # Errors
/// If the list is there and cannot be read, or names only other sources than this build's.
pub fn find(dir: &Path, unit: &Unit, sm: Sm) -> Result<Vec<Image>> {
    let path = dir.join(LIST);
    let text =
        std::fs::read_to_string(&path).map_err(|e| Error::io("cannot be read").at(path.display()).caused_by(e))?;
    let list: List =
        toml::from_str(&text).map_err(|e| Error::input("is no list of kernels").at(path.display()).caused_by(e))?;
    if list.format != FORMAT {
        return Err(
            Error::unsupported(format!("is of format {}, this build reads {FORMAT}", list.format)).at(path.display())
        );
    }
    let mut fit: Vec<&Entry> = list.image.iter().filter(|e| e.unit == unit.name && runs_on(e, sm)).collect();
    fit.sort_by_key(|e| (e.form != "cubin", std::cmp::Reverse(e.sm)));
    let digest = unit.digest();
    if fit.iter().all(|e| e.digest != digest) {
        let what = if fit.is_empty() {
            format!("holds no {} for {sm}", unit.name)
        } else {
            format!("holds {} of another version", unit.name)
        };
        return Err(Error::unsupported(what)
            .at(path.display())
            .remedy("build it again with this vaerr: `vaerr kernels build`"));
    }
    fit.into_iter().filter(|e| e.digest == digest).map(|e| read(dir, e)).collect()
}

/// Machine code runs on its own GPU only (the promise within a generation leaves out the boards), PTX on later ones too.
fn runs_on(entry: &Entry, sm: Sm) -> bool {
    match entry.form.as_str() {
        "cubin" => entry.sm == sm.0,
        _ => entry.sm <= sm.0,
    }
}

fn read(dir: &Path, entry: &Entry) -> Result<Image> {
    let path = dir.join(&entry.file);
    if Path::new(&entry.file).components().count() != 1 {
        return Err(Error::input("names a file outside the folder").at(path.display()));
    }
    let bytes = std::fs::read(&path).map_err(|e| Error::io("cannot be read").at(path.display()).caused_by(e))?;
    if hex(&Sha256::digest(&bytes)) != entry.sha256 {
        return Err(Error::input("is damaged: its SHA-256 is not the one in the list").at(path.display()));
    }
    let form = if entry.form == "cubin" { Form::Cubin } else { Form::Ptx };
    Ok(Image { form, sm: Sm(entry.sm), bytes, origin: path.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake;

    impl Compiler for Fake {
        fn version(&self) -> String {
            "fake 1".into()
        }

        fn targets(&self) -> &[Sm] {
            &[]
        }

        fn compile_forms(&self, _: &Unit, sm: Sm, forms: &[Form]) -> Result<Vec<Vec<u8>>> {
            let one = |form: &Form| match form {
                Form::Cubin => vec![1, 2, 3],
                Form::Ptx => format!(".version 8.8\n.target {sm}\n.address_size 64\n").into_bytes(),
            };
            Ok(forms.iter().map(one).collect())
        }
    }

    fn unit() -> Unit {
        Unit { name: "k.cu", source: "body".into(), headers: &[] }
    }

    fn built(sm: u32, forms: &[Form]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), &[unit()], Sm(sm), forms, &Fake).unwrap();
        dir
    }

    #[test]
    fn machine_code_is_for_one_gpu_and_ptx_for_all_later_ones() {
        let dir = built(72, &[Form::Ptx, Form::Cubin]);
        let forms = |sm| find(dir.path(), &unit(), Sm(sm)).map(|all| all.iter().map(|i| i.form).collect::<Vec<_>>());
        assert_eq!(forms(72).unwrap(), [Form::Cubin, Form::Ptx]);
        assert_eq!(forms(87).unwrap(), [Form::Ptx]);
        assert!(forms(62).unwrap_err().to_string().contains("holds no k.cu for sm_62"));
    }

    #[test]
    fn ptx_is_shipped_with_the_version_line_of_old_drivers() {
        let dir = built(72, &[Form::Ptx]);
        let text = std::fs::read_to_string(dir.path().join("k.sm_72.ptx")).unwrap();
        assert!(text.starts_with(".version 6.4\n.target sm_72\n"), "{text}");
    }

    #[test]
    fn kernels_of_other_sources_are_never_run() {
        let dir = built(87, &[Form::Ptx]);
        let e = find(dir.path(), &Unit { source: "newer".into(), ..unit() }, Sm(87)).unwrap_err();
        assert!(e.to_string().contains("of another version") && e.to_string().contains("vaerr kernels build"), "{e}");
    }

    #[test]
    fn a_damaged_file_or_list_is_named() {
        let dir = built(87, &[Form::Cubin]);
        std::fs::write(dir.path().join("k.sm_87.cubin"), [1, 2, 4]).unwrap();
        assert!(find(dir.path(), &unit(), Sm(87)).unwrap_err().to_string().contains("k.sm_87.cubin: is damaged"));
        let list = std::fs::read_to_string(dir.path().join(LIST)).unwrap();
        for (from, to) in
            [("format = 1", "format = 2"), ("k.sm_87.cubin", "../k"), ("sha256", "sha1"), ("[[image]]", "[[")]
        {
            std::fs::write(dir.path().join(LIST), list.replace(from, to)).unwrap();
            assert!(find(dir.path(), &unit(), Sm(87)).is_err(), "{to}");
        }
    }
}
