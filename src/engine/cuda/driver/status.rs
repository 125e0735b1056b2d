//! The driver's return values as errors.

use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::ffi::CStr;
use std::ptr;

/// Waiting for the queue: it has not finished.
pub(super) const NOT_READY: u32 = 600;
/// No such symbol in a module.
pub(super) const NOT_FOUND: u32 = 500;

/// The number of a status. The bindings' enum may not list a newer driver's numbers, so it is never matched on.
pub(super) fn code(status: sys::CUresult) -> u32 {
    status as u32
}

/// An error naming the call and the driver's name for what happened.
pub(super) fn check(call: &str, status: sys::CUresult) -> Result<()> {
    match code(status) {
        0 => Ok(()),
        2 => Err(Error::device(format!("{call}: the GPU is out of memory, CUDA_ERROR_OUT_OF_MEMORY"))),
        number => Err(Error::device(format!("{call}: {} ({number})", name(status)))),
    }
}

fn name(status: sys::CUresult) -> String {
    let mut text = ptr::null();
    // SAFETY: the pointer is to a live pointer; the driver knows every number that it gave, and says so if not.
    let told = unsafe { sys::cuGetErrorName(status, &mut text) };
    if code(told) != 0 || text.is_null() {
        return "an error that the driver has no name for".into();
    }
    // SAFETY: the driver gave a static string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
