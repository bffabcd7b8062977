//! Bytes and inodes on disk: of a file system, and of what lies below a directory.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::runtime::stats::FsUsage;

/// Files looked at when a tree is measured: beyond it a look would cost more than it tells.
const FILES_MAX: usize = 100_000;
/// Bytes of a block in what the kernel says of files.
const BLOCK: u64 = 512;

/// The file system of a path; zeros when it can't be asked.
pub(crate) fn of_file_system(path: &Path) -> FsUsage {
    let Ok(found) = rustix::fs::statvfs(path) else { return FsUsage::default() };
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    FsUsage {
        capacity_bytes: bytes(found.f_blocks),
        available_bytes: bytes(found.f_bavail),
        used_bytes: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        inodes: found.f_files,
        inodes_free: found.f_favail,
        inodes_used: found.f_files.saturating_sub(found.f_ffree),
    }
}

/// What lies below a directory, beside the numbers of its file system. At most [`FILES_MAX`] files are counted.
pub(crate) fn of_tree(dir: &Path) -> FsUsage {
    let mut usage = FsUsage { used_bytes: 0, inodes_used: 0, ..of_file_system(dir) };
    let mut left = FILES_MAX;
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if left == 0 {
                return usage;
            }
            left -= 1;
            let Ok(meta) = entry.metadata() else { continue };
            usage.used_bytes = usage.used_bytes.saturating_add(meta.blocks().saturating_mul(BLOCK));
            usage.inodes_used += 1;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_measured_with_its_file_system() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/b"), vec![1; 100_000]).unwrap();
        let usage = of_tree(dir.path());
        assert!((100_000..300_000).contains(&usage.used_bytes) && usage.inodes_used == 2, "{usage:?}");
        assert!(usage.capacity_bytes > usage.available_bytes && usage.available_bytes > 0, "{usage:?}");
        assert_eq!(of_tree(&dir.path().join("none")), FsUsage::default());
    }
}
