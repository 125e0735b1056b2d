//! Faults on purpose: what cameras and files do on a bad day, by a plan that repeats.

use super::{FrameSource, Next, SourceInfo, SourceStats, Truth};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::render::Rng;
use std::time::Duration;

/// Which faults to make. Probabilities are for each frame, in [0, 1]; frames count from 0 as the inner source
/// delivers them. All off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Plan {
    /// The same seed makes the same faults.
    pub seed: u64,
    /// A frame is lost, and counted as dropped.
    pub drop: f64,
    /// A frame bears the stamp of the one before it.
    pub repeat_stamp: f64,
    /// All stamps from this frame on lie `jump_by` later.
    pub jump_stamp: f64,
    /// Length of a jump.
    pub jump_by: Duration,
    /// A frame's bytes are cut short, which no source may do: a reader must refuse such a frame.
    pub truncate: f64,
    /// This frame fails with a device error, and the stream is over.
    pub fail_at: Option<u64>,
    /// This frame times out, as a device error after no wait, and the stream is over.
    pub time_out_at: Option<u64>,
}

/// A source with faults. It keeps the contract of sources but for `truncate`.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    plan: Plan,
    rng: Rng,
    seen: u64,
    shift: Duration,
    last: Duration,
    stats: SourceStats,
    over: bool,
}

impl<S: FrameSource> Faulty<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, plan: Plan) -> Self {
        let stats = SourceStats::default();
        Self {
            inner,
            plan,
            rng: Rng::new(plan.seed, 0),
            seen: 0,
            shift: Duration::ZERO,
            last: Duration::ZERO,
            stats,
            over: false,
        }
    }

    fn fault(&mut self, at: u64) -> Option<Error> {
        let what = match at {
            n if self.plan.fail_at == Some(n) => "failed on purpose",
            n if self.plan.time_out_at == Some(n) => "timed out on purpose",
            _ => return None,
        };
        Some(Error::device(format!("frame {at} {what}")).at(&self.inner.info().name))
    }

    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        loop {
            if let Some(e) = self.fault(self.seen) {
                return Err(e);
            }
            if self.inner.next_frame(frame)? == Next::End {
                return Ok(Next::End);
            }
            self.seen += 1;
            let plan = self.plan;
            // Drawn whatever the plan says, so that faults do not move each other.
            let [lost, repeat, jump, cut] =
                [plan.drop, plan.repeat_stamp, plan.jump_stamp, plan.truncate].map(|p| self.rng.chance(p as f32));
            if jump {
                self.shift += plan.jump_by;
            }
            if lost {
                self.stats.dropped += 1;
                continue;
            }
            frame.time = if repeat { self.last } else { (frame.time + self.shift).max(self.last) };
            self.last = frame.time;
            if cut {
                frame.data.truncate(frame.data.len() / 2);
            }
            frame.index = self.stats.delivered;
            self.stats.delivered += 1;
            return Ok(Next::Frame);
        }
    }
}

impl<S: FrameSource> FrameSource for Faulty<S> {
    fn info(&self) -> &SourceInfo {
        self.inner.info()
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        if self.over {
            return Ok(Next::End);
        }
        let next = self.next(frame);
        self.over = !matches!(next, Ok(Next::Frame));
        next
    }

    fn stats(&self) -> SourceStats {
        let inner = self.inner.stats();
        SourceStats { delivered: self.stats.delivered, dropped: inner.dropped + self.stats.dropped, ..inner }
    }

    fn truth(&self) -> &[Truth] {
        self.inner.truth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::synthetic::Synthetic;
    use crate::capture::{check_contract, contract};

    fn faulty(plan: Plan) -> Faulty<Synthetic> {
        Faulty::new(Synthetic::parse("synthetic:seconds=10,fps=10,size=16x16,people=0").unwrap(), plan)
    }

    fn stamps(plan: Plan) -> Vec<u128> {
        check_contract(&mut faulty(plan)).iter().map(|f| f.time.as_millis()).collect()
    }

    #[test]
    fn an_empty_plan_changes_nothing() {
        assert_eq!(stamps(Plan::default()), (0..100).map(|i| 100 * i).collect::<Vec<_>>());
    }

    #[test]
    fn frames_are_lost_by_the_seed_and_counted() {
        let plan = Plan { seed: 3, drop: 0.3, ..Plan::default() };
        let mut source = faulty(plan);
        let n = check_contract(&mut source).len() as u64;
        assert!((55..85).contains(&n), "{n}");
        assert_eq!(source.stats(), SourceStats { delivered: n, dropped: 100 - n, ..SourceStats::default() });
        assert_eq!(stamps(plan), stamps(plan));
        assert_ne!(stamps(plan), stamps(Plan { seed: 4, ..plan }));
    }

    #[test]
    fn stamps_repeat_and_jump_but_never_fall() {
        let t = stamps(Plan { repeat_stamp: 0.3, ..Plan::default() });
        assert!(t.windows(2).filter(|w| w[0] == w[1]).count() > 10);
        let t = stamps(Plan { jump_stamp: 0.1, jump_by: Duration::from_secs(60), ..Plan::default() });
        assert!(t.windows(2).filter(|w| w[1] - w[0] == 60_100).count() > 3);
    }

    #[test]
    fn errors_come_at_their_frame_and_end_the_stream() {
        for (plan, want) in [
            (Plan { fail_at: Some(7), ..Plan::default() }, "frame 7 failed"),
            (Plan { time_out_at: Some(7), ..Plan::default() }, "frame 7 timed out"),
        ] {
            assert_eq!(stamps(plan).len(), 7);
            let (mut source, mut frame) = (faulty(plan), Frame::default());
            let error = loop {
                match source.next_frame(&mut frame) {
                    Ok(next) => assert_eq!(next, Next::Frame),
                    Err(e) => break e.to_string(),
                }
            };
            assert!(error.contains(want), "{error}");
            assert_eq!(source.next_frame(&mut frame).unwrap(), Next::End);
        }
    }

    #[test]
    fn truncated_pictures_are_what_the_contract_forbids() {
        let e = contract::check(&mut faulty(Plan { truncate: 0.2, ..Plan::default() }), 100).unwrap_err();
        assert!(e.to_string().contains("384 bytes, expected 768"), "{e}");
    }
}
