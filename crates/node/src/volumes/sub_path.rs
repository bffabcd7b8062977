//! subPath: one file or directory of a volume, held fast.
//!
//! # Invariants
//! The container can write into the volume and may put a link where the sub path is. So the path is resolved by the kernel
//! beneath the volume only, and what was found is bound by its descriptor: a link made later changes nothing.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::atomic::stays_inside;
use super::{VolumeError, mounts};

/// Binds `volume/sub` at `place`; a directory is made where nothing is.
pub(crate) async fn sub_path(volume: PathBuf, sub: String, place: PathBuf) -> Result<PathBuf, VolumeError> {
    if !stays_inside(&sub) {
        return Err(VolumeError::Path(format!("subPath {sub:?} must be relative and must not contain '..'")));
    }
    let (at, text) = (place.clone(), sub.clone());
    let done = tokio::task::spawn_blocking(move || bind(&volume, &text, &at)).await;
    done.unwrap_or_else(|e| Err(std::io::Error::other(e)))
        .map(|()| place)
        .map_err(|error| VolumeError::Path(format!("failed to prepare subPath {sub:?} for volume mount: {error}")))
}

fn bind(volume: &Path, sub: &str, place: &Path) -> std::io::Result<()> {
    let fd = open_beneath(volume, sub)?;
    mounts::unmount(place)?;
    let stat = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        std::fs::create_dir_all(place)?;
    } else {
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::OpenOptions::new().create(true).append(true).open(place)?;
    }
    mounts::bind_fd(&fd, place)
}

fn open_beneath(volume: &Path, sub: &str) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let root = rustix::fs::open(volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    let find = |path: &Path| rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve);
    let (mut reached, mut at) = (PathBuf::new(), None);
    for part in Path::new(sub) {
        reached.push(part);
        at = Some(match find(&reached) {
            Err(Errno::NOENT) => {
                let parent = at.as_ref().unwrap_or(&root);
                rustix::fs::mkdirat(parent, part, Mode::from_raw_mode(0o755))?;
                find(&reached)?
            }
            other => other?,
        });
    }
    Ok(at.unwrap_or(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_beneath_the_volume() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("volume");
        std::fs::create_dir_all(volume.join("dir")).unwrap();
        std::fs::write(volume.join("dir/file"), "").unwrap();
        std::os::unix::fs::symlink("dir/file", volume.join("inside")).unwrap();
        std::os::unix::fs::symlink("../..", volume.join("outside")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("absolute")).unwrap();
        for (sub, works) in [
            ("dir", true),
            ("dir/file", true),
            ("inside", true),
            ("new/deep", true),
            ("outside", false),
            ("outside/x", false),
            ("absolute/passwd", false),
        ] {
            assert_eq!(open_beneath(&volume, sub).is_ok(), works, "{sub}");
        }
        assert!(volume.join("new/deep").is_dir());
    }
}
