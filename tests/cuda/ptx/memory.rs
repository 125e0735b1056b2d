//! The buffers of a device, with the history of the accesses to each.

use super::order::{History, Kind, Who};

/// Buffers lie this far apart, and below the first is the window of shared memory.
const SHIFT: u32 = 36;

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    history: History,
}

#[derive(Default)]
pub struct Memory {
    buffers: Vec<Buffer>,
    launch: u64,
    /// Blocks that may wait for each other in this launch.
    together: usize,
    /// Nothing may write this buffer in this launch.
    constant: usize,
}

/// Address of byte 0 of a buffer.
pub fn address(buffer: usize) -> u64 {
    (buffer as u64 + 1) << SHIFT
}

impl Memory {
    pub fn add(&mut self, bytes: usize) -> usize {
        self.buffers.push(Buffer { bytes: vec![0; bytes], history: History::default() });
        self.buffers.len() - 1
    }

    /// For the host, which comes before and after everything.
    ///
    /// # Errors
    /// A place outside the buffer.
    pub fn bytes(&mut self, buffer: usize, at: usize, bytes: usize) -> Result<&mut [u8], String> {
        let all = &mut self.buffers.get_mut(buffer).ok_or("no such buffer")?.bytes;
        let length = all.len();
        let end = at.checked_add(bytes).filter(|e| *e <= length);
        end.map(|e| &mut all[at..e]).ok_or_else(|| format!("{bytes} bytes at {at} of a buffer of {length}"))
    }

    /// A launch begins; all before it is done.
    pub fn begin(&mut self, together: usize, constant: u64) {
        self.launch += 1;
        (self.together, self.constant) = (together, (constant >> SHIFT) as usize - 1);
    }

    fn place(&self, at: u64) -> Result<(usize, usize), String> {
        let buffer = (at >> SHIFT) as usize;
        if buffer == 0 || buffer > self.buffers.len() {
            return Err(format!("{at:#x} lies in no buffer"));
        }
        Ok((buffer - 1, (at & ((1 << SHIFT) - 1)) as usize))
    }

    /// The bytes at an address, noted as accessed. `nc`: as constants.
    ///
    /// # Errors
    /// An address outside the buffers, a race, a write to the constant buffer, a read of another as constant.
    pub fn access(&mut self, who: &Who<'_>, at: u64, bytes: usize, kind: Kind, nc: bool) -> Result<&mut [u8], String> {
        let (buffer, offset) = self.place(at)?;
        if buffer != self.constant {
            if nc {
                return Err("ld.global.nc from a buffer that may be written".into());
            }
            let (launch, together) = (self.launch, self.together);
            self.bytes(buffer, offset, bytes)?;
            self.buffers[buffer].history.note(launch, together, who, (offset, bytes), kind)?;
        } else if !matches!(kind, Kind::Read | Kind::StrongRead) {
            return Err("a write to the constant buffer".into());
        }
        self.bytes(buffer, offset, bytes)
    }
}
