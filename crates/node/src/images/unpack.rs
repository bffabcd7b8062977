//! A layer's tar to a directory that overlayfs can use.
//!
//! # Invariants
//! - The whole stream is read and hashed, also what follows the last entry: its digest is the diffID.
//! - Whiteouts become character devices 0/0, opaque directories get trusted.overlay.opaque; neither can be smuggled in
//!   as an extended attribute.
//!
//! # Absent
//! Other layers: a directory that a layer writes into without an entry for it gets 0755 root, not the rights that a
//! lower layer gives it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use tar::{Archive, Entry, EntryType};

use super::digest::{HashReader, decompress};
use super::error::StoreError;
use super::tree::{Meta, Place, Tree};

/// Most entries of one layer: ten times those of the largest images in use; each costs an inode.
const ENTRIES_MAX: u64 = 4 << 20;
/// Most bytes of one layer unpacked. A few kilobytes of gzip can unpack to terabytes.
const LAYER_BYTES_MAX: u64 = 128 << 30;
/// Bytes moved at once from a tar to a file.
const COPY_BYTES: usize = 128 << 10;
/// What a name in an image layer begins with that deletes another.
const WHITEOUT: &[u8] = b".wh.";
/// The name that makes its directory opaque.
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// How PAX headers carry extended attributes.
const PAX_XATTR: &str = "SCHILY.xattr.";

/// Unpacks a layer, compressed or not, into an empty directory and verifies it. Returns its bytes.
///
/// # Errors
/// [`StoreError::Content`] for a wrong digest or an entry that can't be, [`StoreError::Io`] for this machine.
pub(crate) fn unpack_layer(blob: impl Read, diff_id: &str, dir: &Path) -> Result<u64, StoreError> {
    let what = format!("layer {diff_id}");
    let broken = |error: io::Error| StoreError::content(&what, error);
    let mut plain = HashReader::new(decompress(blob).map_err(broken)?);
    let mut unpacker = Unpacker { tree: Tree::open(dir).map_err(StoreError::io(dir))?, dirs: Vec::new(), bytes: 0 };
    let mut archive = Archive::new(&mut plain);
    let mut count = 0;
    for entry in archive.entries().map_err(broken)? {
        count += 1;
        if count > ENTRIES_MAX {
            return Err(StoreError::content(&what, format!("more than {ENTRIES_MAX} entries")));
        }
        let mut entry = entry.map_err(broken)?;
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        unpacker.entry(&mut entry, &path).map_err(|error| blame(error, &what, &path, dir))?;
    }
    unpacker.finish().map_err(StoreError::io(dir))?;
    let bytes = unpacker.bytes;
    let got = plain.finish().map_err(broken)?;
    if got != diff_id {
        return Err(StoreError::content(&what, format!("it unpacks to {got}: the image is damaged or forged")));
    }
    Ok(bytes)
}

struct Unpacker {
    tree: Tree,
    /// Directories whose time is set last, since writing into them changes it. At most [`ENTRIES_MAX`].
    dirs: Vec<(PathBuf, Meta)>,
    bytes: u64,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let meta = read_meta(entry)?;
        let Some(place) = self.tree.place(path)? else {
            // The root itself.
            return if kind == EntryType::Directory {
                meta.apply(self.tree.root())
            } else {
                Err(unfit("it is the root"))
            };
        };
        let name = path.file_name().map_or(&b""[..], OsStr::as_bytes);
        if name == WHITEOUT_OPAQUE {
            return self.tree.opaque(&place);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(path, hidden);
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(entry, &place, &meta),
            EntryType::Directory => {
                let dir = self.tree.dir(&place)?;
                self.dirs.push((path.to_path_buf(), meta.clone()));
                meta.apply(&dir)
            }
            EntryType::Symlink => self.tree.symlink(&place, OsStr::from_bytes(&link_of(entry)?), &meta),
            EntryType::Link => {
                let target = link_of(entry)?;
                self.tree.hard_link(&place, Path::new(OsStr::from_bytes(&target)))
            }
            EntryType::Char => self.tree.node(&place, FileType::CharacterDevice, device_of(entry)?, &meta),
            EntryType::Block => self.tree.node(&place, FileType::BlockDevice, device_of(entry)?, &meta),
            EntryType::Fifo => self.tree.node(&place, FileType::Fifo, 0, &meta),
            other => Err(unfit(&format!("entries of type {:?} are unknown", char::from(other.as_byte())))),
        }
    }

    fn whiteout(&mut self, path: &Path, hidden: &[u8]) -> io::Result<()> {
        if hidden.starts_with(WHITEOUT) {
            // Bookkeeping of aufs (.wh..wh.plnk and the like): nothing of the image.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(unfit("a whiteout that names nothing"));
        }
        match self.tree.place(&path.with_file_name(OsStr::from_bytes(hidden)))? {
            Some(place) => self.tree.whiteout(&place),
            None => Err(unfit("a whiteout of the root")),
        }
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, place: &Place, meta: &Meta) -> io::Result<()> {
        let mut file = self.tree.file(place)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = entry.read(&mut buffer).map_err(|error| unfit(&error.to_string()))?;
            if count == 0 {
                break;
            }
            self.bytes += count as u64;
            if self.bytes > LAYER_BYTES_MAX {
                return Err(unfit(&format!("the layer is larger than {LAYER_BYTES_MAX} bytes")));
            }
            file.write_all(buffer.get(..count).unwrap_or_default())?;
        }
        meta.apply(&file.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        for (path, meta) in std::mem::take(&mut self.dirs) {
            self.tree.set_dir_time(&path, &meta)?;
        }
        Ok(())
    }
}

fn read_meta<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Meta> {
    let header = entry.header();
    let number = |value: io::Result<u64>| -> io::Result<u32> {
        u32::try_from(value?).map_err(|_| unfit("owner beyond 32 bits"))
    };
    let mut meta = Meta {
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        mode: header.mode()? & 0o7777,
        mtime_s: i64::try_from(header.mtime()?).unwrap_or_default(),
        ..Meta::default()
    };
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let Ok(key) = extension.key() else { continue };
        if key == "mtime"
            && let Some((seconds, nanoseconds)) = extension.value().ok().and_then(parse_time)
        {
            (meta.mtime_s, meta.mtime_ns) = (seconds, nanoseconds);
        } else if let Some(name) = key.strip_prefix(PAX_XATTR)
            && may_carry(name)
        {
            meta.xattrs.push((OsString::from(name), extension.value_bytes().to_vec()));
        }
    }
    Ok(meta)
}

/// Attributes that belong to an image. The rest is of the machine it was built on, or would fool overlayfs.
fn may_carry(xattr: &str) -> bool {
    xattr == "security.capability" || xattr.starts_with("user.")
}

fn parse_time(text: &str) -> Option<(i64, i64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

fn link_of<R: Read>(entry: &Entry<'_, R>) -> io::Result<Vec<u8>> {
    entry.link_name_bytes().map(|name| name.to_vec()).ok_or_else(|| unfit("a link without a target"))
}

fn device_of<R: Read>(entry: &Entry<'_, R>) -> io::Result<u64> {
    let header = entry.header();
    let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
    Ok(rustix::fs::makedev(major, minor))
}

fn unfit(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// Whose fault it is: the layer's for what it asks, the machine's for a full or broken disk.
fn blame(error: io::Error, what: &str, path: &Path, dir: &Path) -> StoreError {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied => StoreError::io(dir)(error),
        _ if error.raw_os_error() == Some(libc::EIO) => StoreError::io(dir)(error),
        _ => StoreError::content(format!("{what}: entry {:?}", path.display().to_string()), error),
    }
}
