//! Faces in pictures that change from frame to frame, and what the reference alone reads of them.

use std::cell::RefCell;
use std::time::{Duration, Instant};
use vaerr::engine::reference::Reference;
use vaerr::face::TrackedFace;
use vaerr::frame::Gray;
use vaerr::model::Student;
use vaerr::session::{Estimate, Failover, Session};
use vaerr::spec::{ConvSpec, CropRule, StudentSpec};

pub fn student() -> Student {
    let conv = ConvSpec { out: 4, kernel: 3, stride: 2 };
    let spec = StudentSpec { convs: vec![conv, conv], ..crate::students::odd_spec(3, 17, 2) };
    crate::students::int8(&spec, 11)
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A frame's time and how many faces it shows.
pub type Moment = (Duration, usize);

/// `n` moments with `faces` faces, `step_ms` apart.
pub fn steady(n: u64, faces: usize, step_ms: u64) -> Vec<Moment> {
    (0..n).map(|i| (ms(step_ms * i), faces)).collect()
}

fn picture(frame: usize) -> Gray {
    let (width, height) = (64, 48);
    let at = |i: usize| (i * 7 + (i / width) * (frame + 3) + frame * 31) % 251;
    Gray { width, height, data: (0..width * height).map(|i| at(i) as u8).collect() }
}

fn face(frame: usize, k: usize) -> TrackedFace {
    let (i, k) = (frame as f32, k as f32);
    TrackedFace {
        id: 1 + k as u32,
        square: [3.0 + 17.0 * k + 0.3 * i % 5.0, 4.0 + 2.0 * k, 20.0 + 3.5 * (i + k) % 7.0],
        roll_rad: 0.2 * k,
    }
}

/// All that is read of a face, to the bit.
pub type Bits = [u32; 7];

fn bits(e: &Estimate) -> Bits {
    let [[a, b], [c, d]] = e.interval;
    [e.values[0], e.values[1], e.confidence, a, b, c, d].map(f32::to_bits)
}

pub fn sessions(student: &Student, n: usize) -> Vec<Session> {
    let rule = CropRule { size_px: student.spec.size_px, detail_px: 12, ..CropRule::FERPLUS };
    (0..n).map(|_| Session::new(&student.spec, rule, true)).collect()
}

/// Each face on its own, one crop at a time, on the reference engine.
pub fn by_reference(student: &Student, moments: &[Moment]) -> Vec<Vec<Bits>> {
    let mut engine = Reference::open(student).unwrap();
    let mut sessions = sessions(student, moments.iter().map(|m| m.1).max().unwrap_or(0));
    let mut read = |(i, &(time, n)): (usize, &Moment)| {
        let one = |(k, s): (usize, &mut Session)| {
            bits(&s.step(&mut engine, &picture(i), face(i, k).square, face(i, k).roll_rad, time).unwrap())
        };
        sessions[..n].iter_mut().enumerate().map(one).collect()
    };
    moments.iter().enumerate().map(&mut read).collect()
}

/// The same through a [`Failover`], frame by frame.
pub struct Run {
    pub failover: Failover,
    sessions: Vec<Session>,
    frame: usize,
}

impl Run {
    pub fn new(student: &Student, failover: Failover) -> Self {
        Self { failover, sessions: sessions(student, 3), frame: 0 }
    }

    /// The next frame, or the same once more after an error.
    pub fn step(&mut self, (time, n): Moment) -> vaerr::Result<(&'static str, Vec<Bits>)> {
        let faces: Vec<_> = (0..n).map(|k| face(self.frame, k)).collect();
        let done = self.failover.step(&picture(self.frame), &faces, &mut self.sessions[..n], time)?;
        self.frame += 1;
        Ok((done.engine, done.estimates.iter().map(bits).collect()))
    }

    /// The next frame's first face by its crop, on a reference engine of its own.
    pub fn step_one(&mut self, (time, _): Moment) -> Vec<Bits> {
        let mut engine = Reference::open(&student()).unwrap();
        let (picture, face) = (picture(self.frame), face(self.frame, 0));
        self.frame += 1;
        vec![bits(&self.sessions[0].step(&mut engine, &picture, face.square, face.roll_rad, time).unwrap())]
    }

    /// Reads every moment, lets background work end after each, and checks each frame against the reference; gives the
    /// engine of each.
    pub fn check(&mut self, student: &Student, moments: &[Moment]) -> Vec<&'static str> {
        let check = |(&moment, want): (&Moment, &Vec<Bits>)| {
            let (engine, found) = self.step(moment).unwrap();
            assert_eq!(&found, want, "frame {}", self.frame - 1);
            settle(&self.failover);
            engine
        };
        moments.iter().zip(&by_reference(student, moments)).map(check).collect()
    }
}

/// Waits until `done`, and fails after half a minute.
pub fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} never came");
        std::thread::sleep(Duration::from_micros(50));
    }
}

pub fn settle(failover: &Failover) {
    wait_for("an end of background work", || !failover.busy());
}

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each thread logs.
struct Keep;

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|l| l.push(format!("{} {}", record.level(), record.args())));
    }
    fn flush(&self) {}
}

/// What `work` logs on this thread.
pub fn logged(work: impl FnOnce()) -> Vec<String> {
    static KEEP: Keep = Keep;
    // Another test may have been first.
    let _ = log::set_logger(&KEEP);
    log::set_max_level(log::LevelFilter::Info);
    LINES.take();
    work();
    LINES.take()
}
