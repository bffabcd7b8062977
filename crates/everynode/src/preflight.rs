//! What a machine must have before containers can start on it, found out before anything is made.

use anyhow::{Result, bail};

/// Fails with one line that says what is missing and what to do.
pub(crate) fn containers(command: &str) -> Result<()> {
    root(command)?;
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.split_whitespace().any(|f| f == "overlay") && !loads("overlay") {
        bail!(
            "this kernel has no overlayfs, which images need: load it with `modprobe overlay`, or use a kernel that has it"
        );
    }
    if !std::path::Path::new("/sys/fs/cgroup").is_dir() {
        bail!("no cgroups at /sys/fs/cgroup: mount them (any current init system does)");
    }
    Ok(())
}

/// Fails for whoever is not root.
pub(crate) fn root(command: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this needs root: run it as root, for example `sudo everynode {command}`");
    }
    Ok(())
}

/// Kernel modules load on the first use on most machines, not on all.
fn loads(module: &str) -> bool {
    std::process::Command::new("modprobe").arg(module).status().is_ok_and(|s| s.success())
}
