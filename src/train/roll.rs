//! Trains the roll estimator on pictures turned by known angles.

use super::data::ferplus::{self, Still};
use super::ridge::Ridge;
use super::roll_card::{self, Measured};
use crate::error::{Error, Result};
use crate::face::RollModel;
use crate::face::roll::{FEATURES, OUTPUTS, PASSES, RollFeatures, targets};
use crate::frame::Gray;
use crate::render::Rng;
use rayon::prelude::*;
use std::path::Path;

/// Pictures summed by one thread.
const CHUNK: usize = 1024;
/// Turns at which a picture's natural roll is read, in degrees.
const TURNS_DEG: [f32; 3] = [-15.0, 0.0, 15.0];

/// Everything that decides the weights, besides the pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct RollConfig {
    pub seed: u64,
    /// Turns drawn for each picture; each is used with its mirror image too.
    pub draws: usize,
    /// Largest roll that each pass is trained on, in radians.
    pub reach_rad: [f32; PASSES],
    /// Standard deviation of the crop's centre, each way, in crop sides.
    pub shift: f32,
    /// Standard deviation of the logarithm of the crop's side.
    pub zoom: f32,
    /// Fits, each but the first with the natural rolls that the one before read.
    pub rounds: usize,
    /// Weight of the ridge penalty.
    pub penalty: f64,
}

impl Default for RollConfig {
    fn default() -> Self {
        Self { seed: 1, draws: 1, reach_rad: [1.05, 0.26], shift: 0.03, zoom: 0.08, rounds: 3, penalty: 1e-3 }
    }
}

/// Trains on one split, measures on another, and writes `weights.bin` and `card.md` into the folder `out`; gives the card.
///
/// # Errors
/// If a split cannot be read or the folder not be written.
pub fn roll(config: &RollConfig, train: &Path, valid: &Path, out: &Path) -> Result<String> {
    let stills = ferplus::load(train)?.stills;
    log::info!("{} pictures, {} turns of each and their mirror images", stills.len(), config.draws);
    let model = fit(config, &stills)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).map_err(|e| Error::io("cannot be written").at(path.display()).caused_by(e))
    };
    std::fs::create_dir_all(out).map_err(|e| Error::io("cannot be made").at(out.display()).caused_by(e))?;
    write("weights.bin", &model.to_bytes())?;
    let measured = Measured::of(&model, &ferplus::load(valid)?.stills, config.seed)?;
    let card = roll_card::card(config, stills.len(), &measured);
    write("card.md", card.as_bytes())?;
    Ok(card)
}

/// The model of `stills`, whose natural roll is unknown.
///
/// The first round takes it as nothing, so that it is noise in the labels; every later round takes what the round before
/// read off each picture. Mirror images keep the mean at nothing.
///
/// # Errors
/// If there are too few pictures.
pub fn fit(config: &RollConfig, stills: &[Still]) -> Result<RollModel> {
    let mut natural = vec![0.0; stills.len()];
    let mut model = round(config, stills, &natural)?;
    for i in 1..config.rounds {
        natural = stills.par_iter().map_init(RollFeatures::default, |f, s| natural_roll(&model, f, &s.image)).collect();
        let sd = (natural.iter().map(|n| n * n).sum::<f32>() / natural.len() as f32).sqrt();
        log::info!("round {i}: natural roll of {:.1} degrees r.m.s.", sd.to_degrees());
        model = round(config, stills, &natural)?;
    }
    Ok(model)
}

/// Median of what `model` reads off the picture turned to either side, less the turns.
fn natural_roll(model: &RollModel, features: &mut RollFeatures, picture: &Gray) -> f32 {
    let square = [0.0, 0.0, picture.width as f32];
    let mut read = TURNS_DEG.map(|turn| {
        let turn = turn.to_radians();
        let first = model.read(0, features.of(picture, square, -turn));
        first + model.read(1, features.of(picture, square, first - turn)) - turn
    });
    read.sort_by(f32::total_cmp);
    read[TURNS_DEG.len() / 2]
}

fn round(config: &RollConfig, stills: &[Still], natural: &[f32]) -> Result<RollModel> {
    let mut weights = Vec::new();
    for (pass, outputs) in OUTPUTS.into_iter().enumerate() {
        let part = |(chunk, stills): (usize, &[Still])| {
            let (mut ridge, mut features) = (Ridge::new(FEATURES, outputs), RollFeatures::default());
            let mut rng = Rng::new(config.seed, (chunk * PASSES + pass) as u64);
            for (still, &natural) in stills.iter().zip(&natural[chunk * CHUNK..]) {
                add(config, pass, &still.image, natural, &mut rng, &mut features, &mut ridge);
            }
            ridge
        };
        // Parts are added in their order, so that the weights repeat to the bit.
        let parts: Vec<Ridge> = stills.par_chunks(CHUNK).enumerate().map(part).collect();
        let sums = parts.iter().fold(Ridge::new(FEATURES, outputs), Ridge::merge);
        weights.extend(sums.solve(config.penalty)?.iter().map(|&w| w as f32));
    }
    RollModel::new(weights)
}

/// Adds turns of one picture and their mirror images.
fn add(
    config: &RollConfig,
    pass: usize,
    picture: &Gray,
    natural: f32,
    rng: &mut Rng,
    features: &mut RollFeatures,
    ridge: &mut Ridge,
) {
    let side = picture.width as f32;
    let mirrored = mirror(picture);
    for _ in 0..config.draws {
        let roll = config.reach_rad[pass] * (2.0 * rng.unit() - 1.0);
        let crop = side * (config.zoom * rng.normal()).exp();
        let [dx, dy] = [config.shift * side * rng.normal(), config.shift * side * rng.normal()];
        let corner = |shift: f32| 0.5 * (side - crop) + shift;
        // The square turned one way shows the head rolled the other way.
        let turn = roll - natural;
        ridge.add(features.of(picture, [corner(dx), corner(dy), crop], -turn), &targets(pass, roll));
        ridge.add(features.of(&mirrored, [corner(-dx), corner(dy), crop], turn), &targets(pass, -roll));
    }
}

fn mirror(picture: &Gray) -> Gray {
    let mut out = picture.clone();
    out.data.chunks_exact_mut(picture.width.max(1)).for_each(<[u8]>::reverse);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::CropRule;

    /// Rendered faces about as FER+ frames them.
    fn stills(n: u64) -> Vec<Still> {
        let mut all = Vec::new();
        for seed in 0..n {
            let shot = crate::render::clip(seed, 1, 25.0, 96).remove(0);
            let mut image = Gray::new(48, 48);
            let square = CropRule::FERPLUS.square(shot.face);
            crate::preprocess::Cropper::new(48).crop_into(&shot.picture, square, &mut image.data);
            all.push(Still { name: String::new(), image, arousal: 0.0, valence: 0.0 });
        }
        all
    }

    #[test]
    fn a_model_of_rendered_faces_reads_the_roll_of_others() {
        let all = stills(360);
        let config = RollConfig { penalty: 1e-3, ..RollConfig::default() };
        let model = fit(&config, &all[..320]).unwrap();
        assert_eq!(model, RollModel::from_bytes(&model.to_bytes()).unwrap());
        let errors = roll_card::errors(&model, &all[320..], 0.35);
        assert!(errors.two_passes.median_deg < 6.0, "{errors:?}");
    }
}
