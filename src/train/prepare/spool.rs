//! One recording becomes a tar of samples in the work folder, and a note of how that went.

use super::cut::Cutter;
use super::media::play;
use super::{Job, PrepareConfig, Shop, Tick};
use crate::capture::sound;
use crate::error::{Error, Result};
use crate::train::data::audio::{AudioTarget, RATE_HZ};
use crate::train::data::record::{Clock, Labels, Media, Recording};
use crate::train::shards::{AudioMeta, Meta, Sample, append, replace};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Most frames a second that are believed, so that time stamps that stand still cannot fill the memory.
const MAX_FPS: f64 = 300.0;
/// Longest time for which a frame is repeated, in seconds.
const MAX_GAP_S: f64 = 60.0;
/// Sound before and after a part that its features may depend on, in seconds.
const AROUND_S: f64 = 0.5;
/// Forgives the rounding of times written in decimals, in seconds.
const CLOSE_S: f64 = 5e-10;

/// `NUMBER.json`: the recording is done, one way or the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Why there are no samples.
    pub(super) skipped: Option<String>,
    pub(super) remarks: Vec<String>,
    pub(super) fps: f64,
    /// Samples in `NUMBER.tar`.
    pub(super) parts: usize,
    pub(super) frames: usize,
    pub(super) with_face: usize,
}

impl Done {
    pub(super) fn skipped(why: String) -> Self {
        Self { skipped: Some(why), ..Self::default() }
    }

    pub(super) fn write(&self, stem: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::io("cannot be written").caused_by(e))?;
        replace(&stem.with_extension("json"), &text)
    }
}

/// How a recording went, if it is done.
///
/// # Errors
/// A note that cannot be read.
pub(super) fn done(stem: &Path) -> Result<Option<Done>> {
    let path = stem.with_extension("json");
    let wrong = || Error::input("is not a note on a recording").at(path.display()).remedy("remove the folder");
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| wrong().caused_by(e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong().caused_by(e)),
    }
}

/// Makes `NUMBER.tar` of a job.
///
/// # Errors
/// Whatever makes the recording unusable, or stops the run.
pub(super) fn make(job: &Job, shop: &Shop, target: Option<&mut (dyn AudioTarget + 'static)>) -> Result<Done> {
    let (recording, config) = (job.recording, shop.config);
    let mut remarks = Vec::new();
    let sound = target.map(|t| hear(recording, t, &mut remarks)).transpose()?.flatten();
    let path = job.stem.with_extension("tar");
    let part = job.stem.with_extension("tar.part");
    let full = |e| Error::io("cannot be written").at(part.display()).caused_by(e);
    let tar = tar::Builder::new(BufWriter::new(File::create(&part).map_err(full)?));
    let fps = config.rate_of(recording)?;
    if config.picture_fps.or(recording.fps).is_none() && matches!(&recording.media, Media::Video(p) if p.is_dir()) {
        remarks.push(format!("its pictures are taken as {fps} a second; --picture-fps says another rate"));
    }
    let mut strip = Strip::new(recording, config, fps, sound, tar, part.clone());
    let mut cutter = Cutter::new(config);
    remarks.extend(play(recording, fps, &mut |shown, time_s| {
        shop.ensure_going()?;
        let (crop, face) = cutter.cut(shown, time_s)?;
        (shop.tick)(Tick::Frame);
        strip.take(crop, face, time_s)
    })?);
    if cutter.faces > 1 {
        remarks.push(format!("up to {} faces in a frame; the largest is followed", cutter.faces));
    }
    let done = strip.finish(remarks)?;
    std::fs::rename(&part, &path).map_err(full)?;
    Ok(done)
}

/// The sound of a recording with the target it is for; notes where there is none.
fn hear<'a>(
    recording: &Recording,
    target: &'a mut (dyn AudioTarget + 'static),
    remarks: &mut Vec<String>,
) -> Result<Option<Sound<'a>>> {
    let wave = match &recording.media {
        Media::Video(path) if path.is_file() && path.extension().is_none_or(|e| e != "y4m") => sound::sound(path)?,
        _ => None,
    };
    if wave.is_none() {
        remarks.push("has no sound".into());
    }
    Ok(wave.map(|wave| Sound { wave, target }))
}

struct Sound<'a> {
    wave: Vec<f32>,
    target: &'a mut (dyn AudioTarget + 'static),
}

impl Sound<'_> {
    /// Features at these times, from the sound about them.
    fn features(&mut self, times: &[f64]) -> Result<Vec<f32>> {
        let sample = |s: f64| ((s * RATE_HZ as f64).max(0.0) as usize).min(self.wave.len());
        let from = sample(times.first().map_or(0.0, |t| t - AROUND_S));
        let to = sample(times.last().map_or(0.0, |t| t + AROUND_S));
        let start_s = from as f64 / RATE_HZ as f64;
        let times: Vec<f64> = times.iter().map(|t| t - start_s).collect();
        self.target.features(&self.wave[from..to], &times)
    }
}

