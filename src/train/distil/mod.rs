//! From a fine-tuned full model to a small causal student.
//!
//! The teacher reads each clip whole, the future included; the student answers frame by frame and may answer a little late
//! ([`LagConfig`]). It learns from the labels and, of the teacher, from values, bins and features ([`Terms`]). Clips without
//! labels teach through the teacher alone.

mod config;
mod method;
mod mix;
mod net;
mod terms;

pub use config::{DistilConfig, LagConfig, LagMode, Terms};
pub use method::{Distil, Running};
pub use net::{Answers, Pupil};
pub use terms::{Lesson, Pairs, bins, features, lateness, settling, values, votes};

use crate::error::{Error, Result};
use crate::model::{Student, read_student_file};
use crate::render::Rng;
use crate::spec::{CropRule, StudentSpec};
use crate::train::data::record::Split;
use crate::train::finetune;
use crate::train::fold::{fold, unfold};
use crate::train::grow::{NOISE, grown};
use crate::train::quantize::{Data, Judged};
use crate::train::run::checkpoint::{self, load_net};
use crate::train::run::feed::ClipFeed;
use crate::train::run::ranks::Ranks;
use crate::train::run::{BEST, Done, Feed, Judge, Training, Verdict};
use crate::train::shards::Reader;
use crate::train::soup::mean;
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Fewest frames of a clip whose slopes differ, two of them, and whose state can settle.
const SLOPES: usize = 4;

/// What distillation reads and writes.
#[derive(Debug, Clone)]
pub struct DistilPaths {
    /// Folder of a run of `finetune`.
    pub teacher: PathBuf,
    /// Folders of shards with training splits, labelled or not, and validation splits.
    pub shards: Vec<PathBuf>,
    /// Folder of the run.
    pub run: PathBuf,
    /// Folders of earlier runs, or fp32 `student.onnx`, to start from: of the same size, or one that grows into it. Of several, the
    /// mean of their weights.
    pub start_from: Vec<PathBuf>,
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
    /// SHA-256 of the weights that it started from; of several, their mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_several")]
    pub started_from: Vec<String>,
}

/// A list, or a text in place of a list of one: so runs stood before they could start from several.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Said::deserialize(from)? {
        Said::One(one) => vec![one],
        Said::Several(several) => several,
    })
}

/// Mean CCC of the folded student on the validation split, through the runtime's arithmetic; over folders, each judged on its
/// own.
struct StudentJudge {
    spec: StudentSpec,
    /// With what figures on each must say.
    sets: Vec<(Data, Option<String>)>,
}

impl StudentJudge {
    fn new(readers: Vec<Reader>, spec: &StudentSpec) -> Result<Self> {
        let sets = finetune::judged_sets(readers, Split::Valid, 1)?.into_iter();
        let rule = CropRule::of_side(spec.size_px);
        let data = |reader| Data::Shards { rule, readers: vec![reader], held: Split::Valid };
        Ok(Self { spec: spec.clone(), sets: sets.map(|(reader, about)| (data(reader), about)).collect() })
    }
}

