//! NVIDIA's run-time compiler, loaded when it is needed.
//!
//! The bindings of `cudarc` do not look for `libnvrtc.so.11.2` (JetPack 5) nor for `.so.13`, and give PTX only; so these few functions are bound here.

use super::compile::{Compiler, Form, OPTIONS, Sm, Unit};
use crate::error::{Error, Result};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr;

/// Names of the library, newest first; the 11.x line has one name a minor version up to 11.2, which then stayed.
const NAMES: &[&str] =
    &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so.11.1", "libnvrtc.so.11.0"];

/// Folders besides the loader's own; `*` stands for one part of a name.
const FOLDERS: &[&str] =
    &["/usr/local/cuda/lib64", "/usr/local/cuda/targets/*/lib", "/usr/local/cuda-*/lib64", "/opt/cuda/lib64"];

const REMEDY: &str = "install NVIDIA's NVRTC (part of the CUDA toolkit and of JetPack), name the library in VAERR_NVRTC, \
                      or precompile with `vaerr kernels build`";

/// `nvrtcProgram`, opaque.
#[repr(C)]
struct Opaque([u8; 0]);
type Program = *mut Opaque;
type Status = c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> Status;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> Status;

/// The functions used, as `nvrtc.h` declares them.
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status,
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
    target_count: unsafe extern "C" fn(*mut c_int) -> Status,
    targets: unsafe extern "C" fn(*mut c_int) -> Status,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    log: (Size, Get),
    ptx: (Size, Get),
    cubin: (Size, Get),
}

/// The loaded compiler.
pub struct Nvrtc {
    f: Functions,
    version: (c_int, c_int),
    targets: Vec<Sm>,
    place: String,
    /// Keeps the functions above valid.
    _library: Library,
}

impl Nvrtc {
    /// Loads the library that `VAERR_NVRTC` names (a file or its folder), else the first that is found.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Dependency`] if there is none, or it is older than CUDA 11.2; says what was tried.
    pub fn load() -> Result<Self> {
        let named = std::env::var_os("VAERR_NVRTC").filter(|v| !v.is_empty()).map(PathBuf::from);
        let candidates = named.as_deref().map_or_else(search, within);
        let mut tried = Vec::new();
        for path in &candidates {
            match Self::open(path) {
                Ok(found) => return Ok(found),
                Err(why) if path.is_file() => tried.push(why),
                Err(_) => {}
            }
        }
        let what = match &named {
            Some(path) => format!("VAERR_NVRTC={} is not an NVRTC that can be loaded", path.display()),
            None => format!(
                "NVRTC cannot be found (names {}; folders: the loader's, $CUDA_HOME, {})",
                NAMES.join(" "),
                FOLDERS.join(" ")
            ),
        };
        let why = tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let error = Error::dependency(what).remedy(REMEDY);
        Err(if why.is_empty() { error } else { error.caused_by(why) })
    }

    /// Loads this library.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Dependency`] if it is not NVRTC of CUDA 11.2 or later.
    pub fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let wrong =
            |e: libloading::Error| Error::dependency("is not NVRTC of CUDA 11.2 or later").at(&place).caused_by(e);
        // SAFETY: NVRTC's initialisers have no conditions; the name was given or is NVIDIA's.
        let library = unsafe { Library::new(path) }.map_err(wrong)?;
        // SAFETY: the types are those of nvrtc.h, unchanged since CUDA 11.2.
        let f = unsafe { Functions::bind(&library) }.map_err(wrong)?;
        let mut version = (0, 0);
        // SAFETY: both pointers are to live integers.
        f.check("nvrtcVersion", unsafe { (f.version)(&mut version.0, &mut version.1) })?;
        let targets = f.list_targets()?;
        Ok(Self { f, version, targets, place, _library: library })
    }

    /// File that was loaded.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl Compiler for Nvrtc {
    fn version(&self) -> String {
        format!("NVRTC {}.{}", self.version.0, self.version.1)
    }

    fn targets(&self) -> &[Sm] {
        &self.targets
    }

    fn compile_forms(&self, unit: &Unit, sm: Sm, forms: &[Form]) -> Result<Vec<Vec<u8>>> {
        let program = OneProgram::create(&self.f, unit)?;
        let options = OPTIONS.iter().map(|o| (*o).to_owned()).chain([format!("--gpu-architecture={sm}")]);
        let options = options.map(|o| c_string(&o)).collect::<Result<Vec<_>>>()?;
        let pointers: Vec<_> = options.iter().map(|o| o.as_ptr()).collect();
        // SAFETY: the program is live, the pointers are to live strings.
        let status = unsafe { (self.f.compile)(program.raw, pointers.len() as c_int, pointers.as_ptr()) };
        if status != 0 {
            let log = String::from_utf8_lossy(&program.fetch("nvrtcGetProgramLog", self.f.log)?)
                .trim_end_matches('\0')
                .to_owned();
            return Err(Error::dependency(format!("{} cannot compile it for {sm}", self.version()))
                .at(unit.name)
                .caused_by(log));
        }
        let fetch = |form: &Form| match form {
            Form::Cubin => program.fetch("nvrtcGetCUBIN", self.f.cubin),
            Form::Ptx => program.fetch("nvrtcGetPTX", self.f.ptx),
        };
        forms.iter().map(fetch).collect()
    }
}

