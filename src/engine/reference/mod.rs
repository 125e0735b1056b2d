//! The oracle: naive loops, exact to the specification. Never optimised.

mod loops;
mod maps;

pub use maps::MapReference;

use super::{Engine, check_lengths};
use crate::error::Result;
use crate::model::{Precision, Student, Trunk};
use crate::quant;
use crate::spec::HEADS;
use loops::Layers;

/// The reference engine. fp32 convolutions accumulate in f64, so that their error is the rounding to f32 alone.
pub struct Reference {
    student: Student,
    trunk: Loops,
    features: Vec<f32>,
    next: Vec<f32>,
}

/// The convolutions in the number type that their loops accumulate in.
enum Loops {
    Fp32(Layers<f64>),
    /// With the requantising factors and the output scale of each layer.
    Int8(Layers<i32>, Vec<(Vec<f32>, f32)>),
}

/// What an engine computed on the way, for calibration and layer-by-layer comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Output of each convolution in real units, channel by channel.
    pub layers: Vec<Vec<f32>>,
}

impl Reference {
    /// Opens the engine on a student of either precision.
    ///
    /// # Errors
    /// If the student is inconsistent.
    pub fn open(student: &Student) -> Result<Self> {
        student.validate()?;
        let wide = |v: &[f32]| v.iter().map(|&w| f64::from(w)).collect::<Vec<_>>();
        let trunk = match &student.trunk {
            Trunk::Fp32(convs) => {
                Loops::Fp32(Layers::new(convs.iter().map(|c| (wide(&c.weight), wide(&c.bias))).collect()))
            }
            Trunk::Int8(convs) => {
                Loops::Int8(Layers::int8(convs), convs.iter().map(|c| (c.requant.clone(), c.output_scale)).collect())
            }
        };
        let (f, h) = (student.spec.features(), student.spec.hidden);
        Ok(Self { student: student.clone(), trunk, features: vec![0.0; f], next: vec![0.0; h] })
    }

    /// One step that also records every layer.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub fn step_traced(
        &mut self,
        ring: &[u8],
        hidden: &mut [f32],
        logits: &mut [f32; HEADS],
        trace: &mut Trace,
    ) -> Result<()> {
        check_lengths(&self.student, ring, hidden)?;
        trace.layers.clear();
        self.trunk(ring, Some(trace));
        self.recur(hidden, logits);
        Ok(())
    }

    /// One more step on the ring of the last step, whose features are still at hand.
    pub fn step_again(&mut self, hidden: &mut [f32], logits: &mut [f32; HEADS]) {
        self.recur(hidden, logits);
    }

    fn trunk(&mut self, ring: &[u8], mut trace: Option<&mut Trace>) {
        let spec = &self.student.spec;
        let zero = i32::from(spec.input_zero_point);
        let layers = spec.convs.iter().zip(spec.shapes()).enumerate();
        match &mut self.trunk {
            Loops::Int8(loops, requant) => {
                loops.x.clear();
                loops.x.extend(ring.iter().map(|&b| i32::from(b) - zero));
                let mut last_scale = spec.input_scale;
                for ((i, (c, (channels, px, out_px))), (factors, output_scale)) in layers.zip(requant) {
                    loops.convolve(i, *c, channels, [[px; 2], [out_px; 2]]);
                    loops.requantize(factors);
                    last_scale = *output_scale;
                    if let Some(t) = trace.as_deref_mut() {
                        t.layers.push(loops.x.iter().map(|&v| v as f32 * last_scale).collect());
                    }
                }
                let area = loops.x.len() / self.features.len();
                let mean_scale = last_scale / area as f32;
                for (f, plane) in self.features.iter_mut().zip(loops.x.chunks_exact(area)) {
                    *f = plane.iter().sum::<i32>() as f32 * mean_scale;
                }
            }
            Loops::Fp32(loops) => {
                let scale = f64::from(spec.input_scale);
                loops.x.clear();
                loops.x.extend(ring.iter().map(|&b| f64::from(i32::from(b) - zero) * scale));
                for (i, (c, (channels, px, out_px))) in layers {
                    loops.convolve(i, *c, channels, [[px; 2], [out_px; 2]]);
                    loops.x.iter_mut().for_each(|v| *v = f64::from(v.max(0.0) as f32));
                    if let Some(t) = trace.as_deref_mut() {
                        t.layers.push(loops.x.iter().map(|&v| v as f32).collect());
                    }
                }
                let area = loops.x.len() / self.features.len();
                for (f, plane) in self.features.iter_mut().zip(loops.x.chunks_exact(area)) {
                    *f = (plane.iter().sum::<f64>() / area as f64) as f32;
                }
            }
        }
    }

    fn recur(&mut self, hidden: &mut [f32], logits: &mut [f32; HEADS]) {
        recur(&self.student, &self.features, hidden, &mut self.next, logits);
    }
}

/// GRU and heads from the trunk's features: replaces `hidden` and fills `logits`. `next` is room for another state.
pub fn recur(student: &Student, features: &[f32], hidden: &mut [f32], next: &mut [f32], logits: &mut [f32; HEADS]) {
    let (gru, head) = (&student.gru, &student.head);
    let (h, f) = (hidden.len(), features.len());
    let input = |row: usize| quant::dot(&gru.w[row * f..][..f], features) + gru.wb[row];
    let state = |row: usize, hidden: &[f32]| quant::dot(&gru.r[row * h..][..h], hidden) + gru.rb[row];
    for u in 0..h {
        let z = quant::sigmoid(input(u) + state(u, hidden));
        let r = quant::sigmoid(input(h + u) + state(h + u, hidden));
        let n = quant::tanh(input(2 * h + u) + r * state(2 * h + u, hidden));
        next[u] = n + z * (hidden[u] - n);
    }
    hidden.copy_from_slice(next);
    for (o, (row, b)) in logits.iter_mut().zip(head.weight.chunks_exact(h).zip(&head.bias)) {
        *o = quant::dot(row, hidden) + b;
    }
}

impl Engine for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn precision(&self) -> Precision {
        self.student.precision()
    }

    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()> {
        check_lengths(&self.student, ring, hidden)?;
        self.trunk(ring, None);
        self.recur(hidden, logits);
        Ok(())
    }
}
