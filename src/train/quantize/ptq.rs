//! Post-training quantisation, layer by layer: each layer is quantised on what the quantised layers before it give.

use super::calibrate::{self, Calibrate, WeightRange};
use super::equalise::{Equalise, equalise};
use super::float::{self, FloatTrunk};
use super::integer;
use crate::error::{Error, Result};
use crate::model::{Conv, ConvI8, Student, Trunk};
use crate::quant::{self, Grid};
use crate::spec::{ConvSpec, StudentSpec};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};

/// Arithmetic of the GRU's and the head's weights. Engines compute in f32 with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RecurrentWeights {
    /// As trained.
    #[default]
    F32,
    /// Rounded to int8 with a scale for each row, and stored so: a quarter of the bytes.
    Int8,
}

/// How a student is quantised after training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PtqConfig {
    pub calibrate: Calibrate,
    /// Share of a layer's positive values that [`Calibrate::Percentile`] covers.
    pub percentile: f64,
    pub weights: WeightRange,
    pub equalise: Equalise,
    /// Moves each channel's integer bias by the mean error of its pre-activation (arXiv 1906.04721, section 4.2).
    pub bias_correction: bool,
    pub gru: RecurrentWeights,
    pub head: RecurrentWeights,
    /// Rings that scales are calibrated on.
    pub rings: usize,
}

impl Default for PtqConfig {
    fn default() -> Self {
        Self {
            calibrate: Calibrate::default(),
            percentile: 0.9999,
            weights: WeightRange::default(),
            equalise: Equalise::default(),
            bias_correction: true,
            gru: RecurrentWeights::default(),
            head: RecurrentWeights::default(),
            rings: 256,
        }
    }
}

impl PtqConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        if !(self.percentile > 0.0 && self.percentile <= 1.0) {
            return Err(Error::usage(format!("ptq.percentile is {}, expected above 0 to 1", self.percentile)));
        }
        if !(1..=1 << 20).contains(&self.rings) {
            return Err(Error::usage(format!("ptq.rings is {}, expected 1 to 1048576", self.rings)));
        }
        Ok(())
    }
}

/// What a part of the student lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartReport {
    /// `conv0`, ..., `gru.w`, `gru.r`, `head`.
    pub name: String,
    /// Real value of 255 in a convolution's output.
    pub range: Option<f32>,
    /// Signal over quantisation noise in decibels: of a convolution's outputs on the calibration data, all earlier layers
    /// quantised too; of a matrix's weights. Absent where nothing was lost.
    pub sqnr_db: Option<f64>,
    /// Share of a convolution's outputs at 255.
    pub saturated: Option<f64>,
    /// Largest correction of a bias, in real units; absent without bias correction.
    pub bias_correction: Option<f64>,
}

/// A student quantised.
#[derive(Debug, Clone, PartialEq)]
pub struct Ptq {
    /// The fp32 student after equalisation, which the int8 one was rounded from: the same function as the one given.
    pub equalised: Student,
    pub int8: Student,
    pub parts: Vec<PartReport>,
}

/// Quantises `student` on `rings`, one after the other. `progress` is told of every layer done. The result depends on the
/// arguments alone.
///
/// # Errors
/// A student that is int8 already, a layer dead on all rings, accumulators that could overflow, or `stop`.
pub fn ptq(
    student: &Student,
    rings: &[u8],
    config: &PtqConfig,
    progress: &dyn Fn(usize),
    stop: &AtomicBool,
) -> Result<Ptq> {
    config.validate()?;
    let spec = &student.spec;
    if rings.is_empty() || !rings.len().is_multiple_of(spec.ring * spec.size_px * spec.size_px) {
        return Err(Error::input(format!("{} bytes of calibration data are no whole number of rings", rings.len())));
    }
    let maxima = match config.equalise {
        Equalise::Activations => FloatTrunk::new(student)?.channel_maxima(rings)?,
        _ => Vec::new(),
    };
    let equalised = equalise(student, config.equalise, &maxima)?;
    let mut sweep = Sweep::new(&equalised, rings, config)?;
    let mut parts = Vec::new();
    for i in 0..spec.convs.len() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted(format!("stopped before conv{i} was quantised")));
        }
        parts.push(sweep.layer(i, rings)?);
        progress(i + 1);
    }
    let mut int8 = Student { trunk: Trunk::Int8(sweep.done), ..equalised.clone() };
    parts.extend(round_recurrent(&mut int8, config));
    int8.validate()?;
    Ok(Ptq { equalised, int8, parts })
}

