//! The loop with a network small enough to see through: a line through points.

use super::config::LoopConfig;
use super::ranks::{Alone, Ranks};
use super::*;
use crate::error::{ErrorKind, Result};
use crate::render::Rng;
use crate::train::full::{Backbone, FullSpec, partial};
use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor, TensorData};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

#[derive(Module, Debug)]
struct Line {
    slope: Param<Tensor<1>>,
    norm: BatchNorm,
    /// Only so that there is a backbone to keep.
    backbone: Backbone,
}

impl Line {
    fn new() -> Self {
        let device = Device::flex().autodiff();
        let spec = FullSpec { size_px: 16, width: 1, hidden: 1, layers: 1 };
        Self {
            slope: Param::from_data([0.0f32], &device),
            norm: BatchNormConfig::new(1).init(&device),
            backbone: Backbone::new(&spec, 1, &device).unwrap(),
        }
    }

    fn slope(&self) -> f32 {
        self.slope.val().into_scalar()
    }
}

/// Squared error of the line; every hook counts, and one value lives outside the network.
struct Fit {
    kept: f64,
    poison: Option<usize>,
}

impl Method for Fit {
    type Net = Line;

    fn loss(&mut self, net: &Line, batch: &Batch, at: At, rng: &mut Rng) -> Result<Loss> {
        let device = net.slope.val().device();
        let column = |d: usize| -> Tensor<1> {
            let values: Vec<f32> = batch.labels.iter().map(|l| l[d]).collect();
            Tensor::from_data(TensorData::new(values, [batch.labels.len()]), &device)
        };
        let (x, y) = (column(0), column(1));
        net.norm.forward(x.clone().unsqueeze::<2>().swap_dims(0, 1));
        let noise = 1e-3 * rng.normal();
        let error = x * net.slope.val() - y + noise;
        let spoilt = if self.poison == Some(at.step) { f64::NAN } else { 1.0 };
        Ok(Loss { total: (error.clone() * error).mean() * spoilt, terms: vec![("kept", self.kept)] })
    }

    fn after_step(&mut self, net: &Line, at: At) {
        self.kept = 0.9 * self.kept + f64::from(net.slope()) + at.step as f64;
    }

    fn save(&self, folder: &Path) -> Result<()> {
        Ok(std::fs::write(folder.join("kept"), self.kept.to_le_bytes())?)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.kept = f64::from_le_bytes(std::fs::read(folder.join("kept"))?.try_into().unwrap());
        Ok(())
    }

    fn backbone<'a>(&self, net: &'a Line) -> Option<&'a Backbone> {
        Some(&net.backbone)
    }
}

/// Points near y = 2 x, `batches` of `points` in each epoch; asks to stop when `stop_after` were drawn.
struct Points {
    batches: usize,
    points: usize,
    stop: Option<(usize, Arc<AtomicBool>, Arc<AtomicUsize>)>,
}

impl Points {
    fn of(batches: usize, points: usize) -> Self {
        Self { batches, points, stop: None }
    }
}

impl Feed for Points {
    fn batches(&self) -> usize {
        self.batches
    }

    fn epoch(&self, epoch: usize) -> Result<Batches> {
        let (n, stop) = (self.points, self.stop.clone());
        Ok(Box::new((0..self.batches).map(move |i| {
            if let Some((after, flag, drawn)) = &stop {
                flag.fetch_or(drawn.fetch_add(1, Ordering::SeqCst) + 1 >= *after, Ordering::SeqCst);
            }
            let point = |k: usize| {
                let mut rng = Rng::new(epoch as u64, (i * n + k) as u64);
                let x = rng.range(-1.0, 1.0);
                [x, 2.0 * x + 0.1 * rng.normal()]
            };
            Ok(Batch { clips: n, frames: 1, size_px: 0, labels: (0..n).map(point).collect(), ..Batch::default() })
        })))
    }
}

/// Scores as told, epoch by epoch.
struct Told(Vec<f64>);

impl Judge<Fit> for Told {
    fn judge(&mut self, _method: &Fit, net: &Line) -> Result<Verdict> {
        let score = (!self.0.is_empty()).then(|| self.0.remove(0));
        Ok(Verdict { score, figures: vec![("slope".into(), f64::from(net.slope()))] })
    }
}

struct Case<'a> {
    config: LoopConfig,
    feed: &'a Points,
    scores: Vec<f64>,
    poison: Option<usize>,
    stop: Arc<AtomicBool>,
}

