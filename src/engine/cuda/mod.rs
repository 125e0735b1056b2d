//! The CUDA engine: our own kernels on an NVIDIA GPU.

pub mod cache;
pub mod compile;
pub mod device;
pub mod driver;
pub mod engine;
pub mod fault;
mod frames;
pub mod images;
mod inputs;
pub mod kernels;
pub mod nvrtc;
pub mod pack;
pub mod plan;
pub mod precompiled;
pub mod ptx;
mod slots;
pub mod wire;

use crate::engine::{Engine, INT8_ALONE};
use crate::error::{Error, Result};
use crate::model::{Precision, Student};
use compile::Unit;
use driver::{CudaDevice, Settings};
use engine::{CudaEngine, Options};
use images::Images;

/// What is compiled: all kernels in one unit.
pub fn units() -> Vec<Unit> {
    vec![Unit { name: "vaerr.cu", source: kernels::source().into(), headers: &[] }]
}

/// Why no kernel can run on this machine, if so. Never panics; the driver is asked once in a process.
pub fn unavailable() -> Option<String> {
    gpu().err()
}

/// The GPU that would be used, and its driver; or why none can be.
///
/// # Errors
/// The reason and what to do about it, as text.
pub fn gpu() -> Result<String, String> {
    let settings = Settings::of_environment().map_err(|e| e.to_string())?;
    driver::first_look(settings.device).as_ref().map(ToString::to_string).map_err(Error::to_string)
}

/// Opens the device that the environment names, with kernels from the first place that has them.
///
/// # Errors
/// As [`CudaDevice::open`].
pub fn open_device() -> Result<CudaDevice> {
    CudaDevice::open(&Settings::of_environment()?, &units(), &mut Images::of_user())
}

/// Opens the engine on it.
///
/// # Errors
/// As [`open_device`], and a student that the kernels do not serve.
pub fn open(student: &Student) -> Result<Box<dyn Engine>> {
    if student.precision() == Precision::Fp32 {
        return Err(Error::unsupported(INT8_ALONE).remedy("use int8, or a CPU engine"));
    }
    let device = open_device()?;
    log::info!("{}", device::Device::describe(&device));
    let sm = device.compiled_for();
    Ok(Box::new(CudaEngine::open(device, sm.0, student, Options::default())?))
}
