//! Layer 4: the on-device benchmark: engines side by side in one run, in interleaved rounds, so that what disturbs one
//! disturbs all; ratios are taken within a round.

mod stats;

pub use stats::{Percentiles, Spread};

use crate::engine::{ENGINES, Engine, Stream};
use crate::error::{Error, Result};
use crate::model::{Bundle, Precision};
use crate::spec::{HEADS, StudentSpec};
use std::time::Instant;

/// What to run and how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Engines by name; empty for all that can run.
    pub engines: Vec<String>,
    /// Streams a step.
    pub batch: usize,
    /// Rounds; every round runs every engine once.
    pub rounds: usize,
    /// Least time an engine runs in a round, in microseconds.
    pub round_us: f64,
}

/// One engine's figures. A step is one call with [`Plan::batch`] streams.
#[derive(Debug, Clone)]
pub struct Row {
    pub engine: &'static str,
    pub precision: Precision,
    /// Time of a step in microseconds.
    pub step_us: Percentiles,
    /// This engine's median over the first engine's, a round at a time.
    pub ratio: Spread,
}

/// Engines left out, each with the reason.
pub type Skipped = Vec<(&'static str, String)>;

/// The table, and the engines left out with the reason.
#[derive(Debug, Clone)]
pub struct Report {
    pub rows: Vec<Row>,
    pub skipped: Skipped,
}

struct Contender {
    engine: Box<dyn Engine>,
    steps_us: Vec<f64>,
    medians_us: Vec<f64>,
    hidden: Vec<f32>,
    steps_a_round: usize,
}

/// Crops of moving noise over a gradient: dense enough that no kernel could take a short cut.
fn rings(spec: &StudentSpec, n: usize) -> Vec<Vec<u8>> {
    let len = spec.ring * spec.size_px * spec.size_px;
    let pixel = |i: usize, k: usize| (i.wrapping_mul(2_654_435_761).wrapping_add(k * 40_503) >> 7) as u8 / 2;
    (0..n).map(|k| (0..len).map(|i| pixel(i, k) + (i % spec.size_px) as u8 / 2).collect()).collect()
}

impl Contender {
    fn new(engine: Box<dyn Engine>, spec: &StudentSpec, batch: usize) -> Self {
        let hidden = vec![0.0; spec.hidden * batch];
        Self { engine, steps_us: Vec::new(), medians_us: Vec::new(), hidden, steps_a_round: 1 }
    }

    /// One timed step, in microseconds.
    fn step(&mut self, ring: &[u8], logits: &mut [[f32; HEADS]]) -> Result<f64> {
        let units = self.hidden.len() / logits.len();
        let states = self.hidden.chunks_exact_mut(units);
        let mut streams: Vec<Stream<'_>> =
            states.zip(logits.iter_mut()).map(|(hidden, logits)| Stream { ring, hidden, logits }).collect();
        let start = Instant::now();
        match streams.as_mut_slice() {
            [one] => self.engine.step(one.ring, one.hidden, one.logits)?,
            many => self.engine.step_batch(many)?,
        }
        Ok(start.elapsed().as_nanos() as f64 / 1e3)
    }

    /// Warms up and finds how many steps fill a round.
    fn settle(&mut self, ring: &[u8], logits: &mut [[f32; HEADS]], round_us: f64) -> Result<()> {
        let mut best = f64::MAX;
        for _ in 0..3 {
            best = best.min(self.step(ring, logits)?);
        }
        self.steps_a_round = ((round_us / best.max(0.1)).ceil() as usize).clamp(1, 100_000);
        Ok(())
    }

    fn round(&mut self, rings: &[Vec<u8>], logits: &mut [[f32; HEADS]]) -> Result<()> {
        let from = self.steps_us.len();
        for i in 0..self.steps_a_round {
            let took = self.step(&rings[i % rings.len()], logits)?;
            self.steps_us.push(took);
        }
        self.medians_us.push(Percentiles::of(&self.steps_us[from..]).p50);
        Ok(())
    }
}

/// Opens the engines that the plan names, or all that can run.
fn contenders(bundle: &Bundle, plan: &Plan) -> Result<(Vec<Contender>, Skipped)> {
    if let Some(unknown) = plan.engines.iter().find(|n| ENGINES.iter().all(|e| e.name != n.as_str())) {
        return Err(Error::usage(format!("there is no engine named {unknown:?}"))
            .remedy(format!("engines: {}", ENGINES.iter().map(|e| e.name).collect::<Vec<_>>().join(", "))));
    }
    let (mut all, mut skipped) = (Vec::new(), Vec::new());
    let wanted = |name: &str| plan.engines.is_empty() || plan.engines.iter().any(|n| n == name);
    for entry in ENGINES.iter().filter(|e| wanted(e.name)) {
        match entry.open_on(bundle, None) {
            Ok(engine) => all.push(Contender::new(engine, &bundle.manifest().student, plan.batch)),
            Err(e) if plan.engines.is_empty() => skipped.push((entry.name, e.to_string())),
            Err(e) => return Err(e.at(format!("engine {}", entry.name))),
        }
    }
    Ok((all, skipped))
}

/// Runs the plan; `progress` is told after each round how many are done, and stops the run by giving false.
///
/// # Errors
/// An unknown engine, a named engine that cannot run, or one that fails in mid-run.
pub fn run(bundle: &Bundle, plan: &Plan, mut progress: impl FnMut(usize) -> bool) -> Result<Report> {
    if plan.batch == 0 || plan.rounds == 0 {
        return Err(Error::usage("a benchmark needs at least one stream and one round"));
    }
    let (mut all, skipped) = contenders(bundle, plan)?;
    let rings = rings(&bundle.manifest().student, 16);
    let mut logits = vec![[0.0; HEADS]; plan.batch];
    for c in &mut all {
        c.settle(&rings[0], &mut logits, plan.round_us)?;
    }
    for done in 1..=plan.rounds {
        for c in &mut all {
            c.round(&rings, &mut logits)?;
        }
        if !progress(done) {
            break;
        }
    }
    let first = all.first().map(|c| c.medians_us.clone()).unwrap_or_default();
    let row = |c: &Contender| Row {
        engine: c.engine.name(),
        precision: c.engine.precision(),
        step_us: Percentiles::of(&c.steps_us),
        ratio: Spread::of(&c.medians_us.iter().zip(&first).map(|(a, b)| a / b).collect::<Vec<_>>()),
    };
    Ok(Report { rows: all.iter().map(row).collect(), skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(engines: &[&str], rounds: usize) -> Plan {
        Plan { engines: engines.iter().map(|s| (*s).to_owned()).collect(), batch: 1, rounds, round_us: 1.0 }
    }

    #[test]
    fn every_round_runs_every_engine_and_the_first_is_the_yardstick() {
        let bundle = Bundle::shipped().unwrap();
        let mut rounds = Vec::new();
        let report = run(&bundle, &plan(&["reference"], 2), |n| {
            rounds.push(n);
            true
        })
        .unwrap();
        assert_eq!(rounds, [1, 2]);
        let row = &report.rows[0];
        assert_eq!((row.engine, row.precision), ("reference", Precision::Int8));
        assert!(row.step_us.p50 > 1.0 && row.step_us.p50 <= row.step_us.p99);
        assert_eq!((row.ratio.median, row.ratio.low, row.ratio.high), (1.0, 1.0, 1.0));
    }

    #[test]
    fn a_run_stops_when_told_and_keeps_what_it_has() {
        let mut plan = plan(&["reference"], 1000);
        plan.batch = 2;
        let report = run(&Bundle::shipped().unwrap(), &plan, |_| false).unwrap();
        assert_eq!(report.rows.len(), 1);
    }

    #[test]
    fn an_unknown_engine_is_named_with_those_there_are() {
        let e = run(&Bundle::shipped().unwrap(), &plan(&["warp"], 1), |_| true).unwrap_err().to_string();
        assert!(e.contains("warp") && e.contains("reference"), "{e}");
    }
}
