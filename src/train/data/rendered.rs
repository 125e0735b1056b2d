//! Rendered clips: crops cut from the procedural face, with the affect that was designed into them.

use super::augment::Augment;
use crate::frame::Gray;
use crate::render::{self, Rng};
use crate::spec::CropRule;
use rayon::prelude::*;

/// Side of a rendered picture; about twice a crop, so that views may roam.
const PICTURE_PX: usize = 144;

/// Frames a second of rendered clips.
const FPS: f64 = 25.0;

/// One clip in memory.
#[derive(Debug, Clone)]
pub struct Clip {
    pictures: Vec<Gray>,
    crops: Vec<[f32; 3]>,
    /// (arousal, valence) of every picture.
    pub labels: Vec<[f32; 2]>,
}

/// A view of a clip as the student's input.
#[derive(Debug, Clone, Default)]
pub struct Rings {
    /// `frames` rings, oldest crop first.
    pub bytes: Vec<u8>,
    /// (arousal, valence) of each ring's newest crop.
    pub labels: Vec<[f32; 2]>,
}

/// Renders `count` clips of `frames` pictures, in parallel; clip `i` depends on `seed` and `i` alone.
pub fn render_clips(seed: u64, count: usize, frames: usize, rule: &CropRule) -> Vec<Clip> {
    let one = |i: usize| {
        let shots = render::clip(Rng::new(seed, i as u64).next_u64(), frames, FPS, PICTURE_PX);
        Clip {
            crops: shots.iter().map(|s| rule.square(s.face)).collect(),
            labels: shots.iter().map(|s| [s.affect.arousal, s.affect.valence]).collect(),
            pictures: shots.into_iter().map(|s| s.picture).collect(),
        }
    };
    (0..count).into_par_iter().map(one).collect()
}

impl Clip {
    /// All rings of the clip seen through one random view; the first ring repeats the first crop.
    pub fn rings(&self, augment: &Augment, rule: &CropRule, ring: usize, rng: &mut Rng) -> Rings {
        let area = rule.size_px * rule.size_px;
        let view = augment.draw(rule.size_px, rng);
        let mut crops = vec![0; self.pictures.len() * area];
        for ((picture, square), out) in self.pictures.iter().zip(&self.crops).zip(crops.chunks_exact_mut(area)) {
            view.apply(picture, *square, rule.size_px, rng, out);
        }
        let mut bytes = Vec::with_capacity(self.pictures.len() * ring * area);
        for t in 0..self.pictures.len() {
            for back in (0..ring).rev() {
                bytes.extend_from_slice(&crops[t.saturating_sub(back) * area..][..area]);
            }
        }
        Rings { bytes, labels: self.labels.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_hold_the_newest_crop_last_and_repeat_by_seed() {
        let rule = CropRule::FERPLUS;
        let clips = render_clips(4, 1, 3, &rule);
        let draw = || clips[0].rings(&Augment::default(), &rule, 5, &mut Rng::new(9, 0));
        let (a, b) = (draw(), draw());
        assert_eq!(a.bytes, b.bytes);
        assert_eq!(a.labels.len(), 3);
        let area = rule.size_px * rule.size_px;
        let crop = |t: usize, k: usize| &a.bytes[(t * 5 + k) * area..][..area];
        assert_eq!(crop(0, 0), crop(0, 4));
        assert_eq!(crop(1, 3), crop(0, 4));
        assert_eq!(crop(2, 3), crop(1, 4));
    }
}
