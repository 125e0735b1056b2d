//! [`Device`] on NVIDIA's driver.

mod context;
mod memory;
mod module;
mod probe;
mod status;

pub use memory::Buffer;
pub use probe::{Gpu, first_look, probe};

use super::compile::{Sm, Unit};
use super::device::{Buffers, Device, Launch, Memory as Where};
use super::images::Images;
use crate::error::{Error, Result};
use context::Context;
use cudarc::driver::sys;
use memory::{Kind, Memory};
use module::{Functions, Loaded};
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the page-locked memory through which copies to [`Where::Device`] go.
const BOUNCE: usize = 1 << 20;

/// Which GPU, and how patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Its number in the driver's order.
    pub device: usize,
    /// The longest wait for a step.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { device: 0, timeout: Duration::from_secs(1) }
    }
}

impl Settings {
    /// From `VAERR_CUDA_DEVICE` and `VAERR_CUDA_TIMEOUT_MS`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`] if one is set and is not a whole number.
    pub fn of_environment() -> Result<Self> {
        let number = |name: &str| match std::env::var(name) {
            Ok(text) if !text.is_empty() => text
                .parse::<u32>()
                .map(Some)
                .map_err(|e| Error::usage(format!("{text:?} is not a whole number")).at(name).caused_by(e)),
            _ => Ok(None),
        };
        let usual = Self::default();
        Ok(Self {
            device: number("VAERR_CUDA_DEVICE")?.map_or(usual.device, |n| n as usize),
            timeout: number("VAERR_CUDA_TIMEOUT_MS")?.map_or(usual.timeout, |ms| Duration::from_millis(ms.into())),
        })
    }
}

/// An NVIDIA GPU with our kernels loaded.
pub struct CudaDevice {
    gpu: Gpu,
    functions: Functions,
    bounce: Bounce,
    context: Arc<Context>,
}

impl CudaDevice {
    /// Opens the GPU and loads the units from the first place that has them.
    ///
    /// # Errors
    /// Why the GPU cannot be used, or which places of kernels were tried.
    pub fn open(settings: &Settings, units: &[Unit], images: &mut Images) -> Result<Self> {
        let gpu = probe(settings.device)?;
        let context = Arc::new(Context::create(&gpu, settings.timeout)?);
        let mut loaded = Vec::new();
        for unit in units {
            loaded.push(images.offer(unit, gpu.sm, |image| Loaded::load(&context, image))?);
        }
        let bounce = Bounce { memory: Memory::alloc(&context, BOUNCE, Kind::Host)?, used: 0, as_of: 0 };
        Ok(Self { gpu, functions: Functions::of(loaded), bounce, context })
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The oldest GPU that a loaded unit was compiled for: what `__CUDA_ARCH__` was.
    pub fn compiled_for(&self) -> Sm {
        self.functions.compiled_for().unwrap_or(self.gpu.sm)
    }

    fn owns(&self, buffer: &Buffer) -> Result<()> {
        let own = Arc::ptr_eq(&buffer.memory.context, &self.context);
        if own { Ok(()) } else { Err(Error::device("a buffer of another device was given")) }
    }

    fn enqueue(&mut self, launch: &Launch, buffers: &Buffers<'_, Buffer>) -> Result<()> {
        let function = self.functions.prepare(launch)?;
        let mut pointers = [buffers.model, buffers.arena, buffers.io].map(|b| b.memory.device);
        let mut numbers = [launch.layer, launch.streams];
        let [model, arena, io] = &mut pointers;
        let [layer, streams] = &mut numbers;
        let mut arguments: [*mut c_void; 5] = [
            ptr::from_mut(model).cast(),
            ptr::from_mut(arena).cast(),
            ptr::from_mut(io).cast(),
            ptr::from_mut(layer).cast(),
            ptr::from_mut(streams).cast(),
        ];
        let Launch { grid, block, shared_bytes: shared, .. } = *launch;
        let (stream, arguments) = (self.context.stream, arguments.as_mut_ptr());
        self.context.queue();
        if launch.cooperative {
            // SAFETY: the function is of a loaded module and takes these five; the driver copies them before it returns. The buffers
            // are not freed before the stream is idle (`Memory::drop`).
            let status =
                unsafe { sys::cuLaunchCooperativeKernel(function, grid, 1, 1, block, 1, 1, shared, stream, arguments) };
            return self.context.check("cuLaunchCooperativeKernel", status).map_err(|e| e.at(launch.kernel));
        }
        // SAFETY: as above.
        let status = unsafe {
            sys::cuLaunchKernel(function, grid, 1, 1, block, 1, 1, shared, stream, arguments, ptr::null_mut())
        };
        self.context.check("cuLaunchKernel", status).map_err(|e| e.at(launch.kernel))
    }

    fn instantiate(&self, recorded: sys::CUgraph) -> Result<sys::CUgraphExec> {
        let mut exec = ptr::null_mut();
        // SAFETY: the graph was just recorded; the executable does not need it any more.
        let status = unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, recorded, 0) };
        // SAFETY: destroyed once.
        unsafe { sys::cuGraphDestroy(recorded) };
        self.context.check("cuGraphInstantiate", status)?;
        Ok(exec)
    }
}

