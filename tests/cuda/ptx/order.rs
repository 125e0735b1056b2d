//! Which accesses come before which, by the rules of the PTX ISA's memory consistency model, and races: two accesses to one byte, not both
//! strong, one of them a write, of which neither comes before the other.
//!
//! Order comes from the program order of a thread, from `bar.sync` among the threads of a block, and from fences: what comes before a fence that
//! a strong write follows (a release pattern) comes before what follows a fence that a strong read precedes (an acquire pattern), if
//! the read observes the write, directly or through atomics in between. It is transitive.
//!
//! Time in a block is counted in intervals between its barriers, and in a thread in ticks between its fences.

use std::collections::HashMap;

/// What comes before.
#[derive(Clone, Default)]
pub struct Known {
    /// Of each block, how many intervals.
    intervals: Vec<u32>,
    /// Of threads, by block and number, how many ticks.
    ticks: HashMap<(usize, u32), u32>,
}

impl Known {
    fn join(&mut self, other: &Self) {
        let length = self.intervals.len().max(other.intervals.len());
        self.intervals.resize(length, 0);
        self.intervals.iter_mut().zip(&other.intervals).for_each(|(t, o)| *t = (*t).max(*o));
        for (thread, tick) in &other.ticks {
            let own = self.ticks.entry(*thread).or_default();
            *own = (*own).max(*tick);
        }
    }

    fn covers(&self, block: usize, mark: Mark) -> bool {
        self.intervals.get(block).is_some_and(|&over| mark.interval() < over)
            || self.ticks.get(&(block, mark.thread())).is_some_and(|&over| mark.tick() < over)
    }
}

/// What fences and strong accesses have given a thread.
#[derive(Default)]
struct Thread {
    /// More than its block knows, since the last barrier.
    acquired: Option<Known>,
    /// From strong reads that no fence has followed yet.
    pending: Known,
    /// What a strong write of its own hands on.
    released: Known,
    tick: u32,
}

/// Time in one block.
pub struct Clock {
    block: usize,
    pub interval: u32,
    known: Known,
    threads: Vec<Option<Box<Thread>>>,
}

/// Who accesses, and when.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    pub block: usize,
    pub thread: u32,
    interval: u32,
    tick: u32,
    known: &'a Known,
}

impl Clock {
    pub fn new(block: usize, threads: usize) -> Self {
        Self { block, interval: 0, known: Known::default(), threads: (0..threads).map(|_| None).collect() }
    }

    pub fn who(&self, thread: u32) -> Who<'_> {
        let own = self.threads.get(thread as usize).and_then(|t| t.as_deref());
        let known = own.and_then(|t| t.acquired.as_ref()).unwrap_or(&self.known);
        Who { block: self.block, thread, interval: self.interval, tick: own.map_or(0, |t| t.tick), known }
    }

    fn of(&mut self, thread: u32) -> &mut Thread {
        self.threads[thread as usize].get_or_insert_default()
    }

    pub fn fence(&mut self, thread: u32) {
        let (block, interval, mut known) = (self.block, self.interval, self.who(thread).known.clone());
        let t = self.of(thread);
        known.join(&t.pending);
        t.tick += 1;
        t.released = known.clone();
        t.released.intervals.resize(t.released.intervals.len().max(block + 1), 0);
        t.released.intervals[block] = interval;
        t.released.ticks.insert((block, thread), t.tick);
        t.acquired = Some(known);
    }

    /// What a strong write would hand on.
    pub fn released(&mut self, thread: u32) -> Known {
        self.of(thread).released.clone()
    }

    /// A strong read observed a write that handed this on.
    pub fn observe(&mut self, thread: u32, handed: &Known) {
        self.of(thread).pending.join(handed);
    }

    /// All threads have met: what one has acquired, all have.
    pub fn barrier(&mut self) {
        for acquired in self.threads.iter_mut().flatten().filter_map(|t| t.acquired.take()) {
            self.known.join(&acquired);
        }
        self.interval += 1;
    }
}

/// What was handed on at each strongly written word.
#[derive(Default)]
pub struct Handed(HashMap<u64, Known>);

impl Handed {
    pub fn write(&mut self, at: u64, released: Known) {
        self.0.insert(at, released);
    }

    /// A read-modify-write carries on what it observed.
    pub fn carry_on(&mut self, at: u64, released: &Known) -> Known {
        let known = self.0.entry(at).or_default();
        let observed = known.clone();
        known.join(released);
        observed
    }

    pub fn read(&self, at: u64) -> Known {
        self.0.get(&at).cloned().unwrap_or_default()
    }
}

/// Interval, tick and thread of an access; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u64);

