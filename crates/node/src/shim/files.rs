//! The pod's directory: the files by which agent and shim hand things to each other, and their names.
//!
//! ```text
//! RUN_DIR/pods/SANDBOX/            made by the agent, lost at a reboot
//!   shim.json                      what the shim shall be, a second copy of sandbox.json in it (agent; shim when asked)
//!   shim.sock  shim.pid            where it listens, who it is (shim)
//!   sandbox.json                   the sandbox as the agent knows it (agent; shim when asked)
//!   netns  shm/                    network namespace and /dev/shm of the pod, mounts
//!   pidns                          link to the pod's process namespace, where containers share one (shim)
//!   hosts  hostname  resolv.conf   the pod's /etc files
//!   containers/ID/container.json   what to run (agent)
//!   containers/ID/state.json       what became of it (shim; the agent once the shim has died)
//!   containers/ID/config.json      OCI configuration, also the bundle (shim)
//!   containers/ID/rootfs/          where its file system is mounted, in its own mount namespace only
//!   containers/ID/oci/             libcontainer's state
//! ```
//!
//! # Invariants
//! - Each file has one writer and is replaced by rename: a reader sees an old or a new one, never half a one.
//! - What a fault of the disk or of people still damages, a living shim writes anew from its memory.
//! - A directory of a newer everynode is not understood by half: [`SandboxFile::read`] refuses it by its version.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::runtime::{ContainerState, Mount, NamespaceMode, SandboxConfig};
use crate::seccomp::Filter;

/// A Kubernetes object is at most 1.5 MiB, and these files hold less than a pod.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(crate) const SHIM_CONFIG: &str = "shim.json";
pub(crate) const SHIM_SOCKET: &str = "shim.sock";
pub(crate) const SHIM_PID: &str = "shim.pid";
pub(crate) const SANDBOX: &str = "sandbox.json";
pub(crate) const NETNS: &str = "netns";
pub(crate) const PID_NAMESPACE: &str = "pidns";
pub(crate) const SHM: &str = "shm";
pub(crate) const CONTAINERS: &str = "containers";
pub(crate) const CONTAINER: &str = "container.json";
pub(crate) const STATE: &str = "state.json";
pub(crate) const OCI_CONFIG: &str = "config.json";
pub(crate) const ROOTFS: &str = "rootfs";
pub(crate) const OCI_STATE: &str = "oci";

/// Format of all files in a pod's directory. To be raised when an older everynode would misread them.
pub(crate) const VERSION: u32 = 1;

/// What `sandbox.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxFile {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// What it was made from.
    pub(crate) config: SandboxConfig,
    /// Made at.
    pub(crate) created_at: Timestamp,
    /// Addresses of the pod.
    pub(crate) ips: Vec<std::net::IpAddr>,
}

/// Why a state file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// There is none.
    #[error("it is not there")]
    Missing,
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(io::Error),
    /// A later version of this program wrote it.
    #[error("it is of a newer everynode (format {0}, this one knows {VERSION})")]
    Newer(u32),
}

/// Read before the rest: what else a newer file holds is not known.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

impl SandboxFile {
    /// Reads the sandbox in a pod's directory.
    pub(crate) fn read(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(SANDBOX);
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StateError::Missing,
            _ => StateError::Damaged(error),
        };
        match read_json(&path).map_err(broken)? {
            Format { version } if version > VERSION => Err(StateError::Newer(version)),
            Format { .. } => read_json(&path).map_err(broken),
        }
    }
}

/// What a shim shall be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    /// The second copy.
    pub(crate) file: SandboxFile,
    /// The sandbox's id.
    pub(crate) sandbox: String,
    /// Pod's name, for the links in `log_links`.
    pub(crate) pod_name: String,
    /// Pod's namespace, for the same.
    pub(crate) pod_namespace: String,
    /// Host name; with one the pod gets a UTS namespace.
    pub(crate) hostname: Option<String>,
    /// Network namespace to join.
    pub(crate) netns: Option<PathBuf>,
    /// Whose IPC.
    pub(crate) ipc: NamespaceMode,
    /// Whose process ids.
    pub(crate) pid: NamespaceMode,
    /// Kernel settings of those namespaces.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Cgroup of the shim itself.
    pub(crate) cgroup: PathBuf,
    /// Log files of the containers lie under this.
    pub(crate) log_directory: PathBuf,
    /// /var/log/containers.
    pub(crate) log_links: PathBuf,
    /// When a log is rotated, bytes.
    pub(crate) log_bytes_max: u64,
    /// How many files of one log there are, the present one included.
    pub(crate) log_files_max: usize,
}

