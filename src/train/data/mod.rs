//! Training data: real stills with human votes, rendered clips, augmentation.

pub mod augment;
pub mod ferplus;
pub mod rendered;
