//! One recording as a sample.

use super::config::CorpusConfig;
use super::heads::Heads;
use super::plan::Take;
use crate::error::Result;
use crate::preprocess::Cropper;
use crate::render::film::{Film, Head};
use crate::train::data::audio::AudioTarget;
use crate::train::shards::{AudioMeta, Meta, Sample};
use std::collections::BTreeMap;

/// Renders `take`; a corpus with speech has `audio` compute a row of features a frame.
///
/// # Errors
/// A picture that cannot be compressed, or an acoustic encoder that fails.
pub fn sample(
    config: &CorpusConfig,
    take: &Take,
    heads: &Heads,
    audio: Option<&mut (dyn AudioTarget + 'static)>,
) -> Result<Sample> {
    let film = take.film(config);
    let mut head = heads.of(&film.subject, take.identity(config));
    let frames = config.frames();
    let times: Vec<f64> = (0..frames).map(|i| i as f64 / config.fps).collect();
    let video = crops(&film, &mut *head, config.size_px, 0..frames)?;
    let heard = audio.zip(film.speech.as_ref()).map(|(target, speech)| -> Result<_> {
        let features = target.features(&speech.wave(config.seconds), &times)?;
        Ok((AudioMeta { name: target.name().into(), dims: target.dims() }, features))
    });
    let (about, features) = heard.transpose()?.unzip();
    let labels = config.rating().labels(take.identity(config) ^ take.recording as u64, &film.course, &times);
    let meta = Meta {
        key: take.key(),
        video: take.key(),
        part: 0,
        subject: Some(take.person()),
        group: take.person(),
        split: take.split,
        fps: config.fps,
        start_s: 0.0,
        frames,
        size_px: config.size_px,
        audio: about,
        votes: None,
        tags: tags(config, take, &film),
    };
    Ok(Sample { meta, video, labels, audio: features })
}

/// Crops of the frames, one after the other.
///
/// # Errors
/// A picture that cannot be compressed.
pub(super) fn crops(
    film: &Film,
    head: &mut dyn Head,
    size_px: usize,
    frames: impl ExactSizeIterator<Item = usize>,
) -> Result<Vec<u8>> {
    let mut out = vec![0; frames.len() * size_px * size_px];
    let mut cropper = Cropper::new(size_px);
    for (i, crop) in frames.zip(out.chunks_exact_mut(size_px * size_px)) {
        let picture = film.picture(i, head)?;
        cropper.crop_into(&picture.gray, picture.crop, crop);
    }
    Ok(out)
}

/// What can be sorted by: who, how they look, how they are seen, and how labels came about.
fn tags(config: &CorpusConfig, take: &Take, film: &Film) -> BTreeMap<String, String> {
    let (scene, subject) = (&film.scene, &film.subject);
    let share = |hit: &dyn Fn(f64) -> bool| {
        let n = config.frames();
        (0..n).filter(|i| hit(*i as f64 / config.fps)).count() as f64 / n as f64
    };
    let yes = |b: bool| if b { "yes" } else { "no" }.to_owned();
    let turned = share(&|t| film.pose(t).yaw.abs() > 0.26);
    let spoken = share(&|t| film.speech.as_ref().is_some_and(|s| s.mouth(t).active > 0.5));
    let [r, g, b] = subject.person.skin;
    let skin = match 0.3 * r + 0.59 * g + 0.11 * b {
        v if v < 0.45 => "dark",
        v if v < 0.58 => "medium",
        _ => "light",
    };
    let tags = [
        ("source", "rendered".to_owned()),
        ("head", config.head.name().to_owned()),
        ("identity", take.person()),
        ("skin", skin.to_owned()),
        ("expressiveness", format!("{:.2}", subject.expressiveness)),
        ("glasses", yes(scene.glasses)),
        ("hair", yes(scene.hair)),
        ("hand_share", format!("{:.3}", share(&|t| scene.hand.hold(t as f32)))),
        ("light", scene.light_name().to_owned()),
        ("turned_share", format!("{turned:.3}")),
        ("speech_share", format!("{spoken:.3}")),
        ("face_px", format!("{:.0}", scene.crop_px)),
        ("jpeg_quality", scene.camera.quality.map_or("none".into(), |q| q.to_string())),
        ("label_lag_s", config.label_lag_s.to_string()),
        ("raters", config.raters.to_string()),
        ("rater_noise", config.rater_noise.to_string()),
    ];
    tags.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}
