//! Downloads that broke off: the next pull goes on behind what came, also after a restart.
//!
//! # Invariants
//! What is here is trusted by nobody: a layer is verified in whole before it is unpacked.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::error::StoreError;
use super::layout::{Layout, children, hex_of};

/// How long what nobody asks for any more stays.
const KEPT: Duration = Duration::from_secs(24 * 3600);

impl Layout {
    /// The file of a compressed layer.
    pub(crate) fn partial(&self, digest: &str) -> PathBuf {
        self.root().join("partial").join(hex_of(digest))
    }

    /// Takes away what has not grown for a day.
    pub(crate) fn sweep_partial(&self) -> Result<(), StoreError> {
        for path in children(&self.root().join("partial"))? {
            let changed = fs::metadata(&path).and_then(|meta| meta.modified());
            let old = |at: SystemTime| at.elapsed().is_ok_and(|age| age > KEPT);
            if changed.is_ok_and(old) {
                drop(fs::remove_file(&path));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let (old, young) = (layout.partial("sha256:aa"), layout.partial("sha256:bb"));
        for path in [&old, &young] {
            fs::write(path, "x").unwrap();
        }
        let then = SystemTime::now() - KEPT - Duration::from_secs(60);
        fs::File::options().write(true).open(&old).unwrap().set_modified(then).unwrap();
        layout.sweep_partial().unwrap();
        assert!(!old.exists() && young.exists());
    }
}
