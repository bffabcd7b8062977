//! A profile as its file has it: the form of the OCI's runtime configuration, or Docker's, which asks about the machine.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Largest file that is read; Docker's default profile has 17 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// See the module. Fields by the names of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Profile {
    /// For what no rule is about.
    pub(crate) default_action: String,
    /// Error number of that, where it is one.
    pub(crate) default_errno_ret: Option<u32>,
    /// OCI: architectures beside the machine's own.
    pub(crate) architectures: Option<Vec<String>>,
    /// Docker: architectures by the machine's own.
    pub(crate) arch_map: Option<Vec<ArchMap>>,
    /// Flags of the filter.
    pub(crate) flags: Option<Vec<String>>,
    /// A socket of one who decides.
    pub(crate) listener_path: String,
    /// Rules; of those about one call the first that holds counts.
    pub(crate) syscalls: Option<Vec<Rule>>,
}

/// What a machine's own architecture brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ArchMap {
    pub(crate) architecture: String,
    pub(crate) sub_architectures: Option<Vec<String>>,
}

/// What becomes of some calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    /// Names; those that the architecture has not are passed over.
    pub(crate) names: Vec<String>,
    /// One name, in older files.
    pub(crate) name: String,
    pub(crate) action: String,
    pub(crate) errno_ret: Option<u32>,
    /// All must hold; of those about one argument any.
    pub(crate) args: Option<Vec<Condition>>,
    /// Docker: the rule is there only where all of this holds.
    pub(crate) includes: Option<Where>,
    /// Docker: and where none of this does.
    pub(crate) excludes: Option<Where>,
}

/// Of a machine and a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Where {
    pub(crate) caps: Option<Vec<String>>,
    pub(crate) arches: Option<Vec<String>>,
    /// MAJOR.MINOR
    pub(crate) min_kernel: String,
}

/// Of one argument of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Condition {
    pub(crate) index: u32,
    pub(crate) value: u64,
    pub(crate) value_two: u64,
    pub(crate) op: String,
}

/// Why a profile can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    /// No such file, or it can't be read.
    #[error("cannot load seccomp profile {path:?}: {cause}; put the file there, or change seccompProfile of the pod")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It is no profile.
    #[error("cannot load seccomp profile {path:?}: it is not what a profile is: {cause}")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

impl Profile {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not there, or no profile.
    pub(crate) fn read(path: &Path) -> Result<Self, ProfileError> {
        let file = |cause| ProfileError::File { path: path.to_owned(), cause };
        let size = std::fs::metadata(path).map_err(file)?.len();
        if size > FILE_BYTES_MAX {
            return Err(file(std::io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes"))));
        }
        let text = std::fs::read(path).map_err(file)?;
        serde_json::from_slice(&text).map_err(|cause| ProfileError::Form { path: path.to_owned(), cause })
    }
}
