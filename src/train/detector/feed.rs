//! Batches of crops with what they teach.

use super::draw::{DrawConfig, Levels, place, take};
use super::people;
use super::scenes::Scene;
use super::targets::Targets;
use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::render::Rng;
use crate::spec::detector::{CELL, DetectorSpec};
use crate::train::run::{Batch, Batches, Feed};
use rayon::prelude::*;
use std::sync::Arc;

/// Numbers of a cell's targets: score, its weight, weights of the parts, numbers.
pub const ROW: usize = 5 + CELL;

/// Scenes in memory.
pub struct Scenes {
    all: Vec<(Scene, Levels)>,
    /// Scene and number of every face that a crop may be drawn about.
    faces: Vec<(usize, usize)>,
    /// Scenes without a face.
    empty: Vec<usize>,
}

/// Faces smaller than this in the picture, in pixels, are too coarse to be drawn about.
const LEAST_SEEN_PX: f32 = 5.0;

impl Scenes {
    /// `rendered` pictures with rendered people are added, in front of those without faces among
    /// others.
    ///
    /// # Errors
    /// If no face can be drawn.
    pub fn new(mut scenes: Vec<Scene>, rendered: usize, seed: u64) -> Result<Self> {
        let rooms: Vec<&Gray> =
            scenes.iter().filter(|s| s.faces.is_empty() && s.ignored.is_empty()).map(|s| &s.picture).collect();
        let people = people::scenes(rendered, &rooms, seed);
        scenes.extend(people);
        let all: Vec<(Scene, Levels)> = scenes
            .into_par_iter()
            .map(|s| {
                let levels = Levels::of(&s.picture);
                (s, levels)
            })
            .collect();
        let of = |(i, (s, _)): (usize, &(Scene, Levels))| {
            (0..s.faces.len()).filter(|&k| s.faces[k].size() >= LEAST_SEEN_PX).map(|k| (i, k)).collect::<Vec<_>>()
        };
        let faces: Vec<(usize, usize)> = all.iter().enumerate().flat_map(of).collect();
        if faces.is_empty() {
            return Err(Error::input("none of the pictures has a face that could be learnt from"));
        }
        let empty = (0..all.len()).filter(|&i| all[i].0.faces.is_empty() && all[i].0.ignored.is_empty()).collect();
        Ok(Self { all, faces, empty })
    }

    pub fn pictures(&self) -> usize {
        self.all.len()
    }

    pub fn faces(&self) -> usize {
        self.faces.len()
    }
}

/// Draws crops without end; which, depends on seed, epoch and number alone.
pub struct CropFeed {
    pub scenes: Arc<Scenes>,
    pub draw: DrawConfig,
    pub spec: DetectorSpec,
    pub batch: usize,
    pub batches: usize,
    pub seed: u64,
}

/// Pixels and targets of one crop.
fn one(scenes: &Scenes, draw: &DrawConfig, spec: &DetectorSpec, rng: &mut Rng) -> (Vec<u8>, Vec<f32>) {
    let empty = !scenes.empty.is_empty() && rng.chance(draw.empty as f32);
    let (scene, face) = if empty {
        (scenes.empty[rng.below(scenes.empty.len())], None)
    } else if rng.chance(0.5) {
        // By picture, for those with one face would else be rare beside crowds.
        loop {
            let i = rng.below(scenes.all.len());
            let n = scenes.all[i].0.faces.len();
            if n > 0 {
                break (i, Some(rng.below(n)));
            }
        }
    } else {
        let (i, k) = scenes.faces[rng.below(scenes.faces.len())];
        (i, Some(k))
    };
    let (scene, levels) = &scenes.all[scene];
    let placing = place(draw, scene, face, rng);
    let crop = take(draw, scene, levels, &placing, rng);
    let t = Targets::of(&crop, spec, draw.size_px);
    let mut rows = Vec::with_capacity(t.score.len() * ROW);
    for i in 0..t.score.len() {
        rows.extend([t.score[i], t.weight[i]]);
        rows.extend(t.parts[i]);
        rows.extend(t.numbers[i]);
    }
    (crop.pixels, rows)
}

impl Feed for CropFeed {
    fn batches(&self) -> usize {
        self.batches
    }

    fn epoch(&self, epoch: usize) -> Result<Batches> {
        let (scenes, draw, spec) = (Arc::clone(&self.scenes), self.draw.clone(), self.spec.clone());
        let (n, batches, seed) = (self.batch, self.batches, self.seed);
        Ok(Box::new((0..batches).map(move |b| {
            let number = |k: usize| ((epoch * batches + b) * n + k) as u64;
            let large = draw.large_every > 0 && b % draw.large_every == draw.large_every - 1;
            let draw = if large { draw.large() } else { draw.clone() };
            let n = if large { n.div_ceil(4) } else { n };
            let crops: Vec<_> = (0..n)
                .into_par_iter()
                .map(|k| one(&scenes, &draw, &spec, &mut Rng::new(seed, 1 << 40 | number(k))))
                .collect();
            let mut batch = Batch { clips: n, frames: 1, size_px: draw.size_px, ..Batch::default() };
            for (pixels, targets) in crops {
                batch.video.extend(pixels);
                batch.targets.extend(targets);
            }
            Ok(batch)
        })))
    }
}
