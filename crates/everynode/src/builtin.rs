//! The image that comes with the binary: the binary itself, as a small daemon that follows log files.
//!
//! Two tags with the same content but for DAEMON_VERSION, so that a rolling update can be shown with no network.

use std::path::Path;

use anyhow::{Context, Result};

/// Name without tag.
pub(crate) const IMAGE: &str = "everynode.dev/tail-logs";
/// Its tags.
pub(crate) const TAGS: [&str; 2] = ["v1", "v2"];

/// Adds the images to the machine's store; does nothing where they are already.
pub(crate) fn add(images: &Path) -> Result<()> {
    let store = node::images::Store::open(images)?;
    let exe = std::env::current_exe().context("where is this binary")?;
    for tag in TAGS {
        let env = [("DAEMON_VERSION".to_owned(), tag.to_owned())];
        store.add_builtin(&format!("{IMAGE}:{tag}"), &exe, &["tail-logs".to_owned()], &env)?;
    }
    Ok(())
}