/// The frames that are kept: their times, and the pixels of the part at hand.
struct Strip<'a> {
    recording: &'a Recording,
    config: &'a PrepareConfig,
    /// Frames a second of a medium that carries no times, and of one frame.
    fps: f64,
    sound: Option<Sound<'a>>,
    tar: tar::Builder<BufWriter<File>>,
    path: PathBuf,
    /// Time of every frame of the medium.
    source_s: Vec<f64>,
    /// Time of every frame that is kept, and the frame of the medium that it shows.
    times_s: Vec<f64>,
    sources: Vec<usize>,
    /// Of the part at hand.
    start: usize,
    video: Vec<u8>,
    faces: Vec<bool>,
    /// The latest frame, where the frame rate is changed.
    latest: Option<(Vec<u8>, bool)>,
    done: Done,
}

impl<'a> Strip<'a> {
    fn new(
        recording: &'a Recording,
        config: &'a PrepareConfig,
        fps: f64,
        sound: Option<Sound<'a>>,
        tar: tar::Builder<BufWriter<File>>,
        path: PathBuf,
    ) -> Self {
        Self {
            recording,
            config,
            fps,
            sound,
            tar,
            path,
            source_s: Vec::new(),
            times_s: Vec::new(),
            sources: Vec::new(),
            start: 0,
            video: Vec::new(),
            faces: Vec::new(),
            latest: None,
            done: Done::default(),
        }
    }

    /// Takes the next frame of the medium.
    fn take(&mut self, crop: &[u8], face: bool, time_s: f64) -> Result<()> {
        match self.config.fps {
            None => {
                self.source_s.push(time_s);
                self.keep(crop, face, time_s)
            }
            Some(fps) => {
                // A frame is shown until the next one comes.
                self.repeat(fps, time_s - CLOSE_S)?;
                self.source_s.push(time_s);
                self.latest = Some((crop.to_vec(), face));
                Ok(())
            }
        }
    }

    /// Keeps the latest frame for every time of the new rate before `until_s`.
    fn repeat(&mut self, fps: f64, until_s: f64) -> Result<()> {
        let Some((crop, face)) = self.latest.take() else { return Ok(()) };
        let gap_s = until_s - self.source_s.last().copied().unwrap_or(until_s);
        if gap_s > MAX_GAP_S {
            return Err(Error::input(format!("has no frame for {gap_s:.0} s")).at(&self.recording.id));
        }
        while self.times_s.len() as f64 / fps < until_s {
            self.keep(&crop, face, self.times_s.len() as f64 / fps)?;
        }
        Ok(())
    }

    fn keep(&mut self, crop: &[u8], face: bool, time_s: f64) -> Result<()> {
        let begun = self.times_s.get(self.start).copied().unwrap_or(time_s);
        let frames = self.times_s.len() - self.start;
        if time_s - begun >= self.config.part_s - CLOSE_S || frames as f64 >= self.config.part_s * MAX_FPS {
            self.end_part()?;
        }
        self.times_s.push(time_s);
        self.sources.push(self.source_s.len() - 1);
        self.video.extend_from_slice(crop);
        self.faces.push(face);
        Ok(())
    }

    /// Labels of the part at hand; none where there is no face.
    fn labels(&self) -> Vec<[f32; 2]> {
        let labels = &self.recording.labels;
        let found = match labels {
            Labels::Series(a) if matches!(a.clock, Clock::Frames(_)) => {
                let all = labels.at_frames(&self.source_s);
                self.sources[self.start..].iter().map(|s| all[*s]).collect()
            }
            _ => labels.at_frames(&self.times_s[self.start..]),
        };
        let one = |(label, face): (Option<crate::render::Affect>, &bool)| match label {
            Some(l) if *face => [l.arousal, l.valence],
            _ => [f32::NAN; 2],
        };
        found.into_iter().zip(&self.faces).map(one).collect()
    }

    /// Writes the part at hand.
    fn end_part(&mut self) -> Result<()> {
        let (r, times) = (self.recording, &self.times_s[self.start..]);
        let Some(start_s) = times.first() else { return Ok(()) };
        let audio = self.sound.as_mut().map(|s| s.features(times)).transpose()?;
        let about = self.sound.as_ref().map(|s| AudioMeta { name: s.target.name().into(), dims: s.target.dims() });
        let meta = Meta {
            key: key(&r.id, self.done.parts),
            video: r.id.clone(),
            part: self.done.parts,
            subject: r.subject.clone(),
            group: r.group.clone(),
            split: r.split,
            // Known when the last frame was seen; put in when the parts are read again.
            fps: self.fps,
            start_s: *start_s,
            frames: times.len(),
            size_px: self.config.size_px,
            audio: about,
            votes: r.labels.votes(),
            tags: [("set".to_owned(), self.config.set.clone())].into(),
        };
        let sample = Sample { labels: self.labels(), meta, video: std::mem::take(&mut self.video), audio };
        sample.validate()?;
        append(&mut self.tar, &sample)
            .map_err(|e| Error::io("cannot be written").at(self.path.display()).caused_by(e))?;
        self.done.frames += self.faces.len();
        self.done.with_face += self.faces.iter().filter(|f| **f).count();
        self.done.parts += 1;
        self.start = self.times_s.len();
        self.faces.clear();
        // The allocation serves the next part.
        self.video = sample.video;
        self.video.clear();
        Ok(())
    }

