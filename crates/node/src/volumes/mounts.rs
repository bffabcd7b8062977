//! Mounts under a pod's directory, and their end.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::VolumeError;

/// The mounts of this process.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Mounts a tmpfs there; one that is there already stays as it is.
pub(super) fn tmpfs(dir: &Path, options: &str) -> std::io::Result<()> {
    if mounted_under(dir)?.iter().any(|m| m == dir) {
        return Ok(());
    }
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", dir, "tmpfs", flags, Some(options.as_c_str())).map_err(Into::into)
}

/// Mounts the file or directory behind an open descriptor at `place`.
pub(super) fn bind_fd(fd: &std::os::fd::OwnedFd, place: &Path) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::mount::mount_bind_recursive(from, place).map_err(Into::into)
}

/// Unmounts what is mounted at `place` itself.
pub(super) fn unmount(place: &Path) -> std::io::Result<()> {
    while mounted_under(place)?.iter().any(|m| m == place) {
        rustix::mount::unmount(place, UnmountFlags::DETACH)?;
    }
    Ok(())
}

/// Mount points at or under `dir`, the deepest first.
pub(super) fn mounted_under(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    // mountinfo knows no links.
    let dir = match std::fs::canonicalize(dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = std::fs::read(MOUNTINFO)?;
    let lines = text.split(|b| *b == b'\n');
    let points = lines.filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(unescaped);
    let mut list: Vec<PathBuf> = points.filter(|p| p.starts_with(&dir)).collect();
    list.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    Ok(list)
}

/// Spaces and the like are \ooo in mountinfo.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Removes a pod's directory and all mounts in it. A mount that stays keeps the directory: nothing is ever deleted
/// through a mount.
pub(crate) async fn remove(pod_dir: PathBuf) -> Result<(), VolumeError> {
    let at = pod_dir.clone();
    let done = tokio::task::spawn_blocking(move || remove_now(&at)).await;
    done.unwrap_or_else(|e| Err(std::io::Error::other(e)))
        .map_err(|error| VolumeError::Path(format!("{} can't be removed yet: {error}", pod_dir.display())))
}

fn remove_now(pod_dir: &Path) -> std::io::Result<()> {
    for point in mounted_under(pod_dir)? {
        rustix::mount::unmount(&point, UnmountFlags::DETACH)?;
    }
    if let Some(left) = mounted_under(pod_dir)?.first() {
        return Err(std::io::Error::other(format!("{} is still mounted", left.display())));
    }
    match std::fs::remove_dir_all(pod_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (text, expect) in [("/a", "/a"), ("/a\\040b", "/a b"), ("/a\\", "/a\\"), ("/\\134", "/\\")] {
            assert_eq!(unescaped(text.as_bytes()), Path::new(expect), "{text}");
        }
    }

    #[test]
    fn a_tmpfs_goes_with_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pod/with space");
        std::fs::create_dir_all(&dir).unwrap();
        if tmpfs(&dir, "mode=0755").is_err() {
            // Without the right to mount there is nothing to see.
            return;
        }
        tmpfs(&dir, "mode=0755").unwrap();
        assert_eq!(mounted_under(root.path()).unwrap().len(), 1);
        std::fs::write(dir.join("f"), "x").unwrap();
        remove_now(&root.path().join("pod")).unwrap();
        assert!(!root.path().join("pod").exists());
        remove_now(&root.path().join("pod")).unwrap();
    }
}
