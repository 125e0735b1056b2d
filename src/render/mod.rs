//! Layer 2: the rendered face: people, expressions, trajectories, and whole films of them. Needs no data; a seed fixes
//! everything.

mod clip;
mod draw;
mod expression;
mod face;
pub mod film;
mod geometry;
mod person;
mod rng;
mod trajectory;

pub use clip::{Shot, clip};
pub use draw::{Canvas, Placement};
pub use expression::{Affect, Expression, Style};
pub use person::Person;
pub use rng::Rng;
pub use trajectory::{Pose, Trajectory};

#[cfg(test)]
mod tests;