const NONE: Mark = Mark(0);
const SEVERAL: u32 = 0xffff;

impl Mark {
    fn new(who: &Who<'_>) -> Self {
        assert!(who.thread < SEVERAL && who.tick < 1 << 16);
        Self(u64::from(who.interval + 1) << 32 | u64::from(who.tick) << 16 | u64::from(who.thread))
    }

    fn interval(self) -> u32 {
        (self.0 >> 32) as u32 - 1
    }

    fn tick(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    fn thread(self) -> u32 {
        self.0 as u32 & 0xffff
    }

    /// A read after another; of two threads in one interval, it is that of several.
    fn after(self, other: Self) -> Self {
        if other == NONE || other.interval() != self.interval() || other.thread() == self.thread() {
            self
        } else {
            Self(self.0 | u64::from(SEVERAL))
        }
    }
}

#[derive(Clone, Copy)]
struct Write {
    block: u16,
    strong: bool,
    mark: Mark,
}

const PAGE: usize = 512;

/// The accesses to some bytes in one launch.
struct Page {
    launch: u64,
    writes: [Write; PAGE],
    /// For each block and byte the last time it was read; where blocks cannot wait for each other, for all of them together.
    reads: Vec<Mark>,
    readers: Vec<u16>,
}

const SEVERAL_BLOCKS: u16 = u16::MAX;

/// The accesses to a buffer. Blocks that cannot wait for each other are told apart only in twos.
#[derive(Default)]
pub struct History {
    pages: Vec<Option<Box<Page>>>,
}

/// An access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    StrongRead,
    StrongWrite,
}

impl History {
    /// Notes an access of `launch`, in which `together` blocks may wait for each other; 0: none may.
    ///
    /// # Errors
    /// A race.
    pub fn note(
        &mut self,
        launch: u64,
        together: usize,
        who: &Who<'_>,
        (at, bytes): (usize, usize),
        kind: Kind,
    ) -> Result<(), String> {
        // Aligned accesses never cross the end of a page.
        let page = self.page(at / PAGE, launch, together);
        let from = at % PAGE;
        (from..from + bytes)
            .try_for_each(|byte| page.note(byte, together, who, kind))
            .map_err(|other| format!("thread {} of block {} races with {other} at byte {at}", who.thread, who.block))
    }

    fn page(&mut self, number: usize, launch: u64, together: usize) -> &mut Page {
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(|| {
            Box::new(Page {
                launch: u64::MAX,
                writes: [Write { block: 0, strong: false, mark: NONE }; PAGE],
                reads: Vec::new(),
                readers: Vec::new(),
            })
        });
        if page.launch != launch {
            page.launch = launch;
            page.writes.fill(Write { block: 0, strong: false, mark: NONE });
            page.reads.clear();
            page.reads.resize(PAGE * together.max(1), NONE);
            page.readers.clear();
            page.readers.resize(if together == 0 { PAGE } else { 0 }, 0);
        }
        page
    }
}

impl Page {
    /// An error names the other.
    fn note(&mut self, byte: usize, together: usize, who: &Who<'_>, kind: Kind) -> Result<(), String> {
        let before = |block: usize, mark: Mark| {
            if block == who.block {
                mark.interval() < who.interval || mark.thread() == who.thread
            } else {
                who.known.covers(block, mark)
            }
        };
        let (writes, strong) = match kind {
            Kind::Read => (false, false),
            Kind::Write => (true, false),
            Kind::StrongRead => (false, true),
            Kind::StrongWrite => (true, true),
        };
        let w = &mut self.writes[byte];
        if w.mark != NONE && !(strong && w.strong) && !before(w.block.into(), w.mark) {
            return Err(format!("a write of block {}", w.block));
        }
        let mark = Mark::new(who);
        if writes {
            *w = Write { block: who.block as u16, strong, mark };
            for column in 0..together.max(1) {
                let read = self.reads[column * PAGE + byte];
                let block = if together == 0 { self.readers[byte] as usize } else { column };
                if read != NONE && (block == SEVERAL_BLOCKS as usize || !before(block, read)) {
                    return Err(format!("a read of block {block}"));
                }
            }
        } else if !strong {
            if together == 0 {
                let (reader, read) = (&mut self.readers[byte], &mut self.reads[byte]);
                let block = who.block.min(SEVERAL_BLOCKS as usize - 1) as u16;
                *reader = if *read == NONE || *reader == block { block } else { SEVERAL_BLOCKS };
                *read = mark.after(*read);
            } else {
                let read = &mut self.reads[who.block * PAGE + byte];
                *read = mark.after(*read);
            }
        }
        Ok(())
    }
}
