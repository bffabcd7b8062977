//! Files that only their owner may read, such as keys.
//!
//! # Invariants
//! A file appears whole or not at all, has mode 0600 from its first moment, and is on the disk when the call returns.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file, and the directory it is in.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    put(path, text).with_context(|| path.display().to_string())
}

fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    make_private(directory)?;
    let new = path.with_extension("new");
    // What a crash left may have another mode.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

/// Makes a directory that only its owner may enter; those above it are as usual.
fn make_private(directory: &Path) -> std::io::Result<()> {
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_private_whatever_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node/pki/a.pem");
        write(&path, "one").unwrap();
        std::fs::write(path.with_extension("new"), "half of").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_ne!(mode(&dir.path().join("node")), 0o700);
        assert!(!path.with_extension("new").exists());
    }
}
