//! What lines are written to: a file, or a pipe, terminal or device that may stand still or go away.

use super::append::Resume;
use crate::error::{Error, Result};
use crate::stop::{Stop, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Bytes that a pipe takes as a whole or not at all; POSIX promises 512, Linux gives 4096.
const WHOLE_BYTES: usize = libc::PIPE_BUF;
/// How long a reader that stands still may take up again once someone asked to stop.
const GRACE: Duration = Duration::from_millis(250);
/// How long a named pipe may wait for its reader.
const READER_LIMIT: Duration = Duration::from_secs(10);

/// An open output. Of what cannot be written whole, no part of a line stays in a file.
#[derive(Debug)]
pub struct Outlet {
    file: File,
    name: String,
    regular: bool,
    /// What is to be done to the file before its first byte is written.
    resume: Option<Resume>,
    /// The file, if it is new and still empty: it goes with an outlet that wrote nothing.
    made: Option<PathBuf>,
    stop: Stop,
    /// Ends the thread that watches for the reader.
    _watched: Arc<()>,
}

fn options(append: bool) -> OpenOptions {
    let mut options = File::options();
    // A named pipe without a reader would otherwise be waited for within open(2).
    options.write(true).append(append).truncate(false).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

impl Outlet {
    /// Opens or makes a file, a named pipe or a device. What a file holds stays until the first line is written: then it
    /// is replaced, or gone on with as `resume` says.
    ///
    /// # Errors
    /// If it cannot be opened for writing; a named pipe that gets no reader within 10 s.
    pub fn open(path: &Path, resume: Option<Resume>, stop: &Stop) -> Result<Self> {
        let name = path.display().to_string();
        let refused = |e: io::Error| Error::io("cannot be written").at(&name).caused_by(e);
        let append = resume.is_some();
        let (file, made) = match options(append).create_new(true).open(path) {
            Ok(file) => (file, Some(path.to_owned())),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => (existing(path, append, stop)?, None),
            Err(e) => return Err(refused(e)),
        };
        let mut outlet = Self::of(file, name.clone(), stop).map_err(refused)?;
        (outlet.resume, outlet.made) = (Some(resume.unwrap_or_default()), made);
        Ok(outlet)
    }

    /// Standard output.
    ///
    /// # Errors
    /// If it is closed.
    pub fn stdout(stop: &Stop) -> Result<Self> {
        let own = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let kind = own.metadata()?.file_type();
        // Opened anew, a pipe or terminal can be told not to block without telling so those who share it.
        let anew = kind.is_fifo() || own.is_terminal();
        let file = if anew { options(false).open("/proc/self/fd/1").unwrap_or(own) } else { own };
        Ok(Self::of(file, "standard output".into(), stop)?)
    }

    fn of(file: File, name: String, stop: &Stop) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        let watched = Arc::new(());
        if kind.is_fifo() || kind.is_socket() || file.is_terminal() {
            let (file, watched, stop) = (file.try_clone()?, Arc::downgrade(&watched), stop.clone());
            std::thread::spawn(move || watch(&file, &watched, &stop));
        }
        let regular = kind.is_file();
        Ok(Self { file, name, regular, resume: None, made: None, stop: stop.clone(), _watched: watched })
    }

    /// What it is called in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes lines, of which the `i`th ends at `ends[i]`; gives how many are written whole, and what hindered the rest.
    ///
    /// A file gets all in one write(2), and no part of the line that no longer fits. A pipe gets as many at a time as it takes
    /// whole; a longer line is cut only there. [`ErrorKind::TimedOut`]: the reader stands still and someone asked to stop.
    pub fn put(&mut self, bytes: &[u8], ends: &[usize]) -> (usize, io::Result<()>) {
        let mut written = 0;
        let done = self.begin().and_then(|()| {
            while written < bytes.len() {
                let to = if self.regular { bytes.len() } else { portion(written, bytes.len(), ends) };
                match self.write(&bytes[written..to]) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(n) => written += n,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        });
        let whole = ends.partition_point(|end| *end <= written);
        let kept = whole.checked_sub(1).map_or(0, |last| ends[last]);
        if done.is_err() && self.regular && written > kept {
            self.take_back(written - kept);
        }
        (whole, done)
    }

    /// Makes the file ready for its first byte.
    pub fn begin(&mut self) -> io::Result<()> {
        if let Some(resume) = self.resume.take().filter(|_| self.regular) {
            resume.apply(&self.file, &self.name)?;
        }
        self.made = None;
        Ok(())
    }

    /// Cuts the last `bytes` off, if nobody has written behind them.
    fn take_back(&mut self, bytes: usize) {
        let mut cut = || {
            let end = self.file.stream_position()?;
            if self.file.metadata()?.len() == end {
                self.file.set_len(end - bytes as u64)?;
                self.file.seek(SeekFrom::Start(end - bytes as u64))?;
            }
            Ok::<_, io::Error>(())
        };
        if let Err(e) = cut() {
            log::warn!("{}: its last line is torn: {e}", self.name);
        }
    }
}

/// Where the next write to a pipe ends: with the last line that still fits.
fn portion(from: usize, len: usize, ends: &[usize]) -> usize {
    let most = len.min(from + WHOLE_BYTES);
    let fitting = ends.partition_point(|end| *end <= most);
    fitting.checked_sub(1).map(|last| ends[last]).filter(|end| *end > from).unwrap_or(most)
}

/// Opens what is there already.
fn existing(path: &Path, append: bool, stop: &Stop) -> Result<File> {
    let name = path.display();
    let fifo = path.metadata().is_ok_and(|m| m.file_type().is_fifo());
    let mut opened = None;
    let in_time = stop.wait(READER_LIMIT, Duration::ZERO, || match options(append).create(true).open(path) {
        Err(e) if fifo && e.raw_os_error() == Some(libc::ENXIO) => {
            std::thread::sleep(crate::stop::LOOK_EVERY);
            Ok(false)
        }
        Err(e) => Err(Error::io("cannot be written").at(name.to_string()).caused_by(e)),
        Ok(file) => {
            opened = Some(file);
            Ok(true)
        }
    })?;
    match opened {
        Some(file) if in_time => Ok(file),
        _ if stop.asked() => Err(Error::interrupted("nobody reads the named pipe").at(name)),
        _ => Err(Error::io(format!("nobody reads the named pipe for {} s", READER_LIMIT.as_secs()))
            .at(name)
            .remedy("start its reader first")),
    }
}

/// Asks to stop as soon as the reader of a pipe or the terminal is gone, even while there is nothing to write.
fn watch(file: &File, watched: &Weak<()>, stop: &Stop) {
    while watched.strong_count() > 0 {
        match poll(file.as_fd(), 0) {
            Ok(0) => {}
            Ok(_) => return stop.ask(),
            Err(e) => return log::debug!("the reader is not watched for: {e}"),
        }
    }
}

impl Write for Outlet {
    /// Waits for as long as a reader stands still, but not past a wish to stop.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.regular {
            return self.file.write(bytes);
        }
        let Self { file, stop, .. } = self;
        let bytes = &bytes[..bytes.len().min(WHOLE_BYTES)];
        let mut written = None;
        stop.wait(Duration::MAX, GRACE, || {
            if poll(file.as_fd(), libc::POLLOUT)? == 0 {
                return Ok(false);
            }
            match file.write(bytes) {
                // Another writer to the same pipe was quicker.
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(5)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                done => written = Some(done?),
            }
            Ok::<_, io::Error>(written.is_some())
        })?;
        written.ok_or_else(|| io::Error::new(ErrorKind::TimedOut, "the reader stands still"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(path) = &self.made
            && let Err(e) = std::fs::remove_file(path)
        {
            log::debug!("{}: {e}", path.display());
        }
    }
}
