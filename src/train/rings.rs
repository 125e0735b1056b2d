//! What a student sees of a batch.

use super::data::augment::Augment;
use super::quantize::Sequence;
use super::run::Batch;
use crate::frame::Gray;
use crate::preprocess::Cropper;
use crate::render::Rng;
use crate::spec::{CropRule, StudentSpec};

/// Rings of every frame of every clip, `clips * frames x ring x size x size` bytes. The batch's frames are aligned crops or whole
/// stills; `augment` draws one view for all frames of a clip, without it stands the runtime's crop.
pub fn rings(batch: &Batch, spec: &StudentSpec, rule: &CropRule, augment: Option<Augment>, rng: &mut Rng) -> Vec<u8> {
    let (px, size) = (batch.size_px, spec.size_px);
    let mut cropper = Cropper::for_rule(rule);
    let mut rings = Vec::with_capacity(batch.clips * batch.frames * spec.ring * size * size);
    for clip in batch.video.chunks_exact((batch.frames * px * px).max(1)) {
        let view = augment.map(|a| a.draw(size, rng));
        let mut crops = vec![0; batch.frames * size * size];
        for (frame, crop) in clip.chunks_exact(px * px).zip(crops.chunks_exact_mut(size * size)) {
            let picture = Gray { width: px, height: px, data: frame.to_vec() };
            let whole = [0.0, 0.0, px as f32];
            match &view {
                Some(view) => view.apply(&picture, whole, size, rng, crop),
                None => cropper.crop_into(&picture, whole, crop),
            }
        }
        let sequence = Sequence { crops, ..Sequence::default() };
        (0..batch.frames).for_each(|t| sequence.ring_into(t, spec, &mut rings));
    }
    rings
}
