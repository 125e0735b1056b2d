//! Runs kernels in warps of 32 lanes, each lane with its own place in the program: one instruction at a time for all lanes that stand at it.
//!
//! Faults are errors: an address outside a buffer or not aligned to what is accessed, a race (see `order`), a division by zero, lanes of a warp
//! at different collectives, a shuffle from a lane that takes no part, a trap, a launch that does not end.
//!
//! Strong accesses of a thread to different words are unordered but for fences: with a seed, a strong load may be done later than where
//! it stands, until its value is needed, and a strong store too; both are done by the thread's next fence, barrier or access to the word.

use super::access::{Late, ends};
use super::arithmetic::{self as compute, LANES, Lanes, low, member};
use super::instruction::{Instruction, Kernel, Operation, Source};
use super::memory::Memory;
use super::order::{Clock, Handed, History};

const WHOLE_WARP: u32 = u32::MAX;
/// Instructions that a warp may go on for in one turn.
const LONGEST_TURN: u32 = 12;

/// In which of the orders that are allowed a launch is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule {
    /// Chooses warps, turns, lanes and delays; 0: all in turn and nothing late.
    pub seed: u64,
    /// Any lanes of a warp may go on first, as from sm_70 on; else those furthest behind.
    pub independent: bool,
}

/// A launch: five parameters, as all our kernels have, of which the first points to what is constant.
pub struct Launch {
    pub grid: u32,
    pub threads: u32,
    pub shared_bytes: usize,
    /// Blocks may wait for each other.
    pub cooperative: bool,
    /// Blocks that run at the same time.
    pub together: u32,
    pub parameters: [u64; 5],
    /// Most instructions, counted by warp.
    pub most: u64,
}

/// Lanes that stand at one instruction.
#[derive(Clone, Copy)]
struct Party {
    at: usize,
    lanes: u32,
}

pub(super) struct Warp {
    number: usize,
    pub(super) registers: Vec<Lanes>,
    parties: Vec<Party>,
    /// At the block's barrier, and where it goes on.
    waiting: Option<usize>,
    ended: u32,
    /// In the order of the program.
    pub(super) late: Vec<Late>,
}

pub(super) struct Block {
    index: u32,
    pub(super) warps: Vec<Warp>,
    pub(super) shared: Vec<u8>,
    /// Of the shared memory; the block alone has it.
    pub(super) history: History,
    pub(super) clock: Clock,
}

pub struct Machine<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) memory: &'a mut Memory,
    pub(super) launch: &'a Launch,
    pub(super) schedule: Schedule,
    random: u64,
    pub(super) handed: Handed,
    /// Registers of warps that have ended; some megabytes each, so they are used again.
    pub spare: Vec<Vec<Lanes>>,
    /// Instructions so far, by warp.
    pub executed: u64,
}

impl<'a> Machine<'a> {
    pub fn new(kernel: &'a Kernel, memory: &'a mut Memory, launch: &'a Launch, schedule: Schedule) -> Self {
        let random = schedule.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { kernel, memory, launch, schedule, random, handed: Handed::default(), spare: Vec::new(), executed: 0 }
    }

