//! What must outlive the process that made it: the instance's subnet and the nodes' indexes, under /run.
//!
//! ```text
//! RUN/lock                   held while a subnet is chosen or the machine's forwarding changes
//! RUN/ip_forward_was_off     the machine did not forward before the first instance
//! RUN/ID/subnet              the instance's subnet
//! RUN/ID/netns/NAME          the node's network namespace
//! RUN/ID/index/NAME          the node's index
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::network::NetworkError;

/// Files of one instance.
#[derive(Debug, Clone)]
pub(crate) struct State {
    run: PathBuf,
    instance: String,
}

/// Held while something of all instances changes.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl State {
    pub(crate) fn new(run: &Path, instance: &str) -> Result<Self, NetworkError> {
        let fits = instance.len() >= 6 && instance.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !fits {
            return Err(NetworkError::Invalid(format!("instance {instance:?} is not of 6 or more letters and digits")));
        }
        Ok(Self { run: run.to_path_buf(), instance: instance.to_owned() })
    }

    fn dir(&self) -> PathBuf {
        self.run.join(&self.instance)
    }

    pub(crate) fn netns(&self, node: &str) -> PathBuf {
        self.dir().join("netns").join(node)
    }

    /// Waits for the lock of all instances.
    pub(crate) fn lock(&self) -> Result<RunLock, NetworkError> {
        let path = self.run.join("lock");
        let opened = fs::create_dir_all(&self.run)
            .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path))
            .and_then(|file| file.lock().map(|()| file));
        Ok(RunLock { _file: opened.map_err(NetworkError::kernel(path.display().to_string()))? })
    }

    /// The subnet of this instance.
    pub(crate) fn subnet(&self) -> Result<Option<Ipv4Net>, NetworkError> {
        read(&self.dir().join("subnet"))
    }

    pub(crate) fn set_subnet(&self, _lock: &RunLock, subnet: Ipv4Net) -> Result<(), NetworkError> {
        write(&self.dir().join("subnet"), &subnet.to_string())
    }

    /// Subnets of the other instances.
    pub(crate) fn other_subnets(&self, _lock: &RunLock) -> Result<Vec<Ipv4Net>, NetworkError> {
        let mut subnets = Vec::new();
        for (name, path) in entries(&self.run)? {
            if name != self.instance {
                subnets.extend(read::<Ipv4Net>(&path.join("subnet"))?);
            }
        }
        Ok(subnets)
    }

    /// Nodes and their indexes.
    pub(crate) fn nodes(&self) -> Result<BTreeMap<String, u8>, NetworkError> {
        let mut nodes = BTreeMap::new();
        for (name, path) in entries(&self.dir().join("index"))? {
            if let Some(index) = read(&path)? {
                nodes.insert(name, index);
            }
        }
        Ok(nodes)
    }

    pub(crate) fn add_node(&self, node: &str, index: u8) -> Result<(), NetworkError> {
        write(&self.dir().join("index").join(node), &index.to_string())
    }

    pub(crate) fn remove_node(&self, node: &str) -> Result<(), NetworkError> {
        remove_file(&self.dir().join("index").join(node))
    }

    /// Names of all files that a node's network namespace may be bound to.
    pub(crate) fn namespaces(&self) -> Result<Vec<String>, NetworkError> {
        Ok(entries(&self.dir().join("netns"))?.into_keys().collect())
    }

    /// Forgets the instance; other files in its directory stay.
    pub(crate) fn remove(&self, _lock: &RunLock) -> Result<(), NetworkError> {
        let dir = self.dir();
        remove_file(&dir.join("subnet"))?;
        for below in ["index", "netns"] {
            let path = dir.join(below);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(NetworkError::kernel(path.display().to_string())(error));
                }
                _ => {}
            }
        }
        // Not empty if others keep something there.
        drop(fs::remove_dir(&dir));
        Ok(())
    }

    fn forwarding_note(&self) -> PathBuf {
        self.run.join("ip_forward_was_off")
    }

    /// Notes that the machine did not forward before.
    pub(crate) fn note_forwarding_off(&self, _lock: &RunLock) -> Result<(), NetworkError> {
        write(&self.forwarding_note(), "")
    }

    /// Whether to stop forwarding: it was off before, and no other instance needs it.
    pub(crate) fn forwarding_may_end(&self, lock: &RunLock) -> Result<bool, NetworkError> {
        Ok(self.forwarding_note().exists() && self.other_subnets(lock)?.is_empty())
    }

    pub(crate) fn forget_forwarding(&self, _lock: &RunLock) -> Result<(), NetworkError> {
        remove_file(&self.forwarding_note())
    }
}

fn read<T: std::str::FromStr>(path: &Path) -> Result<Option<T>, NetworkError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(NetworkError::kernel(path.display().to_string())(error)),
    }
}

/// Replaces a file in one step.
fn write(path: &Path, text: &str) -> Result<(), NetworkError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let unnamed = path.with_file_name(format!(".{name}"));
    let written = (|| -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&unnamed, text)?;
        fs::rename(&unnamed, path)
    })();
    written.map_err(NetworkError::kernel(path.display().to_string()))
}

fn remove_file(path: &Path) -> Result<(), NetworkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(NetworkError::kernel(path.display().to_string())(error))
        }
        _ => Ok(()),
    }
}

fn entries(dir: &Path) -> Result<BTreeMap<String, PathBuf>, NetworkError> {
    let what = || dir.display().to_string();
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(NetworkError::kernel(what()))?,
    };
    let mut found = BTreeMap::new();
    for entry in listed {
        let path = entry.map_err(NetworkError::kernel(what()))?.path();
        // What begins with a dot was not yet given its name.
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) {
            found.insert(name.to_owned(), path);
        }
    }
    Ok(found)
}