impl Judge<Distil> for StudentJudge {
    fn judge(&mut self, _method: &Distil, net: &Pupil) -> Result<Verdict> {
        let student = fold(&net.student, &self.spec)?;
        let of = |(data, about): &(Data, Option<String>)| Ok((Judged::of(&student, data)?.agreement(), about.clone()));
        finetune::verdict(Split::Valid, self.sets.iter().map(of))
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
    ensure_teaches(config, &taught, &reader, &paths.teacher)?;
    let readers = Reader::open_all(&paths.shards)?;
    let feed = ClipFeed::new(readers.clone(), &config.clips, config.run.batch, config.run.seed)?;
    finetune::warn_of_length(&readers, 1, feed.frames())?;
    let (spec, most) = (config.spec()?, config.lag.frames(feed.fps()));
    if most > 0 && feed.frames() < most + 2 {
        let what = format!("clips of {} frames, with answers up to {most} frames late", feed.frames());
        return Err(Error::usage(what).remedy("raise clips.seconds, or lower lag.most_s"));
    }
    if config.terms.lateness + config.terms.settling > 0.0 && feed.frames() < SLOPES {
        let what = format!("clips of {} frames tell no lateness, nor how a state settles", feed.frames());
        return Err(Error::usage(what)
            .remedy(format!("raise clips.seconds to {SLOPES} frames, or set terms.lateness=0 and terms.settling=0")));
    }
    if config.terms.votes > 0.0 && !feed.voted() {
        return Err(Error::input("terms.votes is above 0, but no training sample has votes on emotions")
            .remedy("prepare FER+ again, if shards of it are older than the votes in them, or set terms.votes=0"));
    }
    let features = taught.config.model.features();
    let kept = Kept {
        config: config.clone(),
        teacher: checkpoint::digest(&paths.teacher.join(BEST))?,
        taught: features,
        most,
        started_from: paths.start_from.iter().map(|from| digest(from)).collect::<Result<_>>()?,
    };
    let mut net = Pupil::new(&spec, features, most, config.run.seed, &device);
    let goes_on = resume && checkpoint::find(&paths.run).is_some();
    if !paths.start_from.is_empty() && !goes_on {
        net = taken_over(net, &kept, &paths.start_from, &feed, &device)?;
        if config.newest_tap {
            net.student = net.student.newest_tap();
        }
    }
    let mut judge = StudentJudge::new(readers, &spec)?;
    let method = Distil {
        config: config.clone(),
        recipe: config.recipe()?,
        spec,
        teacher,
        reader,
        most,
        fps: feed.fps(),
        device,
        running: Running::default(),
    };
    let training = Training {
        config: &config.run,
        settings: serde_json::to_value(&kept).map_err(|e| Error::usage("cannot be kept").caused_by(e))?,
        folder: &paths.run,
        method,
        feed: &feed,
        judge: &mut judge,
        ranks,
        stop,
        show,
    };
    training.train(net, resume)
}

/// SHA-256 of the weights of a run, or of the file itself.
///
/// # Errors
/// If they cannot be read.
pub fn digest(from: &Path) -> Result<String> {
    checkpoint::digest(&weights(from))
}

/// The file of weights of a run, or the file itself.
fn weights(from: &Path) -> PathBuf {
    if from.is_dir() { from.join(BEST) } else { from.to_owned() }
}

/// The folded student of a run, or of the file itself.
fn folded(from: &Path) -> Result<Student> {
    if from.is_dir() {
        return Ok(best(from)?.0);
    }
    read_student_file(from)
}

/// `net` with the student that `starts` hold: of one run of the same size as it was trained, with its projection where the teacher
/// is the same; else folded, of several the mean, grown to this size if need be, its BatchNorms set by the first batch.
fn taken_over(net: Pupil, kept: &Kept, starts: &[PathBuf], feed: &ClipFeed, device: &Device) -> Result<Pupil> {
    if let [from] = starts
        && from.is_dir()
    {
        let (before, _): (Kept, _) = checkpoint::kept(from, "distil", "run of distil")?;
        if before.config.size == kept.config.size {
            let known = Pupil::new(&before.config.spec()?, before.taught, before.most, 0, device);
            let known = load_net(known, &weights(from))?;
            let projection = if before.teacher == kept.teacher { known.projection } else { net.projection };
            return Ok(Pupil { student: known.student, projection, emotions: known.emotions, shifts: net.shifts });
        }
    }
    let places = starts.iter().map(|from| from.display().to_string()).collect::<Vec<_>>().join(", ");
    let students = starts.iter().map(|from| folded(from)).collect::<Result<Vec<_>>>()?;
    let student = mean(&students).map_err(|e| e.at(&places))?;
    let (spec, seed) = (kept.config.spec()?, kept.config.run.seed);
    let student = if student.spec == spec { student } else { grown(&student, &spec, NOISE, seed)? };
    let first = feed.epoch(0)?.next().ok_or_else(|| Error::input("the training split gives no batch"))??;
    let rings = method::views(&first, &kept.config, &spec, &mut Rng::new(seed, 2 << 49), &device.clone().inner());
    let rings = if rings.dims()[1] == 1 { rings.repeat_dim(1, spec.ring) } else { rings };
    Ok(Pupil { student: unfold(&student, rings, device).map_err(|e| e.at(places))?, ..net })
}

/// Refuses teachers whose frames, values or bins are not the student's.
fn ensure_teaches(
    config: &DistilConfig,
    teacher: &finetune::Kept,
    reader: &finetune::Predictor,
    place: &Path,
) -> Result<()> {
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
    if config.terms.values > 0.0 && reader.by_bins.iter().any(Option::is_some) {
        return Err(Error::unsupported("the teacher was trained without values, by bins alone")
            .at(place.display())
            .remedy("set terms.values=0, or take a teacher of another loss than 3 and 4"));
    }
    Ok(())
}

/// A finished run's best student, folded, with what its checkpoint says of it and the epoch that it is of.
///
/// # Errors
/// If the folder holds no run of `distil` with a finished epoch.
pub fn best(run: &Path) -> Result<(Student, Kept, usize)> {
    let (kept, progress): (Kept, _) = checkpoint::kept(run, "distil", "run of distil")?;
    let spec = kept.config.spec()?;
    let net = Pupil::new(&spec, kept.taught, kept.most, 0, &Device::flex());
    let net = load_net(net, &run.join(BEST))?.valid();
    Ok((fold(&net.student, &spec)?, kept, progress.best_epoch))
}

#[cfg(test)]
mod tests;
