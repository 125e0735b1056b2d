//! Layer 3: where readings go.

mod file;
mod terminal;

pub use file::{Csv, JsonLines, Lines, open};
pub use terminal::{Live, can_draw};

use crate::error::Result;
use crate::spec::Reading;

/// Takes readings one by one.
pub trait Sink {
    /// Writes one reading.
    ///
    /// # Errors
    /// A full disk or another failure to write ([`crate::ErrorKind::Io`]); a reader that went away
    /// ([`crate::ErrorKind::Interrupted`]).
    fn write(&mut self, reading: &Reading) -> Result<()>;

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn finish(&mut self) -> Result<()>;
}
