//! An image made of this very program, so that a demonstration needs no registry and no file.
//!
//! # Invariants
//! - The same program gives the same image id on every machine: the id is of its content, not of its file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::{HashReader, digest_of};
use super::error::StoreError;
use super::install::{COMMIT_TRIES, Incoming};
use super::layout::read_if_there;
use super::name::Name;
use super::record::ImageConfig;
use super::store::Store;
use crate::runtime::ImageInfo;

/// Where the program is in the image.
pub const BUILTIN_PROGRAM: &str = "/everynode";
/// Changes when the files beside the program change, so that old layers are not taken for new ones.
const LAYER_VERSION: u32 = 1;

/// Files beside the program: those that nearly every C library and tool looks for.
const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/everynode\nnobody:x:65534:65534:nobody:/:/everynode\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hostname", ""),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
];
/// Directories, with their rights.
const DIRS: [(&str, u32); 8] = [
    ("etc", 0o755),
    ("root", 0o700),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/log", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
];

/// A file by what changes when it is replaced: saves hashing it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime_s: i64,
    mtime_ns: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownProgram {
    stamp: Stamp,
    digest: String,
}

impl Store {
    /// Makes or finds the image `reference` with the statically linked program `exe` as [`BUILTIN_PROGRAM`], which
    /// starts with `args`. Quick when nothing changed.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], [`StoreError::Io`].
    pub fn add_builtin(
        &self,
        reference: &str,
        exe: &Path,
        args: &[String],
        env: &[(String, String)],
    ) -> Result<ImageInfo, StoreError> {
        let name = Name::parse(reference)?.canonical();
        let program = self.program_digest(exe)?;
        let diff_id = digest_of(format!("everynode builtin layer {LAYER_VERSION} {program}").as_bytes());
        let config = ImageConfig {
            entrypoint: std::iter::once(BUILTIN_PROGRAM.to_owned()).chain(args.iter().cloned()).collect(),
            env: env.to_vec(),
            working_dir: "/".into(),
            ..ImageConfig::default()
        };
        let text = serde_json::to_vec(&(&diff_id, &config)).map_err(|error| StoreError::content(reference, error))?;
        let (id, diff_ids) = (digest_of(&text), vec![diff_id.clone()]);
        let image = Incoming { id, config, diff_ids, names: vec![name], kept: true };
        for _ in 0..COMMIT_TRIES {
            self.ensure_builtin_layer(exe, &program, &diff_id)?;
            if self.commit(image.record(), &image.names)? {
                return self.info(&image.id);
            }
        }
        Err(StoreError::content(reference, "its layer was removed as often as it was made"))
    }

    fn ensure_builtin_layer(&self, exe: &Path, program: &str, diff_id: &str) -> Result<(), StoreError> {
        if self.layout.layer_size(diff_id)?.is_some() {
            return Ok(());
        }
        let staging = self.layout.staging()?;
        let _lock = self.layout.layer_lock_blocking(diff_id)?;
        if self.layout.layer_size(diff_id)?.is_some() {
            return Ok(());
        }
        self.layout.add_layer(&staging, diff_id, |dir| {
            let size = fill(dir, exe).map_err(StoreError::io(dir))?;
            // The file may have been replaced between hash and copy.
            if self.program_digest(exe)? == program {
                Ok(size)
            } else {
                Err(StoreError::content(exe.display().to_string(), "it changed while it was copied: try again"))
            }
        })
    }

    /// The digest of the program, from memory if the file is the same as last time.
    fn program_digest(&self, exe: &Path) -> Result<String, StoreError> {
        let memory = self.layout.root().join("program.json");
        let stamp = stamp(exe)?;
        let known = read_if_there(&memory)?.and_then(|bytes| serde_json::from_slice::<KnownProgram>(&bytes).ok());
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return Ok(known.digest);
        }
        let digest = hash(exe)?;
        let known = KnownProgram { stamp, digest: digest.clone() };
        let bytes = serde_json::to_vec(&known).map_err(|error| StoreError::content("program.json", error))?;
        let lock = self.layout.lock()?;
        self.layout.write(&lock, &memory, &bytes)?;
        Ok(digest)
    }
}

fn fill(dir: &Path, exe: &Path) -> io::Result<u64> {
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(dir, 0o755)?;
    for (name, rights) in DIRS {
        let path = dir.join(name);
        fs::create_dir(&path)?;
        mode(&path, rights)?;
    }
    let mut size = 0;
    for (name, text) in FILES {
        let path = dir.join(name);
        fs::write(&path, text)?;
        mode(&path, 0o644)?;
        size += text.len() as u64;
    }
    // Shares the blocks where the file system can, copies inside the kernel elsewhere.
    let program: PathBuf = dir.join(BUILTIN_PROGRAM.trim_start_matches('/'));
    size += fs::copy(exe, &program)?;
    mode(&program, 0o755)?;
    Ok(size)
}

fn stamp(path: &Path) -> Result<Stamp, StoreError> {
    let meta = fs::metadata(path).map_err(StoreError::io(path))?;
    Ok(Stamp { dev: meta.dev(), ino: meta.ino(), size: meta.len(), mtime_s: meta.mtime(), mtime_ns: meta.mtime_nsec() })
}

fn hash(path: &Path) -> Result<String, StoreError> {
    let file = File::open(path).map_err(StoreError::io(path))?;
    HashReader::new(file).finish().map_err(StoreError::io(path))
}
