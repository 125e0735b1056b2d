//! A student as the kernels take it: one block of bytes, and where everything lies in the three buffers.

use super::wire::{Layer, Model, Step, StreamEntry};
use crate::error::{Error, Result};
use crate::model::{ConvI8, Student, Trunk};
use crate::spec::{ConvSpec, StudentSpec};

/// Bytes of K that one instruction step takes, and to which channels are rounded up.
const CHUNK: usize = 32;
/// Output channels of a tile.
const TILE_CHANNELS: usize = 8;
/// Pixels of a tile.
const TILE_PIXELS: usize = 16;
/// Room for the grid barrier.
const BARRIER_BYTES: usize = 256;
/// Activations and rings of all slots take no more than this, so a large student gets fewer slots.
const ARENA_BYTES: usize = 512 << 20;
/// A student that needs more for its weights, or for one stream, is refused.
const MOST_BYTES: usize = 4 << 30;

/// The packed student.
pub struct Packed {
    /// What the kernels know as `model`.
    pub model: Vec<u8>,
    /// Where everything lies.
    pub map: Map,
}

/// Sizes and places in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// The shape.
    pub spec: StudentSpec,
    /// Streams that can be kept on the device, and the most of a step.
    pub slots: usize,
    /// The header of the model.
    pub header: Model,
    /// The table of layers.
    pub layers: Vec<Layer>,
    /// Size of the arena.
    pub arena_bytes: usize,
}

impl Map {
    /// Bytes of a crop's plane.
    pub fn plane_bytes(&self) -> usize {
        self.header.plane_bytes as usize
    }

    /// Bytes of a stream's results.
    pub fn result_bytes(&self) -> usize {
        self.header.result_bytes as usize
    }

    /// Where a step's inputs begin in the io buffer; results and crops cut on the device lie before.
    pub fn inputs_at(&self) -> usize {
        self.header.step as usize
    }

    /// Inputs of a step of `streams` streams before any crop, taps or picture.
    pub fn entries_bytes(streams: usize) -> usize {
        (Step::BYTES + streams * StreamEntry::BYTES).next_multiple_of(16)
    }

    /// Where a slot's ring lies in the arena.
    pub fn ring_at(&self, slot: usize) -> usize {
        self.header.rings as usize + slot * self.spec.ring * self.plane_bytes()
    }

    /// Where a slot's state lies in the arena.
    pub fn state_at(&self, slot: usize) -> usize {
        (self.header.states + slot as u64 * self.header.state_bytes) as usize
    }
}

/// Packs `student` for at most `slots` streams.
///
/// # Errors
/// If it is not int8, is inconsistent, or needs more than 4 GiB for its weights or for one stream.
pub fn pack(student: &Student, slots: usize) -> Result<Packed> {
    student.validate()?;
    let Trunk::Int8(convs) = &student.trunk else {
        return Err(Error::unsupported("the CUDA kernels run the int8 student only").remedy("use --precision int8"));
    };
    let mut map = lay_out(&student.spec, slots)?;
    let mut model = vec![0; Model::BYTES + convs.len() * Layer::BYTES];
    for (i, conv) in convs.iter().enumerate() {
        let layer = &mut map.layers[i];
        let zero = if i == 0 { i32::from(student.spec.input_zero_point) } else { 0 };
        put_conv(&mut model, layer, conv, &student.spec, i, zero);
    }
    put_recurrent(&mut model, &mut map.header, student);
    let area = map.layers.last().map_or(1, |l| l.out_px * l.out_px);
    map.header.mean_scale = convs.last().map_or(0.0, |c| c.output_scale) / area as f32;
    let mut tables = Vec::with_capacity(Model::BYTES + convs.len() * Layer::BYTES);
    map.header.put(&mut tables);
    map.layers.iter().for_each(|l| l.put(&mut tables));
    model[..tables.len()].copy_from_slice(&tables);
    Ok(Packed { model, map })
}