impl Device for CudaDevice {
    type Buffer = Buffer;
    type Graph = Graph;

    fn describe(&self) -> String {
        format!("{}; kernels: {}", self.gpu, self.functions.origins())
    }

    fn resident_blocks(&mut self, launch: &Launch) -> Result<u32> {
        self.context.enter()?;
        let function = self.functions.prepare(launch)?;
        if launch.cooperative && !self.gpu.cooperative {
            return Ok(0);
        }
        let mut blocks = 0;
        let (block, shared) = (launch.block as i32, launch.shared_bytes as usize);
        // SAFETY: the function is of a loaded module.
        let status = unsafe { sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, function, block, shared) };
        self.context.check("cuOccupancyMaxActiveBlocksPerMultiprocessor", status)?;
        Ok(u32::try_from(blocks).unwrap_or(0) * self.gpu.multiprocessors)
    }

    fn alloc(&mut self, bytes: usize, memory: Where) -> Result<Buffer> {
        self.context.enter()?;
        let kind = match memory {
            Where::Device => Kind::Device,
            Where::Staging if self.gpu.integrated => Kind::Mapped,
            Where::Staging => Kind::Copied,
        };
        Ok(Buffer::new(Memory::alloc(&self.context, bytes, kind)?))
    }

    fn write(&mut self, buffer: &mut Buffer, at: usize, bytes: &[u8]) -> Result<()> {
        self.owns(buffer)?;
        buffer.memory.range(at, bytes.len())?;
        self.context.enter()?;
        match buffer.memory.kind {
            Kind::Device | Kind::Host => self.bounce.write(buffer.memory.device + at as u64, bytes),
            Kind::Mapped => {
                self.context.wait()?;
                // SAFETY: the range was checked, and the GPU is idle.
                unsafe { buffer.memory.put(at, bytes) };
                Ok(())
            }
            Kind::Copied => {
                buffer.claim(at, bytes.len())?;
                // SAFETY: the range was checked, and the GPU has fetched what it held.
                unsafe { buffer.memory.put(at, bytes) };
                let memory = &buffer.memory;
                upload(&self.context, memory.device + at as u64, memory, at, bytes.len())
            }
        }
    }

    fn read(&mut self, buffer: &Buffer, at: usize, into: &mut [u8]) -> Result<()> {
        self.owns(buffer)?;
        let memory = &buffer.memory;
        memory.range(at, into.len())?;
        self.context.enter()?;
        match memory.kind {
            Kind::Device | Kind::Host => return self.bounce.read(memory.device + at as u64, into),
            Kind::Mapped => {}
            Kind::Copied => download(&self.context, memory, at, memory.device + at as u64, into.len())?,
        }
        self.context.wait()?;
        // SAFETY: the range was checked, and the GPU is idle.
        unsafe { memory.get(at, into) };
        Ok(())
    }

    fn launch(&mut self, launch: &Launch, buffers: &Buffers<'_, Buffer>) -> Result<()> {
        [buffers.model, buffers.arena, buffers.io].into_iter().try_for_each(|b| self.owns(b))?;
        self.context.enter()?;
        self.enqueue(launch, buffers)
    }

    fn record(&mut self, launches: &[Launch], buffers: &Buffers<'_, Buffer>) -> Result<Graph> {
        let all = [buffers.model, buffers.arena, buffers.io];
        all.into_iter().try_for_each(|b| self.owns(b))?;
        self.context.enter()?;
        // Loading a function while a stream is being recorded may break the recording.
        launches.iter().try_for_each(|l| self.functions.prepare(l).map(|_| ()))?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours and not being recorded.
        self.context
            .check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(self.context.stream, mode) })?;
        let launched = launches.iter().try_for_each(|l| self.enqueue(l, buffers));
        let mut recorded = ptr::null_mut();
        // SAFETY: the recording was begun above; it must be ended even if a launch failed.
        let ended = unsafe { sys::cuStreamEndCapture(self.context.stream, &mut recorded) };
        launched?;
        self.context.check("cuStreamEndCapture", ended)?;
        let exec = self.instantiate(recorded)?;
        Ok(Graph { exec, _memory: all.map(|b| b.memory.clone()), context: self.context.clone() })
    }

    fn replay(&mut self, graph: &Graph) -> Result<()> {
        if !Arc::ptr_eq(&graph.context, &self.context) {
            return Err(Error::device("a graph of another device was given"));
        }
        self.context.enter()?;
        self.context.queue();
        // SAFETY: the graph lives, and so do the buffers that it holds.
        self.context.check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(graph.exec, self.context.stream) })
    }
}

