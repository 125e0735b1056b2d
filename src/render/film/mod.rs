//! Films of rendered people for training: whole recordings with identities, spontaneous expressions, speech, light,
//! cameras and occlusions, beside the plain [`clip`](super::clip). A seed fixes everything.
//!
//! [`Subject`] is who, [`Course`] what they go through, [`Muscles`], [`Bearing`] and [`Speech`] how it shows and sounds,
//! [`Scene`] how it is seen. [`Film`] puts them together, on any [`Head`].

mod bearing;
mod camera;
mod course;
mod head;
mod mesh;
mod muscles;
mod occlusion;
mod rating;
mod recording;
mod scene;
mod speech;
mod subject;
mod voice;

pub use bearing::Bearing;
pub use camera::Camera;
pub use course::{Course, Episode};
pub use head::{Anchors, Head, Portrait};
pub use mesh::{Light, Raster, normals};
pub use muscles::Muscles;
pub use occlusion::Occluder;
pub use rating::Rating;
pub use recording::{Film, Picture};
pub use scene::{Occlusion, Scene, Spans};
pub use speech::{Mouth, Speech};
pub use subject::{Subject, Voice};

#[cfg(test)]
mod tests;
