//! Reading and writing the files of the pki.
//!
//! # Invariants
//! A file appears whole or not at all; it has its mode from the first moment.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::ServerError;

/// Reads a text file; None when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, ServerError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ServerError::Pki { path: path.to_owned(), reason: e.to_string() }),
    }
}

/// Makes a directory that only its owner may enter, with its parents.
pub(crate) fn make_directory(path: &Path) -> Result<(), ServerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| data_dir(path, source))
}

/// Writes a file by rename, with the mode given.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), ServerError> {
    let fail = |source| data_dir(path, source);
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&temporary, path).map_err(fail)?;
    if let Some(parent) = path.parent() {
        File::open(parent).and_then(|d| d.sync_all()).map_err(fail)?;
    }
    Ok(())
}

fn data_dir(path: &Path, source: std::io::Error) -> ServerError {
    ServerError::DataDir { path: path.to_owned(), source }
}
