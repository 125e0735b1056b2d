//! A [`Device`] that runs the kernels' own sources on the CPU.

use libloading::Library;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vaerr::engine::cuda::device::{Buffers, Device, Launch, Memory};
use vaerr::engine::cuda::kernels;
use vaerr::error::{Error, Result};

type LaunchFn = unsafe extern "C" fn(
    *const u8,
    usize,
    c_uint,
    c_uint,
    usize,
    c_int,
    c_int,
    *const c_uchar,
    *mut c_uchar,
    *mut c_uchar,
    c_int,
    c_int,
) -> *const c_char;

/// One shared object is one set of globals: calls into it are serialised.
struct Kernels {
    library: Library,
    lock: Mutex<()>,
}

/// In which order fibres, and the blocks of a cooperative launch, are resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
    /// Ascending, but half of them, chosen anew each time, are left out.
    Lazy,
    /// Ascending, but all threads of the first block except its first are resumed only when nothing else can go on.
    Straggling,
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 4] = [Self::Ascending, Self::Descending, Self::Lazy, Self::Straggling];
}

/// How the sources are compiled and run.
#[derive(Clone)]
pub struct ShimOptions {
    pub order: Order,
    /// Blocks that are said to be resident at once.
    pub resident: u32,
    /// Replaces the kernels' sources, to see that a fault in them is caught.
    pub sources: Option<String>,
}

impl Default for ShimOptions {
    fn default() -> Self {
        Self { order: Order::Ascending, resident: 5, sources: None }
    }
}

/// The device.
pub struct ShimDevice {
    kernels: &'static Kernels,
    options: ShimOptions,
    /// Calls of [`Device::write`] so far, and their bytes.
    pub writes: (usize, usize),
}

/// Memory of the shim, between guard bands.
pub struct ShimBuffer {
    kernels: &'static Kernels,
    at: *mut u8,
    bytes: usize,
}

// SAFETY: the pointer is owned by this buffer alone, and every call that touches it holds the library's lock.
unsafe impl Send for ShimBuffer {}

impl Drop for ShimBuffer {
    fn drop(&mut self) {
        let _guard = self.kernels.guard();
        // SAFETY: `at` came from `vaerr_alloc` of the same library and is freed once.
        unsafe {
            if let Ok(free) = self.kernels.library.get::<unsafe extern "C" fn(*mut u8)>(b"vaerr_free\0") {
                free(self.at);
            }
        }
    }
}

/// The launches of a recorded graph, with the buffers' addresses.
pub struct ShimGraph {
    launches: Vec<Launch>,
    at: [*mut u8; 3],
}

// SAFETY: as for `ShimBuffer`.
unsafe impl Send for ShimGraph {}

impl Kernels {
    fn guard(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, launch: &Launch, at: [*mut u8; 3], order: Order) -> Result<()> {
        let _guard = self.guard();
        // SAFETY: the signature is that of cpu_launch.h, the buffers are alive and the lock is held.
        let fault = unsafe {
            let run =
                self.library.get::<LaunchFn>(b"vaerr_launch\0").map_err(|e| Error::device("shim").caused_by(e))?;
            let fault = run(
                launch.kernel.as_ptr(),
                launch.kernel.len(),
                launch.grid,
                launch.block,
                launch.shared_bytes as usize,
                c_int::from(launch.cooperative),
                order as c_int,
                at[0],
                at[1],
                at[2],
                launch.layer,
                launch.streams,
            );
            if fault.is_null() {
                return Ok(());
            }
            CStr::from_ptr(fault).to_string_lossy().into_owned()
        };
        Err(Error::device(fault).at(launch.kernel))
    }
}

/// The C++ compiler's words to build with; `VAERR_SHIM_FLAGS` adds to them.
fn flags() -> Vec<String> {
    let common = "-std=c++17 -O2 -g1 -ffp-contract=off -Wall -Wextra -Werror -Wno-unknown-pragmas -shared -fPIC";
    let extra = std::env::var("VAERR_SHIM_FLAGS").unwrap_or_default();
    format!("{common} {extra}").split_whitespace().map(str::to_owned).collect()
}

fn translation_unit(sources: Option<&str>) -> String {
    let ours = || kernels::SOURCES[1..].iter().map(|(n, t)| format!("#line 1 \"{n}\"\n{t}\n")).collect::<String>();
    let middle = sources.map_or_else(ours, str::to_owned);
    format!("{}\n{middle}\n#line 1 \"cpu_launch.h\"\n{}", include_str!("cpu_shim.h"), include_str!("cpu_launch.h"))
}

fn compile(text: &str) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (text, flags()).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim");
    let library = folder.join(format!("{:016x}.so", hasher.finish()));
    if library.exists() {
        return Ok(library);
    }
    std::fs::create_dir_all(&folder)?;
    let part = folder.join(format!("{:016x}-{}", hasher.finish(), std::process::id()));
    let source = part.with_extension("cpp");
    std::fs::write(&source, text)?;
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let out = Command::new(&compiler)
        .args(flags())
        .arg(&source)
        .arg("-o")
        .arg(&part)
        .env_remove("LD_PRELOAD")
        .output()
        .map_err(|e| Error::dependency("the CUDA shim needs a C++ compiler").at(&compiler).caused_by(e))?;
    if !out.status.success() {
        return Err(Error::dependency(String::from_utf8_lossy(&out.stderr).into_owned()).at(&compiler));
    }
    std::fs::remove_file(&source)?;
    std::fs::rename(&part, &library)?;
    Ok(library)
}

