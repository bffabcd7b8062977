//! The words to systemd.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where units of the machine's own are.
pub(crate) const UNITS: &str = "etc/systemd/system";

/// Whether systemd is this machine's init: what sd_booted(3) asks.
pub(crate) fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Says something to it.
///
/// # Errors
/// With its own words.
pub(crate) fn say(words: &[&str]) -> Result<()> {
    let line = words.join(" ");
    let done = Command::new("systemctl").args(words).output().with_context(|| format!("systemctl {line}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    bail!("systemctl {line}: {}", said.lines().next().unwrap_or("failed and said nothing"))
}