impl<'a> Case<'a> {
    fn new(feed: &'a Points) -> Self {
        let config = LoopConfig { epochs: 3, learning_rate: 0.05, average_decay: 0.5, ..LoopConfig::default() };
        Self { config, feed, scores: Vec::new(), poison: None, stop: Arc::default() }
    }

    fn run(&self, folder: &Path, resume: bool, ranks: &dyn Ranks) -> Result<Done> {
        let training = Training {
            config: &self.config,
            settings: serde_json::to_value(&self.config).unwrap(),
            folder,
            method: Fit { kept: 0.0, poison: self.poison },
            feed: self.feed,
            judge: &mut Told(self.scores.clone()),
            ranks,
            stop: &self.stop,
            show: false,
        };
        training.train(Line::new(), resume)
    }
}

/// What a run left, file by file; of networks the tensors by name, for their files hold ids drawn anew in every process.
fn files(run: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for folder in [run.to_owned(), run.join("checkpoint")] {
        for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).filter(|p| p.is_file()) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            // Event files hold the time of day; what is in the optimiser's file shows in the weights of later steps.
            if name.starts_with("events.") || name == "optimizer.bpk" {
                continue;
            }
            let text = if name.ends_with(".bpk") {
                format!("{:?}", partial::read(&file).unwrap())
            } else {
                format!("{:?}", std::fs::read(file).unwrap())
            };
            all.push((name, text));
        }
    }
    all.sort();
    all
}

fn network(file: &Path) -> Line {
    checkpoint::load_net(Line::new(), file).unwrap()
}

fn lines(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn a_run_stopped_anywhere_and_resumed_ends_bit_for_bit_as_one_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let whole_feed = Points::of(5, 4);
    let whole = Case::new(&whole_feed);
    let done = whole.run(&dir.path().join("whole"), false, &Alone).unwrap();
    assert_eq!((done.epochs, done.best_epoch), (3, 3));
    for after in [1, 4, 5, 6, 11] {
        let folder = dir.path().join(format!("cut{after}"));
        let mut feed = Points::of(5, 4);
        let mut case = Case::new(&whole_feed);
        feed.stop = Some((after, Arc::clone(&case.stop), Arc::default()));
        case.feed = &feed;
        let stopped = case.run(&folder, false, &Alone).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Interrupted, "{stopped}");
        case.feed = &whole_feed;
        case.stop = Arc::default();
        assert_eq!(case.run(&folder, true, &Alone).unwrap(), done);
        let (want, got) = (files(&dir.path().join("whole")), files(&folder));
        assert_eq!(want.len(), got.len());
        for ((name, a), (other, b)) in want.iter().zip(&got) {
            assert_eq!(name, other);
            assert!(a == b, "{name} differs after a stop at batch {after}");
        }
    }
}

#[test]
fn other_settings_and_a_second_start_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Points::of(3, 2);
    let mut case = Case::new(&feed);
    case.run(dir.path(), false, &Alone).unwrap();
    let again = case.run(dir.path(), false, &Alone).unwrap_err().to_string();
    assert!(again.contains("--resume"), "{again}");
    case.config.learning_rate = 0.1;
    let other = case.run(dir.path(), true, &Alone).unwrap_err().to_string();
    assert!(other.contains("learning_rate: 0.05 -> 0.1"), "{other}");
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_keeps_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Points::of(4, 3);
    let mut case = Case::new(&feed);
    case.poison = Some(6);
    let e = case.run(dir.path(), false, &Alone).unwrap_err();
    assert!(e.to_string().contains("step 7") && e.to_string().contains("learning_rate"), "{e}");
    let kept = std::fs::File::open(dir.path().join("not-finite/batch-0-0.npz")).unwrap();
    let mut zip = zip::ZipArchive::new(kept).unwrap();
    let (header, _) = crate::train::data::npy::Header::read(&mut zip.by_name("labels.npy").unwrap()).unwrap();
    assert_eq!(header.shape, [3, 1, 2]);
    let net = network(&dir.path().join("not-finite/net-0.bpk"));
    assert!(net.slope().is_finite() && net.slope() != 0.0);
    // The run goes on from the last epoch once its cause is gone.
    case.poison = None;
    assert_eq!(case.run(dir.path(), true, &Alone).unwrap().epochs, 3);
}