/// Compiles or finds the shared object, once a process for each text.
fn load(sources: Option<&str>) -> Result<&'static Kernels> {
    static LOADED: Mutex<Option<HashMap<String, &'static Kernels>>> = Mutex::new(None);
    let text = translation_unit(sources);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = loaded.get_or_insert_default();
    if let Some(kernels) = loaded.get(&text) {
        return Ok(kernels);
    }
    let path = compile(&text)?;
    // SAFETY: the library was built above from our own sources and has no initialisers of consequence.
    let library =
        unsafe { Library::new(&path) }.map_err(|e| Error::dependency("shim").at(path.display()).caused_by(e))?;
    let kernels: &'static Kernels = Box::leak(Box::new(Kernels { library, lock: Mutex::new(()) }));
    loaded.insert(text, kernels);
    Ok(kernels)
}

impl ShimDevice {
    /// Compiles the sources if need be.
    pub fn open(options: ShimOptions) -> Result<Self> {
        Ok(Self { kernels: load(options.sources.as_deref())?, options, writes: (0, 0) })
    }

    /// Sizes of the tables as the kernels see them.
    pub fn table_sizes(&self) -> [usize; 4] {
        let mut out = [0u32; 4];
        // SAFETY: the function writes four words.
        unsafe {
            let sizes = self.kernels.library.get::<unsafe extern "C" fn(*mut u32)>(b"vaerr_sizes\0").unwrap();
            sizes(out.as_mut_ptr());
        }
        out.map(|v| v as usize)
    }

    fn check(&self, b: &ShimBuffer, at: usize, bytes: usize) -> Result<()> {
        if at.checked_add(bytes).is_none_or(|end| end > b.bytes) {
            return Err(Error::device(format!("{bytes} bytes at {at} lie outside a buffer of {}", b.bytes)));
        }
        Ok(())
    }
}

impl Device for ShimDevice {
    type Buffer = ShimBuffer;
    type Graph = ShimGraph;

    fn describe(&self) -> String {
        "the CUDA kernels on the CPU".into()
    }

    fn resident_blocks(&mut self, launch: &Launch) -> Result<u32> {
        // SAFETY: the function reads as many bytes as it is told.
        let known = unsafe {
            let knows = self.kernels.library.get::<unsafe extern "C" fn(*const u8, usize) -> c_int>(b"vaerr_knows\0");
            knows.map_err(|e| Error::device("shim").caused_by(e))?(launch.kernel.as_ptr(), launch.kernel.len()) != 0
        };
        if known { Ok(self.options.resident) } else { Err(Error::device("no such kernel").at(launch.kernel)) }
    }

    fn alloc(&mut self, bytes: usize, _memory: Memory) -> Result<ShimBuffer> {
        let _guard = self.kernels.guard();
        // SAFETY: the function is that of cpu_launch.h.
        let at = unsafe {
            let alloc = self.kernels.library.get::<unsafe extern "C" fn(usize) -> *mut u8>(b"vaerr_alloc\0");
            alloc.map_err(|e| Error::device("shim").caused_by(e))?(bytes)
        };
        if at.is_null() {
            return Err(Error::device(format!("out of memory for {bytes} bytes")));
        }
        Ok(ShimBuffer { kernels: self.kernels, at, bytes })
    }

    fn write(&mut self, buffer: &mut ShimBuffer, at: usize, bytes: &[u8]) -> Result<()> {
        self.check(buffer, at, bytes.len())?;
        self.writes = (self.writes.0 + 1, self.writes.1 + bytes.len());
        // SAFETY: the range lies within the buffer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.at.add(at), bytes.len()) };
        Ok(())
    }

    fn read(&mut self, buffer: &ShimBuffer, at: usize, into: &mut [u8]) -> Result<()> {
        self.check(buffer, at, into.len())?;
        // SAFETY: the range lies within the buffer.
        unsafe { std::ptr::copy_nonoverlapping(buffer.at.add(at), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn launch(&mut self, launch: &Launch, b: &Buffers<'_, ShimBuffer>) -> Result<()> {
        if launch.cooperative && launch.grid > self.options.resident {
            return Err(Error::device(format!("{} blocks cannot be resident at once", launch.grid)).at(launch.kernel));
        }
        self.kernels.run(launch, [b.model.at, b.arena.at, b.io.at], self.options.order)
    }

    fn record(&mut self, launches: &[Launch], b: &Buffers<'_, ShimBuffer>) -> Result<ShimGraph> {
        Ok(ShimGraph { launches: launches.to_vec(), at: [b.model.at, b.arena.at, b.io.at] })
    }

    fn replay(&mut self, graph: &ShimGraph) -> Result<()> {
        graph.launches.iter().try_for_each(|l| self.kernels.run(l, graph.at, self.options.order))
    }
}