/// What a container shall be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerFile {
    /// Its id.
    pub(crate) id: String,
    /// Name in the pod.
    pub(crate) name: String,
    /// Counts starts.
    pub(crate) attempt: u32,
    /// As the user wrote it.
    pub(crate) image: String,
    /// As the image service named it.
    pub(crate) image_id: String,
    /// Whole path of its log.
    pub(crate) log_path: PathBuf,
    /// Read-only layers, the top one first.
    pub(crate) lower_dirs: Vec<PathBuf>,
    /// Holds `upper` and `work` of overlayfs.
    pub(crate) data_dir: PathBuf,
    /// Mounted into the root file system in this order.
    pub(crate) mounts: Vec<Mount>,
    /// Who it runs as.
    pub(crate) user: UserChoice,
    /// From the root of each hierarchy.
    pub(crate) cgroup: PathBuf,
    /// Number of the signal that asks it to stop.
    pub(crate) stop_signal: i32,
    /// Keeps standard input open.
    pub(crate) stdin: bool,
    /// Gives it a terminal.
    pub(crate) tty: bool,
    /// OCI configuration without the user.
    pub(crate) spec: serde_json::Value,
    /// System calls that it may make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confinement: Option<Confinement>,
}

/// What a container's processes take upon themselves before they become its programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confinement {
    /// Which system calls they may make.
    pub(crate) filter: Filter,
    /// Capabilities that its OCI configuration has only so that the filter can be installed, by number.
    pub(crate) lent: Vec<u8>,
}

/// Who a container runs as; resolved in its own file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserChoice {
    /// USER of the image.
    pub(crate) image: String,
    /// Replaces the image's user.
    pub(crate) uid: Option<u32>,
    /// Replaces the group.
    pub(crate) gid: Option<u32>,
    /// More groups.
    pub(crate) groups: Vec<u32>,
    /// Groups of the container's own /etc/group do not count.
    #[serde(default)]
    pub(crate) strict: bool,
}

/// What became of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its id.
    pub(crate) id: String,
    /// Name in the pod.
    pub(crate) name: String,
    /// Counts starts.
    pub(crate) attempt: u32,
    /// As the user wrote it.
    pub(crate) image: String,
    /// As the image service named it.
    pub(crate) image_id: String,
    /// Whole path of its log.
    pub(crate) log_path: PathBuf,
    /// From the root of each hierarchy.
    pub(crate) cgroup: PathBuf,
    /// State.
    pub(crate) state: ContainerState,
    /// First process, while it runs.
    pub(crate) pid: Option<i32>,
    /// Clock ticks since boot at which that process began: tells it from a later one with its number.
    pub(crate) pid_start: Option<u64>,
    /// Made at.
    pub(crate) created_at: Timestamp,
    /// Started at.
    pub(crate) started_at: Option<Timestamp>,
    /// Ended at.
    pub(crate) finished_at: Option<Timestamp>,
    /// 128 + signal where a signal ended it.
    pub(crate) exit_code: Option<i32>,
    /// Completed, Error, OOMKilled, StartError.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
}

impl Record {
    /// Of a container that is made now and does not run yet.
    pub(crate) fn new(file: &ContainerFile) -> Self {
        Self {
            id: file.id.clone(),
            name: file.name.clone(),
            attempt: file.attempt,
            image: file.image.clone(),
            image_id: file.image_id.clone(),
            log_path: file.log_path.clone(),
            cgroup: file.cgroup.clone(),
            state: ContainerState::Created,
            pid: None,
            pid_start: None,
            created_at: Timestamp::now(),
            started_at: None,
            finished_at: None,
            exit_code: None,
            reason: String::new(),
            message: String::new(),
        }
    }
}

/// Reads one of the files above.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

/// Replaces one of the files above. Not synced: they lie in memory and end with the boot.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    write_atomic(path, &bytes)
}

/// Replaces a file so that readers see the old or the new content.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_json(&path, &vec![1, 2, 3]).unwrap();
        write_json(&path, &vec![4]).unwrap();
        assert_eq!(read_json::<Vec<i32>>(&path).unwrap(), [4]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_sandbox_file_is_decides_what_becomes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = |version| SandboxFile {
            version,
            config: SandboxConfig::default(),
            created_at: Timestamp::UNIX_EPOCH,
            ips: Vec::new(),
        };
        assert!(matches!(SandboxFile::read(dir.path()), Err(StateError::Missing)));
        write_json(&dir.path().join(SANDBOX), &file(VERSION)).unwrap();
        assert_eq!(SandboxFile::read(dir.path()).unwrap().version, VERSION);
        for (text, newer) in [
            ("", false),
            (r#"{"version":1"#, false),
            (r#"{"version":1}"#, false),
            (r#"{"config":{}}"#, false),
            (r#"{"version":2,"all":"else"}"#, true),
        ] {
            fs::write(dir.path().join(SANDBOX), text).unwrap();
            let error = SandboxFile::read(dir.path()).unwrap_err();
            assert_eq!(matches!(error, StateError::Newer(2)), newer, "{text}: {error}");
            assert_eq!(matches!(error, StateError::Damaged(_)), !newer, "{text}: {error}");
        }
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, "{").unwrap();
        assert!(read_json::<Vec<i32>>(&path).unwrap_err().to_string().contains("a.json"));
    }
}
