//! From a trained student in fp32 to one in int8: post-training quantisation, training in int8, and the record of what it
//! cost.
//!
//! The numerics ([`ptq()`]) take a folded student and rings of calibration data, wherever both come from; [`quantize_run`]
//! is the command around them.

pub(in crate::train) mod calibrate;
pub mod data;
mod equalise;
pub mod float;
pub mod integer;
mod offset;
mod ptq;
pub mod qat;
mod run;
mod temperature;

pub use calibrate::{Calibrate, WeightRange};
pub use data::{Data, Judged, Sequence};
pub use equalise::Equalise;
pub use ptq::{PartReport, Ptq, PtqConfig, RecurrentWeights, ptq, quantize_conv_by, round_recurrent};
pub use run::{
    DistilOrigin, FitOrigin, HeldOut, Method, Origin, QuantizeConfig, QuantizePaths, Quantized, Trained, quantize_run,
};
pub use temperature::{apply_temperatures, temperatures};

#[cfg(test)]
mod tests;
