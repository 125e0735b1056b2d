//! The tables that the kernels read, field by field as `kernels/layout.cu` declares them, little-endian and without gaps.

macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub struct $name { $(pub $field: $type),* }

        impl $name {
            /// Size in bytes, a multiple of 8.
            pub const BYTES: usize = 0 $(+ size_of::<$type>())*;

            /// Appends the table.
            pub fn put(&self, out: &mut Vec<u8>) {
                $(out.extend_from_slice(&self.$field.to_le_bytes());)*
            }
        }
    )*};
}

wire! {
    /// The header of the model.
    Model {
        gru_w: u64, gru_r: u64, gru_wb: u64, gru_rb: u64, head_w: u64, head_b: u64,
        rings: u64, states: u64, next: u64, plane_bytes: u64, state_bytes: u64, step: u64, result_bytes: u64,
        layer_count: i32, ring: i32, size_px: i32, zero_point: i32, features: i32, hidden: i32, outputs: i32,
        mean_scale: f32,
    }
    /// One convolution.
    Layer {
        weights: u64, bias: u64, scale: u64, input: u64, in_stride: u64, out: u64, out_stride: u64,
        in_px: i32, in_bytes: i32, out_px: i32, out_bytes: i32, kernel: i32, stride: i32, chunks: i32, segments: i32,
        m_tiles: i32, n_tiles: i32, by_m_tiles: u32, by_out_px: u32, by_per_tap: u32, by_kernel: u32,
    }
    /// One step of all its streams.
    Step { picture: u64, width: i32, height: i32, top: i32, cut: i32 }
    /// One stream of a step.
    StreamEntry {
        crop: u64, taps: u64,
        slot: i32, oldest: i32, source: i32, fill: i32, tap_count: i32, unused: i32,
    }
}

/// `StreamEntry::source`: all crops are in the ring already.
pub const CROP_HELD: i32 = 0;
/// `StreamEntry::source`: the newest crop comes in the io buffer.
pub const CROP_GIVEN: i32 = 1;
/// `StreamEntry::source`: the newest crop is cut out of the picture.
pub const CROP_CUT: i32 = 2;

/// Sizes of the four tables, as the kernels' `static_assert`s have them.
pub const SIZES: [usize; 4] = [Model::BYTES, Layer::BYTES, Step::BYTES, StreamEntry::BYTES];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_assert_the_same_sizes() {
        let layout = crate::engine::cuda::kernels::SOURCES[1].1;
        for (name, bytes) in ["Model", "Layer", "Step", "Stream"].iter().zip(SIZES) {
            assert!(layout.contains(&format!("static_assert(sizeof({name}) == {bytes},")), "{name} {bytes}");
        }
    }
}
