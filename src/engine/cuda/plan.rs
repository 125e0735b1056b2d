//! The launches of a step: a kernel a layer, or one kernel for all.

use super::device::Launch;
use super::pack::Map;

/// Threads of every block.
const THREADS: u32 = 256;
/// Warps of a block.
const WARPS: usize = 8;
/// Dot products that a block takes at once, and units of the GRU.
const GROUPS: usize = 32;
const UNITS: usize = 5;
/// Tiles of a layer from which a warp takes four of them alone; fewer are each shared by a block's eight warps. An estimate
/// from the arithmetic: some thirty blocks for each multiprocessor of a large GPU.
pub const WIDE_FROM: usize = 4096;

/// The instruction that multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `dp4a`, sm_61 and up.
    Dp4a,
    /// `mma.sync.m8n8k16`, sm_75 and up.
    Mma75,
    /// `mma.sync.m16n8k32`, sm_80 and up.
    Mma80,
}

impl Form {
    /// The best for a compute capability (`87` for 8.7), if there is one.
    pub fn best(sm: u32) -> Option<Self> {
        match sm {
            0..61 => None,
            61..75 => Some(Form::Dp4a),
            75..80 => Some(Form::Mma75),
            80.. => Some(Form::Mma80),
        }
    }

    /// Kernel names: stem, stem for batches, layer, layer for batches, whole step.
    fn kernels(self) -> [&'static str; 5] {
        match self {
            Form::Dp4a => ["stem_dp4a", "stem_wide_dp4a", "conv_dp4a", "conv_wide_dp4a", "step_dp4a"],
            Form::Mma75 => ["stem_mma75", "stem_wide_mma75", "conv_mma75", "conv_wide_mma75", "step_mma75"],
            Form::Mma80 => ["stem_mma80", "stem_wide_mma80", "conv_mma80", "conv_wide_mma80", "step_mma80"],
        }
    }
}

fn launch(kernel: &'static str, grid: usize, shared_bytes: usize, streams: usize) -> Launch {
    Launch {
        kernel,
        grid: grid as u32,
        block: THREADS,
        shared_bytes: shared_bytes as u32,
        cooperative: false,
        layer: 0,
        streams: streams as i32,
    }
}

/// Shared memory by which the warps of a tile join their sums.
const JOIN_BYTES: usize = WARPS * 128 * 4;

fn recur_bytes(map: &Map) -> usize {
    4 * (map.spec.features().next_multiple_of(32) + GROUPS)
}

fn cut_bytes(map: &Map) -> usize {
    4 * map.spec.size_px
}

fn tiles(map: &Map, layer: usize, streams: usize) -> usize {
    let l = &map.layers[layer];
    l.m_tiles as usize * l.n_tiles as usize * streams
}

/// A kernel a layer. `cut`: crops are cut out of a picture. `wide_from`: see [`WIDE_FROM`].
pub fn by_layer(map: &Map, form: Form, streams: usize, cut: bool, wide_from: usize) -> Vec<Launch> {
    let [stem, stem_wide, conv, conv_wide, _] = form.kernels();
    let mut plan = Vec::with_capacity(map.layers.len() + 3);
    if cut {
        plan.push(launch("cut", map.spec.size_px * streams, cut_bytes(map), streams));
    }
    for (i, l) in map.layers.iter().enumerate() {
        let narrow = tiles(map, i, streams);
        let wide = l.m_tiles as usize * (l.n_tiles as usize).div_ceil(4) * streams;
        let (kernel, grid, shared) = if narrow >= wide_from {
            (if i == 0 { stem_wide } else { conv_wide }, wide.div_ceil(WARPS), 0)
        } else {
            (if i == 0 { stem } else { conv }, narrow, JOIN_BYTES)
        };
        plan.push(Launch { layer: i as i32, ..launch(kernel, grid, shared, streams) });
    }
    plan.push(launch("recur", map.spec.hidden.div_ceil(UNITS) * streams, recur_bytes(map), streams));
    plan.push(launch("read_out", map.spec.outputs.div_ceil(GROUPS) * streams, 0, streams));
    plan
}

/// The whole step in one cooperative launch of at most `blocks` blocks, and no more than there is work for.
pub fn at_once(map: &Map, form: Form, streams: usize, blocks: usize) -> Launch {
    let most = (0..map.layers.len()).map(|i| tiles(map, i, streams)).max().unwrap_or(1);
    let shared = JOIN_BYTES.max(recur_bytes(map)).max(cut_bytes(map));
    Launch { cooperative: true, ..launch(form.kernels()[4], most.min(blocks).max(1), shared, streams) }
}
