//! Which streams' rings and states are on the device. A slot is found by its content: the host keeps a copy of what each
//! slot holds, so a stream that has moved, been reset or come back from another engine is seen at once and sent anew.

/// One slot as the device holds it.
struct Slot {
    /// Crops, oldest first; empty if unknown.
    ring: Vec<u8>,
    hidden: Vec<f32>,
    /// Plane of the oldest crop.
    oldest: usize,
    /// When it was last taken.
    taken: u64,
}

/// Where a stream is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the slot.
    pub slot: usize,
    /// How the slot differs from the stream.
    pub found: Found,
}

/// How a slot differs from the stream that takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Not at all.
    Same,
    /// The stream has one crop more.
    OneCropBehind,
    /// Nothing of the stream is on the device.
    New,
}

/// All slots; the least recently taken is given away first.
pub struct Slots {
    slots: Vec<Slot>,
    area: usize,
    planes: usize,
    now: u64,
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

impl Slots {
    /// `count` slots of `planes` crops of `area` bytes and `hidden` units.
    pub fn new(count: usize, planes: usize, area: usize, hidden: usize) -> Self {
        let slot = || Slot { ring: Vec::with_capacity(planes * area), hidden: vec![0.0; hidden], oldest: 0, taken: 0 };
        Self { slots: (0..count).map(|_| slot()).collect(), area, planes, now: 0 }
    }

    /// Number of slots.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Begins a step; each slot can be taken once in it.
    pub fn begin(&mut self) {
        self.now += 1;
    }

    /// Nothing on the device can be trusted any more.
    pub fn forget(&mut self) {
        self.slots.iter_mut().for_each(|s| s.ring.clear());
    }

    /// Takes a slot for a stream. `behind`: a slot that lacks the stream's newest crop will do.
    pub fn take(&mut self, ring: &[u8], hidden: &[f32], behind: bool) -> Place {
        let (area, now) = (self.area, self.now);
        let free = |s: &Slot| s.taken != now;
        let held = |s: &Slot| free(s) && !s.ring.is_empty() && same(&s.hidden, hidden);
        let lacks_one = |s: &Slot| held(s) && s.ring[area..] == ring[..ring.len() - area];
        let same = self.slots.iter().position(|s| held(s) && s.ring == ring).map(|i| (i, Found::Same));
        let found = same.or_else(|| {
            behind.then(|| self.slots.iter().position(lacks_one).map(|i| (i, Found::OneCropBehind))).flatten()
        });
        let oldest = || (0..self.slots.len()).filter(|&i| free(&self.slots[i])).min_by_key(|&i| self.slots[i].taken);
        let (slot, found) = found.unwrap_or_else(|| (oldest().unwrap_or(0), Found::New));
        let s = &mut self.slots[slot];
        s.taken = now;
        match found {
            Found::Same => {}
            Found::OneCropBehind => s.oldest = (s.oldest + 1) % self.planes,
            Found::New => s.oldest = 0,
        }
        Place { slot, found }
    }

    /// Plane of the oldest crop of a slot that was taken.
    pub fn oldest(&self, slot: usize) -> usize {
        self.slots[slot].oldest
    }

    /// Notes that a slot's oldest crop is about to be replaced by a new one.
    pub fn turn(&mut self, slot: usize) {
        self.slots[slot].oldest = (self.slots[slot].oldest + 1) % self.planes;
    }

    /// Notes what a slot holds after a step.
    pub fn hold(&mut self, slot: usize, ring: &[u8], hidden: impl Iterator<Item = f32>) {
        let s = &mut self.slots[slot];
        s.ring.clear();
        s.ring.extend_from_slice(ring);
        s.hidden.iter_mut().zip(hidden).for_each(|(h, v)| *h = v);
    }

    /// The same after a step that pushed `crop` into `ring`, or filled an empty ring with it.
    pub fn hold_pushed(
        &mut self,
        slot: usize,
        ring: &[u8],
        crop: &[u8],
        first: bool,
        hidden: impl Iterator<Item = f32>,
    ) {
        self.hold(slot, ring, hidden);
        let s = &mut self.slots[slot];
        s.ring.copy_within(self.area.., 0);
        let from = if first { 0 } else { self.planes - 1 };
        s.ring.chunks_exact_mut(self.area).skip(from).for_each(|plane| plane.copy_from_slice(crop));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_finds_its_slot_by_what_it_holds() {
        let mut slots = Slots::new(2, 3, 1, 1);
        slots.begin();
        assert_eq!(slots.take(&[1, 2, 3], &[0.0], true), Place { slot: 0, found: Found::New });
        slots.hold(0, &[1, 2, 3], [0.5].into_iter());
        slots.begin();
        assert_eq!(slots.take(&[2, 3, 4], &[0.5], true), Place { slot: 0, found: Found::OneCropBehind });
        assert_eq!(slots.oldest(0), 1);
        slots.hold(0, &[2, 3, 4], [0.6].into_iter());
        slots.begin();
        assert_eq!(slots.take(&[2, 3, 4], &[0.6], true), Place { slot: 0, found: Found::Same });
        assert_eq!(slots.take(&[2, 3, 4], &[0.6], true), Place { slot: 1, found: Found::New });
        slots.begin();
        assert_eq!(slots.take(&[2, 3, 4], &[-0.6], true).found, Found::New);
        slots.begin();
        assert_eq!(slots.take(&[3, 4, 5], &[0.6], false).found, Found::New);
    }

    #[test]
    fn a_pushed_crop_fills_an_empty_ring() {
        let mut slots = Slots::new(1, 3, 1, 1);
        slots.begin();
        slots.hold_pushed(0, &[0, 0, 0], &[7], true, [0.0].into_iter());
        assert_eq!(slots.slots[0].ring, [7, 7, 7]);
        slots.hold_pushed(0, &[7, 7, 7], &[8], false, [0.0].into_iter());
        assert_eq!(slots.slots[0].ring, [7, 7, 8]);
    }
}
