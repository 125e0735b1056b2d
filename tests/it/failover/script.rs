//! An engine that computes as the reference does and fails where a script says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use vaerr::engine::{Engine, FaceStep, FramePath, Stream, reference::Reference};
use vaerr::frame::Gray;
use vaerr::model::{Precision, Student};
use vaerr::preprocess::{Cropper, Ring};
use vaerr::session::failover::Candidate;
use vaerr::spec::{CropRule, HEADS};
use vaerr::{Error, ErrorKind, Result};

/// What goes wrong in a call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It fails before it touches anything.
    Fail(ErrorKind),
    /// It steps this many streams, spoils the states of the others, and on a frame path all rings, and fails.
    Spoil(usize),
    /// It says that all is well, and gives what is no number.
    NotANumber,
}

/// How an opening ends.
#[derive(Debug, Clone, Copy)]
pub enum Opening {
    Good,
    Fail(ErrorKind),
    Panic,
    /// When [`Script::release`] is called.
    Hang,
}

/// What an engine does in all its lives; calls and openings are counted from 0 over all of them. Made from
/// [`Script::sound`]; the fields after `hangs_closing` are its own.
pub struct Script {
    pub name: &'static str,
    pub student: Student,
    pub on_device: bool,
    /// It cuts crops itself and keeps rings and states by the names of streams.
    pub frame_path: bool,
    pub at_call: Box<dyn Fn(u64) -> Option<Fault> + Send + Sync>,
    pub at_open: Box<dyn Fn(u64) -> Opening + Send + Sync>,
    /// Its closing hangs until [`Script::release`].
    pub hangs_closing: bool,
    pub calls: AtomicU64,
    pub opens: AtomicU64,
    pub alive: AtomicI64,
    pub gate: (Mutex<bool>, Condvar),
}

impl Script {
    /// One without faults.
    pub fn sound(name: &'static str, student: &Student) -> Self {
        Self {
            name,
            student: student.clone(),
            on_device: false,
            frame_path: false,
            at_call: Box::new(|_| None),
            at_open: Box::new(|_| Opening::Good),
            hangs_closing: false,
            calls: AtomicU64::new(0),
            opens: AtomicU64::new(0),
            alive: AtomicI64::new(0),
            gate: (Mutex::new(false), Condvar::new()),
        }
    }

    pub fn candidate(self: &Arc<Self>) -> Candidate {
        let script = Arc::clone(self);
        Candidate { name: self.name, open: Arc::new(move || script.open()) }
    }

    pub fn open(self: &Arc<Self>) -> Result<Box<dyn Engine>> {
        match (self.at_open)(self.opens.fetch_add(1, SeqCst)) {
            Opening::Good => {}
            Opening::Fail(kind) => return Err(Error::new(kind, "will not open")),
            Opening::Panic => panic!("on purpose"),
            Opening::Hang => self.wait(),
        }
        self.alive.fetch_add(1, SeqCst);
        let inner = Reference::open(&self.student)?;
        Ok(Box::new(Scripted { script: Arc::clone(self), inner, device: HashMap::new() }))
    }

    fn wait(&self) {
        let held = self.gate.1.wait_while(self.gate.0.lock().unwrap(), |open| !*open).unwrap();
        drop(held);
    }

    /// Lets everything go on that hangs.
    pub fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    pub fn opens(&self) -> u64 {
        self.opens.load(SeqCst)
    }

    /// Engines opened and not dropped yet.
    pub fn alive(&self) -> i64 {
        self.alive.load(SeqCst)
    }
}

struct Scripted {
    script: Arc<Script>,
    inner: Reference,
    /// Rings and states by the names of streams, believed once they are here.
    device: HashMap<u64, (Ring, Vec<f32>)>,
}

impl Scripted {
    fn fault(&mut self) -> Option<Fault> {
        (self.script.at_call)(self.script.calls.fetch_add(1, SeqCst))
    }

    fn crops_of(&mut self, picture: &Gray, rule: &CropRule, face: &mut FaceStep<'_>) -> Result<()> {
        let (ring, hidden) =
            self.device.entry(face.stream).or_insert_with(|| (face.ring.clone(), face.hidden.to_vec()));
        let mut cropper = Cropper::for_rule(rule);
        for ring in [&mut *ring, &mut *face.ring] {
            ring.push(|out| cropper.level_into(picture, face.crop, face.roll_rad, out));
        }
        self.inner.step(ring.bytes(), hidden, face.logits)?;
        face.hidden.copy_from_slice(hidden);
        Ok(())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if self.script.hangs_closing {
            self.script.wait();
        }
        self.script.alive.fetch_sub(1, SeqCst);
    }
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "failed on purpose")
}

impl Engine for Scripted {
    fn name(&self) -> &'static str {
        self.script.name
    }

    fn precision(&self) -> Precision {
        self.inner.precision()
    }

    fn on_device(&self) -> bool {
        self.script.on_device
    }

    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()> {
        self.step_batch(&mut [Stream { ring, hidden, logits }])
    }

    fn step_batch(&mut self, streams: &mut [Stream<'_>]) -> Result<()> {
        let fault = self.fault();
        let sound = match fault {
            Some(Fault::Fail(kind)) => return Err(failure(kind)),
            Some(Fault::Spoil(n)) => n.min(streams.len()),
            _ => streams.len(),
        };
        for s in &mut streams[..sound] {
            self.inner.step(s.ring, s.hidden, s.logits)?;
        }
        match fault {
            Some(Fault::NotANumber) => streams[0].hidden[0] = f32::NAN,
            Some(_) => {
                streams[sound..].iter_mut().for_each(|s| s.hidden.fill(9.0));
                return Err(failure(ErrorKind::Device));
            }
            None => {}
        }
        Ok(())
    }

    fn frame_path(&mut self) -> Option<&mut dyn FramePath> {
        if self.script.frame_path { Some(self) } else { None }
    }
}

impl FramePath for Scripted {
    fn step_faces(&mut self, picture: &Gray, rule: &CropRule, faces: &mut [FaceStep<'_>]) -> Result<()> {
        let fault = self.fault();
        let sound = match fault {
            Some(Fault::Fail(kind)) => return Err(failure(kind)),
            Some(Fault::Spoil(n)) => n.min(faces.len()),
            _ => faces.len(),
        };
        for face in &mut faces[..sound] {
            self.crops_of(picture, rule, face)?;
        }
        match fault {
            Some(Fault::NotANumber) => faces[0].logits[0] = f32::INFINITY,
            Some(_) => {
                for face in faces {
                    face.hidden.fill(9.0);
                    (0..2).for_each(|_| face.ring.push(|crop| crop.fill(9)));
                }
                return Err(failure(ErrorKind::Device));
            }
            None => {}
        }
        Ok(())
    }
}