#[test]
fn the_best_epoch_is_kept_and_patience_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Points::of(4, 3);
    let mut case = Case::new(&feed);
    case.config = LoopConfig { epochs: 9, patience: 2, average_decay: 0.0, ..case.config };
    case.scores = vec![0.1, 0.4, 0.3, 0.4, 0.9];
    let done = case.run(dir.path(), false, &Alone).unwrap();
    assert_eq!((done.epochs, done.best_epoch, done.best_score), (4, 2, Some(0.4)));
    let told =
        |epoch: usize| lines(dir.path()).iter().find(|l| l["epoch/slope"].is_f64() && l["epoch"] == epoch).cloned();
    let best = network(&dir.path().join(BEST));
    assert!((told(2).unwrap()["epoch/slope"].as_f64().unwrap() - f64::from(best.slope())).abs() < 1e-7);
    assert!(told(5).is_none());
}

#[test]
fn averaged_weights_are_what_is_judged_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Points::of(4, 3);
    let case = Case::new(&feed);
    case.run(dir.path(), false, &Alone).unwrap();
    let (best, last) = (network(&dir.path().join(BEST)), network(&dir.path().join("checkpoint/net.bpk")));
    assert!(best.slope() != last.slope() && best.slope() > 0.0 && best.slope() < last.slope());
}

/// Two processes as threads.
struct Half {
    rank: usize,
    table: Arc<(Mutex<[Vec<f32>; 2]>, Barrier)>,
}

impl Half {
    fn exchange(&self, own: &[f32]) -> [Vec<f32>; 2] {
        let (table, barrier) = &*self.table;
        table.lock().unwrap()[self.rank] = own.to_vec();
        barrier.wait();
        let all = table.lock().unwrap().clone();
        barrier.wait();
        all
    }
}

impl Ranks for Half {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        2
    }

    fn mean(&self, values: &mut [f32]) -> Result<()> {
        let [a, b] = self.exchange(values);
        values.iter_mut().enumerate().for_each(|(i, v)| *v = (a[i] + b[i]) / 2.0);
        Ok(())
    }

    fn of_first(&self, value: f64) -> Result<f64> {
        let bits = value.to_bits();
        let [first, _] = self.exchange(&[f32::from_bits((bits >> 32) as u32), f32::from_bits(bits as u32)]);
        Ok(f64::from_bits(u64::from(first[0].to_bits()) << 32 | u64::from(first[1].to_bits())))
    }
}

/// Trains in two threads; only the first writes into `folder`.
fn in_two(case: &Case, folder: &Path) {
    let table = Arc::new((Mutex::default(), Barrier::new(2)));
    let (config, feed, stop) = (&case.config, case.feed, &case.stop);
    std::thread::scope(|scope| {
        for rank in 0..2 {
            let table = Arc::clone(&table);
            scope.spawn(move || {
                let case = Case { config: config.clone(), feed, scores: vec![], poison: None, stop: Arc::clone(stop) };
                case.run(folder, false, &Half { rank, table }).unwrap();
            });
        }
    });
}

#[test]
fn two_processes_end_as_one_with_twice_the_micro_batches_or_twice_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Points::of(8, 3);
    let mut case = Case::new(&feed);
    in_two(&case, &dir.path().join("two"));
    let two = network(&dir.path().join("two/checkpoint/net.bpk"));
    // One process that takes the same micro-batches one after the other: the same bits.
    case.config.accumulate = 2;
    case.run(&dir.path().join("accumulated"), false, &Alone).unwrap();
    let accumulated = network(&dir.path().join("accumulated/checkpoint/net.bpk"));
    assert_eq!(two.slope().to_bits(), accumulated.slope().to_bits());
    // One process with batches of twice the size: the same up to rounding and the noise drawn per micro-batch.
    let doubled = Points::of(4, 6);
    let mut case = Case::new(&doubled);
    case.feed = &doubled;
    case.run(&dir.path().join("doubled"), false, &Alone).unwrap();
    let doubled = network(&dir.path().join("doubled/checkpoint/net.bpk"));
    assert!((two.slope() - doubled.slope()).abs() < 2e-3, "{} {}", two.slope(), doubled.slope());
    // Each process saw other points, and the running statistics are the mean of both.
    let mean = |net: &Line| net.norm.running_mean.value().into_scalar::<f32>();
    assert!(mean(&two) != 0.0 && mean(&two) != mean(&accumulated));
}
