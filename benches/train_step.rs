//! Training steps of the full model behind a line protocol, for `benches/train_step.py`: one command a line, one answer a line.
//! Started as `train_step serve`; does nothing without it, as under `cargo bench`. Threads are set by RAYON_NUM_THREADS.
//!
//! | command | answer |
//! |---|---|
//! | `net WIDTH HIDDEN SIZE CLIPS FRAMES` | makes the network and a batch of noise |
//! | `step K` | nanoseconds of each of K steps: forward, backward, AdamW |
//! | `peak` | most memory that the process ever held, in bytes |

use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use std::io::{BufRead, Write};
use std::time::Instant;
use vaerr::error::{Error, Result};
use vaerr::render::Rng;
use vaerr::train::full::{FullNet, FullSpec};

struct Training {
    net: FullNet,
    optimizer: ModuleOptimizer,
    clips: Tensor<4>,
}

impl Training {
    fn new(spec: &FullSpec, clips: usize, frames: usize) -> Result<Self> {
        let device = Device::flex().autodiff();
        let mut rng = Rng::new(1, 1);
        let shape = [clips, frames, spec.size_px, spec.size_px];
        let noise: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Ok(Self {
            net: FullNet::new(spec, 1, &device)?,
            optimizer: AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(1e-2).init(),
            clips: Tensor::from_data(TensorData::new(noise, shape), &device),
        })
    }

    fn step(mut self) -> Self {
        let loss = self.net.forward(self.clips.clone()).powi_scalar(2).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &self.net);
        self.net = self.optimizer.step(3e-4, self.net, gradients);
        self
    }
}

fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|k| k * 1024).ok_or_else(|| Error::unsupported("the system does not tell the peak of memory"))
}

fn answer(line: &str, training: &mut Option<Training>) -> Result<String> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let numbers: Vec<usize> = rest.split(' ').filter_map(|w| w.parse().ok()).collect();
    match (command, numbers.as_slice(), training) {
        ("net", &[width, hidden, size_px, clips, frames], training) => {
            let spec = FullSpec { width, hidden, size_px, layers: 2 };
            *training = Some(Training::new(&spec, clips, frames)?);
            Ok(String::new())
        }
        ("step", &[count], slot) => {
            let mut each = Vec::new();
            for _ in 0..count {
                let from = Instant::now();
                *slot = Some(slot.take().ok_or_else(|| Error::usage("`net` comes first"))?.step());
                each.push(from.elapsed().as_nanos().to_string());
            }
            Ok(each.join(" "))
        }
        ("peak", [], _) => Ok(peak_bytes()?.to_string()),
        _ => Err(Error::usage(format!("{line:?} is no command"))),
    }
}

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() != Some("serve") {
        return Ok(());
    }
    let mut training = None;
    for line in std::io::stdin().lock().lines() {
        let text = match answer(&line?, &mut training) {
            Ok(text) => format!("ok {text}"),
            Err(e) => format!("error {e}"),
        };
        writeln!(std::io::stdout(), "{text}")?;
    }
    Ok(())
}
