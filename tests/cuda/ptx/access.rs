//! Loads, stores and atomics of single lanes, done at once or late.

use super::arithmetic::{LANES, SHARED_WINDOW, low, signed};
use super::instruction::{Access, Instruction, Kind as Kinds, Operation, Source, Space, Type};
use super::machine::{Block, Machine};
use super::order::{Kind, Known};

/// A strong access that was issued and is not done yet.
pub(super) struct Late {
    pub(super) lane: usize,
    at: u64,
    ty: Type,
    what: Delayed,
}

enum Delayed {
    Load { to: usize },
    Store { value: u64, released: Known },
}

impl Machine<'_> {
    pub(super) fn load(
        &mut self,
        block: &mut Block,
        (w, lane): (usize, usize),
        access: &Access,
        base: u64,
        to: &[usize],
    ) -> Result<(), String> {
        let ty = access.ty;
        if access.space == Space::Parameter {
            let v = *self.launch.parameters.get(access.offset as usize).ok_or("no such parameter")?;
            block.warps[w].registers[to[0]][lane] = low(v, ty.bits);
            return Ok(());
        }
        let (shared, at) = place(access, base, to.len())?;
        let bytes = ty.bytes() * to.len();
        if access.strong && !shared {
            let [to] = *to else { return Err("a strong vector".into()) };
            block.warps[w].late.push(Late { lane, at, ty, what: Delayed::Load { to } });
            return if self.schedule.seed > 0 { Ok(()) } else { self.finish(block, w, |_, _| true) };
        }
        self.finish_at(block, (w, lane), at, bytes)?;
        let who = block.clock.who((w * LANES + lane) as u32);
        let from = if shared {
            let from = slice(&mut block.shared, at, bytes)?;
            block.history.note(0, 0, &who, (at as usize, bytes), Kind::Read)?;
            from
        } else {
            self.memory.access(&who, at, bytes, Kind::Read, access.constant)?
        };
        for (&r, v) in to.iter().zip(from.chunks_exact(ty.bytes())) {
            block.warps[w].registers[r][lane] = low(widened(little(v), ty), self.kernel.registers[r]);
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        block: &mut Block,
        (w, lane): (usize, usize),
        access: &Access,
        base: u64,
        values: impl ExactSizeIterator<Item = u64>,
    ) -> Result<(), String> {
        let (size, count) = (access.ty.bytes(), values.len());
        let (shared, at) = place(access, base, count)?;
        let thread = (w * LANES + lane) as u32;
        if access.strong && !shared {
            let released = block.clock.released(thread);
            for value in values {
                let what = Delayed::Store { value, released: released.clone() };
                block.warps[w].late.push(Late { lane, at, ty: access.ty, what });
            }
            return if self.schedule.seed > 0 { Ok(()) } else { self.finish(block, w, |_, _| true) };
        }
        self.finish_at(block, (w, lane), at, size * count)?;
        let who = block.clock.who(thread);
        let to = if shared {
            block.history.note(0, 0, &who, (at as usize, size * count), Kind::Write)?;
            slice(&mut block.shared, at, size * count)?
        } else {
            self.memory.access(&who, at, size * count, Kind::Write, false)?
        };
        for (to, v) in to.chunks_exact_mut(size).zip(values) {
            to.copy_from_slice(&v.to_le_bytes()[..size]);
        }
        Ok(())
    }

    pub(super) fn atomic_add(
        &mut self,
        block: &mut Block,
        (w, lane): (usize, usize),
        access: &Access,
        base: u64,
        add: u32,
    ) -> Result<u32, String> {
        let (shared, at) = place(access, base, 1)?;
        let thread = (w * LANES + lane) as u32;
        let word = if shared {
            block.history.note(0, 0, &block.clock.who(thread), (at as usize, 4), Kind::StrongWrite)?;
            slice(&mut block.shared, at, 4)?
        } else {
            self.finish_at(block, (w, lane), at, 4)?;
            let released = block.clock.released(thread);
            let observed = self.handed.carry_on(at, &released);
            block.clock.observe(thread, &observed);
            self.memory.access(&block.clock.who(thread), at, 4, Kind::StrongWrite, false)?
        };
        let old = little(word) as u32;
        word.copy_from_slice(&old.wrapping_add(add).to_le_bytes());
        Ok(old)
    }

    /// Does some of a warp's delayed accesses, by their number and themselves.
    pub(super) fn finish(
        &mut self,
        block: &mut Block,
        w: usize,
        chosen: impl Fn(usize, &Late) -> bool,
    ) -> Result<(), String> {
        let all = std::mem::take(&mut block.warps[w].late);
        let chosen: Vec<bool> = all.iter().enumerate().map(|(i, late)| chosen(i, late)).collect();
        // Those of one thread to one word keep their order.
        let first =
            |i: usize| (i..all.len()).any(|k| chosen[k] && (all[k].lane, all[k].at) == (all[i].lane, all[i].at));
        let now: Vec<bool> = (0..all.len()).map(first).collect();
        for (late, now) in all.into_iter().zip(now) {
            if now { self.perform(block, w, &late)? } else { block.warps[w].late.push(late) }
        }
        Ok(())
    }

    /// Does a lane's delayed accesses to some bytes.
    fn finish_at(&mut self, block: &mut Block, (w, lane): (usize, usize), at: u64, bytes: usize) -> Result<(), String> {
        if block.warps[w].late.is_empty() {
            return Ok(());
        }
        let end = at + bytes as u64;
        self.finish(block, w, |_, l| l.lane == lane && l.at < end && at < l.at + l.ty.bytes() as u64)
    }

    fn perform(&mut self, block: &mut Block, w: usize, late: &Late) -> Result<(), String> {
        let thread = (w * LANES + late.lane) as u32;
        let (at, bytes) = (late.at, late.ty.bytes());
        match &late.what {
            Delayed::Load { to } => {
                let v = little(self.memory.access(&block.clock.who(thread), at, bytes, Kind::StrongRead, false)?);
                block.warps[w].registers[*to][late.lane] = low(widened(v, late.ty), self.kernel.registers[*to]);
                block.clock.observe(thread, &self.handed.read(at));
            }
            Delayed::Store { value, released } => {
                let to = self.memory.access(&block.clock.who(thread), at, bytes, Kind::StrongWrite, false)?;
                to.copy_from_slice(&value.to_le_bytes()[..bytes]);
                self.handed.write(at, released.clone());
            }
        }
        Ok(())
    }
}

