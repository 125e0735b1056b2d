//! The one error type: what went wrong, where, and what to do about it.

use std::fmt;

/// Result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class of thing failed. Callers branch on this, never on the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The command line or a setting does not make sense.
    Usage,
    /// A frame, video, picture or data set is missing, malformed or unreadable.
    Input,
    /// A model bundle is missing, damaged or inconsistent.
    Model,
    /// Well formed, but outside what this build can do.
    Unsupported,
    /// A camera, display or other device failed or timed out.
    Device,
    /// An external program or library is missing.
    Dependency,
    /// Reading or writing failed (disk full, closed pipe, permissions).
    Io,
    /// The user asked to stop.
    Interrupted,
}

/// An error with its place and remedy. Built as
/// `Error::input("no frame could be decoded").at(path).remedy("check that it is a video")`.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    place: Option<String>,
    remedy: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {$(
        #[doc = concat!("A new [`ErrorKind::", stringify!($kind), "`] error.")]
        pub fn $name(what: impl Into<String>) -> Self {
            Self::new(ErrorKind::$kind, what)
        }
    )*};
}

impl Error {
    /// A new error of `kind`; `what` states the failure in one clause, without a full stop.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), place: None, remedy: None, source: None }
    }

    constructors! {
        usage => Usage, input => Input, model => Model, unsupported => Unsupported,
        device => Device, dependency => Dependency, io => Io, interrupted => Interrupted,
    }

    /// Names the file, device, tensor or line concerned.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// Says what the user can do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Keeps the underlying error.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The class of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do, if known.
    pub fn remedy_text(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::io("input/output failed").caused_by(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_place_cause_and_remedy() {
        let e = Error::input("cannot decode").at("a.mp4").remedy("convert it").caused_by("bad magic");
        assert_eq!(e.to_string(), "a.mp4: cannot decode: bad magic (convert it)");
        assert_eq!(e.kind(), ErrorKind::Input);
    }
}
