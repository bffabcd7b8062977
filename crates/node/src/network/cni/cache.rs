//! What plugins were asked for, as a file for each sandbox.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::List;
use crate::network::error::NetworkError;

/// Sandboxes read at most at a start: a node has 110 pods, and what it did not clean up does not grow without end.
const SANDBOXES_MAX: usize = 4096;

/// One sandbox and its network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attachment {
    pub(super) list: List,
    pub(super) sandbox: String,
    pub(super) netns: PathBuf,
    /// Where the plugins were: who takes the sandbox off may have been told of other places.
    #[serde(default)]
    pub(super) bin_dirs: Vec<PathBuf>,
    /// CNI_ARGS.
    pub(super) args: String,
    /// portMappings of the runtime's configuration.
    pub(super) ports: Vec<Value>,
    /// What the last plugin answered; None while the ADD goes on, or after it broke off.
    pub(super) result: Option<Value>,
}

/// The files.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, sandbox: &str) -> PathBuf {
        self.dir.join(format!("{sandbox}.json"))
    }

    pub(super) fn has(&self, sandbox: &str) -> bool {
        self.path(sandbox).exists()
    }

    pub(super) fn all(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().take(SANDBOXES_MAX);
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned)).collect()
    }

    pub(super) fn write(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        let path = self.path(&attachment.sandbox);
        let unnamed = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            fs::write(&unnamed, serde_json::to_vec(attachment)?)?;
            fs::rename(&unnamed, &path)
        };
        write().map_err(NetworkError::kernel(path.display().to_string()))
    }

    pub(super) fn read(&self, sandbox: &str) -> Result<Option<Attachment>, NetworkError> {
        let path = self.path(sandbox);
        let failed = |error: io::Error| NetworkError::kernel(path.display().to_string())(error);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn forget(&self, sandbox: &str) -> Result<(), NetworkError> {
        let path = self.path(sandbox);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(NetworkError::kernel(path.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }
}
