//! What students are calibrated and judged on: stills or recordings, as the runtime would crop them.

use super::float::FloatTrunk;
use crate::engine::reference::recur;
use crate::engine::{Engine, simd::Simd};
use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::metrics::Agreement;
use crate::model::{Precision, Student};
use crate::preprocess::Cropper;
use crate::session::decode;
use crate::spec::{CropRule, HEADS, StudentSpec};
use crate::train::data::ferplus::Still;
use crate::train::data::record::Split;
use crate::train::data::still::{self, Census};
use crate::train::evaluate::STEPS;
use crate::train::fit::whole;
use crate::train::run::feed::quota;
use crate::train::shards::{Reader, Sample};
use rayon::prelude::*;

/// Recordings that are in memory at once.
const RECORDINGS: usize = 4;

/// Stills that are cropped together.
const STILLS: usize = 512;

/// Crops in time, as a student sees them from a zero state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequence {
    /// Of the recording; empty for a still.
    pub video: String,
    /// `frames * size_px * size_px`, cut by the runtime's rule.
    pub crops: Vec<u8>,
    /// (arousal, valence) of each frame, NaN where there is none.
    pub labels: Vec<[f32; 2]>,
    /// Times that the last frame is shown; 1 for a recording.
    pub shown: usize,
}

impl Sequence {
    /// A still, shown for [`STEPS`] steps.
    pub fn still(still: &Still, cropper: &mut Cropper) -> Self {
        let mut crops = vec![0; cropper.size_px() * cropper.size_px()];
        cropper.crop_into(&still.image, whole(still), &mut crops);
        Self { video: String::new(), crops, labels: vec![[still.arousal, still.valence]], shown: STEPS }
    }

    /// A sample of shards, whose frames are aligned crops already and are resampled to the student's.
    pub fn recording(sample: &Sample, cropper: &mut Cropper) -> Self {
        let (px, size) = (sample.meta.size_px, cropper.size_px());
        let mut crops = vec![0; sample.meta.frames * size * size];
        for (frame, crop) in sample.video.chunks_exact(px * px).zip(crops.chunks_exact_mut(size * size)) {
            let picture = Gray { width: px, height: px, data: frame.to_vec() };
            cropper.crop_into(&picture, [0.0, 0.0, px as f32], crop);
        }
        Self { video: sample.meta.video.clone(), crops, labels: sample.labels.clone(), shown: 1 }
    }

    /// The ring at frame `t`: the last crops, oldest first; before the first frame stands the first.
    pub fn ring_into(&self, t: usize, spec: &StudentSpec, out: &mut Vec<u8>) {
        let area = spec.size_px * spec.size_px;
        for back in (0..spec.ring).rev() {
            out.extend_from_slice(&self.crops[t.saturating_sub(back) * area..][..area]);
        }
    }

    fn rings(&self, spec: &StudentSpec) -> Vec<u8> {
        let mut rings = Vec::with_capacity(self.labels.len() * spec.ring * spec.size_px * spec.size_px);
        (0..self.labels.len()).for_each(|t| self.ring_into(t, spec, &mut rings));
        rings
    }
}

/// Where sequences come from.
pub enum Data {
    /// Pictures to calibrate on, and pictures held out.
    Stills { rule: CropRule, train: Vec<Still>, held: Vec<Still> },
    /// Folders of recordings: their training splits to calibrate on, another to judge on.
    Shards { rule: CropRule, readers: Vec<Reader>, held: Split },
}

type Chunks<'a> = Box<dyn Iterator<Item = Result<Vec<Sequence>>> + 'a>;

impl Data {
    /// What is judged on, for a record.
    ///
    /// # Errors
    /// A damaged shard.
    pub fn held_name(&self) -> Result<String> {
        Ok(match self {
            Data::Stills { held, .. } => format!("{} pictures held out of training", held.len()),
            Data::Shards { readers, held, .. } => {
                let several = readers.len() > 1;
                let about = readers.iter().filter_map(|r| Census::about_one(r, *held, 1, several).transpose());
                let about: Vec<String> = about.collect::<Result<_>>()?;
                let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join("; ")) };
                format!("the shards' {} split{about}", held.name())
            }
        })
    }

    /// `count` rings to calibrate on, one after the other: the first pictures, or frames spread evenly over all training
    /// samples, as many of each folder; frames without a face are left out.
    ///
    /// # Errors
    /// Data that cannot be read or that holds no picture.
    pub fn calibration(&self, spec: &StudentSpec, count: usize) -> Result<Vec<u8>> {
        let rings = match self {
            Data::Stills { rule, train, .. } => {
                let mut cropper = Cropper::for_rule(rule);
                train.iter().take(count).flat_map(|s| Sequence::still(s, &mut cropper).rings(spec)).collect()
            }
            Data::Shards { rule, readers, .. } => {
                let share = |i: usize| quota(i, readers.len(), count);
                let rings = readers.iter().enumerate().map(|(i, reader)| spread(reader, rule, spec, share(i)));
                rings.collect::<Result<Vec<_>>>()?.concat()
            }
        };
        if rings.is_empty() {
            return Err(Error::input("holds no picture to calibrate on"));
        }
        Ok(rings)
    }

    /// What is held out, a few sequences at a time.
    pub fn held(&self) -> Chunks<'_> {
        match self {
            Data::Stills { rule, held, .. } => Box::new(held.chunks(STILLS).map(|chunk| {
                let crop = |cropper: &mut Cropper, s: &Still| Sequence::still(s, cropper);
                Ok(chunk.par_iter().map_init(|| Cropper::for_rule(rule), crop).collect())
            })),
            Data::Shards { rule, readers, held } => {
                Box::new(readers.iter().flat_map(|reader| recordings(reader, rule, *held)))
            }
        }
    }
}

