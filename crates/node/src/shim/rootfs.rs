//! A container's root file system, in a mount namespace of its own: overlayfs, then the pod's mounts.
//!
//! The caller has unshared its mount namespace from the node's just now, so it sees the node's mounts of this moment,
//! and all that is mounted here ends with the container: nothing to unmount, whatever dies when.
//!
//! # Invariants
//! - Mount points are resolved inside the root (openat2, RESOLVE_IN_ROOT): a link in an image or a volume can't lead out.
//! - Propagation is the mount's own, not libcontainer's (which keeps the source's): private, slave or shared.
//! - Mounts over /dev, /proc and /sys come after libcontainer has made those: it would write its device nodes into a
//!   mounted /dev of the node.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::runtime::{Mount, MountPropagation};

/// The kernel takes mount options of at most a page.
const OPTIONS_BYTES_MAX: usize = 4095;

/// A mount that waits until libcontainer has made /dev, /proc and /sys.
#[derive(Debug)]
pub(crate) struct Deferred {
    tree: OwnedFd,
    target: PathBuf,
    is_dir: bool,
}

/// Mounts the layers with a writable one on top at `target`.
///
/// # Errors
/// A text for people.
pub(crate) fn mount_overlay(lower_dirs: &[PathBuf], data_dir: &Path, target: &Path) -> Result<(), String> {
    let upper = data_dir.join("upper");
    let work = data_dir.join("work");
    for dir in [&upper, &work, target] {
        fs::create_dir_all(dir).map_err(|error| format!("failed to create {}: {error}", dir.display()))?;
    }
    // Paths relative to where all layers lie keep many layers within the page.
    let base = common_parent(lower_dirs).ok_or("the image has no layers")?;
    let here = std::env::current_dir().map_err(|error| format!("no working directory: {error}"))?;
    let (upper, work, target) = (here.join(upper), here.join(work), here.join(target));
    let options = overlay_options(&base, lower_dirs, &upper, &work);
    if options.len() > OPTIONS_BYTES_MAX {
        return Err(format!("the image has too many layers for overlayfs: {}", lower_dirs.len()));
    }
    std::env::set_current_dir(&base).map_err(|error| format!("layer directory {}: {error}", base.display()))?;
    let options = OsString::from_vec(options);
    let mounted = nix::mount::mount(
        Some("overlay"),
        &target,
        Some("overlay"),
        nix::mount::MsFlags::empty(),
        Some(options.as_os_str()),
    );
    std::env::set_current_dir(&here).map_err(|error| format!("no working directory: {error}"))?;
    mounted.map_err(|errno| overlay_error(errno, data_dir))
}

fn overlay_error(errno: nix::errno::Errno, data_dir: &Path) -> String {
    match errno {
        nix::errno::Errno::ENODEV => "this kernel has no overlayfs: load it with `modprobe overlay`".to_owned(),
        nix::errno::Errno::EINVAL => format!(
            "overlayfs can't use {}: put the data directory on ext4, xfs, btrfs or tmpfs, not on overlayfs or a network \
             file system",
            data_dir.display()
        ),
        errno => format!("failed to mount overlayfs in {}: {}", data_dir.display(), io::Error::from(errno)),
    }
}

fn common_parent(paths: &[PathBuf]) -> Option<PathBuf> {
    let mut base = paths.first()?.parent()?.to_owned();
    while !paths.iter().all(|path| path.starts_with(&base)) {
        base = base.parent()?.to_owned();
    }
    Some(base)
}

fn overlay_options(base: &Path, lower_dirs: &[PathBuf], upper: &Path, work: &Path) -> Vec<u8> {
    let mut options = b"lowerdir=".to_vec();
    for (index, dir) in lower_dirs.iter().enumerate() {
        if index > 0 {
            options.push(b':');
        }
        let relative = dir.strip_prefix(base).unwrap_or(dir);
        escape(relative, b":,\\", &mut options);
    }
    for (name, dir) in [(&b",upperdir="[..], upper), (b",workdir=", work)] {
        options.extend_from_slice(name);
        escape(dir, b",\\", &mut options);
    }
    options
}