    fn finish(mut self, mut remarks: Vec<String>) -> Result<Done> {
        if let (Some(fps), Some(last)) = (self.config.fps, self.source_s.last().copied()) {
            self.repeat(fps, last + CLOSE_S)?;
        }
        self.end_part()?;
        let id = &self.recording.id;
        let source_fps = rate(&self.source_s, self.fps).map_err(|e| e.at(id))?;
        self.recording.labels.ensure_fits(self.source_s.len(), source_fps).map_err(|e| e.at(id))?;
        let Done { frames, with_face, .. } = self.done;
        if with_face == 0 {
            return Err(Error::input(format!("shows no face in {frames} frames")).at(id));
        }
        if 2 * with_face < frames {
            remarks.push(format!("shows a face in {with_face} of {frames} frames"));
        }
        if self.config.fps.is_none() {
            remarks.extend(uneven(&self.source_s, source_fps));
        }
        let written = |e| Error::io("cannot be written").at(self.path.display()).caused_by(e);
        self.tar.into_inner().and_then(|b| b.into_inner().map_err(|e| e.into_error())?.sync_all()).map_err(written)?;
        Ok(Done { remarks, fps: self.config.fps.unwrap_or(source_fps), ..self.done })
    }
}

/// Frames a second from the first and last time, to three decimals, where time stamps carry no more; `single` for one frame.
fn rate(times: &[f64], single: f64) -> Result<f64> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Err(Error::input("holds no frame"));
    };
    if times.len() == 1 {
        return Ok(single);
    }
    let fps = (times.len() - 1) as f64 / (last - first);
    if !(0.001..=MAX_FPS).contains(&fps) {
        return Err(Error::input(format!("has {} frames in {:.3} s", times.len(), last - first)));
    }
    Ok((fps * 1000.0).round() / 1000.0)
}

/// A remark on times that do not keep to the rate.
fn uneven(times: &[f64], fps: f64) -> Option<String> {
    let steps = times.windows(2).map(|w| w[1] - w[0]);
    let (least, most) = steps.fold((f64::INFINITY, 0.0_f64), |(a, b), s| (a.min(s), b.max(s)));
    let far = |step: f64| (step * fps - 1.0).abs() > 0.5;
    (times.len() > 1 && (far(least) || far(most)))
        .then(|| format!("frames are {:.0} to {:.0} ms apart; a fixed --fps evens that out", 1e3 * least, 1e3 * most))
}

/// The key of a part: the id with everything but letters, digits and `-` written as `=` and two hexadecimal digits a
/// byte, or its beginning and a digest where that is long.
fn key(id: &str, part: usize) -> String {
    let mut name = String::new();
    for byte in id.bytes() {
        match byte {
            b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(byte)),
            _ => name.push_str(&format!("={byte:02X}")),
        }
    }
    if name.len() > 70 {
        name = format!("{}={:.16}", &name[..50], format!("{:x}", Sha256::digest(id)));
    }
    format!("{name}-{part:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_ids_differ_and_are_plain() {
        let long = "x".repeat(300);
        let keys: Vec<String> = ["a.b", "a_b", "a/b", "a=2Eb", "ä", &long, &long[1..]].map(|id| key(id, 7)).into();
        assert_eq!(keys[..4], ["a=2Eb-0007", "a_b-0007", "a=2Fb-0007", "a=3D2Eb-0007"]);
        assert!(keys.iter().all(|k| k.len() <= 88 && k.is_ascii()), "{keys:?}");
        assert_ne!(keys[5], keys[6]);
    }

    #[test]
    fn rates_are_read_off_rounded_stamps() {
        let stamps: Vec<f64> = (0..3000).map(|i| (f64::from(i) * 1001.0 / 30.0).round() / 1000.0).collect();
        assert_eq!(rate(&stamps, 25.0).unwrap(), 29.97);
        assert_eq!(uneven(&stamps, 29.97), None);
        assert_eq!(rate(&[0.0], 25.0).unwrap(), 25.0);
        assert!(rate(&[], 25.0).is_err() && rate(&[0.0, 0.0], 25.0).is_err());
        assert!(uneven(&[0.0, 0.04, 0.2, 0.24], 12.5).unwrap().contains("40 to 160 ms"));
    }
}