/// Whole recordings, parts joined, a few at a time; a still as the clip that it is judged as.
fn recordings<'a>(reader: &'a Reader, rule: &CropRule, split: Split) -> Chunks<'a> {
    let mut samples = reader.ordered(split).peekable();
    let mut cropper = Cropper::for_rule(rule);
    Box::new(std::iter::from_fn(move || {
        let mut chunk: Vec<Sequence> = Vec::new();
        loop {
            let another = |s: &Sample, last: &Sequence| s.meta.video != last.video;
            match (samples.peek(), chunk.last()) {
                (None, _) => break,
                (Some(Ok(s)), Some(last)) if another(s, last) && chunk.len() >= RECORDINGS => break,
                _ => {}
            }
            let part = match samples.next()? {
                Ok(sample) => Sequence::recording(&still::judged(sample, 1), &mut cropper),
                Err(e) => return Some(Err(e)),
            };
            match chunk.last_mut().filter(|last| last.video == part.video) {
                Some(last) => {
                    last.crops.extend(part.crops);
                    last.labels.extend(part.labels);
                }
                None => chunk.push(part),
            }
        }
        (!chunk.is_empty()).then_some(Ok(chunk))
    }))
}

/// `count` rings of frames with a face, spread evenly over the training samples; a still as a clip, so that its rings move.
fn spread(reader: &Reader, rule: &CropRule, spec: &StudentSpec, count: usize) -> Result<Vec<u8>> {
    let samples = reader.metas(Split::Train)?.len();
    let (mut cropper, mut rings) = (Cropper::for_rule(rule), Vec::new());
    for (i, sample) in reader.ordered(Split::Train).enumerate() {
        let sample = sample?;
        let each = quota(i, samples, count);
        if each == 0 {
            continue;
        }
        let sample = still::judged(sample, 1);
        let area = sample.meta.size_px * sample.meta.size_px;
        let seen = |t: &usize| sample.video[t * area..][..area].iter().any(|v| *v > 0);
        let faces: Vec<usize> = (0..sample.meta.frames).filter(seen).collect();
        let wanted = each.min(faces.len());
        if wanted > 0 {
            let sequence = Sequence::recording(&sample, &mut cropper);
            (0..wanted)
                .for_each(|k| sequence.ring_into(faces[(2 * k + 1) * faces.len() / (2 * wanted)], spec, &mut rings));
        }
    }
    Ok(rings)
}

/// Reads sequences with one student: int8 by the runtime's kernels, fp32 in batches.
pub enum Predictor<'a> {
    Int8(&'a Student),
    Fp32(&'a Student, Box<FloatTrunk>),
}

impl<'a> Predictor<'a> {
    /// # Errors
    /// If the student is inconsistent.
    pub fn new(student: &'a Student) -> Result<Self> {
        Ok(match student.precision() {
            Precision::Int8 => Predictor::Int8(student),
            Precision::Fp32 => Predictor::Fp32(student, Box::new(FloatTrunk::new(student)?)),
        })
    }

    /// Logits of every frame of every sequence; of a still after its last step.
    ///
    /// # Errors
    /// If an engine refuses the student.
    pub fn logits(&self, sequences: &[Sequence]) -> Result<Vec<Vec<[f32; HEADS]>>> {
        match self {
            Predictor::Int8(student) => {
                let one = |engine: &mut Result<Simd>, sequence: &Sequence| {
                    let engine = engine.as_mut().map_err(|e| Error::new(e.kind(), e.to_string()))?;
                    step_through(student, sequence, |t, hidden, logits| {
                        let mut ring = Vec::new();
                        sequence.ring_into(t, &student.spec, &mut ring);
                        engine.step(&ring, hidden, logits)
                    })
                };
                sequences.par_iter().map_init(|| Simd::open(student), one).collect()
            }
            Predictor::Fp32(student, trunk) => {
                let rings: Vec<u8> = sequences.iter().flat_map(|s| s.rings(&student.spec)).collect();
                let features = trunk.features(&rings)?;
                let (width, mut next) = (student.spec.features(), vec![0.0; student.spec.hidden]);
                let mut first = 0;
                let mut one = |sequence: &Sequence| {
                    let start = first;
                    first += sequence.labels.len();
                    step_through(student, sequence, |t, hidden, logits| {
                        recur(student, &features[(start + t) * width..][..width], hidden, &mut next, logits);
                        Ok(())
                    })
                };
                sequences.iter().map(&mut one).collect()
            }
        }
    }
}

/// Steps from a zero state through all frames, the last as often as it is shown.
fn step_through(
    student: &Student,
    sequence: &Sequence,
    mut step: impl FnMut(usize, &mut [f32], &mut [f32; HEADS]) -> Result<()>,
) -> Result<Vec<[f32; HEADS]>> {
    let mut hidden = vec![0.0; student.spec.hidden];
    let mut all = vec![[0.0; HEADS]; sequence.labels.len()];
    for (t, logits) in all.iter_mut().enumerate() {
        let times = if t + 1 == sequence.labels.len() { sequence.shown } else { 1 };
        (0..times).try_for_each(|_| step(t, &mut hidden, logits))?;
    }
    Ok(all)
}

/// Logits and labels of every frame that has a label.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    pub logits: Vec<[f32; HEADS]>,
    /// (arousal, valence); NaN where one of them is not labelled.
    pub labels: Vec<[f32; 2]>,
}

