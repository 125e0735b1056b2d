//! No output of `vaerr run` may be its input, or another of its outputs.

use super::outputs::OutputArgs;
use crate::capture::{path_of, pictures::is_still};
use crate::display;
use crate::error::{Error, Result};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A file by device and inode, whatever it is called.
type Id = (u64, u64);

/// Something that is there, and how the user named it.
#[derive(Debug, Clone, PartialEq)]
struct Named {
    id: Id,
    name: String,
}

impl Named {
    /// Files, folders and named pipes; a terminal or device may well be both read and written.
    fn of(meta: std::io::Result<Metadata>, name: impl Into<String>) -> Option<Self> {
        let meta = meta.ok()?;
        let kind = meta.file_type();
        let counts = kind.is_file() || kind.is_dir() || kind.is_fifo();
        counts.then(|| Self { id: (meta.dev(), meta.ino()), name: name.into() })
    }

    fn at(path: &Path, option: &str) -> Option<Self> {
        Self::of(path.metadata(), format!("{option} {}", path.display()))
    }

    /// An open file that is not a pipe, which may have the same inode at both of its ends.
    fn open(fd: impl AsFd, name: &str) -> Option<Self> {
        let meta = fd.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
        Self::of(meta.and_then(|m| if m.is_file() { Ok(m) } else { Err(std::io::ErrorKind::Other.into()) }), name)
    }
}

/// What is read: the file, or the folder and its pictures.
fn inputs(input: &OsStr) -> Vec<Named> {
    if input == "-" {
        return Named::open(std::io::stdin(), "--input -").into_iter().collect();
    }
    let path = path_of(input);
    let mut all: Vec<Named> = Named::at(path, "--input").into_iter().collect();
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
        all.extend(entries.filter(|p| is_still(p)).filter_map(|p| Named::at(&p, "--input")));
    }
    all
}

/// The pictures that a folder of annotated ones holds and that a run may replace.
fn pictures(folder: &Path) -> Vec<Named> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|e| {
        let name = e.file_name().to_string_lossy().into_owned();
        name.strip_suffix(".png").and_then(|n| n.parse().ok()).is_some_and(|n| display::picture_name(n) == name)
    });
    ours.filter_map(|e| Named::at(&e.path(), "--annotate")).collect()
}

/// Compares what is there before anything is opened.
///
/// # Errors
/// An output that is the input or another output, by whatever name or link.
pub fn check(input: &OsStr, args: &OutputArgs) -> Result<()> {
    let mut outputs: Vec<Vec<Named>> = Vec::new();
    outputs.push(args.out.iter().filter_map(|out| Named::at(out, "--out")).collect());
    let annotate = args.annotate.iter().filter_map(|path| Named::at(path, "--annotate"));
    outputs.push(annotate.chain(args.annotate.iter().flat_map(|path| pictures(path))).collect());
    if args.stdout() {
        outputs.push(Named::open(std::io::stdout(), "standard output").into_iter().collect());
    }
    let mut taken = inputs(input);
    for output in outputs {
        let same = output.iter().find_map(|o| Some((o, taken.iter().find(|t| t.id == o.id)?)));
        if let Some((output, other)) = same {
            let other = if other.name.starts_with("--input") {
                format!("the input, {}", other.name)
            } else {
                other.name.clone()
            };
            return Err(Error::usage(format!("is the same file or folder as {other}"))
                .at(&output.name)
                .remedy("write somewhere else; nothing was read or written"));
        }
        taken.extend(output);
    }
    Ok(())
}
