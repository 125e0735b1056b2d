//! Layer 3: where readings go.

mod append;
mod csv;
mod file;
mod outlet;
mod terminal;

pub use file::{Format, JsonLines, Lines, format, open};
pub use outlet::Outlet;
pub use terminal::{Live, can_draw};

use crate::error::Result;
use crate::spec::Reading;

/// Takes readings one by one.
pub trait Sink {
    /// Takes one reading.
    ///
    /// # Errors
    /// A full disk or another failure to write ([`crate::ErrorKind::Io`]); a reader that went away, or that stands still
    /// after someone asked to stop ([`crate::ErrorKind::Interrupted`]).
    fn write(&mut self, reading: &Reading) -> Result<()>;

    /// Says that the readings of a frame are complete; they are handed on at once, in whole lines.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn frame_done(&mut self) -> Result<()> {
        Ok(())
    }

    /// Says that the stream came to its end by itself: without a reading, the output is one of none.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn ended(&mut self) -> Result<()> {
        Ok(())
    }

    /// Writes out what is buffered; called once, also after a failure or an interrupt.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn finish(&mut self) -> Result<()>;
}
