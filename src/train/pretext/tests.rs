//! What the tasks' tests share: a linear stand-in for the backbone, parameters by name, slow f64 arithmetic; and a few
//! steps of every task on rendered clips.

use super::heads::linear;
use super::views::Normalise;
use super::*;
use crate::spec::CropRule;
use crate::train::data::augment::Augment;
use crate::train::data::rendered::render_clips;
use crate::train::full::FullSpec;
use crate::train::run::{At, Batch};
use burn::module::{ModuleVisitor, Param};
use burn::nn::Linear;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, TensorData};
use std::collections::BTreeMap;

/// Pixels of a frame -> features by one linear map: a backbone simple enough for an oracle.
#[derive(Module, Debug)]
pub struct Flat {
    pub map: Linear,
}

impl Flat {
    pub fn new(pixels: usize, features: usize, rng: &mut Rng, device: &Device) -> Self {
        Self { map: linear(pixels, features, rng, device) }
    }
}

impl Encoder for Flat {
    fn encode(&self, clips: Tensor<4>) -> Tensor<3> {
        let [n, frames, h, w] = clips.dims();
        self.map.forward(clips.reshape([n, frames, h * w]))
    }
}

pub fn input() -> Input {
    Input { normalise: Normalise { mean: 0.5, std: 0.25 }, device: Device::flex().autodiff() }
}

/// Clips of noise without labels or sound.
pub fn clips(seed: u64, clips: usize, frames: usize, size_px: usize) -> Batch {
    let mut rng = Rng::new(seed, 1);
    let video = (0..clips * frames * size_px * size_px).map(|_| rng.below(256) as u8).collect();
    Batch {
        clips,
        frames,
        size_px,
        video,
        labels: vec![[f32::NAN; 2]; clips * frames],
        audio: None,
        votes: Vec::new(),
        targets: Vec::new(),
    }
}

/// A tensor of normal draws, and the same as rows of its last dimensions.
pub fn noise<const D: usize>(shape: [usize; D], rng: &mut Rng, device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// Shape and values of every parameter and running statistic, by path.
pub type Params = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

pub fn params<M: Module>(module: &M) -> Params {
    #[derive(Default)]
    struct Read {
        path: Vec<String>,
        found: Params,
    }
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let shape = value.dims().to_vec();
            assert!(self.found.insert(self.path.join("."), (shape, numbers(value))).is_none());
        }
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
    }
    let mut read = Read::default();
    module.visit(&mut read);
    read.found
}

/// Parameters after a step of plain gradient descent on `loss`, by central differences. Running statistics, on which a
/// loss does not depend, stay.
pub fn descended(at: &Params, rate: f64, loss: impl Fn(&Params) -> f64) -> Params {
    let mut after = at.clone();
    let mut moved = at.clone();
    for (name, (_, values)) in at {
        for (i, v) in values.iter().enumerate() {
            let mut side = |delta: f64| {
                moved.get_mut(name).unwrap().1[i] = v + delta;
                loss(&moved)
            };
            let slope = (side(1e-5) - side(-1e-5)) / 2e-5;
            moved.get_mut(name).unwrap().1[i] = *v;
            after.get_mut(name).unwrap().1[i] -= rate * slope;
        }
    }
    after
}

/// One step of plain gradient descent by the trainer's own means.
pub fn sgd_step<M: Module>(net: M, loss: &Tensor<1>, rate: f64) -> M {
    let gradients = GradientsParams::from_grads(loss.backward(), &net);
    SgdConfig::new().init().step(rate, net, gradients)
}

/// Asserts that all values but running statistics agree, and that `moved` of them are another than before.
pub fn assert_moved_alike(got: &Params, want: &Params, before: &Params, tolerance: f64) {
    let mut moved = 0;
    for (name, (_, values)) in want.iter().filter(|(name, _)| !name.contains("running_")) {
        for (i, (w, g)) in values.iter().zip(&got[name].1).enumerate() {
            assert!((w - g).abs() < tolerance, "{name} {i}: {g}, the oracle says {w}");
            moved += usize::from((w - before[name].1[i]).abs() > 20.0 * tolerance);
        }
    }
    assert!(moved > 50, "only {moved} values moved enough to tell");
}

/// Rows of numbers.
pub type Rows = Vec<Vec<f64>>;

pub fn rows(values: &[f64], width: usize) -> Rows {
    values.chunks_exact(width).map(<[f64]>::to_vec).collect()
}

/// `x w + b` with the weights under `name`.
pub fn affine(x: &Rows, p: &Params, name: &str) -> Rows {
    let (shape, w) = &p[&format!("{name}.weight")];
    let bias = &p[&format!("{name}.bias")].1;
    let out =
        |row: &Vec<f64>, o: usize| bias[o] + row.iter().enumerate().map(|(i, v)| v * w[i * shape[1] + o]).sum::<f64>();
    x.iter().map(|row| (0..shape[1]).map(|o| out(row, o)).collect()).collect()
}