fn escape(path: &Path, special: &[u8], out: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

/// Opens the root for what follows.
///
/// # Errors
/// What the kernel says.
pub(crate) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Reads a file of the container (not a link out of it); empty when there is none.
pub(crate) fn read_in_root(root: BorrowedFd<'_>, path: &str) -> String {
    /// Enough for 10,000 users; an image's file must not fill the memory.
    const BYTES_MAX: u64 = 1024 * 1024;
    let open = rustix::fs::openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    );
    let Ok(fd) = open else { return String::new() };
    let mut bytes = Vec::new();
    let _ = io::Read::read_to_end(&mut io::Read::take(fs::File::from(fd), BYTES_MAX), &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes a directory of the container with its parents.
///
/// # Errors
/// What the kernel says.
pub(crate) fn make_dir_in_root(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut so_far = PathBuf::from("/");
    let mut at = rustix::fs::openat2(root, "/", flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        so_far.push(name);
        at = match rustix::fs::openat2(root, &so_far, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755))?;
                rustix::fs::openat2(&at, name, flags, Mode::empty(), ResolveFlags::BENEATH)?
            }
            other => other?,
        };
    }
    Ok(at)
}

/// Makes the mount point, a directory or an empty file, and opens it.
fn make_target(root: BorrowedFd<'_>, path: &Path, is_dir: bool) -> io::Result<OwnedFd> {
    if is_dir {
        return make_dir_in_root(root, path);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Err(rustix::io::Errno::NOENT) => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let parent = make_dir_in_root(root, parent)?;
            let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(&parent, name, create, Mode::from_raw_mode(0o644))?);
            Ok(rustix::fs::openat2(&parent, name, flags, Mode::empty(), ResolveFlags::BENEATH)?)
        }
        other => Ok(other?),
    }
}

/// Mounts all but those that must wait; returns these.
///
/// # Errors
/// A text for people that names the mount.
pub(crate) fn mount_all(root: BorrowedFd<'_>, mounts: &[Mount]) -> Result<Vec<Deferred>, String> {
    let mut deferred = Vec::new();
    for mount in mounts {
        let fail = |error: io::Error| {
            format!("failed to mount {} at {}: {error}", mount.host_path.display(), mount.container_path.display())
        };
        let is_dir = fs::metadata(&mount.host_path).map_err(fail)?.is_dir();
        let tree = detached(mount).map_err(fail)?;
        if waits(&mount.container_path) {
            deferred.push(Deferred { tree, target: mount.container_path.clone(), is_dir });
            continue;
        }
        let target = make_target(root, &mount.container_path, is_dir).map_err(fail)?;
        attach(tree.as_fd(), target.as_fd()).map_err(fail)?;
    }
    Ok(deferred)
}

/// Mounts what had to wait, seen from within the container's mount namespace.
///
/// # Errors
/// A text for people that names the mount.
pub(crate) fn mount_deferred(deferred: Vec<Deferred>) -> Result<(), String> {
    for mount in deferred {
        let fail = |error: io::Error| format!("failed to mount at {}: {error}", mount.target.display());
        let root = open_root(Path::new("/")).map_err(fail)?;
        let target = make_target(root.as_fd(), &mount.target, mount.is_dir).map_err(fail)?;
        attach(mount.tree.as_fd(), target.as_fd()).map_err(fail)?;
    }
    Ok(())
}

fn waits(target: &Path) -> bool {
    ["/dev", "/proc", "/sys"].iter().any(|over| target.starts_with(over))
}