impl Judged {
    /// Reads everything that `data` holds out.
    ///
    /// # Errors
    /// Data that cannot be read or has no labels; a student that no engine runs.
    pub fn of(student: &Student, data: &Data) -> Result<Self> {
        Self::read(&Predictor::new(student)?, data)?.labelled(data)
    }

    /// The same of each set that `data` is of, those without labels left out.
    ///
    /// # Errors
    /// As [`Judged::of`].
    pub fn of_each(student: &Student, data: &Data) -> Result<Vec<Self>> {
        let predictor = Predictor::new(student)?;
        let sets = match data {
            Data::Shards { rule, readers, held } => {
                let alone = |r: &Reader| Data::Shards { rule: *rule, readers: vec![r.clone()], held: *held };
                readers.iter().map(|r| Self::read(&predictor, &alone(r))).collect::<Result<Vec<_>>>()?
            }
            Data::Stills { .. } => vec![Self::read(&predictor, data)?],
        };
        let sets: Vec<Self> = sets.into_iter().filter(|s| !s.labels.is_empty()).collect();
        if sets.is_empty() { Self::default().labelled(data).map(|_| sets) } else { Ok(sets) }
    }

    /// Several as one.
    pub fn concat(sets: &[Self]) -> Self {
        let logits = sets.iter().flat_map(|s| s.logits.iter().copied()).collect();
        Self { logits, labels: sets.iter().flat_map(|s| s.labels.iter().copied()).collect() }
    }

    fn labelled(self, data: &Data) -> Result<Self> {
        if self.labels.is_empty() {
            return Err(Error::input(format!("{}: no frame has a label", data.held_name()?)));
        }
        Ok(self)
    }

    fn read(predictor: &Predictor, data: &Data) -> Result<Self> {
        let mut all = Self::default();
        for chunk in data.held() {
            let chunk = chunk?;
            for (sequence, logits) in chunk.iter().zip(predictor.logits(&chunk)?) {
                let labelled = sequence.labels.iter().zip(logits).filter(|(l, _)| l.iter().any(|v| !v.is_nan()));
                labelled.for_each(|(label, row)| {
                    all.labels.push(*label);
                    all.logits.push(row);
                });
            }
        }
        Ok(all)
    }

    /// Agreement of arousal and of valence with their labels, all frames concatenated.
    pub fn agreement(&self) -> [Agreement; 2] {
        let values: Vec<[f32; 2]> = self.logits.iter().map(|l| decode(l).values).collect();
        [0, 1].map(|d| {
            let pairs = values.iter().zip(&self.labels).filter(|(_, l)| !l[d].is_nan());
            let (p, l): (Vec<f64>, Vec<f64>) = pairs.map(|(v, l)| (f64::from(v[d]), f64::from(l[d]))).unzip();
            Agreement::of(&p, &l)
        })
    }

    /// Largest and root mean square difference of the decoded values from those of another student on the same data.
    pub fn difference(&self, other: &Self) -> [f64; 2] {
        let values = |j: &Self| j.logits.iter().flat_map(|l| decode(l).values).collect::<Vec<f32>>();
        let gaps: Vec<f64> = values(self).iter().zip(values(other)).map(|(a, b)| f64::from(a - b).abs()).collect();
        let square = gaps.iter().map(|g| g * g).sum::<f64>() / gaps.len().max(1) as f64;
        [gaps.iter().copied().fold(0.0, f64::max), square.sqrt()]
    }
}