pub fn each(x: &Rows, f: impl Fn(f64) -> f64) -> Rows {
    x.iter().map(|row| row.iter().map(|v| f(*v)).collect()).collect()
}

pub fn added(a: &Rows, b: &Rows, factor: f64) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + factor * b).collect()).collect()
}

fn standardised(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    values.iter().map(|v| (v - mean) / (variance + 1e-5).sqrt()).collect()
}

/// Normalisation by the batch, column by column.
pub fn batch_norm(x: &Rows, p: &Params, name: &str) -> Rows {
    let (gamma, beta) = (&p[&format!("{name}.gamma")].1, &p[&format!("{name}.beta")].1);
    let mut out = x.clone();
    for k in 0..gamma.len() {
        let column = standardised(&x.iter().map(|row| row[k]).collect::<Vec<f64>>());
        out.iter_mut().zip(column).for_each(|(row, v)| row[k] = v * gamma[k] + beta[k]);
    }
    out
}

pub fn layer_norm(x: &Rows, p: &Params, name: &str) -> Rows {
    let (gamma, beta) = (&p[&format!("{name}.gamma")].1, &p[&format!("{name}.beta")].1);
    let one = |row: &Vec<f64>| standardised(row).iter().zip(gamma).zip(beta).map(|((v, g), b)| v * g + b).collect();
    x.iter().map(one).collect()
}

/// Linear, BatchNorm, ReLU, linear.
pub fn bn_mlp(x: &Rows, p: &Params, name: &str) -> Rows {
    let inner = batch_norm(&affine(x, p, &format!("{name}.up")), p, &format!("{name}.norm"));
    affine(&each(&inner, |v| v.max(0.0)), p, &format!("{name}.down"))
}

pub fn unit(row: &[f64]) -> Vec<f64> {
    let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
    row.iter().map(|v| v / length).collect()
}

pub fn softmax(row: &[f64]) -> Vec<f64> {
    let all: Vec<f64> = row.iter().map(|v| v.exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|v| v / sum).collect()
}

/// The stand-in's features averaged over time: a row a clip.
pub fn pooled(clips: &Tensor<4>, p: &Params, name: &str) -> Rows {
    let [n, frames, h, w] = clips.dims();
    let features = affine(&rows(&numbers(clips.clone()), h * w), p, name);
    let width = features[0].len();
    let mean = |clip: usize, k: usize| (0..frames).map(|t| features[clip * frames + t][k]).sum::<f64>() / frames as f64;
    (0..n).map(|clip| (0..width).map(|k| mean(clip, k)).collect()).collect()
}

#[test]
fn the_table_names_every_task_once_and_finds_it() {
    let names: Vec<&str> = PRETEXTS.iter().map(|p| p.name).collect();
    assert_eq!(names, ["lira", "byol", "dino"]);
    assert!(PRETEXTS.iter().all(|p| p.paper.starts_with("arXiv ")));
    let settings = default_settings("dino").unwrap();
    assert_eq!(settings["student_temperature"].as_float(), Some(0.1));
    let e = default_settings("simclr").unwrap_err().to_string();
    assert!(e.contains("lira, byol, dino"), "{e}");
}

/// Loss and terms of a step.
type Figures = BTreeMap<&'static str, f64>;

/// Runs a task's steps; the second half is run again from what was saved in the middle.
struct Trial<'a> {
    batch: &'a Batch,
    steps: usize,
}

impl WithPretext for Trial<'_> {
    type Output = Vec<Figures>;

    fn call<P: Pretext>(self, mut task: P, net: P::Net) -> Result<Vec<Figures>> {
        let dir = tempfile::tempdir().unwrap();
        let half = self.steps / 2;
        let mut optimiser = AdamWConfig::new().with_epsilon(1e-8).init();
        let mut figures = Vec::new();
        let net = self.run(&mut task, net, &mut optimiser, 0..half, &mut figures)?;
        task.save(dir.path())?;
        // A clone shares the running statistics, which no loss here depends on.
        let (kept, record) = (net.clone(), optimiser.to_record());
        let net = self.run(&mut task, net, &mut optimiser, half..self.steps, &mut figures)?;
        assert!(task.backbone(&net).map_or(0, |b| params(b).len()) > 20);
        let mut again = Vec::new();
        // As in a new process: the task's state comes from the disk alone.
        task.load(dir.path())?;
        let mut optimiser = AdamWConfig::new().with_epsilon(1e-8).init().load_record(record);
        self.run(&mut task, kept, &mut optimiser, half..self.steps, &mut again)?;
        assert_eq!(again, figures[half..], "resumed otherwise than it went on");
        Ok(figures)
    }
}

