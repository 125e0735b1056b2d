//! The instruction sets that there are kernels for, and which of them this machine has.

use super::canvas::{Canvas, Encoding};
use super::linear::Linear;
use super::portable;
use super::recur::Recur;
use super::tile::Kernel;
use crate::spec::detector::CELL;

/// An instruction set with kernels of its own. All of them give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64, `vpdpbusd` on 512 bits.
    Avx512Vnni,
    /// x86-64, `vpdpbusd` on 256 bits in its VEX form, for CPUs without AVX-512.
    AvxVnni,
    /// The kernel of [`Isa::AvxVnni`] with the EVEX form of its one instruction, so that a CPU with AVX-512 can test it.
    Avx512Vnni256,
    /// x86-64, `vpmaddwd` on activations and weights of 16 bits: exact, where `vpmaddubsw` would saturate.
    Avx2,
    /// aarch64, `sdot`.
    NeonDot,
    /// aarch64, `smull`, `smlal` and `sadalp`.
    Neon,
    /// Safe Rust for any CPU; the compiler vectorises it for whatever the target has.
    Portable,
}

impl Isa {
    /// All of them, fastest first.
    pub const ALL: [Isa; 7] =
        [Isa::Avx512Vnni, Isa::AvxVnni, Isa::Avx512Vnni256, Isa::Avx2, Isa::NeonDot, Isa::Neon, Isa::Portable];

    /// Those that this machine has, fastest first; never empty.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|i| i.is_available())
    }

    /// The fastest that this machine has.
    pub fn best() -> Isa {
        Self::available().next().unwrap_or(Isa::Portable)
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512Vnni256 => "avx512-vnni-256",
            Isa::Avx2 => "avx2",
            Isa::NeonDot => "neon-dot",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }

    /// Whether this machine has it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        let avx512 = || has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni");
        match self {
            Isa::Avx512Vnni | Isa::Avx512Vnni256 => avx512(),
            Isa::AvxVnni => has!("avxvnni") && has!("avx2"),
            Isa::Avx2 => has!("avx2"),
            Isa::Portable => true,
            Isa::NeonDot | Isa::Neon => false,
        }
    }

    /// Whether this machine has it.
    #[cfg(target_arch = "aarch64")]
    pub fn is_available(self) -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        match self {
            Isa::NeonDot => has!("neon") && has!("dotprod"),
            Isa::Neon => has!("neon"),
            Isa::Portable => true,
            _ => false,
        }
    }

    /// Whether this machine has it.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn is_available(self) -> bool {
        self == Isa::Portable
    }

    pub(super) fn encoding(self) -> Encoding {
        match self {
            Isa::Avx512Vnni | Isa::AvxVnni | Isa::Avx512Vnni256 => Encoding::U8,
            Isa::NeonDot | Isa::Neon => Encoding::S8,
            Isa::Avx2 | Isa::Portable => Encoding::I16,
        }
    }

    /// The kernel for a convolution of `channels` outputs, a multiple of 16. May be run only where [`Isa::is_available`].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn kernel(self, channels: usize) -> Kernel {
        use super::x86;
        match self {
            Isa::Avx512Vnni => x86::avx512_vnni(channels),
            Isa::AvxVnni => x86::AVX_VNNI,
            Isa::Avx512Vnni256 => x86::AVX512_VNNI_256,
            Isa::Avx2 => x86::AVX2,
            Isa::NeonDot | Isa::Neon | Isa::Portable => portable::KERNEL,
        }
    }

    /// The kernel for a convolution of `channels` outputs, a multiple of 16. May be run only where [`Isa::is_available`].
    #[cfg(target_arch = "aarch64")]
    pub(super) fn kernel(self, _channels: usize) -> Kernel {
        use super::aarch64;
        match self {
            Isa::NeonDot => aarch64::NEON_DOT,
            Isa::Neon => aarch64::NEON,
            _ => portable::KERNEL,
        }
    }

    /// The kernel for a convolution of `channels` outputs, a multiple of 16.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn kernel(self, _channels: usize) -> Kernel {
        portable::KERNEL
    }

    /// The rest of a step, compiled for this instruction set. May be run only where [`Isa::is_available`].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn plain(self) -> Plain {
        use super::x86;
        match self {
            Isa::Avx512Vnni | Isa::Avx512Vnni256 => x86::PLAIN_AVX512,
            Isa::AvxVnni | Isa::Avx2 => x86::PLAIN_AVX2,
            Isa::NeonDot | Isa::Neon | Isa::Portable => portable::PLAIN,
        }
    }

    /// The rest of a step; the baseline of these targets is all it needs.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn plain(self) -> Plain {
        portable::PLAIN
    }
}

/// What is written in plain Rust and left to the compiler to vectorise.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    /// [`super::stem::fill`]
    pub fill: unsafe fn(Encoding, &[u8], &mut [u8], &mut Canvas),
    /// [`super::recur::step`]
    pub recur: unsafe fn(&mut Recur, &mut [f32], &mut [f32]),
    /// [`super::linear::read`]
    pub read: unsafe fn(Encoding, &Linear, &Canvas, &mut [[f32; CELL]]),
}