/// Whether an instruction cannot be executed before a delayed access of the lane is done.
pub(super) fn ends(i: &Instruction, late: &Late) -> bool {
    let register = match late.what {
        Delayed::Load { to } => Some(to),
        Delayed::Store { .. } => None,
    };
    let needs = |s: &[Source]| register.is_some_and(|r| s.contains(&Source::Register(r)));
    let writes = |to: &[usize]| register.is_some_and(|r| to.contains(&r));
    let guarded = i.guard.is_some_and(|(p, _)| Some(p) == register);
    guarded
        || match &i.operation {
            Operation::Fence | Operation::Barrier | Operation::Return | Operation::Trap => true,
            Operation::Jump { .. } | Operation::Nothing => false,
            Operation::Compute { to, sources, .. } => needs(sources) || writes(&[*to]),
            Operation::Shuffle { to, inside, sources, .. } => {
                needs(sources) || writes(&[*to]) || inside.is_some_and(|p| writes(&[p]))
            }
            Operation::Matrix { to, sources } => needs(sources) || writes(to),
            // An access to the same word waits for it where it is done.
            Operation::Load { access, to } => needs(&[access.base]) || writes(to),
            Operation::Store { access, values } => needs(&[access.base]) || needs(values),
            Operation::AtomicAdd { access, to, value } => needs(&[access.base, *value]) || writes(&[*to]),
        }
}

/// Whether an address lies in shared memory, and where.
fn place(access: &Access, base: u64, count: usize) -> Result<(bool, u64), String> {
    let base = if access.space == Space::Shared { low(base, 32) } else { base };
    let at = base.wrapping_add_signed(access.offset);
    let bytes = access.ty.bytes() * count;
    if !at.is_multiple_of(bytes as u64) {
        return Err(format!("address {at:#x} is not aligned to {bytes} bytes"));
    }
    Ok(match access.space {
        Space::Shared => (true, at),
        Space::Generic if (SHARED_WINDOW..2 * SHARED_WINDOW).contains(&at) => (true, at - SHARED_WINDOW),
        _ => (false, at),
    })
}

fn slice(memory: &mut [u8], at: u64, bytes: usize) -> Result<&mut [u8], String> {
    let (at, length) = (at as usize, memory.len());
    memory.get_mut(at..at.saturating_add(bytes)).ok_or_else(|| format!("{bytes} bytes at {at} of {length} shared"))
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
}

/// A loaded value as the register has it, if that is wider.
fn widened(v: u64, ty: Type) -> u64 {
    if ty.kind == Kinds::Signed { signed(v, ty.bits) as u64 } else { v }
}