/// Puts the matrices that `config` names on int8 grids.
pub fn round_recurrent(student: &mut Student, config: &PtqConfig) -> Vec<PartReport> {
    let (h, f) = (student.spec.hidden, student.spec.features());
    let matrices = [
        ("gru.w", config.gru, &mut student.gru.w, f),
        ("gru.r", config.gru, &mut student.gru.r, h),
        ("head", config.head, &mut student.head.weight, h),
    ];
    let mut parts = Vec::new();
    for (name, how, weights, width) in matrices {
        if how == RecurrentWeights::Int8 {
            let rounded = Grid::round(weights, width).real();
            let sqnr_db = decibels(weights.iter().zip(&rounded).map(|(&a, &b)| (a, b)));
            *weights = rounded;
            parts.push(PartReport { name: name.into(), range: None, sqnr_db, saturated: None, bias_correction: None });
        }
    }
    parts
}

/// Signal over noise of (wanted, found); `None` without noise.
fn decibels(pairs: impl Iterator<Item = (f32, f32)>) -> Option<f64> {
    let (mut signal, mut noise) = (0.0, 0.0);
    for (a, b) in pairs {
        signal += f64::from(a) * f64::from(a);
        noise += (f64::from(a) - f64::from(b)).powi(2);
    }
    (noise > 0.0).then(|| 10.0 * (signal / noise).log10())
}

/// Where the sweep over the layers stands: the inputs of the next one on all rings, in both arithmetics.
struct Sweep<'a> {
    student: &'a Student,
    trunk: FloatTrunk,
    config: &'a PtqConfig,
    real: Vec<f32>,
    bytes: Vec<u8>,
    done: Vec<ConvI8>,
}

impl<'a> Sweep<'a> {
    fn new(student: &'a Student, rings: &[u8], config: &'a PtqConfig) -> Result<Self> {
        let real = float::real(rings, &student.spec);
        Ok(Self { student, trunk: FloatTrunk::new(student)?, config, real, bytes: rings.to_vec(), done: Vec::new() })
    }

    fn layer(&mut self, i: usize, rings: &[u8]) -> Result<PartReport> {
        let (spec, conv) = (&self.student.spec, &float::convs(self.student)?[i]);
        let real = self.trunk.layer(i, &self.real)?;
        let dead = || {
            Error::model(format!("conv{i} gives nothing positive on the calibration data"))
                .remedy("calibrate on more data of the kind that it was trained on")
        };
        let range = calibrate::range(&real, self.config.calibrate, self.config.percentile).ok_or_else(dead)?;
        let input_scale = self.done.last().map_or(spec.input_scale, |c| c.output_scale);
        let mut quantized = quantize_conv(conv, input_scale, range / 255.0, self.config.weights);
        let correction = self.config.bias_correction.then(|| self.correct(i, conv, &mut quantized));
        self.done.push(quantized);
        let bytes = integer::outputs(spec, &self.done, rings)?;
        let scale = range / 255.0;
        let report = PartReport {
            name: format!("conv{i}"),
            range: Some(range),
            sqnr_db: decibels(real.iter().zip(&bytes).map(|(&a, &q)| (a, f32::from(q) * scale))),
            saturated: Some(bytes.iter().filter(|b| **b == 255).count() as f64 / bytes.len() as f64),
            bias_correction: correction,
        };
        (self.real, self.bytes) = (real, bytes);
        Ok(report)
    }

