//! The program `nft`, which speaks to the kernel's packet filter.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Carries out a script in one transaction: all of it, or nothing.
///
/// # Errors
/// The first line of what nft says, or that it is not there.
pub(crate) fn run(script: &str) -> io::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), "nft is not there: install nftables"),
            _ => error,
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("nft: {}", text.lines().next().unwrap_or("failed"))))
}

/// A script that makes a table empty, whether it was there or not: `add` before `delete`, for deleting what is not there
/// fails.
pub(crate) fn without(family: &str, name: &str) -> String {
    format!("add table {family} {name}\ndelete table {family} {name}\n")
}

/// What may stand in the name of a table.
pub(crate) fn table_name(prefix: &str, of: &str) -> String {
    let name: String = of.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{prefix}_{name}")
}
