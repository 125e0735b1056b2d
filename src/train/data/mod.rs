//! Training data: real stills with human votes, annotated videos, rendered clips, augmentation.

pub mod audio;
pub mod augment;
pub mod bounded;
pub mod ferplus;
pub mod npy;
pub mod record;
pub mod rendered;
pub mod resample;
pub mod sets;
pub mod split;
pub mod still;
pub mod summary;
pub mod table;