    /// Moves the integer biases so that every channel's mean pre-activation is that of fp32; gives the largest move in real
    /// units.
    fn correct(&self, i: usize, conv: &Conv, quantized: &mut ConvI8) -> f64 {
        let spec = &self.student.spec;
        let zero = if i == 0 { f64::from(spec.input_zero_point) } else { 0.0 };
        let wanted = mean_taps(spec, i, &self.real, f64::from);
        let found = mean_taps(spec, i, &self.bytes, |b: u8| f64::from(b) - zero);
        let fan = conv.weight.len() / conv.bias.len();
        let mut largest = 0.0f64;
        for o in 0..conv.bias.len() {
            let taps = o * fan..(o + 1) * fan;
            let dot = |means: &[f64], weight: &dyn Fn(usize) -> f64| -> f64 {
                means.iter().zip(taps.clone()).map(|(m, k)| m * weight(k)).sum()
            };
            let unit = f64::from(quantized.input_scale * quantized.weight_scale[o]);
            let real = f64::from(conv.bias[o]) + dot(&wanted, &|k| f64::from(conv.weight[k]));
            let whole = f64::from(quantized.bias[o]) + dot(&found, &|k| f64::from(quantized.weight[k]));
            let gap = real - unit * whole;
            quantized.bias[o] = quantized.bias[o].saturating_add((gap / unit).round_ties_even() as i32);
            largest = largest.max(gap.abs());
        }
        largest
    }
}

/// One convolution in int8, its outputs in steps of `output_scale`.
pub fn quantize_conv(conv: &Conv, input_scale: f32, output_scale: f32, how: WeightRange) -> ConvI8 {
    let fan = conv.weight.len() / conv.bias.len();
    let scales: Vec<f32> = conv.weight.chunks_exact(fan).map(|row| calibrate::weight_scale(row, how)).collect();
    quantize_conv_by(conv, input_scale, scales, output_scale)
}

/// As [`quantize_conv`] with the scales of the weights given.
pub fn quantize_conv_by(conv: &Conv, input_scale: f32, weight_scale: Vec<f32>, output_scale: f32) -> ConvI8 {
    let fan = conv.weight.len() / conv.bias.len();
    let weight = |(i, &w): (usize, &f32)| quant::quantize_weight(w, weight_scale[i / fan]);
    let bias = |(&b, &s): (&f32, &f32)| quant::quantize_bias(b, input_scale, s);
    ConvI8 {
        weight: conv.weight.iter().enumerate().map(weight).collect(),
        bias: conv.bias.iter().zip(&weight_scale).map(bias).collect(),
        requant: weight_scale.iter().map(|&w| quant::requant_scale(input_scale, w, output_scale)).collect(),
        input_scale,
        weight_scale,
        output_scale,
    }
}

/// Mean over all outputs of what each tap of convolution `i` reads, `in x k x k`, padding being nought. A channel's mean
/// pre-activation is its bias and its weights times these, so no convolution is needed for it.
fn mean_taps<T: Copy + Sync>(spec: &StudentSpec, i: usize, x: &[T], real: impl Fn(T) -> f64 + Sync) -> Vec<f64> {
    let (conv, (ch, px, out_px)) = (spec.convs[i], spec.shapes().nth(i).unwrap_or_default());
    let taps = ch * conv.kernel * conv.kernel;
    let sums: Vec<Vec<f64>> = x
        .par_chunks(ch * px * px)
        .map(|picture| (0..taps).map(|tap| tap_sum(picture, conv, (px, out_px), tap, &real)).collect())
        .collect();
    let count = (sums.len() * out_px * out_px) as f64;
    // In the order of the pictures, so that the sum does not depend on the threads.
    (0..taps).map(|tap| sums.iter().map(|s| s[tap]).sum::<f64>() / count).collect()
}

fn tap_sum<T: Copy>(
    picture: &[T],
    conv: ConvSpec,
    (px, out_px): (usize, usize),
    tap: usize,
    real: &impl Fn(T) -> f64,
) -> f64 {
    let k = conv.kernel;
    let (channel, ky, kx) = (tap / (k * k), tap / k % k, tap % k);
    let inside = |at: usize, t: usize| (at * conv.stride + t).checked_sub(k / 2).filter(|p| *p < px);
    let mut sum = 0.0;
    for y in (0..out_px).filter_map(|y| inside(y, ky)) {
        let row = &picture[(channel * px + y) * px..][..px];
        sum += (0..out_px).filter_map(|x| inside(x, kx)).map(|x| real(row[x])).sum::<f64>();
    }
    sum
}
