//! What the machine has, asked in an order in which no call can panic; each reason not to run has its own words and remedy.

use super::status::{check, code};
use crate::engine::cuda::compile::Sm;
use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::ffi::{CStr, c_int};
use std::fmt;
use std::sync::OnceLock;

/// The oldest CUDA whose driver has every function below.
const OLDEST: (u32, u32) = (11, 4);

/// What is called here and in the rest of the driver. The bindings panic at a name that the library lacks.
const SYMBOLS: &[&str] = &[
    "cuInit",
    "cuGetErrorName",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuCtxCreate_v2",
    "cuCtxDestroy_v2",
    "cuCtxSetCurrent",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventQuery",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemHostGetDevicePointer_v2",
    "cuMemsetD8Async",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadDataEx",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuLaunchKernel",
    "cuLaunchCooperativeKernel",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
];

/// A GPU that our kernels can run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub(super) device: c_int,
    /// NVIDIA's name of it.
    pub name: String,
    /// Its compute capability.
    pub sm: Sm,
    /// CUDA version of the driver.
    pub driver: (u32, u32),
    /// It shares the host's memory.
    pub integrated: bool,
    /// It can launch kernels with a barrier over the grid.
    pub cooperative: bool,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sm, driver: (major, minor), .. } = self;
        let memory = if self.integrated { "shared memory" } else { "own memory" };
        write!(f, "{name}, {sm}, {} multiprocessors, {memory}, driver for CUDA {major}.{minor}", self.multiprocessors)
    }
}

/// Looks at GPU number `index`.
///
/// # Errors
/// Why our kernels cannot run on it.
pub fn probe(index: usize) -> Result<Gpu> {
    let driver = driver_version()?;
    start()?;
    let mut count = 0;
    // SAFETY: the symbol is there (`start`), the pointer is to a live integer.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    if usize::try_from(count).unwrap_or(0) <= index {
        return Err(none_of(count, index));
    }
    let mut device = 0;
    // SAFETY: as above; the index is below the count.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, index as c_int) })?;
    look(device, driver)
}

/// What stands in the way of GPU `VAERR_CUDA_DEVICE`, asked once in a process; starting the driver takes a while.
pub fn first_look(index: usize) -> &'static Result<Gpu> {
    static FOUND: OnceLock<Result<Gpu>> = OnceLock::new();
    FOUND.get_or_init(|| probe(index))
}

fn driver_version() -> Result<(u32, u32)> {
    // SAFETY: loading libcuda runs NVIDIA's initialisers, which have no conditions. This call alone does not panic without it.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::dependency("NVIDIA's driver library libcuda.so.1 cannot be loaded")
            .remedy("install NVIDIA's driver; in a container, start it with the GPU (docker run --gpus all)"));
    }
    require("cuDriverGetVersion")?;
    let mut version = 0;
    // SAFETY: the library and the symbol are there, the pointer is to a live integer.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&mut version) })?;
    let version = u32::try_from(version).unwrap_or(0);
    let version = (version / 1000, version % 1000 / 10);
    if version < OLDEST {
        let what = format!("NVIDIA's driver is for CUDA {}.{}, too old: 11.4 or later is needed", version.0, version.1);
        return Err(Error::unsupported(what).remedy("update to driver 470 or later, on a Jetson to JetPack 5 or later"));
    }
    Ok(version)
}

fn require(symbol: &str) -> Result<()> {
    // SAFETY: the library is there; the symbol is only looked up, never called, as this type.
    let found = unsafe { sys::culib().get::<unsafe extern "C" fn()>(symbol.as_bytes()) };
    found.map(|_| ()).map_err(|e| {
        let error = Error::dependency(format!("libcuda lacks {symbol}")).caused_by(e);
        error.remedy("it is damaged or not NVIDIA's; install NVIDIA's driver again")
    })
}

fn start() -> Result<()> {
    SYMBOLS.iter().try_for_each(|s| require(s))?;
    // SAFETY: the symbol is there.
    let status = unsafe { sys::cuInit(0) };
    let (what, remedy) = match code(status) {
        0 => return Ok(()),
        34 => (
            "libcuda is the stub that comes with the toolkit",
            "install NVIDIA's driver, and take the folder stubs/ out of LD_LIBRARY_PATH",
        ),
        46 => ("the GPU is in use by another process alone", "end it, or leave the exclusive mode: nvidia-smi -c 0"),
        100 => (
            "NVIDIA's driver finds no GPU",
            "see nvidia-smi; in a container, start it with the GPU; CUDA_VISIBLE_DEVICES may hide it",
        ),
        803 => (
            "libcuda and the kernel's NVIDIA module are of different versions",
            "restart the machine after a driver update",
        ),
        804 => {
            ("this GPU cannot run through the compatibility libcuda that was loaded", "take it out of LD_LIBRARY_PATH")
        }
        _ => ("NVIDIA's driver does not start", "see nvidia-smi and the kernel's log; a restart may be needed"),
    };
    let why = check("cuInit", status).err().map(|e| e.to_string()).unwrap_or_default();
    Err(Error::device(what).caused_by(why).remedy(remedy))
}

fn none_of(count: c_int, index: usize) -> Error {
    if count == 0 {
        return Error::device("NVIDIA's driver finds no GPU")
            .remedy("see nvidia-smi; CUDA_VISIBLE_DEVICES may hide it");
    }
    Error::usage(format!("there is no GPU {index}: the driver has {count}, counted from 0"))
        .remedy("set VAERR_CUDA_DEVICE")
}

fn look(device: c_int, driver: (u32, u32)) -> Result<Gpu> {
    use sys::CUdevice_attribute_enum as A;
    let get = |attribute| {
        let mut value = 0;
        // SAFETY: the symbol is there, the device was given by cuDeviceGet.
        check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) })?;
        Ok::<_, Error>(u32::try_from(value).unwrap_or(0))
    };
    let mut name = [0; 128];
    // SAFETY: the buffer has the length that is said; the driver ends the name with a zero.
    check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int - 1, device) })?;
    // SAFETY: the last byte is zero in any case.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    let sm = Sm::of(
        get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if sm < Sm::LOWEST {
        let what = format!("{name} is {sm}; our kernels need {} or later, for they multiply with dp4a", Sm::LOWEST);
        return Err(Error::unsupported(what).remedy("use a CPU engine on this machine"));
    }
    Ok(Gpu {
        device,
        name,
        sm,
        driver,
        integrated: get(A::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0,
        cooperative: get(A::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? != 0,
        multiprocessors: get(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    })
}
