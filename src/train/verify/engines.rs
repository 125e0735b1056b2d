//! Every engine against the reference, over the beginnings of some recordings.

use super::read::ensure_going;
use super::stream::{Stream, frames};
use crate::engine::{ENGINES, Engine, EngineEntry, reference::Reference};
use crate::error::{Error, Result};
use crate::model::{Bundle, Precision, Student};
use crate::preprocess::Cropper;
use crate::session::decode;
use crate::spec::certificate::EngineCheck;
use crate::train::data::record::Split;
use crate::train::data::still;
use crate::train::shards::{Reader, Sample};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// The engine that the others are compared with.
pub const REFERENCE: &str = "reference";

/// Recordings that the frames of a set are taken from, if it has as many.
const RECORDINGS: usize = 8;

/// The engine of that name, if it can run the arithmetic here.
///
/// # Errors
/// If there is none, or it cannot.
pub fn named(name: &str, precision: Precision) -> Result<&'static EngineEntry> {
    let names = || ENGINES.iter().map(|e| e.name).collect::<Vec<_>>().join(", ");
    let entry = ENGINES.iter().find(|e| e.name == name);
    let entry = entry.ok_or_else(|| {
        Error::usage(format!("there is no engine named {name:?}")).remedy(format!("engines: {}", names()))
    })?;
    let why = (entry.unavailable)().or_else(|| (entry.gap)(precision).map(str::to_owned));
    match why {
        Some(why) => Err(Error::unsupported(format!("cannot run the {} student: {why}", precision.name()))
            .at(format!("engine {name}"))),
        None => Ok(entry),
    }
}

/// The engine of the figures: as asked for, or by `auto` tract where it is built in, because the reference is slow.
///
/// # Errors
/// As [`named`].
pub fn of_figures(name: &str, precision: Precision) -> Result<&'static EngineEntry> {
    match name {
        "auto" => named("tract", precision).or_else(|_| named(REFERENCE, precision)),
        name => named(name, precision),
    }
}

/// Engines to compare, and why the others are not.
#[derive(Default)]
pub struct Chosen {
    pub run: Vec<(&'static EngineEntry, Precision)>,
    pub left_out: BTreeMap<String, String>,
}

/// All engines but the reference that run here, or those of `names`; and in any case `needed`.
///
/// # Errors
/// A name that is no engine's, or of one that runs neither precision here.
pub fn choose(names: Option<&[String]>, needed: [(&'static EngineEntry, Precision); 2]) -> Result<Chosen> {
    for name in names.unwrap_or_default() {
        named(name, Precision::Int8).or_else(|_| named(name, Precision::Fp32))?;
    }
    let mut chosen = Chosen::default();
    for entry in ENGINES.iter().filter(|e| e.name != REFERENCE) {
        for precision in [Precision::Fp32, Precision::Int8] {
            let must = needed.iter().any(|(e, p)| (e.name, *p) == (entry.name, precision));
            let asked = names.is_none_or(|names| names.iter().any(|n| n == entry.name));
            let why = (entry.unavailable)().or_else(|| (entry.gap)(precision).map(str::to_owned));
            match why.or_else(|| (!must && !asked).then(|| "was not asked for".into())) {
                None => chosen.run.push((entry, precision)),
                Some(why) => _ = chosen.left_out.insert(format!("{} {}", entry.name, precision.name()), why),
            }
        }
    }
    Ok(chosen)
}

/// The first frames of a sample.
fn beginning(mut sample: Sample, most: usize) -> Sample {
    let keep = sample.meta.frames.min(most);
    sample.meta.frames = keep;
    sample.video.truncate(keep * sample.meta.size_px.pow(2));
    sample.labels.truncate(keep);
    sample
}

/// Beginnings of recordings that together have about `most` frames, if there are as many: of [`RECORDINGS`], evenly, or of
/// more where they are short; a still is the clip that it is judged as.
///
/// # Errors
/// Damaged shards.
pub fn beginnings(reader: &Reader, split: Split, most: usize) -> Result<Vec<Sample>> {
    let first = reader.clone().filtered(|meta| meta.part == 0);
    let recordings = first.metas(split)?.len().clamp(1, RECORDINGS);
    let (mut all, mut left) = (Vec::new(), most);
    for sample in first.ordered(split) {
        let cut = beginning(still::judged(sample?, 1), most.div_ceil(recordings).min(left));
        left -= cut.meta.frames;
        all.push(cut);
        if left == 0 {
            break;
        }
    }
    Ok(all)
}

/// An engine under comparison.
struct Compared {
    engine: Box<dyn Engine>,
    check: EngineCheck,
}

/// Compares `chosen` with the reference over `samples`, each engine on its own stream from a fresh state.
///
/// # Errors
/// If an engine does not open or fails; `Interrupted` once `stop` is set.
pub fn compare(
    bundle: &Bundle,
    chosen: &Chosen,
    samples: &[Sample],
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<Vec<EngineCheck>> {
    let mut checks = Vec::new();
    for precision in [Precision::Fp32, Precision::Int8] {
        let student = bundle.student(precision)?;
        let mut engines = Vec::new();
        for (entry, _) in chosen.run.iter().filter(|(_, p)| *p == precision) {
            engines.push(Compared { engine: (entry.open)(&student)?, check: check(entry, precision) });
        }
        if engines.is_empty() {
            continue;
        }
        let mut oracle = Reference::open(&student)?;
        for sample in samples {
            one(&student, bundle, &mut oracle, &mut engines, sample, bar, stop)?;
        }
        checks.extend(engines.into_iter().map(|e| e.check));
    }
    Ok(checks)
}

fn check(entry: &EngineEntry, precision: Precision) -> EngineCheck {
    EngineCheck {
        engine: entry.name.to_owned(),
        precision: precision.name().to_owned(),
        tolerance: shortest((entry.tolerance)(precision)),
        ..EngineCheck::default()
    }
}

/// An f32 as people write it: 1e-5, not the digits of the f32 next to it.
fn shortest(v: f32) -> f64 {
    v.to_string().parse().unwrap_or_else(|_| f64::from(v))
}

fn one(
    student: &Student,
    bundle: &Bundle,
    oracle: &mut Reference,
    engines: &mut [Compared],
    sample: &Sample,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<()> {
    let mut cropper = Cropper::for_rule(&bundle.manifest().crop);
    let mut right = Stream::new(&student.spec);
    let mut streams: Vec<Stream> = engines.iter().map(|_| Stream::new(&student.spec)).collect();
    frames(sample, |_, picture| {
        ensure_going(stop)?;
        bar.inc(1);
        let seen = right.step(oracle, &mut cropper, picture, sample.meta.fps)?;
        let want = decode(&right.logits);
        for (compared, stream) in engines.iter_mut().zip(&mut streams) {
            stream.step(&mut *compared.engine, &mut cropper, picture, sample.meta.fps)?;
            let check = &mut compared.check;
            check.frames += usize::from(seen);
            let worst = far(&stream.logits, &right.logits).max(far(&stream.hidden, &right.hidden));
            check.worst = check.worst.max(worst);
            check.worst_value = check.worst_value.max(far(&decode(&stream.logits).values, &want.values));
        }
        Ok(())
    })
}

/// Largest distance of a value from the right one; where that is more than 1 either way, over it, for f32 is that much coarser
/// there.
fn far(values: &[f32], right: &[f32]) -> f64 {
    let one = |(v, r): (&f32, &f32)| (f64::from(*v) - f64::from(*r)).abs() / f64::from(r.abs().max(1.0));
    values.iter().zip(right).map(one).fold(0.0, f64::max)
}