impl Functions {
    /// # Safety
    /// The library must be NVRTC of CUDA 11.2 or later.
    unsafe fn bind(library: &Library) -> Result<Self, libloading::Error> {
        macro_rules! get {
            ($name:literal) => {
                // SAFETY: as the caller promises; the type is the field's.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }?
            };
        }
        Ok(Self {
            version: get!("nvrtcVersion"),
            error_string: get!("nvrtcGetErrorString"),
            target_count: get!("nvrtcGetNumSupportedArchs"),
            targets: get!("nvrtcGetSupportedArchs"),
            create: get!("nvrtcCreateProgram"),
            compile: get!("nvrtcCompileProgram"),
            destroy: get!("nvrtcDestroyProgram"),
            log: (get!("nvrtcGetProgramLogSize"), get!("nvrtcGetProgramLog")),
            ptx: (get!("nvrtcGetPTXSize"), get!("nvrtcGetPTX")),
            cubin: (get!("nvrtcGetCUBINSize"), get!("nvrtcGetCUBIN")),
        })
    }

    fn check(&self, call: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC gives a static string for every number.
        let text = unsafe { CStr::from_ptr((self.error_string)(status)) }.to_string_lossy();
        Err(Error::dependency(format!("{call} failed: {text}")))
    }

    fn list_targets(&self) -> Result<Vec<Sm>> {
        let mut n = 0;
        // SAFETY: a pointer to a live integer.
        self.check("nvrtcGetNumSupportedArchs", unsafe { (self.target_count)(&mut n) })?;
        let mut list = vec![0; usize::try_from(n).unwrap_or(0)];
        // SAFETY: the list has room for as many as were announced.
        self.check("nvrtcGetSupportedArchs", unsafe { (self.targets)(list.as_mut_ptr()) })?;
        Ok(list.into_iter().filter_map(|a| u32::try_from(a).ok()).map(Sm).collect())
    }
}

/// A program, destroyed on drop.
struct OneProgram<'a> {
    f: &'a Functions,
    raw: Program,
}

impl<'a> OneProgram<'a> {
    fn create(f: &'a Functions, unit: &Unit) -> Result<Self> {
        let (source, name) = (c_string(&unit.source)?, c_string(unit.name)?);
        let names = unit.headers.iter().map(|h| c_string(h.0)).collect::<Result<Vec<_>>>()?;
        let texts = unit.headers.iter().map(|h| c_string(h.1)).collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = names.iter().map(|s| s.as_ptr()).collect();
        let texts: Vec<_> = texts.iter().map(|s| s.as_ptr()).collect();
        let mut raw = ptr::null_mut();
        // SAFETY: all strings outlive the call, which copies them; both lists are as long as is said.
        let status = unsafe {
            (f.create)(&mut raw, source.as_ptr(), name.as_ptr(), texts.len() as c_int, texts.as_ptr(), names.as_ptr())
        };
        f.check("nvrtcCreateProgram", status)?;
        Ok(Self { f, raw })
    }

    fn fetch(&self, call: &str, (size, get): (Size, Get)) -> Result<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: the program is live.
        self.f.check(call, unsafe { size(self.raw, &mut bytes) })?;
        let mut out = vec![0u8; bytes];
        // SAFETY: `out` has the size just asked for.
        self.f.check(call, unsafe { get(self.raw, out.as_mut_ptr().cast()) })?;
        Ok(out)
    }
}

impl Drop for OneProgram<'_> {
    fn drop(&mut self) {
        // SAFETY: created by `create`, destroyed once.
        unsafe { (self.f.destroy)(&mut self.raw) };
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|e| Error::input("a kernel source holds a zero byte").caused_by(e))
}

/// The library itself, or every name in a folder.
fn within(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() { NAMES.iter().map(|n| path.join(n)).collect() } else { vec![path.to_owned()] }
}

fn search() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = NAMES.iter().map(PathBuf::from).collect();
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        found
            .extend(std::env::var_os(variable).into_iter().flat_map(|home| within(&PathBuf::from(home).join("lib64"))));
    }
    for folder in FOLDERS {
        found.extend(expand(folder).iter().flat_map(|f| within(f)));
    }
    found
}

/// Existing folders that a pattern with at most one `*` names, the last by name first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let (folder, start) = before.rsplit_once('/').unwrap_or(("", before));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with(start));
    let mut found: Vec<PathBuf> =
        names.map(|n| PathBuf::from(format!("{folder}/{n}{after}"))).filter(|p| p.is_dir()).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gives_the_folders_that_exist_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["cuda-12.4/lib64", "cuda-11.8/lib64", "cuda-13.0", "other/lib64"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let found = expand(&format!("{}/cuda-*/lib64", dir.path().display()));
        assert_eq!(found, [dir.path().join("cuda-12.4/lib64"), dir.path().join("cuda-11.8/lib64")]);
    }

    #[test]
    fn a_file_that_is_no_library_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libnvrtc.so");
        std::fs::write(&path, "no library").unwrap();
        let Err(e) = Nvrtc::open(&path) else { panic!("loaded") };
        assert!(e.kind() == crate::ErrorKind::Dependency && e.to_string().contains("libnvrtc.so"), "{e}");
        assert_eq!(within(dir.path()).len(), NAMES.len());
    }
}
