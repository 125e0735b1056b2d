//! Where compiled kernels come from: a precompiled folder, the cache, NVRTC; in this order.

use super::cache::Cache;
use super::compile::{Compiler, Form, Image, Sm, Unit};
use super::{nvrtc::Nvrtc, precompiled};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The places to look in.
pub struct Images {
    folders: Vec<PathBuf>,
    cache: Option<Cache>,
    open: fn() -> Result<Box<dyn Compiler>>,
    compiler: Option<Box<dyn Compiler>>,
}

impl Images {
    /// `$VAERR_KERNELS` or else `kernels` beside the program; the user's cache; NVRTC.
    pub fn of_user() -> Self {
        let named = std::env::var_os("VAERR_KERNELS").filter(|v| !v.is_empty()).map(PathBuf::from);
        let beside = || {
            Some(std::env::current_exe().ok()?.parent()?.join("kernels"))
                .filter(|d| d.join(precompiled::LIST).is_file())
        };
        Self::new(named.or_else(beside).into_iter().collect(), Cache::of_user(), || Ok(Box::new(Nvrtc::load()?)))
    }

    /// These places.
    pub fn new(folders: Vec<PathBuf>, cache: Option<Cache>, open: fn() -> Result<Box<dyn Compiler>>) -> Self {
        Self { folders, cache, open, compiler: None }
    }

    /// Gives `accept` one image after another until it takes one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Dependency`] naming every place that was tried and why it would not do.
    pub fn offer<T>(&mut self, unit: &Unit, sm: Sm, mut accept: impl FnMut(&Image) -> Result<T>) -> Result<T> {
        let mut tried = Vec::new();
        for folder in &self.folders {
            match precompiled::find(folder, unit, sm) {
                Ok(images) => {
                    for image in &images {
                        match accept(image) {
                            Ok(taken) => return Ok(taken),
                            Err(e) => tried.push(e.at(&image.origin)),
                        }
                    }
                }
                Err(e) => tried.push(e),
            }
        }
        for form in [Form::Cubin, Form::Ptx] {
            match self.compile(unit, sm, form).and_then(|image| accept(&image).map_err(|e| e.at(&image.origin))) {
                Ok(taken) => return Ok(taken),
                Err(e) => tried.push(e),
            }
            if self.compiler.is_none() {
                break;
            }
        }
        let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
        let folders = if self.folders.is_empty() {
            "no precompiled kernels (VAERR_KERNELS is not set, none beside the program); "
        } else {
            ""
        };
        Err(Error::dependency(format!("no kernels for {sm}: {folders}{}", tried.join("; "))).at(unit.name))
    }

    fn compile(&mut self, unit: &Unit, sm: Sm, form: Form) -> Result<Image> {
        if self.compiler.is_none() {
            self.compiler = Some((self.open)()?);
        }
        let compiler = self.compiler.as_deref().ok_or_else(|| Error::dependency("no compiler"))?;
        let (sm, form) = nearest(compiler, sm, form)?;
        match &self.cache {
            Some(cache) => cache.compile(compiler, unit, sm, form),
            None => Ok(Image { form, sm, bytes: compiler.compile(unit, sm, form)?, origin: compiler.version() }),
        }
    }
}

/// A GPU newer than the compiler gets PTX of the newest that the compiler knows.
fn nearest(compiler: &dyn Compiler, sm: Sm, form: Form) -> Result<(Sm, Form)> {
    let known = compiler.targets();
    if known.contains(&sm) {
        return Ok((sm, form));
    }
    let below = known.iter().copied().filter(|k| *k < sm).max();
    below.map(|k| (k, Form::Ptx)).ok_or_else(|| {
        Error::dependency(format!("{} does not compile for {sm} any more", compiler.version()))
            .remedy("install an older CUDA toolkit, or precompile with one")
    })
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
            &[Sm(75), Sm(87)]
        }

        fn compile_forms(&self, _: &Unit, sm: Sm, forms: &[Form]) -> Result<Vec<Vec<u8>>> {
            Ok(forms.iter().map(|form| format!(".version 8.8\n.target {sm}\n// {form:?}\n").into_bytes()).collect())
        }
    }

    fn unit() -> Unit {
        Unit { name: "k.cu", source: "body".into(), headers: &[] }
    }

    fn with_compiler(folders: Vec<PathBuf>) -> Images {
        Images::new(folders, None, || Ok(Box::new(Fake)))
    }

    fn without() -> Images {
        Images::new(Vec::new(), None, || Err(Error::dependency("NVRTC cannot be found")))
    }

    fn take_all(images: &mut Images, sm: u32) -> Vec<(u32, Form)> {
        let mut seen = Vec::new();
        let _ = images.offer(&unit(), Sm(sm), |i| -> Result<()> {
            seen.push((i.sm.0, i.form));
            Err(Error::unsupported("the driver refused it"))
        });
        seen
    }

    #[test]
    fn precompiled_comes_before_compiling_and_machine_code_before_ptx() {
        let dir = tempfile::tempdir().unwrap();
        precompiled::build(dir.path(), &[unit()], Sm(75), &[Form::Ptx, Form::Cubin], &Fake).unwrap();
        let mut images = with_compiler(vec![dir.path().into()]);
        assert_eq!(take_all(&mut images, 75), [(75, Form::Cubin), (75, Form::Ptx), (75, Form::Cubin), (75, Form::Ptx)]);
        assert_eq!(take_all(&mut images, 87), [(75, Form::Ptx), (87, Form::Cubin), (87, Form::Ptx)]);
        let first = images.offer(&unit(), Sm(75), |i| Ok(i.origin.clone())).unwrap();
        assert!(first.ends_with("k.sm_75.cubin"));
    }

    #[test]
    fn a_gpu_newer_than_the_compiler_gets_ptx_and_an_older_one_is_told() {
        assert_eq!(take_all(&mut with_compiler(Vec::new()), 90), [(87, Form::Ptx), (87, Form::Ptx)]);
        let e = with_compiler(Vec::new()).offer(&unit(), Sm(62), |_| Ok(())).unwrap_err();
        assert!(e.to_string().contains("does not compile for sm_62 any more"), "{e}");
    }

    #[test]
    fn the_error_says_everything_that_was_tried() {
        let e = without().offer(&unit(), Sm(87), |_| Ok(())).unwrap_err().to_string();
        for want in ["k.cu", "sm_87", "VAERR_KERNELS is not set", "NVRTC cannot be found"] {
            assert!(e.contains(want), "{want:?} is not in {e}");
        }
        let mut named = Images::new(vec!["/nowhere".into()], None, || Err(Error::dependency("NVRTC cannot be found")));
        assert!(
            named
                .offer(&unit(), Sm(87), |_| Ok(()))
                .unwrap_err()
                .to_string()
                .contains("/nowhere/kernels.toml: cannot be read")
        );
    }
}
