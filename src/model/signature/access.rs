//! Who else could change a file of trust.

use crate::error::{Error, Result};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, absolute};

const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
/// In a folder with this bit, as `/tmp`, an account exchanges its own files alone.
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// Refuses a file that every account of the machine could change, by itself or by its place: the file, the folder of its name, and all
/// folders above what the name leads to. Where a group other than root's could, that is warned of.
///
/// # Errors
/// Names the file or folder. A file that is not there is left to whoever reads it.
pub(super) fn ensure_guarded(path: &Path) -> Result<()> {
    let whole = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_owned());
    let led_to = path.canonicalize().unwrap_or_else(|_| whole(path));
    let named = whole(path);
    let folders = named.parent().into_iter().chain(led_to.ancestors().skip(1));
    for part in [led_to.as_path()].into_iter().chain(folders) {
        if let Ok(found) = part.metadata() {
            ensure_kept(part, &found)?;
        }
    }
    Ok(())
}

fn ensure_kept(part: &Path, found: &Metadata) -> Result<()> {
    let what = if found.is_dir() { "a folder in which" } else { "a file that" };
    let sticky = found.is_dir() && found.mode() & STICKY != 0;
    if found.mode() & ALL_WRITE != 0 && !sticky && !is_device(found) {
        return Err(Error::usage(format!("is {what} every account could change who is trusted"))
            .at(part.display())
            .remedy(format!("chmod o-w {}", part.display())));
    }
    if found.mode() & GROUP_WRITES != 0 && found.gid() != ROOT && !sticky {
        log::warn!("{}: is {what} the group {} could change who is trusted", part.display(), found.gid());
    }
    Ok(())
}

/// Pipes and devices keep nothing that could be changed.
fn is_device(found: &Metadata) -> bool {
    !found.is_dir() && !found.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, bits: u32) {
        set_permissions(path, Permissions::from_mode(bits)).unwrap();
    }

    #[test]
    fn what_every_account_could_change_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("keys"), dir.path().join("link.toml"));
        let file = folder.join("trust.toml");
        create_dir(&folder).unwrap();
        write(&file, "").unwrap();
        symlink("keys/trust.toml", &link).unwrap();
        let refused = |path: &Path, part: &Path| {
            let e = ensure_guarded(path).unwrap_err().to_string();
            assert!(e.starts_with(&part.display().to_string()) && e.contains("chmod o-w"), "{e}");
        };
        for path in [&file, &link] {
            mode(&file, 0o644);
            assert!(ensure_guarded(path).is_ok());
            mode(&file, 0o646);
            refused(path, &file);
            mode(&file, 0o664);
            assert!(ensure_guarded(path).is_ok(), "a group is warned of");
            mode(&folder, 0o777);
            refused(path, &folder);
            mode(&folder, 0o1777);
            assert!(ensure_guarded(path).is_ok(), "as in /tmp, nobody else can exchange it");
            mode(&folder, 0o755);
        }
        mode(dir.path(), 0o702);
        refused(&link, dir.path());
        mode(dir.path(), 0o700);
        assert!(ensure_guarded(&folder.join("nowhere")).is_ok(), "left to the reader");
        assert!(ensure_guarded(Path::new("/dev/null")).is_ok());
    }
}