/// Places of rings, states and activations; places in the model are filled in by [`pack`].
fn lay_out(spec: &StudentSpec, slots: usize) -> Result<Map> {
    let convs = spec.convs.iter().zip(spec.shapes()).enumerate();
    let mut layers: Vec<Layer> = convs.map(|(i, (c, shape))| shape_of(spec, i, *c, shape)).collect();
    let plane_bytes = (spec.size_px * spec.size_px + 4).next_multiple_of(16);
    let state_bytes = (4 * spec.hidden).next_multiple_of(256);
    let result_bytes = (4 * (spec.outputs + spec.hidden)).next_multiple_of(16);
    let activations: usize = layers.iter().map(|l| l.out_stride as usize).sum();
    let per_slot = spec.ring * plane_bytes + 2 * state_bytes + activations;
    let weights: usize = layers.iter().map(weight_bytes).sum();
    if per_slot.max(weights) > MOST_BYTES {
        return Err(Error::unsupported(format!("the student needs {} bytes on the GPU", per_slot.max(weights)))
            .remedy("a student of at most 4 GiB, or another engine"));
    }
    let slots = slots.min(ARENA_BYTES / per_slot).max(1);
    let rings = BARRIER_BYTES;
    let states = (rings + slots * spec.ring * plane_bytes).next_multiple_of(256);
    let next = states + slots * state_bytes;
    let mut at = next + slots * state_bytes;
    for i in 0..layers.len() {
        layers[i].out = at as u64;
        if let Some(after) = layers.get_mut(i + 1) {
            after.input = at as u64;
        }
        at += slots * layers[i].out_stride as usize;
    }
    let header = Model {
        rings: rings as u64,
        states: states as u64,
        next: next as u64,
        plane_bytes: plane_bytes as u64,
        state_bytes: state_bytes as u64,
        step: ((slots * (result_bytes + plane_bytes)).next_multiple_of(256)) as u64,
        result_bytes: result_bytes as u64,
        layer_count: layers.len() as i32,
        ring: spec.ring as i32,
        size_px: spec.size_px as i32,
        zero_point: i32::from(spec.input_zero_point),
        features: spec.features() as i32,
        hidden: spec.hidden as i32,
        outputs: spec.outputs as i32,
        ..Model::default()
    };
    Ok(Map { spec: spec.clone(), slots, header, layers, arena_bytes: at })
}

fn shape_of(spec: &StudentSpec, i: usize, c: ConvSpec, (in_ch, in_px, out_px): (usize, usize, usize)) -> Layer {
    let segments = if i == 0 { spec.ring * c.kernel * c.kernel.div_ceil(8) } else { 0 };
    let (in_bytes, out_bytes) = (in_ch.next_multiple_of(CHUNK), c.out.next_multiple_of(CHUNK));
    let chunks = if i == 0 { segments.div_ceil(4) } else { c.kernel * c.kernel * in_bytes / CHUNK };
    let (m_tiles, n_tiles) = ((out_px * out_px).div_ceil(TILE_PIXELS), c.out.div_ceil(TILE_CHANNELS));
    let stride = |px: usize, bytes: usize| (px * px * bytes).next_multiple_of(256) as u64;
    Layer {
        in_stride: if i == 0 { 0 } else { stride(in_px, in_bytes) },
        out_stride: stride(out_px, out_bytes),
        in_px: in_px as i32,
        in_bytes: in_bytes as i32,
        out_px: out_px as i32,
        out_bytes: out_bytes as i32,
        kernel: c.kernel as i32,
        stride: c.stride as i32,
        chunks: chunks as i32,
        segments: segments as i32,
        m_tiles: m_tiles as i32,
        n_tiles: n_tiles as i32,
        by_m_tiles: reciprocal(m_tiles, m_tiles * n_tiles),
        by_out_px: reciprocal(out_px, m_tiles * TILE_PIXELS),
        by_per_tap: reciprocal(in_bytes / CHUNK, chunks + 1),
        by_kernel: reciprocal(c.kernel, c.kernel * c.kernel + 1),
        ..Layer::default()
    }
}

/// `ceil(2^32 / d)`, by which the high word of a product is the quotient of every number below `limit`; 0 where it is not.
fn reciprocal(d: usize, limit: usize) -> u32 {
    // The error of the factor, below d, is multiplied by the number and must stay below 2^32.
    if d < 2 || d * limit > 1 << 32 { 0 } else { (1u64 << 32).div_ceil(d as u64) as u32 }
}

fn weight_bytes(l: &Layer) -> usize {
    l.n_tiles as usize * l.chunks as usize * TILE_CHANNELS * CHUNK
}

/// Appends at the next multiple of 256 and says where that is.
fn append(model: &mut Vec<u8>, bytes: impl Iterator<Item = u8>) -> u64 {
    model.resize(model.len().next_multiple_of(256), 0);
    let at = model.len() as u64;
    model.extend(bytes);
    at
}

fn append_f32(model: &mut Vec<u8>, values: &[f32]) -> u64 {
    append(model, values.iter().flat_map(|v| v.to_le_bytes()))
}