impl Trial<'_> {
    fn run<P: Pretext>(
        &self,
        task: &mut P,
        mut net: P::Net,
        optimiser: &mut ModuleOptimizer,
        steps: std::ops::Range<usize>,
        figures: &mut Vec<Figures>,
    ) -> Result<P::Net> {
        for step in steps {
            let at = At { epoch: 0, step, steps: self.steps };
            let loss = task.loss(&net, self.batch, at, &mut Rng::new(9, step as u64))?;
            let mut figure: Figures = loss.terms.into_iter().collect();
            figure.insert("loss", numbers(loss.total.clone())[0]);
            assert!(figure.values().all(|v| v.is_finite()), "{figure:?}");
            figures.push(figure);
            let gradients = GradientsParams::from_grads(loss.total.backward(), &net);
            net = optimiser.step(2e-3, net, gradients);
            task.after_step(&net, at);
        }
        Ok(net)
    }
}

/// Rendered faces with a sound that follows the affect.
fn rendered(count: usize, frames: usize) -> Batch {
    let rule = CropRule::FERPLUS;
    let mut batch =
        Batch { clips: count, frames, size_px: rule.size_px, audio: Some((3, Vec::new())), ..Batch::default() };
    for clip in render_clips(5, count, frames, &rule) {
        batch.video.extend(clip.rings(&Augment::default(), &rule, 1, &mut Rng::new(1, 0)).bytes);
        for [arousal, valence] in &clip.labels {
            batch.audio.as_mut().unwrap().1.extend([2.0 * arousal, arousal - valence, 5.0 + valence]);
        }
        batch.labels.extend(clip.labels);
    }
    batch
}

/// Mean of `figure` over the last steps of a run of `task`, over its mean over the first.
fn fall(task: &str, config: impl Serialize, steps: usize, figure: &str) -> f64 {
    let input = input();
    let spec = FullSpec { width: 4, ..FullSpec::default() };
    let backbone = Backbone::new(&spec, 3, &input.device).unwrap();
    let setup = Setup { backbone, features: spec.features(), audio_dims: Some(3), input, seed: 1 };
    let batch = rendered(4, 6);
    let recipe = toml::Table::try_from(config).unwrap();
    let figures = with_pretext(task, recipe, setup, Trial { batch: &batch, steps }).unwrap();
    let mean = |part: &[Figures]| part.iter().map(|f| f[figure]).sum::<f64>();
    mean(&figures[steps - steps / 4..]) / mean(&figures[..steps / 4])
}

#[test]
fn lira_learns_and_resumes_to_the_bit() {
    let fall = fall("lira", lira::LiraConfig::small(24), 16, "loss");
    assert!(fall < 0.8, "{fall}");
}

#[test]
fn byol_learns_and_resumes_to_the_bit() {
    let fall = fall("byol", byol::ByolConfig::small(24, 6), 16, "loss");
    assert!(fall < 0.8, "{fall}");
}

#[test]
fn dino_learns_and_resumes_to_the_bit() {
    // The student learns what the loss exceeds the teacher's entropy by; that entropy itself may rise.
    let fall = fall("dino", dino::DinoConfig::small(24, 16, 6), 32, "kl");
    assert!(fall < 0.75, "{fall}");
}

#[test]
fn tasks_run_on_a_device_that_recomputes_activations() {
    let input = Input { device: Device::flex().autodiff().gradient_checkpointing(), ..input() };
    let spec = FullSpec { width: 2, ..FullSpec::default() };
    let batch = rendered(2, 3);
    for task in PRETEXTS.iter().map(|p| p.name) {
        let backbone = Backbone::new(&spec, 3, &input.device).unwrap();
        let setup = Setup { backbone, features: spec.features(), audio_dims: Some(3), input: input.clone(), seed: 1 };
        let recipe = match task {
            "lira" => toml::Table::try_from(lira::LiraConfig::small(16)),
            "byol" => toml::Table::try_from(byol::ByolConfig::small(16, 3)),
            _ => toml::Table::try_from(dino::DinoConfig::small(16, 16, 3)),
        };
        let figures = with_pretext(task, recipe.unwrap(), setup, Trial { batch: &batch, steps: 2 }).unwrap();
        assert_eq!(figures.len(), 2, "{task}");
    }
}

#[test]
fn settings_that_there_are_not_are_refused_by_name() {
    let input = input();
    let spec = FullSpec { width: 1, ..FullSpec::default() };
    let setup = || Setup {
        backbone: Backbone::new(&spec, 3, &input.device).unwrap(),
        features: spec.features(),
        audio_dims: None,
        input: input.clone(),
        seed: 1,
    };
    let batch = rendered(2, 2);
    let run = |name: &str, recipe: &str| {
        let user = Trial { batch: &batch, steps: 2 };
        with_pretext(name, recipe.parse().unwrap(), setup(), user).unwrap_err().to_string()
    };
    assert!(run("byol", "hiden = 3").contains("hiden"));
    assert!(run("byol", "momentum = 1.5").contains("1.5"));
    assert!(run("dino", "[local]\nflip = 2.0").contains("chance"));
    assert!(run("lira", "").contains("no audio"));
    assert!(run("moco", "").contains("lira, byol, dino"));
}
