//! The portable CPU engine: the student's own ONNX graph in tract-onnx.
//!
//! tract runs QDQ convolutions in float, so an int8 student is as exact here as its rounding allows but no faster than fp32.

use super::{Engine, check_lengths};
use crate::error::{Error, Result};
use crate::model::{Precision, Student, onnx};
use crate::spec::HEADS;
use tract_onnx::prelude::*;

/// A student compiled by tract.
pub struct Tract {
    student: Student,
    plan: Arc<TypedSimplePlan>,
}

fn failed(e: TractError) -> Error {
    Error::unsupported(format!("tract: {e:#}")).at("engine tract")
}

impl Tract {
    /// Compiles the student; the whole graph or an error.
    ///
    /// # Errors
    /// Whatever tract refuses, in its words.
    pub fn open(student: &Student) -> Result<Self> {
        student.validate()?;
        let bytes = onnx::write_student(student);
        let plan = tract_onnx::onnx()
            .model_for_read(&mut bytes.as_slice())
            .and_then(|m| m.into_optimized())
            .and_then(|m| m.into_runnable())
            .map_err(failed)?;
        Ok(Self { student: student.clone(), plan })
    }
}

impl Engine for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn precision(&self) -> Precision {
        self.student.precision()
    }

    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()> {
        check_lengths(&self.student, ring, hidden)?;
        let s = &self.student.spec;
        let ring = Tensor::from_shape(&[1, s.ring, s.size_px, s.size_px], ring).map_err(failed)?;
        let state = Tensor::from_shape(&[1, 1, s.hidden], hidden).map_err(failed)?;
        let out = self.plan.run(tvec!(ring.into_tvalue(), state.into_tvalue())).map_err(failed)?;
        let read = |i: usize, into: &mut [f32]| -> Result<()> {
            let tensor = out.get(i).ok_or_else(|| Error::unsupported("tract gave too few outputs"))?;
            let view = tensor.to_plain_array_view::<f32>().map_err(failed)?;
            let values = view.as_slice().filter(|v| v.len() == into.len());
            into.copy_from_slice(values.ok_or_else(|| Error::unsupported("tract gave an output of another shape"))?);
            Ok(())
        };
        let mut found = [0.0; HEADS];
        read(0, &mut found)?;
        read(1, hidden)?;
        *logits = found;
        Ok(())
    }
}
