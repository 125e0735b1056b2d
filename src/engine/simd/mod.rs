//! Our own int8 engine for CPUs: the whole step, or the whole run on a picture, in kernels for the
//! instruction set at hand, the same to the bit as the reference.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod canvas;
mod chain;
mod conv;
mod isa;
mod linear;
mod maps;
mod pack;
mod portable;
mod recur;
mod stem;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use isa::Isa;
pub use maps::MapSimd;

use super::{Engine, INT8_ALONE, check_lengths};
use crate::error::{Error, Result};
use crate::model::{Precision, Student, Trunk};
use crate::spec::HEADS;
use chain::{Chain, Parts};
use recur::Recur;

/// A student packed for one instruction set.
pub struct Simd {
    student: Student,
    chain: Chain,
    sums: Vec<i32>,
    mean_scale: f32,
    recur: Recur,
}

impl Simd {
    /// Packs an int8 student for the fastest instruction set of this machine.
    ///
    /// # Errors
    /// If the student is inconsistent or in fp32.
    pub fn open(student: &Student) -> Result<Self> {
        Self::open_with(student, Isa::best())
    }

    /// Packs an int8 student for a given instruction set.
    ///
    /// # Errors
    /// As [`Simd::open`], or if this machine lacks it.
    pub fn open_with(student: &Student, isa: Isa) -> Result<Self> {
        student.validate()?;
        let Trunk::Int8(convs) = &student.trunk else {
            return Err(Error::unsupported(INT8_ALONE).at("engine simd").remedy("use --precision int8"));
        };
        let spec = &student.spec;
        let parts = Parts { ring: spec.ring, zero: spec.input_zero_point, specs: &spec.convs, convs };
        let chain = Chain::new(parts, [spec.size_px; 2], isa)?;
        let [height, width] = chain.output(convs.len() - 1).size;
        Ok(Self {
            chain,
            sums: vec![0; spec.features()],
            mean_scale: convs.last().map_or(0.0, |c| c.output_scale) / (height * width) as f32,
            recur: Recur::new(student),
            student: student.clone(),
        })
    }

    /// Output of convolution `i` in the last step, channel by channel, for layer-by-layer comparison; empty if there is none.
    pub fn layer(&self, i: usize) -> Vec<u8> {
        self.chain.layer(i)
    }

    /// The instruction set it was packed for.
    pub fn isa(&self) -> Isa {
        self.chain.isa()
    }
}

impl Engine for Simd {
    fn name(&self) -> &'static str {
        "simd"
    }

    fn precision(&self) -> Precision {
        Precision::Int8
    }

    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()> {
        check_lengths(&self.student, ring, hidden)?;
        self.chain.run(ring);
        let (isa, last) = (self.isa(), self.student.spec.convs.len() - 1);
        self.chain.output(last).sum_into(isa.encoding(), &mut self.sums);
        for (f, &sum) in self.recur.features.iter_mut().zip(&self.sums) {
            *f = sum as f32 * self.mean_scale;
        }
        // SAFETY: `Chain::new` packs only for an instruction set that this machine has.
        unsafe { (isa.plain().recur)(&mut self.recur, hidden, logits) }
        Ok(())
    }
}
