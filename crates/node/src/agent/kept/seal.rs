//! The node's seal: files that a later start goes by are signed (HMAC-SHA-256) by a key that only root reads.
//!
//! # Invariants
//! - The signature covers a file's place, so that no sealed file can stand in for another.
//! - A key that others could read is no key: it is replaced, and what it sealed counts as tampered with.
//!
//! # Absent
//! Secrecy: what is sealed can be read by whoever reads the file. Age: an old sealed file put back is taken for true.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ring::hmac;

/// Name of the key's file in the node's directory.
const KEY: &str = "seal.key";
/// As many as the hash has: more adds nothing.
const KEY_BYTES: usize = 32;
/// Begins a sealed file; format and signature follow, then a line end, then the content.
const HEAD: &str = "everynode-sealed";
/// The format. To be raised when an older everynode would misread the content.
const FORMAT: u32 = 1;
/// Most bytes of a sealed file: a pod, or an object as large as the API lets it be, as JSON.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a file is not gone by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another wrote it, or it is damaged.
    #[error("it is not sealed by this node: it was changed, or comes from elsewhere")]
    Broken,
    /// A later version of this program wrote it.
    #[error("it is of a newer everynode (format {0}, this one knows {FORMAT})")]
    Newer(u32),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Seal {
    key: hmac::Key,
}

impl Seal {
    /// Reads the node's key; makes one where there is none.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn open(node_dir: &Path) -> io::Result<Self> {
        let path = node_dir.join(KEY);
        let bytes = match read_key(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{}: {error}; the node gets another key", path.display());
                }
                let mut bytes = vec![0; KEY_BYTES];
                rand::RngCore::fill_bytes(&mut rand::rng(), &mut bytes);
                write_whole(&path, &bytes)?;
                bytes
            }
        };
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    fn message(place: &str, content: &[u8]) -> Vec<u8> {
        // A place has no zero byte, so no other place and content give the same message.
        [format!("{FORMAT} {place}").as_bytes(), &[0], content].concat()
    }

    /// Writes a sealed file; `place` names it among the node's files.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn write(&self, path: &Path, place: &str, content: &[u8]) -> io::Result<()> {
        let tag = hmac::sign(&self.key, &Self::message(place, content));
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        write_whole(path, &[format!("{HEAD} {FORMAT} {tag}\n").as_bytes(), content].concat())
    }

    /// Reads a sealed file.
    ///
    /// # Errors
    /// [`SealError`].
    pub(crate) fn read(&self, path: &Path, place: &str) -> Result<Vec<u8>, SealError> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(SealError::Broken)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| SealError::Broken)?;
        let [HEAD, format, tag] = head.split(' ').collect::<Vec<_>>()[..] else { return Err(SealError::Broken) };
        let format: u32 = format.parse().map_err(|_| SealError::Broken)?;
        match format {
            FORMAT => {}
            newer if newer > FORMAT => return Err(SealError::Newer(newer)),
            _ => return Err(SealError::Broken),
        }
        let tag = hex(tag).ok_or(SealError::Broken)?;
        let content = bytes.split_off(end + 1);
        hmac::verify(&self.key, &Self::message(place, &content), &tag).map_err(|_| SealError::Broken)?;
        Ok(content)
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(invalid("others than its owner can read or write it"));
    }
    let bytes = fs::read(path)?;
    if bytes.len() == KEY_BYTES { Ok(bytes) } else { Err(invalid("it is no key")) }
}

/// Replaces a file that only its owner reads; after a crash the old or the new one is there.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_node_sealed_in_that_place_is_gone_by() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("a"), tempfile::tempdir().unwrap());
        let seal = Seal::open(dir.path()).unwrap();
        seal.write(&path, "pods/1", b"{\n}").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Seal::open(dir.path()).unwrap();
        assert_eq!(again.read(&path, "pods/1").unwrap(), b"{\n}");
        assert!(matches!(again.read(&path, "pods/2"), Err(SealError::Broken)));
        assert!(matches!(Seal::open(elsewhere.path()).unwrap().read(&path, "pods/1"), Err(SealError::Broken)));
        let text = fs::read_to_string(&path).unwrap();
        for (tampered, newer) in [
            (text.replace('}', " }"), false),
            (text.replace("sealed 1 ", "sealed 0 "), false),
            (text.replace("sealed 1 ", "sealed 2 "), true),
            (text.replace('\n', " "), false),
            (text.trim_start_matches(|c| c != '\n').to_owned(), false),
            (String::new(), false),
        ] {
            fs::write(&path, &tampered).unwrap();
            let error = again.read(&path, "pods/1").unwrap_err();
            assert_eq!(matches!(error, SealError::Newer(2)), newer, "{tampered}");
            assert_eq!(matches!(error, SealError::Broken), !newer, "{tampered}");
        }
    }

    #[test]
    fn a_key_that_others_could_know_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, key) = (dir.path().join("a"), dir.path().join(KEY));
        Seal::open(dir.path()).unwrap().write(&path, "p", b"x").unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Seal::open(dir.path()).unwrap().read(&path, "p"), Err(SealError::Broken)));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&key, "short").unwrap();
        Seal::open(dir.path()).unwrap().write(&path, "p", b"x").unwrap();
        assert_eq!(Seal::open(dir.path()).unwrap().read(&path, "p").unwrap(), b"x");
    }
}