    /// xorshift64 (Marsaglia, 2003).
    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) as usize % n
    }

    fn by_chance(&mut self, one_in: usize) -> bool {
        self.schedule.seed > 0 && self.below(one_in) == 0
    }

    /// # Errors
    /// See the head of this file.
    pub fn run(&mut self) -> Result<(), String> {
        let blocks = self.launch.grid as usize;
        let together = if self.launch.cooperative { blocks } else { 0 };
        self.memory.begin(together, self.launch.parameters[0]);
        let mut order: Vec<u32> = (0..self.launch.grid).collect();
        if self.schedule.seed > 0 {
            for i in (1..blocks).rev() {
                order.swap(i, self.below(i + 1));
            }
        }
        for indices in order.chunks(self.launch.together.max(1) as usize) {
            let mut blocks: Vec<Block> = indices.iter().map(|&i| self.block(i)).collect();
            let done = self.run_together(&mut blocks);
            self.spare.extend(blocks.into_iter().flat_map(|b| b.warps).map(|w| w.registers));
            done?;
        }
        Ok(())
    }

    fn block(&mut self, index: u32) -> Block {
        let threads = self.launch.threads as usize;
        assert!(threads.is_multiple_of(LANES), "blocks of whole warps");
        let mut registers = || {
            let mut registers = self.spare.pop().unwrap_or_default();
            registers.clear();
            registers.resize(self.kernel.registers.len(), [0xdead_beef_dead_beef; LANES]);
            registers
        };
        let warp = |number| Warp {
            number,
            registers: registers(),
            parties: vec![Party { at: 0, lanes: WHOLE_WARP }],
            waiting: None,
            ended: 0,
            late: Vec::new(),
        };
        Block {
            index,
            warps: (0..threads / LANES).map(warp).collect(),
            shared: vec![0xcd; self.launch.shared_bytes],
            history: History::default(),
            clock: Clock::new(index as usize, threads),
        }
    }

    fn run_together(&mut self, blocks: &mut [Block]) -> Result<(), String> {
        let mut left: Vec<(usize, usize)> =
            (0..blocks.len()).flat_map(|b| (0..blocks[b].warps.len()).map(move |w| (b, w))).collect();
        let random = self.schedule.seed > 0;
        while !left.is_empty() {
            let mut moved = false;
            for turn in 0..left.len() {
                let (b, w) = left[if random { self.below(left.len()) } else { turn }];
                let block = &mut blocks[b];
                let longest = 1 << if random { self.below(LONGEST_TURN as usize) } else { LONGEST_TURN as usize };
                let index = block.index;
                let at = |e: String| format!("block {index}, warp {w}: {e}");
                for _ in 0..longest {
                    let Some(strong) = self.step(block, w).map_err(at)? else { break };
                    moved = true;
                    // What others do just then matters most.
                    if strong && self.by_chance(2) {
                        break;
                    }
                }
                release(block);
                if !block.warps[w].late.is_empty() && self.by_chance(2) {
                    let some = self.below(block.warps[w].late.len());
                    self.finish(block, w, |i, _| i == some).map_err(at)?;
                }
            }
            left.retain(|&(b, w)| blocks[b].warps[w].ended != WHOLE_WARP);
            // By chance none may have been asked that could go on.
            let stuck = |&(b, w): &(usize, usize)| self.ready(&blocks[b].warps[w]).is_none();
            if !moved && left.iter().all(stuck) {
                let (b, w) = left[0];
                let warp = &blocks[b].warps[w];
                let place = warp.parties.first().map_or("the barrier", |p| &self.kernel.code[p.at].text);
                return Err(format!("deadlock: block {}, warp {w} waits at {place}", blocks[b].index));
            }
            if self.executed > self.launch.most {
                return Err(format!("no end after {} instructions", self.executed));
            }
        }
        Ok(())
    }

    /// Number of the party that goes on; none if all wait for others.
    fn ready(&self, warp: &Warp) -> Option<usize> {
        let can = |p: &Party| {
            p.lanes & wanted(warp, &self.kernel.code[p.at], *p) == wanted(warp, &self.kernel.code[p.at], *p)
        };
        let parties = warp.parties.iter().enumerate().filter(|(_, p)| can(p));
        if self.schedule.independent {
            let n = parties.clone().count();
            let chosen = (self.random >> 33) as usize % n.max(1);
            parties.map(|(i, _)| i).nth(chosen)
        } else {
            parties.min_by_key(|(_, p)| p.at).map(|(i, _)| i)
        }
    }

    /// One instruction of one warp, and whether it was a strong access; none if none can be executed now.
    fn step(&mut self, block: &mut Block, w: usize) -> Result<Option<bool>, String> {
        if self.schedule.independent && block.warps[w].parties.len() > 1 {
            self.below(2);
        }
        let Some(number) = self.ready(&block.warps[w]) else { return Ok(None) };
        let kernel = self.kernel;
        let Party { at, mut lanes } = block.warps[w].parties[number];
        let i = &kernel.code[at];
        if self.schedule.independent && !i.operation.collective() && self.by_chance(64) {
            let part = lanes & self.below(1 << 32) as u32;
            lanes = if part != 0 { part } else { lanes };
        }
        if !block.warps[w].late.is_empty() {
            self.finish(block, w, |_, late| member(lanes, late.lane) && ends(i, late))?;
            if self.by_chance(64) {
                self.finish(block, w, |i, _| i == 0)?;
            }
        }
        let warp = &mut block.warps[w];
        let on = match i.guard {
            None => lanes,
            Some((p, wanted)) => {
                let chosen = |l: &usize| (warp.registers[p][*l] & 1 != 0) == wanted;
                (0..LANES).filter(chosen).fold(0, |m, l| m | 1 << l) & lanes
            }
        };
        self.executed += 1;
        match warp.parties[number].lanes & !lanes {
            0 => drop(warp.parties.swap_remove(number)),
            rest => warp.parties[number].lanes = rest,
        }
        match i.operation {
            Operation::Jump { to } => {
                go(warp, to, on);
                go(warp, at + 1, lanes & !on);
            }
            Operation::Return => {
                warp.ended |= on;
                go(warp, at + 1, lanes & !on);
            }
            Operation::Barrier => warp.waiting = Some(at + 1),
            _ => go(warp, at + 1, lanes),
        }
        self.execute(block, w, i, on).map_err(|e| format!("{e}: {}", i.text))?;
        Ok(Some(i.operation.strong()))
    }

    fn execute(&mut self, block: &mut Block, w: usize, i: &Instruction, on: u32) -> Result<(), String> {
        let lanes = || (0..LANES).filter(|&l| member(on, l));
        let index = block.index;
        match &i.operation {
            Operation::Jump { .. } | Operation::Return | Operation::Barrier | Operation::Nothing => {}
            Operation::Trap if on == 0 => {}
            Operation::Trap => return Err("a trap".into()),
            Operation::Fence => lanes().for_each(|l| block.clock.fence((w * LANES + l) as u32)),
            Operation::Compute { what, ty, from, to, sources } => {
                let warp = &mut block.warps[w];
                let values = sources.map(|s| self.fetch(warp, index, s));
                let out = compute::compute(*what, *ty, *from, &values, on)?;
                self.put(warp, *to, on, &out);
            }
            Operation::Shuffle { butterfly, to, inside, sources } => {
                let warp = &mut block.warps[w];
                let values = sources.map(|s| self.fetch(warp, index, s));
                if lanes().any(|l| values[3][l] as u32 != on) {
                    return Err("lanes take part that are not named, or name different ones".into());
                }
                let (taken, within) = compute::shuffle(*butterfly, &values, on)?;
                self.put(warp, *to, on, &taken);
                if let Some(predicate) = inside {
                    self.put(warp, *predicate, on, &within);
                }
            }
            Operation::Matrix { to, sources } => {
                let warp = &mut block.warps[w];
                let values: Vec<Lanes> = sources.iter().map(|&s| self.fetch(warp, index, s)).collect();
                to.iter().zip(&compute::matrix(&values)).for_each(|(&r, v)| self.put(warp, r, on, v));
            }
            Operation::Load { access, to } => {
                let base = self.fetch(&block.warps[w], index, access.base);
                for l in lanes() {
                    self.load(block, (w, l), access, base[l], to).map_err(|e| format!("lane {l}: {e}"))?;
                }
            }
            Operation::Store { access, values } => {
                let base = self.fetch(&block.warps[w], index, access.base);
                let values: Vec<Lanes> = values.iter().map(|&s| self.fetch(&block.warps[w], index, s)).collect();
                for l in lanes() {
                    let values = values.iter().map(|v| v[l]);
                    self.store(block, (w, l), access, base[l], values).map_err(|e| format!("lane {l}: {e}"))?;
                }
            }
            Operation::AtomicAdd { access, to, value } => {
                let [base, add] = [access.base, *value].map(|s| self.fetch(&block.warps[w], index, s));
                for l in lanes() {
                    let old = self
                        .atomic_add(block, (w, l), access, base[l], add[l] as u32)
                        .map_err(|e| format!("lane {l}: {e}"))?;
                    block.warps[w].registers[*to][l] = old.into();
                }
            }
        }
        Ok(())
    }

    fn fetch(&self, warp: &Warp, block: u32, source: Source) -> Lanes {
        match source {
            Source::Register(r) => warp.registers[r],
            Source::Immediate(v) => [v; LANES],
            Source::Thread => std::array::from_fn(|l| (warp.number * LANES + l) as u64),
            Source::Block => [block.into(); LANES],
            Source::Threads => [self.launch.threads.into(); LANES],
            Source::Blocks => [self.launch.grid.into(); LANES],
        }
    }

    fn put(&self, warp: &mut Warp, register: usize, on: u32, values: &Lanes) {
        let width = self.kernel.registers[register];
        for (l, (to, v)) in warp.registers[register].iter_mut().zip(values).enumerate() {
            if member(on, l) {
                *to = low(*v, width);
            }
        }
    }
}

