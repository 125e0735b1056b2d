//! Our own int8 engine for CPUs: the whole step in kernels for the instruction set at hand, the same to the bit as the reference.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod canvas;
mod conv;
mod isa;
mod pack;
mod portable;
mod recur;
mod stem;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use isa::Isa;

use super::{Engine, check_lengths};
use crate::error::{Error, Result};
use crate::model::{Precision, Student, Trunk};
use crate::spec::{HEADS, StudentSpec};
use canvas::Canvas;
use pack::Layer;
use recur::Recur;

/// Why there is no fp32 here.
pub const NO_FP32: &str = "its kernels are int8 alone";

/// A student packed for one instruction set.
pub struct Simd {
    isa: Isa,
    student: Student,
    layers: Vec<Layer>,
    /// The input of each layer, then the output of the last.
    canvases: Vec<Canvas>,
    row: Vec<u8>,
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
            return Err(Error::unsupported(NO_FP32).at("engine simd").remedy("use --precision int8"));
        };
        if !isa.is_available() {
            return Err(Error::unsupported(format!("this CPU lacks {}", isa.name())).at("engine simd"));
        }
        let (spec, encoding) = (&student.spec, isa.encoding());
        let canvases = canvases(spec, isa);
        let layer = |(i, (c, (in_ch, px, out_px))): (usize, (&crate::spec::ConvSpec, (usize, usize, usize)))| {
            let taps = match i {
                0 => pack::stem_taps(c.kernel, in_ch, encoding, &canvases[0]),
                _ => pack::taps(c.kernel, in_ch, encoding, &canvases[i]),
            };
            let zero = if i == 0 { i32::from(spec.input_zero_point) } else { 0 };
            Layer::new(isa.kernel(pack::padded(c.out)), encoding, *c, &convs[i], &taps, (px, out_px, zero))
        };
        let layers = spec.convs.iter().zip(spec.shapes()).enumerate().map(layer).collect();
        let area = canvases.last().map_or(1, |c| c.px * c.px);
        Ok(Self {
            isa,
            layers,
            row: vec![spec.input_zero_point; canvases[0].px + 2 * canvases[0].halo + 4],
            canvases,
            sums: vec![0; spec.features()],
            mean_scale: convs.last().map_or(0.0, |c| c.output_scale) / area as f32,
            recur: Recur::new(student),
            student: student.clone(),
        })
    }

    /// Output of convolution `i` in the last step, channel by channel, for layer-by-layer comparison; empty if there is none.
    pub fn layer(&self, i: usize) -> Vec<u8> {
        match (self.student.spec.convs.get(i), self.canvases.get(i + 1)) {
            (Some(c), Some(canvas)) => canvas.planes(self.isa.encoding(), c.out),
            _ => Vec::new(),
        }
    }

    /// The instruction set it was packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// The input of each convolution, each with the halo that it needs, and the output of the last.
fn canvases(spec: &StudentSpec, isa: Isa) -> Vec<Canvas> {
    let mut all = vec![stem::canvas(spec, isa.encoding())];
    let halos = spec.convs.iter().skip(1).map(|c| c.kernel / 2).chain([0]);
    for ((c, (_, _, out_px)), halo) in spec.convs.iter().zip(spec.shapes()).zip(halos) {
        all.push(Canvas::new(isa.encoding(), 1, pack::padded(c.out), out_px, halo, 0));
    }
    all
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
        let encoding = self.isa.encoding();
        // SAFETY: `open_with` packs only for an instruction set that this machine has; so below.
        unsafe { (self.isa.plain().fill)(encoding, ring, &mut self.row, &mut self.canvases[0]) }
        for (i, layer) in self.layers.iter().enumerate() {
            let (x, y) = self.canvases.split_at_mut(i + 1);
            // SAFETY: as above.
            unsafe { layer.run(encoding, &x[i], &mut y[0]) }
        }
        self.canvases[self.layers.len()].sum_into(encoding, &mut self.sums);
        for (f, &sum) in self.recur.features.iter_mut().zip(&self.sums) {
            *f = sum as f32 * self.mean_scale;
        }
        // SAFETY: as above.
        unsafe { (self.isa.plain().recur)(&mut self.recur, hidden, logits) }
        Ok(())
    }
}
