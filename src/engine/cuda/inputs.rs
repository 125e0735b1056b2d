//! What a step sends to the io buffer, built in buffers that are kept.

use super::pack::Map;
use super::wire::{CROP_CUT, CROP_GIVEN, CROP_HELD, Step, StreamEntry};
use crate::preprocess::Taps;

/// The inputs of one step, in the order of `kernels/layout.cu` from `Step` on.
#[derive(Default)]
pub struct Inputs {
    /// To be written at [`Map::inputs_at`].
    pub bytes: Vec<u8>,
    entries: Vec<StreamEntry>,
    scratch: Vec<u8>,
}

impl Inputs {
    /// Begins a step of `streams` streams without a picture.
    pub fn begin(&mut self, streams: usize) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.resize(Map::entries_bytes(streams), 0);
    }

    /// Slot of stream `i`.
    pub fn slot(&self, i: usize) -> usize {
        self.entries[i].slot as usize
    }

    /// Whether the device cuts the crop of stream `i`.
    pub fn is_cut(&self, i: usize) -> bool {
        self.entries[i].source == CROP_CUT
    }

    /// Adds stream `i` in `slot`, with the plane of its oldest crop; `newest` if its newest crop is not on the device yet.
    pub fn stream(&mut self, map: &Map, (i, slot, oldest): (usize, usize, usize), newest: Option<&[u8]>) {
        let mut entry =
            StreamEntry { slot: slot as i32, oldest: oldest as i32, source: CROP_HELD, ..StreamEntry::default() };
        if let Some(crop) = newest {
            self.align();
            entry.source = CROP_GIVEN;
            entry.crop = (map.inputs_at() + self.bytes.len()) as u64;
            let end = self.bytes.len() + map.plane_bytes();
            self.bytes.extend_from_slice(crop);
            self.bytes.resize(end, 0);
        }
        self.put_entry(i, entry);
    }

    /// Adds stream `i` as [`Inputs::stream`] does, whose newest crop the device cuts and puts to byte `crop` of the io
    /// buffer, and with `first` into every plane of the ring.
    pub fn cut_stream(
        &mut self,
        map: &Map,
        (i, slot, oldest): (usize, usize, usize),
        crop: usize,
        first: bool,
        taps: (&Taps, &Taps),
    ) {
        self.align();
        let entry = StreamEntry {
            crop: crop as u64,
            taps: (map.inputs_at() + self.bytes.len()) as u64,
            slot: slot as i32,
            oldest: oldest as i32,
            source: CROP_CUT,
            fill: i32::from(first),
            tap_count: taps.0.per_output as i32,
            unused: 0,
        };
        self.put_taps(taps);
        self.put_entry(i, entry);
    }

    /// The picture follows: rows from `top` on of one of `width` x `height`.
    pub fn picture(&mut self, map: &Map, width: usize, height: usize, top: usize) {
        self.align();
        let picture = (map.inputs_at() + self.bytes.len()) as u64;
        let step = Step { picture, width: width as i32, height: height as i32, top: top as i32, cut: 1 };
        self.scratch.clear();
        step.put(&mut self.scratch);
        self.bytes[..Step::BYTES].copy_from_slice(&self.scratch);
    }

    /// A ring's crops, each in a plane of `plane_bytes`.
    pub fn padded(&mut self, ring: &[u8], area: usize, plane_bytes: usize) -> &[u8] {
        self.scratch.clear();
        for crop in ring.chunks_exact(area) {
            let end = self.scratch.len() + plane_bytes;
            self.scratch.extend_from_slice(crop);
            self.scratch.resize(end, 0);
        }
        &self.scratch
    }

    /// Floats as bytes.
    pub fn floats(&mut self, values: &[f32]) -> &[u8] {
        self.scratch.clear();
        self.scratch.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        &self.scratch
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
    }

    fn put_entry(&mut self, i: usize, entry: StreamEntry) {
        self.scratch.clear();
        entry.put(&mut self.scratch);
        self.bytes[Step::BYTES + i * StreamEntry::BYTES..][..StreamEntry::BYTES].copy_from_slice(&self.scratch);
        self.entries.push(entry);
    }

    /// Column weights by tap, so that neighbouring threads read neighbouring words; row weights by row.
    fn put_taps(&mut self, (columns, rows): (&Taps, &Taps)) {
        let out = &mut self.bytes;
        for first in columns.first.iter().chain(&rows.first) {
            out.extend_from_slice(&(*first as i32).to_le_bytes());
        }
        for k in 0..columns.per_output {
            let column = columns.weights.iter().skip(k).step_by(columns.per_output);
            out.extend(column.flat_map(|w| w.to_le_bytes()));
        }
        out.extend(rows.weights.iter().flat_map(|w| w.to_le_bytes()));
    }
}
