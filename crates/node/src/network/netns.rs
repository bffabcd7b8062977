//! Network namespaces by file: made, entered, given up.
//!
//! # Invariants
//! - A thread that entered another namespace never goes back to a pool: it ends, or the whole process is meant.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Moves the calling thread into the namespace. Called before the async runtime starts, the whole process follows,
/// because new threads begin where their maker is.
///
/// # Errors
/// When the file is not a network namespace, or without the right to enter it.
pub fn enter(netns: &Path) -> io::Result<()> {
    let file = File::open(netns)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Makes a namespace and binds it to a file, so that it stays when no process is in it. Does nothing if it is there.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    if is_netns(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::options().create(true).truncate(false).write(true).open(path)?;
    let target = path.to_path_buf();
    let made = thread::Builder::new().name("netns".into()).spawn(move || -> io::Result<()> {
        // SAFETY: a network namespace is a thread's own; no file descriptor or memory of others changes with it, and
        // this thread ends here.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    })?;
    made.join().map_err(|_| io::Error::other("the thread that makes a network namespace died"))?
}

/// Gives the file up; the namespace goes when its last process and socket go. Does nothing if it is gone.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // More than one mount may lie on the file if a maker was killed between two steps.
    while is_netns(path) {
        umount2(path, MntFlags::MNT_DETACH)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a namespace is bound to the file.
pub(crate) fn is_netns(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Runs `work` in the namespace, on a thread of its own.
pub(crate) fn run_inside<T: Send + 'static>(
    netns: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let netns = netns.to_path_buf();
    let worker = thread::Builder::new().name("netns".into()).spawn(move || {
        enter(&netns)?;
        work()
    })?;
    worker.join().map_err(|_| io::Error::other("the thread in a network namespace died"))?
}
