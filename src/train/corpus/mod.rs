//! Corpora of rendered people: data for training where no recordings may be had, with labels that are known exactly.
//!
//! Labels are the courses of affect that moved the faces, or what raters with a lag and errors would have made of them.
//! What a network scores on such a corpus says how well it reads this renderer, not people.

mod config;
mod heads;
pub mod ict;
mod plan;
mod preview;
mod take;
mod write;

pub use config::{CorpusConfig, HeadKind};
pub use heads::Heads;
pub use plan::{Take, plan};
pub use preview::{Preview, preview};
pub use take::sample;
pub use write::{OpenAudio, render_corpus};

#[cfg(test)]
mod tests;
