//! Compiled kernels, loaded.

use super::context::Context;
use super::status::{NOT_FOUND, check, code};
use crate::engine::cuda::compile::{Form, Image, Sm};
use crate::engine::cuda::device::Launch;
use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

/// Dynamic shared memory that a kernel has without asking.
const SHARED_WITHOUT_ASKING: u32 = 48 << 10;

/// Bytes for what the driver's own compiler says.
const LOG_BYTES: usize = 8192;

/// A module; it goes with its context.
pub(super) struct Loaded {
    raw: sys::CUmodule,
    sm: Sm,
    origin: String,
    _context: Arc<Context>,
}

// SAFETY: modules may be used from any thread.
unsafe impl Send for Loaded {}

impl Loaded {
    /// The context must be current.
    ///
    /// # Errors
    /// If the driver refuses the image, with what its compiler says of PTX. The GPU is not lost by that.
    pub fn load(context: &Arc<Context>, image: &Image) -> Result<Self> {
        context.enter()?;
        let mut bytes = image.bytes.clone();
        if image.form == Form::Ptx && bytes.last() != Some(&0) {
            bytes.push(0);
        }
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [
            sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // The second value is a number in the place of a pointer.
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(LOG_BYTES)];
        let mut raw = ptr::null_mut();
        // SAFETY: PTX ends with a zero, machine code is a whole ELF file (its SHA-256 was checked); options and values are as many as is said.
        let status = unsafe {
            sys::cuModuleLoadDataEx(&mut raw, bytes.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
        };
        check("cuModuleLoadDataEx", status).map_err(|e| {
            let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
            let said = String::from_utf8_lossy(&log[..end]).trim().to_owned();
            if said.is_empty() { e } else { e.caused_by(said) }
        })?;
        Ok(Self { raw, sm: image.sm, origin: image.origin.clone(), _context: context.clone() })
    }
}

/// The kernels of all modules, looked up by name once.
pub(super) struct Functions {
    loaded: Vec<Loaded>,
    known: HashMap<&'static str, Function>,
}

struct Function {
    raw: sys::CUfunction,
    shared_bytes: u32,
}

// SAFETY: as for `Loaded`, whose modules they belong to.
unsafe impl Send for Function {}

impl Functions {
    pub fn of(loaded: Vec<Loaded>) -> Self {
        Self { loaded, known: HashMap::new() }
    }

    pub fn compiled_for(&self) -> Option<Sm> {
        self.loaded.iter().map(|l| l.sm).min()
    }

    pub fn origins(&self) -> String {
        self.loaded.iter().map(|l| l.origin.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The function of a launch, allowed the shared memory that the launch asks for. The context must be current.
    ///
    /// # Errors
    /// An unknown kernel, or more shared memory than the GPU has; the GPU is not lost by either.
    pub fn prepare(&mut self, launch: &Launch) -> Result<sys::CUfunction> {
        if !self.known.contains_key(launch.kernel) {
            let raw = self.find(launch.kernel)?;
            self.known.insert(launch.kernel, Function { raw, shared_bytes: SHARED_WITHOUT_ASKING });
        }
        let Some(function) = self.known.get_mut(launch.kernel) else { return Err(unknown(launch.kernel)) };
        if launch.shared_bytes > function.shared_bytes {
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a loaded module.
            let status = unsafe { sys::cuFuncSetAttribute(function.raw, most, launch.shared_bytes as i32) };
            check("cuFuncSetAttribute", status)
                .map_err(|e| e.at(format!("{} with {} bytes of shared memory", launch.kernel, launch.shared_bytes)))?;
            function.shared_bytes = launch.shared_bytes;
        }
        Ok(function.raw)
    }

    fn find(&self, kernel: &'static str) -> Result<sys::CUfunction> {
        let name = CString::new(kernel).map_err(|_| unknown(kernel))?;
        for module in &self.loaded {
            let mut raw = ptr::null_mut();
            // SAFETY: the module is loaded, the name ends with a zero.
            let status = unsafe { sys::cuModuleGetFunction(&mut raw, module.raw, name.as_ptr()) };
            match code(status) {
                NOT_FOUND => {}
                _ => return check("cuModuleGetFunction", status).map(|()| raw).map_err(|e| e.at(kernel)),
            }
        }
        Err(unknown(kernel))
    }
}

fn unknown(kernel: &str) -> Error {
    Error::unsupported("no such kernel among the compiled ones").at(kernel)
}
