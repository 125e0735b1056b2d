//! The last few crops of a face.

/// A ring of crops, contiguous and oldest first, as engines take it. The first crop fills every
/// slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    bytes: Vec<u8>,
    area: usize,
    empty: bool,
}

impl Ring {
    /// Room for `crops` crops of `size_px` a side.
    pub fn new(crops: usize, size_px: usize) -> Self {
        let area = size_px * size_px;
        Self { bytes: vec![0; crops * area], area, empty: true }
    }

    /// Drops the oldest crop and gives room for the newest, which `write` fills.
    pub fn push(&mut self, write: impl FnOnce(&mut [u8])) {
        let split = self.bytes.len() - self.area;
        self.bytes.copy_within(self.area.., 0);
        write(&mut self.bytes[split..]);
        if self.empty {
            self.empty = false;
            let (old, new) = self.bytes.split_at_mut(split);
            old.chunks_exact_mut(self.area).for_each(|slot| slot.copy_from_slice(new));
        }
    }

    /// Forgets all crops.
    pub fn clear(&mut self) {
        self.empty = true;
    }

    /// Becomes the same as `other`, a ring of the same size, without allocating.
    pub fn copy_from(&mut self, other: &Self) {
        self.bytes.copy_from_slice(&other.bytes);
        self.empty = other.empty;
    }

    /// Whether no crop was pushed since it was made or cleared.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// All crops, oldest first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_crop_fills_the_ring_and_later_ones_push_the_oldest_out() {
        let mut ring = Ring::new(3, 1);
        ring.push(|c| c.fill(7));
        assert_eq!(ring.bytes(), [7, 7, 7]);
        ring.push(|c| c.fill(8));
        ring.push(|c| c.fill(9));
        ring.push(|c| c.fill(10));
        assert_eq!(ring.bytes(), [8, 9, 10]);
        let kept = ring.clone();
        ring.clear();
        ring.push(|c| c.fill(1));
        assert_eq!(ring.bytes(), [1, 1, 1]);
        ring.copy_from(&kept);
        assert_eq!(ring, kept);
    }
}