/// A recorded sequence, which keeps its buffers.
pub struct Graph {
    exec: sys::CUgraphExec,
    _memory: [Arc<Memory>; 3],
    context: Arc<Context>,
}

// SAFETY: a graph may be used from any thread, one at a time; the device that replays it is borrowed mutably.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.settle() {
            // SAFETY: made by `instantiate`, destroyed once, and the GPU is idle.
            unsafe { sys::cuGraphExecDestroy(self.exec) };
        }
    }
}

/// Queues a copy from the host's part of `from` to the GPU. Context entered, ranges checked.
fn upload(context: &Context, to: sys::CUdeviceptr, from: &Memory, at: usize, len: usize) -> Result<()> {
    context.queue();
    // SAFETY: both ranges were checked by the callers, and live until the stream is idle; the host's is page-locked.
    let status = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.host.add(at).cast(), len, context.stream) };
    context.check("cuMemcpyHtoDAsync", status)
}

/// Queues a copy from the GPU to the host's part of `to`. Context entered, ranges checked.
fn download(context: &Context, to: &Memory, at: usize, from: sys::CUdeviceptr, len: usize) -> Result<()> {
    context.queue();
    // SAFETY: as in `upload`.
    let status = unsafe { sys::cuMemcpyDtoHAsync_v2(to.host.add(at).cast(), from, len, context.stream) };
    context.check("cuMemcpyDtoHAsync", status)
}

/// Page-locked memory through which pageable bytes pass, filled from the front until a wait frees it.
struct Bounce {
    memory: Memory,
    used: usize,
    as_of: u64,
}

impl Bounce {
    fn write(&mut self, to: sys::CUdeviceptr, bytes: &[u8]) -> Result<()> {
        for (i, piece) in bytes.chunks(BOUNCE).enumerate() {
            let at = self.room(piece.len())?;
            // SAFETY: the room is within the memory, and nothing queued uses it.
            unsafe { self.memory.put(at, piece) };
            upload(&self.memory.context, to + (i * BOUNCE) as u64, &self.memory, at, piece.len())?;
        }
        Ok(())
    }

    fn read(&mut self, from: sys::CUdeviceptr, into: &mut [u8]) -> Result<()> {
        for (i, piece) in into.chunks_mut(BOUNCE).enumerate() {
            let at = self.room(piece.len())?;
            download(&self.memory.context, &self.memory, at, from + (i * BOUNCE) as u64, piece.len())?;
            self.memory.context.wait()?;
            // SAFETY: the room is within the memory, and the GPU is idle.
            unsafe { self.memory.get(at, piece) };
        }
        Ok(())
    }

    fn room(&mut self, len: usize) -> Result<usize> {
        let context = &self.memory.context;
        if self.as_of == context.waits() && self.used + len > BOUNCE {
            context.wait()?;
        }
        if self.as_of != context.waits() {
            (self.used, self.as_of) = (0, context.waits());
        }
        let at = self.used;
        self.used += len;
        Ok(at)
    }
}
