//! The files that hold keys: readable by their owner only, and whole or not there.
//!
//! A file is written beside its place and renamed into it, so that neither a crash nor a reader sees a part. What cannot be made
//! again is also forced to the disk; the rest is not, because each such wait costs milliseconds of the start.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::PkiError;

/// Nobody else lists the directory.
const DIR_MODE: u32 = 0o700;
/// Nobody else reads the files; certificates are no secret, but the same rule for all leaves no question.
const FILE_MODE: u32 = 0o600;

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::Io { path, source }
}

/// Makes a directory for its owner only. One that exists keeps its mode, unless others may write to it.
pub fn make_private_dir(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(failed(path))?;
    let mode = fs::metadata(path).map_err(failed(path))?.permissions().mode();
    if mode & 0o022 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o022)).map_err(failed(path))?;
    }
    Ok(())
}

/// A file's text; none where there is no such file.
pub fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Replaces a file's text as a whole.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, false).map_err(failed(path))
}

/// As [`write_atomically`], and the text is on the disk when this returns.
pub fn write_durably(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, true).map_err(failed(path))
}

/// As [`write_atomically`], unless the file says so already.
pub fn write_if_changed(path: &Path, text: &str) -> Result<(), PkiError> {
    if read(path)?.as_deref() == Some(text) { Ok(()) } else { write_atomically(path, text) }
}

fn write(path: &Path, text: &str, durably: bool) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Left over from a start that broke off; opened anew, so that the mode below is the one it has.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
    file.write_all(text.as_bytes())?;
    if durably {
        file.sync_all()?;
    }
    fs::rename(&beside, path)?;
    if durably && let Some(dir) = path.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// This machine's name, where it can be had and is one that a certificate may hold.
pub fn host_name() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = text.trim().to_ascii_lowercase();
    let fits = !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'.');
    fits.then_some(name)
}
