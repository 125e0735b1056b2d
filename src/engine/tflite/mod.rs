//! TensorFlow Lite with XNNPACK on one thread, through tflitec; the graph is the one of `model::tflite`.
//!
//! The convolutions are bit-exact with the reference, because XNNPACK requantises as the specification does (TensorFlow Lite's own
//! int8 kernels round twice, and differ). GRU and heads are f32 in XNNPACK's order of operations.

#[cfg(not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "the feature tflite has a library for Linux with glibc on x86-64 and aarch64 alone (none for armv7, none for musl): \
     build without it, and the engine simd runs the same int8 student"
);

mod net;
mod options;

use super::{Engine, check_lengths};
use crate::error::{Error, Result};
use crate::model::{Precision, Student, tflite};
use crate::spec::HEADS;
use net::Net;

/// A student in TensorFlow Lite's interpreter.
pub struct Tflite {
    student: Student,
    net: Net,
    /// The ring as the file has it: s8, channels last.
    interleaved: Vec<u8>,
    /// The state that a step gives, until it is known to have succeeded.
    next: Vec<f32>,
}

impl Tflite {
    /// Loads the student; the whole graph or an error.
    ///
    /// # Errors
    /// If the student is inconsistent or the library refuses it.
    pub fn open(student: &Student) -> Result<Self> {
        student.validate()?;
        let spec = &student.spec;
        let ring = spec.ring * spec.size_px * spec.size_px;
        let net = Net::open(tflite::write_student(student), [ring, 4 * spec.hidden], [4 * HEADS, 4 * spec.hidden])?;
        Ok(Self { student: student.clone(), net, interleaved: vec![0; ring], next: vec![0.0; spec.hidden] })
    }
}

/// Planes of u8 to channels-last s8 around 0.
fn interleave(planes: &[u8], channels: usize, out: &mut [u8]) {
    let area = planes.len() / channels;
    for (c, plane) in planes.chunks_exact(area).enumerate() {
        for (pixel, &v) in out.chunks_exact_mut(channels).zip(plane) {
            pixel[c] = v ^ 0x80;
        }
    }
}

impl Engine for Tflite {
    fn name(&self) -> &'static str {
        "tflite"
    }

    fn precision(&self) -> Precision {
        self.student.precision()
    }

    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()> {
        check_lengths(&self.student, ring, hidden)?;
        interleave(ring, self.student.spec.ring, &mut self.interleaved);
        let mut found = [0.0; HEADS];
        self.net.run(&self.interleaved, hidden, &mut found, &mut self.next)?;
        hidden.copy_from_slice(&self.next);
        *logits = found;
        Ok(())
    }
}

/// An error with the engine's name.
fn refused(what: &str, e: tflitec::Error) -> Error {
    Error::unsupported(format!("TensorFlow Lite {what}")).at("engine tflite").caused_by(e)
}
