//! Writes files beneath one directory and nowhere else, whatever the names and symbolic links in a layer say.
//!
//! # Invariants
//! - Every path is opened by openat2 with RESOLVE_IN_ROOT: a link to `/etc` or `../..` means the layer's own.
//! - A name with a `..` in it is refused.
//! - The last part of a path is never followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, openat2, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// Tells overlayfs that a directory hides the one below it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Owner, rights and time of a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: i64,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

/// A directory tree that is being written.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// The directory of the last entry: most entries follow one in the same directory.
    recent: Option<(PathBuf, OwnedFd)>,
}

/// A path of a layer: its directory, made if missing, and its last part.
#[derive(Debug)]
pub(crate) struct Place {
    dir: OwnedFd,
    name: OsString,
}

impl Tree {
    /// The root must be there.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: openat(CWD, root, dir_flags(), Mode::empty())?, recent: None })
    }

    /// Where an entry goes; None is the root itself.
    pub(crate) fn place(&mut self, path: &Path) -> io::Result<Option<Place>> {
        let clean = clean(path)?;
        let Some(name) = clean.file_name().map(OsStr::to_os_string) else { return Ok(None) };
        let parent = clean.parent().unwrap_or(Path::new(""));
        let dir = match &self.recent {
            Some((recent, dir)) if recent == parent => dir.try_clone()?,
            _ => {
                let dir = self.ensure_dir(parent)?;
                self.recent = Some((parent.to_path_buf(), dir.try_clone()?));
                dir
            }
        };
        Ok(Some(Place { dir, name }))
    }

    /// The root as a directory whose rights can be set.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// A regular file, empty, open for writing.
    pub(crate) fn file(&mut self, place: &Place) -> io::Result<File> {
        self.clear(place)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(&place.dir, &place.name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// A directory, new or as it is.
    pub(crate) fn dir(&mut self, place: &Place) -> io::Result<OwnedFd> {
        let mut opaque = false;
        match place.stat()? {
            Some(stat) if kind(&stat) == FileType::Directory => {}
            found => {
                // What a lower layer has under this name was deleted and is not to shine through the new directory.
                opaque = found.is_some_and(|stat| is_whiteout(&stat));
                self.clear(place)?;
                mkdirat(&place.dir, &place.name, Mode::from_raw_mode(0o755))?;
            }
        }
        let dir = place.open_dir()?;
        if opaque {
            set_opaque(&dir)?;
        }
        Ok(dir)
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, place: &Place, target: &OsStr, meta: &Meta) -> io::Result<()> {
        self.clear(place)?;
        symlinkat(target, &place.dir, &place.name)?;
        place.dress(meta)
    }

    /// Sets a directory's time, after all that was written into it. One that was replaced since has none to set.
    pub(crate) fn set_dir_time(&self, path: &Path, meta: &Meta) -> io::Result<()> {
        let clean = clean(path)?;
        let found = match (self.resolve(clean.parent().unwrap_or(Path::new(""))), clean.file_name()) {
            (Ok(dir), Some(name)) => Place { dir, name: name.to_os_string() }.open_dir(),
            (Err(error), _) => Err(error),
            (Ok(_), None) => return Ok(()),
        };
        match found {
            Ok(dir) => Ok(futimens(&dir, &meta.times())?),
            Err(error) if is_one_of(&error, &[Errno::NOENT, Errno::NOTDIR, Errno::LOOP]) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A further name of a file that an earlier entry of this layer made.
    pub(crate) fn hard_link(&mut self, place: &Place, target: &Path) -> io::Result<()> {
        let clean = clean(target)?;
        let name = clean.file_name().ok_or(Errno::INVAL)?;
        let parent = self.resolve(clean.parent().unwrap_or(Path::new("")))?;
        let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if place.stat()?.is_some_and(|there| same(&there, &stat)) {
            return Ok(());
        }
        self.clear(place)?;
        Ok(linkat(&parent, name, &place.dir, &place.name, AtFlags::empty())?)
    }

    /// A device, pipe or socket.
    pub(crate) fn node(&mut self, place: &Place, kind: FileType, dev: u64, meta: &Meta) -> io::Result<()> {
        self.clear(place)?;
        mknodat(&place.dir, &place.name, kind, Mode::from_raw_mode(0o600), dev)?;
        place.dress(meta)?;
        Ok(chmodat(&place.dir, &place.name, Mode::from_raw_mode(meta.mode), AtFlags::empty())?)
    }

    /// Hides what lower layers have under this name. What this layer has there stays.
    pub(crate) fn whiteout(&mut self, place: &Place) -> io::Result<()> {
        match place.stat()? {
            Some(stat) if kind(&stat) == FileType::Directory => set_opaque(&place.open_dir()?),
            Some(_) => Ok(()),
            None => Ok(mknodat(&place.dir, &place.name, FileType::CharacterDevice, Mode::empty(), 0)?),
        }
    }

    /// Hides all that lower layers have in the directory of this place.
    pub(crate) fn opaque(&mut self, place: &Place) -> io::Result<()> {
        set_opaque(&openat(&place.dir, ".", dir_flags(), Mode::empty())?)
    }

    /// Makes room for a new entry: the last one of a name counts.
    fn clear(&mut self, place: &Place) -> io::Result<()> {
        let Some(stat) = place.stat()? else { return Ok(()) };
        // A directory that goes may be the recent one, or hold it.
        self.recent = None;
        if kind(&stat) == FileType::Directory {
            return remove_dir(&place.dir, &place.name);
        }
        Ok(unlinkat(&place.dir, &place.name, AtFlags::empty())?)
    }

    fn resolve(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.root.try_clone();
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.root, path, dir_flags(), Mode::empty(), resolve)?)
    }

    /// Opens a directory, and makes it and those above where they are missing or whited out.
    fn ensure_dir(&mut self, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path) {
            Ok(dir) => return Ok(dir),
            Err(error) if is_one_of(&error, &[Errno::NOENT, Errno::NOTDIR]) => {}
            Err(error) => return Err(error),
        }
        let above = self.ensure_dir(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().ok_or(Errno::INVAL)?.to_os_string();
        let place = Place { dir: above, name };
        if place.stat()?.is_some_and(|stat| !is_whiteout(&stat)) {
            return Err(Errno::NOTDIR.into());
        }
        self.dir(&place)
    }
}

impl Place {
    fn stat(&self) -> io::Result<Option<Stat>> {
        match statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open_dir(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.dir, &self.name, dir_flags() | OFlags::NOFOLLOW, Mode::empty())?)
    }

    /// Owner and time of what is not opened.
    fn dress(&self, meta: &Meta) -> io::Result<()> {
        let (uid, gid) = meta.owner();
        chownat(&self.dir, &self.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(utimensat(&self.dir, &self.name, &meta.times(), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl Meta {
    /// Owner, extended attributes, rights and time of an open file: in this order, since each change of owner takes
    /// the set-uid bit and capabilities away.
    pub(crate) fn apply(&self, file: &OwnedFd) -> io::Result<()> {
        let (uid, gid) = self.owner();
        fchown(file, uid, gid)?;
        for (name, value) in &self.xattrs {
            match fsetxattr(file, name.as_os_str(), value, XattrFlags::empty()) {
                // File systems without them lose attributes, not images.
                Err(Errno::OPNOTSUPP) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        Ok(futimens(file, &self.times())?)
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }

    fn times(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.mtime_s, tv_nsec: self.mtime_ns },
        }
    }
}

/// A path without `.` and a leading `/`; one with `..` is refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a path with .. leads out of the image"));
            }
        }
    }
    Ok(clean)
}

fn remove_dir(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // The descriptor's name in /proc leads to the very directory; below it the standard library follows no link.
    std::fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name))
}

fn set_opaque(dir: &OwnedFd) -> io::Result<()> {
    Ok(fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())?)
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_one_of(error: &io::Error, list: &[Errno]) -> bool {
    list.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}
