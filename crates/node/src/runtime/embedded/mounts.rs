//! Mounts of the runtime on the node: its run directory, and each pod's /dev/shm.
//!
//! # Invariants
//! - All lie under the run directory, which is a private mount of its own: no other mount namespace gets copies that
//!   keep a pod's network or memory alive.
//! - Undoing what is not there succeeds.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// /dev/shm of a pod, as in other runtimes.
const SHM_OPTIONS: &str = "mode=1777,size=65536k";
/// Mounts stacked at one point by a mistake of ours or others.
const STACKED_MAX: usize = 16;

/// Makes `dir` a mount of its own, whose mounts no other namespace sees.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    const NONE: Option<&str> = None;
    fs::create_dir_all(dir)?;
    let dir = fs::canonicalize(dir)?;
    if is_mount_point(&dir)? {
        return Ok(());
    }
    mount(Some(&dir), &dir, NONE, MsFlags::MS_BIND, NONE)?;
    mount(NONE, &dir, NONE, MsFlags::MS_PRIVATE, NONE)?;
    Ok(())
}

fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == dir)))
}

/// Mounts a pod's /dev/shm.
pub(crate) fn mount_shm(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), path, Some("tmpfs"), flags, Some(SHM_OPTIONS))?;
    Ok(())
}

/// Unmounts what is mounted at `path`, at once for new users and later for those who still use it.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    for _ in 0..STACKED_MAX {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