/// The lanes that must stand at an instruction together.
fn wanted(warp: &Warp, i: &Instruction, party: Party) -> u32 {
    match &i.operation {
        Operation::Barrier | Operation::Matrix { .. } => !warp.ended,
        Operation::Shuffle { sources: [_, _, _, members], .. } => match members {
            Source::Register(r) => warp.registers[*r][party.lanes.trailing_zeros() as usize] as u32,
            Source::Immediate(v) => *v as u32,
            _ => WHOLE_WARP,
        },
        _ => 0,
    }
}

/// Lanes arrive at an instruction, and join those that stand there.
fn go(warp: &mut Warp, at: usize, lanes: u32) {
    if lanes == 0 {
        return;
    }
    match warp.parties.iter_mut().find(|p| p.at == at) {
        Some(p) => p.lanes |= lanes,
        None => warp.parties.push(Party { at, lanes }),
    }
}

/// Lets a block go on once all that have not ended wait at its barrier.
fn release(block: &mut Block) {
    let done = |w: &Warp| w.ended == WHOLE_WARP;
    if block.warps.iter().any(|w| w.waiting.is_none() && !done(w)) || block.warps.iter().all(done) {
        return;
    }
    block.clock.barrier();
    for warp in &mut block.warps {
        if let Some(at) = warp.waiting.take() {
            let lanes = !warp.ended;
            go(warp, at, lanes);
        }
    }
}
