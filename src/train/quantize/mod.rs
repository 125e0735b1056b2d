//! From a trained student in fp32 to one in int8: post-training quantisation and the record of what it cost.
//!
//! The numerics ([`ptq()`]) take a folded student and rings of calibration data, wherever both come from; [`quantize_run`]
//! is the command around them.

mod calibrate;
pub mod data;
mod equalise;
pub mod float;
pub mod integer;
mod ptq;
mod run;
mod temperature;

pub use calibrate::{Calibrate, WeightRange};
pub use data::{Data, Judged, Sequence};
pub use equalise::Equalise;
pub use ptq::{PartReport, Ptq, PtqConfig, RecurrentWeights, ptq};
pub use run::{HeldOut, QuantizeConfig, QuantizePaths, Quantized, quantize_run};
pub use temperature::{apply_temperatures, temperatures};

#[cfg(test)]
mod tests;
