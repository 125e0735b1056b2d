//! A context of our own with one in-order stream. Owning it, and not sharing the process's, means that a fault in it can be left behind by
//! opening another.

use super::probe::Gpu;
use super::status::{NOT_READY, check, code};
use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a wait asks without pausing: longer than a step takes.
const SPIN: Duration = Duration::from_micros(500);

pub(super) struct Context {
    raw: sys::CUcontext,
    pub stream: sys::CUstream,
    finished: sys::CUevent,
    timeout: Duration,
    /// The first failure. Nothing is asked of the GPU after it.
    lost: OnceLock<String>,
    /// The stream may never finish.
    hung: AtomicBool,
    /// Something was queued that no wait has seen the end of.
    pending: AtomicBool,
    waits: AtomicU64,
}

// SAFETY: the handles may be used from any thread, and the driver's functions from several at once.
unsafe impl Send for Context {}
// SAFETY: as above; what changes is atomic.
unsafe impl Sync for Context {}

impl Context {
    pub fn create(gpu: &Gpu, timeout: Duration) -> Result<Self> {
        let mut context = Self {
            raw: ptr::null_mut(),
            stream: ptr::null_mut(),
            finished: ptr::null_mut(),
            timeout,
            lost: OnceLock::new(),
            hung: AtomicBool::new(false),
            pending: AtomicBool::new(false),
            waits: AtomicU64::new(0),
        };
        let flags = sys::CUctx_flags::CU_CTX_MAP_HOST as u32;
        // SAFETY: the device was given by cuDeviceGet. What was made so far is destroyed on drop.
        check("cuCtxCreate", unsafe { sys::cuCtxCreate_v2(&mut context.raw, flags, gpu.device) })?;
        let stream = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the context was just made current.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut context.stream, stream) })?;
        let event = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: as above.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut context.finished, event) })?;
        Ok(context)
    }

    /// Makes the context current, unless the GPU was lost.
    pub fn enter(&self) -> Result<()> {
        match self.lost.get() {
            Some(why) => Err(Error::device(format!("the GPU was lost earlier: {why}"))),
            // SAFETY: the context lives as long as `self`.
            None => self.check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) }),
        }
    }

    /// As [`check`]; a failure is kept, and the GPU counts as lost.
    pub fn check(&self, call: &str, status: sys::CUresult) -> Result<()> {
        check(call, status).map_err(|e| self.lose(e))
    }

    fn lose(&self, why: Error) -> Error {
        let _ = self.lost.set(why.to_string());
        why
    }

    /// To be said before something is queued.
    pub fn queue(&self) {
        self.pending.store(true, Relaxed);
    }

    /// Counts the waits that ended well; what was queued before the last of them has been done.
    pub fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// Waits for all that was queued.
    pub fn wait(&self) -> Result<()> {
        if !self.pending.load(Relaxed) {
            return Ok(());
        }
        // SAFETY: both live as long as `self`.
        self.check("cuEventRecord", unsafe { sys::cuEventRecord(self.finished, self.stream) })?;
        let start = Instant::now();
        loop {
            // SAFETY: the event lives as long as `self`.
            let status = unsafe { sys::cuEventQuery(self.finished) };
            if code(status) != NOT_READY {
                self.check("cuEventQuery, for the work before it", status)?;
                break;
            }
            let waited = start.elapsed();
            if waited > self.timeout {
                self.hung.store(true, Relaxed);
                let what = format!("time-out: the GPU has not finished after {} ms", self.timeout.as_millis());
                return Err(self.lose(Error::device(what).remedy("VAERR_CUDA_TIMEOUT_MS sets the limit")));
            }
            pause(waited);
        }
        self.pending.store(false, Relaxed);
        self.waits.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Whether something can be freed on its own: entered, and nothing runs any more. If not, the context's end frees it.
    pub fn settle(&self) -> bool {
        self.enter().and_then(|()| self.wait()).is_ok()
    }
}

fn pause(waited: Duration) {
    if waited < SPIN {
        std::hint::spin_loop();
    } else {
        std::thread::sleep(Duration::from_micros(50));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.raw.is_null() {
            return;
        }
        let end = End { context: self.raw, stream: self.stream, finished: self.finished };
        let idle = self.lost.get().is_some() || self.settle();
        if idle && !self.hung.load(Relaxed) {
            return end.destroy();
        }
        // Destroying waits for the stream, which may never finish: let a thread of its own wait.
        log::warn!("the GPU hangs; its memory is given back when it stops, or with the end of this process");
        std::thread::spawn(move || end.destroy());
    }
}

struct End {
    context: sys::CUcontext,
    stream: sys::CUstream,
    finished: sys::CUevent,
}

// SAFETY: as for `Context`.
unsafe impl Send for End {}

impl End {
    /// Everything made in the context goes with it: modules, graphs, memory. Failures change nothing.
    fn destroy(self) {
        // SAFETY: the handles were made in this context, nothing uses them any more, and this runs once. Null ones are left out.
        unsafe {
            sys::cuCtxSetCurrent(self.context);
            if !self.finished.is_null() {
                sys::cuEventDestroy_v2(self.finished);
            }
            if !self.stream.is_null() {
                sys::cuStreamDestroy_v2(self.stream);
            }
            sys::cuCtxDestroy_v2(self.context);
        }
    }
}