fn put_conv(model: &mut Vec<u8>, layer: &mut Layer, conv: &ConvI8, spec: &StudentSpec, i: usize, zero: i32) {
    let channels = layer.n_tiles as usize * TILE_CHANNELS;
    let fan = conv.weight.len() / conv.bias.len();
    let kernel = layer.kernel as usize;
    let tap_of = |k: usize| {
        if i == 0 {
            stem_tap(k, kernel, spec.ring)
        } else {
            tap(k, layer.in_bytes as usize, fan / (kernel * kernel), kernel)
        }
    };
    let taps: Vec<Option<usize>> = (0..layer.chunks as usize * CHUNK).map(tap_of).collect();
    let weight = |o: usize, k: usize| match (taps[k], conv.bias.get(o)) {
        (Some(tap), Some(_)) => conv.weight[o * fan + tap] as u8,
        _ => 0,
    };
    let tiles = (0..channels / TILE_CHANNELS).flat_map(|n| (0..taps.len() / CHUNK).map(move |chunk| (n, chunk)));
    let rows = tiles.flat_map(|(n, chunk)| (0..TILE_CHANNELS).map(move |o| (n * TILE_CHANNELS + o, chunk * CHUNK)));
    layer.weights =
        append(model, rows.flat_map(|(o, k)| (k..k + CHUNK).map(move |k| (o, k))).map(|(o, k)| weight(o, k)));
    // Exact modulo 2^32, and so exact whenever the reference's sum fits in 32 bits.
    let folded = |o: usize| {
        let sum: i32 = conv.weight[o * fan..][..fan].iter().map(|&w| i32::from(w)).sum();
        conv.bias[o].wrapping_sub(zero.wrapping_mul(sum))
    };
    let bias = |o: usize| if o < conv.bias.len() { folded(o) } else { 0 };
    layer.bias = append(model, (0..channels).flat_map(|o| bias(o).to_le_bytes()));
    let scale = |o: usize| conv.requant.get(o).copied().unwrap_or(0.0);
    layer.scale = append(model, (0..channels).flat_map(|o| scale(o).to_le_bytes()));
}

/// Which weight of a channel (input channel, row, column) stands at place `k` of a layer's K: (row, column, channel).
fn tap(k: usize, in_bytes: usize, in_ch: usize, kernel: usize) -> Option<usize> {
    let (at, c) = (k / in_bytes, k % in_bytes);
    (c < in_ch).then_some(c * kernel * kernel + at)
}

/// The same for the stem: (crop, row, columns in pieces of eight).
fn stem_tap(k: usize, kernel: usize, ring: usize) -> Option<usize> {
    let per_row = kernel.div_ceil(8);
    let (line, column) = (k / 8 / per_row, k / 8 % per_row * 8 + k % 8);
    (line < ring * kernel && column < kernel).then_some(line * kernel + column)
}

fn put_recurrent(model: &mut Vec<u8>, header: &mut Model, student: &Student) {
    let (gru, head) = (&student.gru, &student.head);
    header.gru_w = append_f32(model, &gru.w);
    header.gru_r = append_f32(model, &gru.r);
    header.gru_wb = append_f32(model, &gru.wb);
    header.gru_rb = append_f32(model, &gru.rb);
    header.head_w = append_f32(model, &head.weight);
    header.head_b = append_f32(model, &head.bias);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_has_one_place() {
        for (kernel, ring) in [(1usize, 1), (3, 2), (7, 5), (9, 3), (15, 16)] {
            let chunks = (ring * kernel * kernel.div_ceil(8)).div_ceil(4);
            let mut taps: Vec<usize> = (0..chunks * CHUNK).filter_map(|k| stem_tap(k, kernel, ring)).collect();
            taps.sort_unstable();
            assert_eq!(taps, (0..ring * kernel * kernel).collect::<Vec<_>>());
            let mut taps: Vec<usize> =
                (0..kernel * kernel * 64).filter_map(|k| tap(k, 64, 32 + ring, kernel)).collect();
            taps.sort_unstable();
            assert_eq!(taps, (0..(32 + ring) * kernel * kernel).collect::<Vec<_>>());
        }
    }

    #[test]
    fn reciprocals_divide_exactly() {
        for (d, limit) in
            [(2, 1 << 20), (3, 5000), (5, 30), (7, 1 << 16), (100, 400), (1000, 4_000_000), (16384, 262_143)]
        {
            let by = u64::from(reciprocal(d, limit));
            assert!(by > 0);
            let near = (0..limit).step_by(d).flat_map(|n| [n.saturating_sub(1), n]).chain([limit - 1]);
            assert!(near.into_iter().all(|n| ((n as u64 * by) >> 32) as usize == n / d), "{d}");
        }
        assert_eq!((reciprocal(1, 10), reciprocal(16384, 1 << 20)), (0, 0));
    }

    #[test]
    fn buffers_of_the_small_student_do_not_overlap() {
        let map = lay_out(&StudentSpec::nano(), 64).unwrap();
        assert_eq!((map.slots, map.plane_bytes()), (64, 6416));
        let mut end = (map.header.next + 64 * map.header.state_bytes) as usize;
        for l in &map.layers {
            assert_eq!(l.out as usize, end);
            assert!(l.out_stride as i32 >= l.out_px * l.out_px * l.out_bytes);
            end += 64 * l.out_stride as usize;
        }
        assert!(map.arena_bytes >= end && map.ring_at(64) <= map.state_at(0));
        assert_eq!(map.layers.iter().map(|l| l.chunks).collect::<Vec<_>>(), [9, 9, 9, 9, 18, 18, 18, 36]);
    }
}
