//! What `up` made and where: the layout of its data directory, the lock, and the record that `down` reads.
//!
//! # Invariants
//! - The record is written before anything is made, so `down` can always remove it.
//! - One `up` a data directory: the lock is held as long as it runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

/// Version of the record; a newer one is refused.
const VERSION: u64 = 1;

/// Paths below the data directory of one machine.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    /// Makes the directory if needed and resolves it, because its resolved name is what identifies the instance.
    pub(crate) fn create(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root).with_context(|| format!("make the data directory {}", root.display()))?;
        Self::open(root)
    }

    /// The layout of a directory that is there.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        Ok(Self { root: root.canonicalize().with_context(|| root.display().to_string())? })
    }

    /// The instance's name (see `node::local::instance`).
    pub(crate) fn instance(&self) -> String {
        node::local::instance(&self.root)
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.root.join("up.json")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("up.lock")
    }

    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.root.join("admin.kubeconfig")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.root.join("nodes").join(name)
    }

    /// The log of one of the processes that `up` starts.
    pub(crate) fn log(&self, process: &str) -> Result<PathBuf> {
        let dir = self.root.join("log");
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir.join(format!("{process}.log")))
    }
}

/// What `up` keeps about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Nodes node-1 to node-N.
    pub(crate) nodes: u8,
}

impl Record {
    /// The record, if `up` ever ran here.
    pub(crate) fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.record();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        };
        Self::parse(&text).with_context(|| path.display().to_string()).map(Some)
    }

    fn parse(text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).context("the record is damaged: `everynode down` removes what was made")?;
        let version = value["version"].as_u64().unwrap_or_default();
        if version > VERSION {
            bail!("made by a newer everynode (record {version}, this one reads {VERSION}): use that one");
        }
        let Some(nodes) = value["nodes"].as_u64() else {
            bail!("the record lacks the number of nodes: `everynode down` removes what was made");
        };
        Ok(Self { nodes: u8::try_from(nodes)? })
    }

    /// Replaces the record in one step.
    pub(crate) fn write(&self, layout: &Layout) -> Result<()> {
        let text = json!({ "version": VERSION, "nodes": self.nodes }).to_string();
        let (path, new) = (layout.record(), layout.root.join("up.json.new"));
        std::fs::write(&new, text + "\n")
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| path.display().to_string())
    }
}

/// Held while an `up` runs; tells others its process id.
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(layout: &Layout) -> Result<Self> {
        match Self::try_take(layout)? {
            Ok(lock) => Ok(lock),
            Err(pid) => bail!(
                "another `everynode up` (process {pid}) runs on {}: stop it, or choose another --data-dir",
                layout.root.display()
            ),
        }
    }

    /// The process id of the `up` that holds the lock.
    pub(crate) fn holder(layout: &Layout) -> Result<Option<i32>> {
        if !layout.lock().exists() {
            return Ok(None);
        }
        Ok(Self::try_take(layout)?.err())
    }

    fn try_take(layout: &Layout) -> Result<std::result::Result<Self, i32>> {
        let path = layout.lock();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0)?;
                file.rewind()?;
                write!(file, "{}", std::process::id())?;
                Ok(Ok(Self { _file: file }))
            }
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok(Err(text.trim().parse().unwrap_or_default()))
            }
            Err((_, e)) => Err(e).with_context(|| path.display().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_written_and_a_newer_one_is_refused() {
        let root = std::env::temp_dir().join(format!("everynode-up-{}", std::process::id()));
        let layout = Layout::create(&root).unwrap();
        assert_eq!(Record::read(&layout).unwrap(), None);
        let record = Record { nodes: 3 };
        record.write(&layout).unwrap();
        assert_eq!(Record::read(&layout).unwrap(), Some(record));
        assert!(format!("{:#}", Record::parse(r#"{"version":2,"nodes":1}"#).unwrap_err()).contains("newer"));
        assert!(format!("{:#}", Record::parse("{").unwrap_err()).contains("everynode down"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn one_lock_a_directory() {
        let root = std::env::temp_dir().join(format!("everynode-lock-{}", std::process::id()));
        let layout = Layout::create(&root).unwrap();
        assert_eq!(Lock::holder(&layout).unwrap(), None);
        let lock = Lock::take(&layout).unwrap();
        assert_eq!(Lock::holder(&layout).unwrap(), Some(std::process::id() as i32));
        assert!(Lock::take(&layout).is_err());
        drop(lock);
        assert_eq!(Lock::holder(&layout).unwrap(), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
