//! One engine that a stream may run on: how it is opened, whether it stands ready, when it is tried again.

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Precision;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Stream time from a first failure to the next attempt.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Each further wait is twice the one before, but no longer than this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Frames after which an engine counts as sound, so that the next failure is a first one again.
pub const SETTLED_FRAMES: u32 = 250;

/// Opens an engine, on any thread, as often as it is called.
pub type Opener = Arc<dyn Fn() -> Result<Box<dyn Engine>> + Send + Sync>;

/// Where an engine stands.
enum State {
    Untried,
    Ready(Box<dyn Engine>),
    /// Not to be opened in the background before this stream time.
    Down(Duration),
    Opening(Opening),
    /// It can never run this student here.
    Refused,
}

/// An engine that another thread is opening.
struct Opening {
    found: Receiver<Result<Box<dyn Engine>>>,
    thread: JoinHandle<()>,
}

/// What [`Slot::poll`] found.
pub(super) enum Polled {
    /// Nothing new.
    Same,
    /// A thread was started that opens it.
    Started,
    /// It stands ready again.
    Ready,
    /// It could not be opened.
    Refused(Error),
}

/// An engine of the list and its state.
pub(super) struct Slot {
    pub name: &'static str,
    /// `None` for an engine that was handed over open and is never opened again.
    open: Option<Opener>,
    state: State,
    wait: Duration,
    steady: u32,
    /// The thread that drops the engine that failed, for a lost device may take its time.
    closing: Option<JoinHandle<()>>,
    /// Failed or refused in the frame at hand.
    pub tried: bool,
}

impl Slot {
    pub fn closed(name: &'static str, open: Opener) -> Self {
        Self { open: Some(open), ..Self::with(name, State::Untried) }
    }

    pub fn handed_over(engine: Box<dyn Engine>) -> Self {
        Self::with(engine.name(), State::Ready(engine))
    }

    fn with(name: &'static str, state: State) -> Self {
        Self { name, open: None, state, wait: FIRST_WAIT, steady: 0, closing: None, tried: false }
    }

    pub fn engine(&mut self) -> Option<&mut (dyn Engine + 'static)> {
        match &mut self.state {
            State::Ready(engine) => Some(engine.as_mut()),
            _ => None,
        }
    }

    pub fn precision(&self) -> Option<Precision> {
        match &self.state {
            State::Ready(engine) => Some(engine.precision()),
            _ => None,
        }
    }

    /// Whether the next step may be its: it stands ready or was never tried.
    pub fn fresh(&self) -> bool {
        !self.tried && matches!(self.state, State::Ready(_) | State::Untried)
    }

    /// Whether it can be tried again at once if there is no other.
    pub fn revivable(&self) -> bool {
        let let_go = self.closing.as_ref().is_none_or(JoinHandle::is_finished);
        !self.tried && let_go && matches!(self.state, State::Down(_))
    }

    /// Whether a thread is at work on it.
    pub fn busy(&self) -> bool {
        let opening = matches!(&self.state, State::Opening(o) if !o.thread.is_finished());
        opening || self.closing.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Opens it on this thread, if it does not stand ready.
    pub fn open_now(&mut self, time: Duration) -> Result<()> {
        let (false, Some(open)) = (matches!(self.state, State::Ready(_)), &self.open) else { return Ok(()) };
        match open() {
            Ok(engine) => self.state = State::Ready(engine),
            Err(e) => {
                self.tried = true;
                let passing = matches!(e.kind(), ErrorKind::Device | ErrorKind::Io);
                let ran_before = !matches!(self.state, State::Untried);
                self.state = if passing || ran_before { State::Down(self.next_try(time)) } else { State::Refused };
                return Err(e);
            }
        }
        Ok(())
    }

    /// It stepped a frame.
    pub fn succeeded(&mut self) {
        self.steady = self.steady.saturating_add(1);
        if self.steady == SETTLED_FRAMES {
            self.wait = FIRST_WAIT;
        }
    }

    /// It failed on a frame and is closed, unless nothing could open it again.
    pub fn failed(&mut self, time: Duration) {
        self.tried = true;
        self.steady = 0;
        if self.open.is_none() {
            return;
        }
        let down = State::Down(self.next_try(time));
        if let State::Ready(engine) = std::mem::replace(&mut self.state, down) {
            // If there is no thread to be had, it is dropped here.
            self.closing = Builder::new().name(format!("close {}", self.name)).spawn(move || drop(engine)).ok();
        }
    }

    /// The stream time of the next attempt, the wait doubled for the one after.
    fn next_try(&mut self, time: Duration) -> Duration {
        let at = time.saturating_add(self.wait);
        self.wait = (2 * self.wait).min(LONGEST_WAIT);
        at
    }

    /// Opens it in the background once its time has come; never waits.
    pub fn poll(&mut self, time: Duration) -> Polled {
        match &self.state {
            State::Down(until) if time >= *until => self.open_behind(time),
            State::Opening(opening) => match opening.found.try_recv() {
                Ok(Ok(engine)) => {
                    self.state = State::Ready(engine);
                    Polled::Ready
                }
                Ok(Err(e)) => self.refuse(time, e),
                Err(TryRecvError::Empty) => Polled::Same,
                Err(TryRecvError::Disconnected) => self.refuse(time, Error::device("opening it ended in a panic")),
            },
            _ => Polled::Same,
        }
    }

    fn refuse(&mut self, time: Duration, e: Error) -> Polled {
        self.state = State::Down(self.next_try(time));
        Polled::Refused(e)
    }

    fn open_behind(&mut self, time: Duration) -> Polled {
        let Some(open) = self.open.clone() else { return Polled::Same };
        let closing = self.closing.take();
        let (send, found) = sync_channel(1);
        let work = move || {
            // A device is let go before it is taken again.
            if let Some(thread) = closing {
                drop(thread.join());
            }
            // If nobody waits any more, the engine is dropped here.
            drop(send.send(open()));
        };
        match Builder::new().name(format!("open {}", self.name)).spawn(work) {
            Ok(thread) => {
                self.state = State::Opening(Opening { found, thread });
                Polled::Started
            }
            Err(e) => self.refuse(time, Error::device("no thread could be started to open it").caused_by(e)),
        }
    }
}
