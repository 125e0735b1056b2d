//! What the engine asks of a GPU, small enough that a CPU shim, a fault injector and the driver can all be one.

use crate::error::Result;

/// Where a buffer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The device's own memory.
    Device,
    /// Written or read by the host every step: pinned, and mapped instead of copied on an integrated GPU.
    Staging,
}

/// One kernel launch. Every kernel has the one signature
/// `(const unsigned char *model, unsigned char *arena, unsigned char *io, int layer, int streams)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Name of the `extern "C"` kernel.
    pub kernel: &'static str,
    /// Blocks.
    pub grid: u32,
    /// Threads a block.
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// All blocks must be resident at once, for the kernel has a barrier over the grid.
    pub cooperative: bool,
    /// Index into the model's table of layers, where the kernel takes one.
    pub layer: i32,
    /// Streams in this step.
    pub streams: i32,
}

/// The three buffers that every kernel is given.
pub struct Buffers<'a, B> {
    /// Packed weights and the table of layers; constant.
    pub model: &'a B,
    /// Activations, rings and states.
    pub arena: &'a B,
    /// What the host sends and fetches each step.
    pub io: &'a B,
}

/// A device with one in-order queue.
pub trait Device: Send {
    /// Memory, freed on drop.
    type Buffer: Send;
    /// A recorded sequence of launches.
    type Graph: Send;

    /// Name, compute capability, driver: for `vaerr doctor` and errors.
    fn describe(&self) -> String;

    /// Most blocks of `launch` that can be resident at once.
    ///
    /// # Errors
    /// If the kernel is unknown.
    fn resident_blocks(&mut self, launch: &Launch) -> Result<u32>;

    /// Zeroed memory, aligned to 256 bytes.
    ///
    /// # Errors
    /// Out of memory.
    fn alloc(&mut self, bytes: usize, memory: Memory) -> Result<Self::Buffer>;

    /// Queues a copy to `buffer` from byte `at` on; `bytes` may be changed as soon as this returns.
    ///
    /// # Errors
    /// Device lost, or a range outside the buffer.
    fn write(&mut self, buffer: &mut Self::Buffer, at: usize, bytes: &[u8]) -> Result<()>;

    /// Waits for all that was queued, no longer than the device's time-out, and copies out.
    ///
    /// # Errors
    /// As [`Device::write`], a time-out, or a fault of an earlier launch.
    fn read(&mut self, buffer: &Self::Buffer, at: usize, into: &mut [u8]) -> Result<()>;

    /// Queues one launch.
    ///
    /// # Errors
    /// An unknown kernel, a refused launch, device lost.
    fn launch(&mut self, launch: &Launch, buffers: &Buffers<'_, Self::Buffer>) -> Result<()>;

    /// Records launches on these buffers for [`Device::replay`].
    ///
    /// # Errors
    /// As [`Device::launch`].
    fn record(&mut self, launches: &[Launch], buffers: &Buffers<'_, Self::Buffer>) -> Result<Self::Graph>;

    /// Queues a recorded sequence.
    ///
    /// # Errors
    /// As [`Device::launch`].
    fn replay(&mut self, graph: &Self::Graph) -> Result<()>;
}
