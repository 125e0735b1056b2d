//! Memory on the GPU and beside it.

use super::context::Context;
use super::status::check;
use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::ptr;
use std::sync::Arc;

/// How a buffer's bytes come to the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The GPU's own; copies go through the bounce buffer.
    Device,
    /// The GPU's own, with page-locked memory of the same size beside it.
    Copied,
    /// Page-locked memory of the host that the GPU reads and writes in place.
    Mapped,
    /// Page-locked memory of the host alone.
    Host,
}

/// Memory, freed on drop.
pub(super) struct Memory {
    pub context: Arc<Context>,
    pub kind: Kind,
    pub bytes: usize,
    /// Address on the GPU; 0 for [`Kind::Host`].
    pub device: sys::CUdeviceptr,
    /// Address on the host; null for [`Kind::Device`].
    pub host: *mut u8,
}

// SAFETY: the addresses are valid in every thread; the bytes behind them are touched only by the device that made them, which is borrowed mutably.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed. The context must be current.
    pub fn alloc(context: &Arc<Context>, bytes: usize, kind: Kind) -> Result<Self> {
        let bytes = bytes.max(1);
        let mut memory = Self { context: context.clone(), kind, bytes, device: 0, host: ptr::null_mut() };
        if matches!(kind, Kind::Device | Kind::Copied) {
            memory.alloc_device()?;
        }
        if kind != Kind::Device {
            memory.alloc_host()?;
        }
        Ok(memory)
    }

    fn alloc_device(&mut self) -> Result<()> {
        // SAFETY: the context is current; what was made is freed on drop.
        check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut self.device, self.bytes) })
            .map_err(|e| self.too_much(e))?;
        self.context.queue();
        // SAFETY: the range was just allocated.
        let status = unsafe { sys::cuMemsetD8Async(self.device, 0, self.bytes, self.context.stream) };
        self.context.check("cuMemsetD8Async", status)
    }

    fn alloc_host(&mut self) -> Result<()> {
        let flags = if self.kind == Kind::Mapped { sys::CU_MEMHOSTALLOC_DEVICEMAP } else { 0 };
        let mut host = ptr::null_mut();
        // SAFETY: the context is current; what was made is freed on drop.
        check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut host, self.bytes, flags) })
            .map_err(|e| self.too_much(e))?;
        self.host = host.cast();
        // SAFETY: the range was just allocated and nothing else knows it.
        unsafe { ptr::write_bytes(self.host, 0, self.bytes) };
        if self.kind != Kind::Mapped {
            return Ok(());
        }
        // SAFETY: the memory was allocated as mapped.
        let status = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut self.device, host, 0) };
        self.context.check("cuMemHostGetDevicePointer", status)
    }

    fn too_much(&self, e: Error) -> Error {
        e.at(format!("{} bytes", self.bytes))
    }

    /// Checks a range and gives the host's address of its start.
    pub fn range(&self, at: usize, len: usize) -> Result<()> {
        if at.checked_add(len).is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        Err(Error::device(format!("a copy of {len} bytes at {at} does not fit a buffer of {}", self.bytes)))
    }

    /// Copies into the host's part.
    ///
    /// # Safety
    /// The range was checked, there is a host part, and the GPU does not read it now.
    pub unsafe fn put(&self, at: usize, bytes: &[u8]) {
        // SAFETY: as the caller promises; the sources differ, for nobody else has the address.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.host.add(at), bytes.len()) };
    }

    /// Copies out of the host's part.
    ///
    /// # Safety
    /// As [`Memory::put`], and the GPU does not write it now.
    pub unsafe fn get(&self, at: usize, into: &mut [u8]) {
        // SAFETY: as the caller promises.
        unsafe { ptr::copy_nonoverlapping(self.host.add(at), into.as_mut_ptr(), into.len()) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.context.settle() {
            return;
        }
        // SAFETY: allocated as asked, freed once, and the GPU is idle.
        unsafe {
            if matches!(self.kind, Kind::Device | Kind::Copied) && self.device != 0 {
                sys::cuMemFree_v2(self.device);
            }
            if !self.host.is_null() {
                sys::cuMemFreeHost(self.host.cast());
            }
        }
    }
}

/// A buffer of [`super::CudaDevice`].
pub struct Buffer {
    pub(super) memory: Arc<Memory>,
    /// Ranges of the host's part that the GPU may still be fetching, as of the wait counted in `as_of`.
    fetching: Vec<(usize, usize)>,
    as_of: u64,
}

impl Buffer {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory: Arc::new(memory), fetching: Vec::new(), as_of: 0 }
    }

    /// Waits until the GPU has fetched this range, then counts it as being fetched again.
    pub(super) fn claim(&mut self, at: usize, len: usize) -> Result<()> {
        let context = &self.memory.context;
        if self.as_of != context.waits() {
            self.fetching.clear();
        }
        if self.fetching.iter().any(|&(from, to)| at < to && from < at + len) {
            context.wait()?;
            self.fetching.clear();
        }
        self.as_of = context.waits();
        match self.fetching.last_mut() {
            Some(last) if last.1 == at => last.1 += len,
            _ => self.fetching.push((at, at + len)),
        }
        Ok(())
    }
}
