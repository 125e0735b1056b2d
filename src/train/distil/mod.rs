//! From a fine-tuned full model to a small causal student.
//!
//! The teacher reads each clip whole, the future included; the student answers frame by frame and may answer a little late
//! ([`LagConfig`]). It learns from the labels and, of the teacher, from values, bins and features ([`Terms`]). Clips without
//! labels teach through the teacher alone.

mod config;
mod method;
mod net;
mod terms;

pub use config::{DistilConfig, LagConfig, LagMode, Terms};
pub use method::Distil;
pub use net::{Answers, Pupil};
pub use terms::{Lesson, Pairs, bins, features, values};

use crate::error::{Error, Result};
use crate::model::{Student, sha256_hex};
use crate::spec::{CropRule, StudentSpec};
use crate::train::data::record::Split;
use crate::train::finetune;
use crate::train::fold::fold;
use crate::train::quantize::{Data, Judged};
use crate::train::run::checkpoint::{self, load_net};
use crate::train::run::feed::ClipFeed;
use crate::train::run::ranks::Ranks;
use crate::train::run::{BEST, Done, Judge, Training, Verdict};
use crate::train::shards::Reader;
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What distillation reads and writes.
#[derive(Debug, Clone)]
pub struct DistilPaths {
    /// Folder of a run of `finetune`.
    pub teacher: PathBuf,
    /// Folder of shards with a training split, labelled or not, and a labelled validation split.
    pub shards: PathBuf,
    /// Folder of the run.
    pub run: PathBuf,
}

/// What a run's checkpoint says of the student, for whoever reads it later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub config: DistilConfig,
    /// SHA-256 of the teacher's weights.
    pub teacher: String,
    /// Features of the teacher.
    pub taught: usize,
    /// Frames of the longest shift.
    pub most: usize,
}

/// The crop of a student, in the framing of the shards.
fn crop_rule(spec: &StudentSpec) -> CropRule {
    CropRule { size_px: spec.size_px, ..CropRule::FERPLUS }
}

/// Mean CCC of the folded student on the validation split, through the runtime's arithmetic.
struct StudentJudge {
    spec: StudentSpec,
    data: Data,
}

impl Judge<Distil> for StudentJudge {
    fn judge(&mut self, _method: &Distil, net: &Pupil) -> Result<Verdict> {
        let [arousal, valence] = Judged::of(&fold(&net.student, &self.spec)?, &self.data)?.agreement();
        let figures = vec![("valid_ccc_arousal".into(), arousal.ccc), ("valid_ccc_valence".into(), valence.ccc)];
        Ok(Verdict { score: Some(0.5 * (arousal.ccc + valence.ccc)), figures })
    }
}

/// Distils, or with `resume` goes on. The best epoch by mean validation CCC of the folded student stands in `best.bpk`.
///
/// # Errors
/// As [`Training::train`]; a teacher that cannot be read, that skips frames, or whose bins are not the runtime's.
pub fn distil(
    config: &DistilConfig,
    paths: &DistilPaths,
    resume: bool,
    ranks: &dyn Ranks,
    stop: &AtomicBool,
    show: bool,
) -> Result<Done> {
    config.validate()?;
    let device = config.device.open(ranks.local_rank(), config.run.recompute)?;
    let (teacher, reader, taught) = finetune::best(&paths.teacher, &device)?;
    ensure_teaches(config, &taught, &paths.teacher)?;
    let feed = ClipFeed::new(Reader::open(&paths.shards)?, &config.clips, config.run.batch, config.run.seed)?;
    let (spec, most) = (config.spec()?, config.lag.frames(feed.fps()));
    if feed.frames() < most + 2 {
        let what = format!("clips of {} frames, with answers up to {most} frames late", feed.frames());
        return Err(Error::usage(what).remedy("raise clips.seconds, or lower lag.most_s"));
    }
    let features = taught.config.model.features();
    let kept = Kept { config: config.clone(), teacher: digest(&paths.teacher.join(BEST))?, taught: features, most };
    let net = Pupil::new(&spec, features, most, config.run.seed, &device);
    let method = Distil {
        config: config.clone(),
        recipe: config.recipe()?,
        rule: crop_rule(&spec),
        spec: spec.clone(),
        teacher,
        reader,
        most,
        device,
        mismatch: Vec::new(),
    };
    let data = Data::Shards { rule: crop_rule(&spec), reader: Reader::open(&paths.shards)?, held: Split::Valid };
    let training = Training {
        config: &config.run,
        settings: serde_json::to_value(&kept).map_err(|e| Error::usage("cannot be kept").caused_by(e))?,
        folder: &paths.run,
        method,
        feed: &feed,
        judge: &mut StudentJudge { spec, data },
        ranks,
        stop,
        show,
    };
    training.train(net, resume)
}

/// Refuses teachers whose frames or bins are not the student's.
fn ensure_teaches(config: &DistilConfig, teacher: &finetune::Kept, place: &Path) -> Result<()> {
    let every = teacher.config.clips.every;
    if every != 1 {
        return Err(Error::unsupported(format!("the teacher reads one frame of every {every}, a student each"))
            .at(place.display())
            .remedy("prepare the data with a lower --fps instead, and fine-tune with clips.every = 1"));
    }
    if config.terms.bins > 0.0 && teacher.config.recipe()?.wants_clusters() {
        return Err(Error::unsupported("the teacher's bins are clusters of labels, the student's of equal widths")
            .at(place.display())
            .remedy("set terms.bins=0, or take a teacher of one of the losses 1 to 8"));
    }
    Ok(())
}

fn digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::input("cannot be read").at(path.display()).caused_by(e))?;
    Ok(sha256_hex(&bytes))
}

/// A finished run's best student, folded, with what its checkpoint says of it.
///
/// # Errors
/// If the folder holds no run of `distil` with a finished epoch.
pub fn best(run: &Path) -> Result<(Student, Kept)> {
    let folder = checkpoint::find(run).ok_or_else(|| {
        Error::input("holds no run with a finished epoch")
            .at(run.display())
            .remedy("make one with `vaerr-train distil`")
    })?;
    let progress = checkpoint::read_progress(&folder)?;
    let kept: Kept = serde_json::from_value(progress.settings)
        .map_err(|e| Error::input("is no run of distil").at(run.display()).caused_by(e))?;
    let spec = kept.config.spec()?;
    let net = Pupil::new(&spec, kept.taught, kept.most, 0, &Device::flex());
    let net = load_net(net, &run.join(BEST))?.valid();
    Ok((fold(&net.student, &spec)?, kept))
}

#[cfg(test)]
mod tests;
