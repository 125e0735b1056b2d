//! Quantisation-aware training: the convolutions compute in the specification's integers, the gradients go straight through
//! the rounding.
//!
//! A forward pass quantises the weights as the export does and runs the layers by the runtime's own int8 kernels
//! ([`super::integer`]), so the trained trunk and the exported one agree to the bit. Beside it the same
//! layers run in float on the values that the integers stand for; that path is what gradients flow through, and its values
//! are replaced by the integers' (straight-through estimator, Bengio et al., arXiv 1308.3432; zero where an activation or a
//! weight saturates). Scales are learned (Esser et al., LSQ, arXiv 1902.08153) or held. GRU and heads are f32.

mod feed;
mod method;
mod net;
mod train;

pub use feed::StillFeed;
pub use method::{LabelLoss, Objective, Outputs, Qat};
pub use net::{QatConv, QatNet};
pub use train::{Int8Judge, QatConfig, QatStart, qat};

#[cfg(test)]
mod tests;