/// A copy of the source's mounts, not yet anywhere, with this mount's attributes.
fn detached(mount: &Mount) -> io::Result<OwnedFd> {
    let source = fs::canonicalize(&mount.host_path)?;
    if mount.propagation == MountPropagation::Bidirectional && !is_shared(&source)? {
        return Err(io::Error::other("its file system is not a shared mount (`mount --make-rshared /` makes it so)"));
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, &source, flags)?;
    let propagation = match mount.propagation {
        MountPropagation::Private => libc::MS_PRIVATE,
        MountPropagation::HostToContainer => libc::MS_SLAVE,
        // The source is shared, so its copy is.
        MountPropagation::Bidirectional => 0,
    };
    set_attributes(tree.as_fd(), 0, propagation, true)?;
    if mount.readonly {
        // Only the mount itself, unless recursiveReadOnly asks for those below too.
        set_attributes(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, mount.readonly_below)?;
    }
    Ok(tree)
}

fn set_attributes(tree: BorrowedFd<'_>, set: u64, propagation: libc::c_ulong, recursive: bool) -> io::Result<()> {
    // The kernel's struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attributes: [u64; 4] = [set, 0, propagation, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid empty C string, and the attributes are valid for the size that is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, c"", target, c"", flags)?)
}

/// Whether mounts below `path` travel to other namespaces.
fn is_shared(path: &Path) -> io::Result<bool> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mount_of(&text, path).is_some_and(|options| options.split(' ').any(|option| option.starts_with("shared:"))))
}

/// The options of the mount that `path` lies on, by the text of mountinfo.
fn mount_of<'a>(mountinfo: &'a str, path: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        let Some((fields, _)) = line.split_once(" - ") else { continue };
        let mut fields = fields.splitn(6, ' ').skip(4);
        let (Some(point), Some(options)) = (fields.next(), fields.next()) else { continue };
        // Later lines mount over earlier ones, hence >=.
        if path.starts_with(point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), options));
        }
    }
    best.map(|(_, options)| options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_relative_to_where_they_lie_and_escaped() {
        let layers = [PathBuf::from("/data/l/b:1/fs"), PathBuf::from("/data/l/a,2/fs")];
        let base = common_parent(&layers).unwrap();
        assert_eq!(base, Path::new("/data/l"));
        let options = overlay_options(&base, &layers, Path::new("/u,p/upper"), Path::new("/w"));
        assert_eq!(String::from_utf8(options).unwrap(), r"lowerdir=b\:1/fs:a\,2/fs,upperdir=/u\,p/upper,workdir=/w");
        assert_eq!(common_parent(&[]), None);
        assert_eq!(common_parent(&["/a/fs".into()]).unwrap(), Path::new("/a"));
    }

    #[test]
    fn only_mounts_over_the_kernels_directories_wait() {
        for (path, want) in [
            ("/dev", true),
            ("/dev/shm", true),
            ("/sys/fs/bpf", true),
            ("/proc", true),
            ("/device", false),
            ("/a/dev", false),
        ] {
            assert_eq!(waits(Path::new(path)), want, "{path}");
        }
    }

    #[test]
    fn the_mount_of_a_path_is_the_deepest_and_latest() {
        let info = "1 0 8:1 / / rw shared:1 - ext4 a rw\n2 1 0:5 / /run rw - tmpfs b rw\n3 1 0:6 / /run rw,x shared:7 - tmpfs c rw\n";
        assert!(mount_of(info, Path::new("/run/a")).unwrap().contains("shared:7"));
        assert!(mount_of(info, Path::new("/runner")).unwrap().contains("shared:1"));
    }

    #[test]
    fn links_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        let root = open_root(dir.path()).unwrap();
        // The link's target does not exist inside the root; nothing must appear outside.
        assert!(make_target(root.as_fd(), Path::new("/out/x"), true).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        make_target(root.as_fd(), Path::new("/a/b/file"), false).unwrap();
        assert!(dir.path().join("a/b/file").is_file());
        fs::write(outside.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("passwd")).unwrap();
        assert_eq!(read_in_root(root.as_fd(), "/passwd"), "");
    }
}
