//! An interpreter of PTX: a [`Device`] that executes what NVRTC makes of the kernels, instruction by instruction. It shares no code with the shim.
//!
//! `text` reads, `arithmetic` works out, `order` and `memory` know who may see what, `machine` and `access` run. Written from the PTX ISA.
//! Not modelled: what ptxas makes of the PTX, time, more scopes than block and GPU.

mod access;
mod arithmetic;
mod instruction;
mod litmus;
mod machine;
mod memory;
mod operations;
mod order;
mod parity;
mod text;

use crate::tools::tools;
use instruction::Module;
use machine::{Machine, Schedule};
use memory::{Memory, address};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use vaerr::engine::cuda::compile::{Compiler, Form, Sm, Unit};
use vaerr::engine::cuda::device::{Buffers, Device, Launch, Memory as Place};
use vaerr::engine::cuda::kernels;
use vaerr::engine::cuda::nvrtc::Nvrtc;
use vaerr::error::{Error, Result};

/// How kernels are run.
#[derive(Debug, Clone, Copy)]
struct Options {
    schedule: Schedule,
    /// Blocks that are said to be resident at once.
    resident: u32,
    /// Most instructions of a launch, counted by warp.
    most: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { schedule: Schedule::default(), resident: 5, most: 1_000_000_000 }
    }
}

struct PtxDevice {
    module: Arc<Module>,
    memory: Memory,
    options: Options,
    launches: u64,
    /// Instructions so far, counted by warp.
    executed: u64,
    spare: Vec<Vec<arithmetic::Lanes>>,
}

/// Number of a buffer; its memory stays until the device is dropped.
struct PtxBuffer(usize);

struct PtxGraph {
    launches: Vec<Launch>,
    at: [u64; 3],
}

impl PtxDevice {
    fn new(module: Arc<Module>, options: Options) -> Self {
        Self { module, memory: Memory::default(), options, launches: 0, executed: 0, spare: Vec::new() }
    }

    fn run(&mut self, launch: &Launch, [model, arena, io]: [u64; 3]) -> Result<()> {
        let fault = |e: String| Error::device(e).at(launch.kernel);
        let kernel = self.module.kernels.get(launch.kernel).ok_or_else(|| fault("no such kernel".into()))?;
        if kernel.parameters != 5 || (launch.cooperative && launch.grid > self.options.resident) {
            return Err(fault("invalid launch".into()));
        }
        let what = machine::Launch {
            grid: launch.grid,
            threads: launch.block,
            shared_bytes: launch.shared_bytes as usize,
            cooperative: launch.cooperative,
            together: self.options.resident,
            parameters: [model, arena, io, launch.layer as u64, launch.streams as u64],
            most: self.options.most,
        };
        self.launches += 1;
        let mut schedule = self.options.schedule;
        if schedule.seed > 0 {
            schedule.seed = schedule.seed.wrapping_add(self.launches << 20);
        }
        let mut machine = Machine::new(kernel, &mut self.memory, &what, schedule);
        machine.spare = std::mem::take(&mut self.spare);
        let done = machine.run();
        self.executed += machine.executed;
        self.spare = machine.spare;
        done.map_err(fault)
    }
}

fn lost(e: String) -> Error {
    Error::device(e)
}

impl Device for PtxDevice {
    type Buffer = PtxBuffer;
    type Graph = PtxGraph;

    fn describe(&self) -> String {
        "the CUDA kernels' PTX on the CPU".into()
    }

    fn resident_blocks(&mut self, launch: &Launch) -> Result<u32> {
        let known = self.module.kernels.contains_key(launch.kernel);
        known.then_some(self.options.resident).ok_or_else(|| Error::device("no such kernel").at(launch.kernel))
    }

    fn alloc(&mut self, bytes: usize, _: Place) -> Result<PtxBuffer> {
        Ok(PtxBuffer(self.memory.add(bytes)))
    }

    fn write(&mut self, buffer: &mut PtxBuffer, at: usize, bytes: &[u8]) -> Result<()> {
        self.memory.bytes(buffer.0, at, bytes.len()).map_err(lost)?.copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, buffer: &PtxBuffer, at: usize, into: &mut [u8]) -> Result<()> {
        into.copy_from_slice(self.memory.bytes(buffer.0, at, into.len()).map_err(lost)?);
        Ok(())
    }

    fn launch(&mut self, launch: &Launch, b: &Buffers<'_, PtxBuffer>) -> Result<()> {
        self.run(launch, [b.model, b.arena, b.io].map(|b| address(b.0)))
    }

    fn record(&mut self, launches: &[Launch], b: &Buffers<'_, PtxBuffer>) -> Result<PtxGraph> {
        Ok(PtxGraph { launches: launches.to_vec(), at: [b.model, b.arena, b.io].map(|b| address(b.0)) })
    }

    fn replay(&mut self, graph: &PtxGraph) -> Result<()> {
        graph.launches.iter().try_for_each(|l| self.run(l, graph.at))
    }
}

/// What NVRTC makes of a text for a GPU; compiled once a process.
fn compiled(sm: u32, source: &str) -> Option<Arc<Module>> {
    type Cell = Arc<OnceLock<Arc<Module>>>;
    static ALL: Mutex<BTreeMap<(u32, String), Cell>> = Mutex::new(BTreeMap::new());
    let tools = tools()?;
    let key = (sm, source.to_owned());
    let cell = ALL.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
    let module = cell.get_or_init(|| {
        // CUDA 13 for what 12 does not know.
        let line = if sm == 110 { "13" } else { "12" };
        let nvrtc = Nvrtc::open(&tools.join(line).join(format!("libnvrtc.so.{line}"))).unwrap();
        let unit = Unit { name: "vaerr.cu", source: source.to_owned().into(), headers: &[] };
        let ptx = nvrtc.compile(&unit, Sm(sm), Form::Ptx).unwrap_or_else(|e| panic!("{e}"));
        let module = Module::parse(&String::from_utf8(ptx).unwrap());
        Arc::new(module.unwrap_or_else(|e| panic!("sm_{sm}: {e}")))
    });
    Some(module.clone())
}

/// The project's kernels.
fn shipped(sm: u32) -> Option<Arc<Module>> {
    compiled(sm, &kernels::source())
}
