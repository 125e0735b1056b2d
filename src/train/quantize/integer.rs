//! The trunk in the specification's integers, by the kernels that the runtime runs.

use crate::engine::Engine;
use crate::engine::simd::Simd;
use crate::error::{Error, Result};
use crate::model::{ConvI8, Gru, Linear, Student, Trunk};
use crate::spec::{HEADS, StudentSpec};
use rayon::prelude::*;

/// The student of the first layers alone, with a GRU of one unit that does nothing.
fn first_layers(spec: &StudentSpec, convs: &[ConvI8]) -> Student {
    let spec = StudentSpec { convs: spec.convs[..convs.len()].to_vec(), hidden: 1, ..spec.clone() };
    let zeros = |n: usize| vec![0.0; n];
    Student {
        gru: Gru { w: zeros(3 * spec.features()), r: zeros(3), wb: zeros(3), rb: zeros(3) },
        head: Linear { weight: zeros(HEADS), bias: zeros(HEADS) },
        trunk: Trunk::Int8(convs.to_vec()),
        spec,
    }
}

/// Runs the layers `convs`, the first of `spec`, on rings one after the other, and collects `take` of each ring in order.
fn run<T: Send>(
    spec: &StudentSpec,
    convs: &[ConvI8],
    rings: &[u8],
    take: impl Fn(&Simd) -> T + Sync,
) -> Result<Vec<T>> {
    if convs.is_empty() || convs.len() > spec.convs.len() {
        return Err(Error::model(format!("{} layers of a student of {}", convs.len(), spec.convs.len())));
    }
    let student = first_layers(spec, convs);
    student.validate()?;
    let one = |engine: &mut Result<Simd>, ring: &[u8]| {
        let engine = engine.as_mut().map_err(|e| Error::new(e.kind(), e.to_string()))?;
        engine.step(ring, &mut [0.0], &mut [0.0; HEADS])?;
        Ok(take(engine))
    };
    rings.par_chunks(spec.ring * spec.size_px * spec.size_px).map_init(|| Simd::open(&student), one).collect()
}

/// Outputs of the last of `convs` on every ring, channel by channel.
///
/// # Errors
/// Layers that are none of the student's, or rings of another size.
pub fn outputs(spec: &StudentSpec, convs: &[ConvI8], rings: &[u8]) -> Result<Vec<u8>> {
    Ok(run(spec, convs, rings, |engine| engine.layer(convs.len() - 1))?.concat())
}

/// Outputs of every layer: for each layer those of every ring, one after the other.
///
/// # Errors
/// As [`outputs`].
pub fn all_outputs(spec: &StudentSpec, convs: &[ConvI8], rings: &[u8]) -> Result<Vec<Vec<u8>>> {
    let of_rings = run(spec, convs, rings, |engine| (0..convs.len()).map(|i| engine.layer(i)).collect::<Vec<_>>())?;
    Ok((0..convs.len()).map(|i| of_rings.iter().flat_map(|layers| layers[i].iter().copied()).collect()).collect())
}

/// Features from the last layer's outputs of one or more rings: the exact sum of each channel, once rounded, times
/// `output_scale / area`, as engines take it.
pub fn features(outputs: &[u8], output_scale: f32, area: usize) -> Vec<f32> {
    let scale = output_scale / area as f32;
    outputs.chunks_exact(area).map(|p| p.iter().map(|&v| i32::from(v)).sum::<i32>() as f32 * scale).collect()
}
