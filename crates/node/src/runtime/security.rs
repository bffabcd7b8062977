//! What confines a container.

use std::path::PathBuf;

/// Which AppArmor profile confines a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AppArmor {
    /// The runtime's choice.
    #[default]
    Unset,
    /// None.
    Unconfined,
    /// What the runtime thinks fit.
    RuntimeDefault,
    /// One that the node's kernel has loaded.
    Localhost(String),
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Seccomp {
    /// All.
    #[default]
    Unconfined,
    /// What the runtime thinks fit.
    RuntimeDefault,
    /// What this file of the node says.
    Localhost(PathBuf),
}

/// Linux security settings of one container, already merged from pod and container.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SecurityConfig {
    /// All devices, all capabilities, no masking.
    pub privileged: bool,
    /// Capabilities beside the default set, without CAP_ ("ALL" is all).
    pub add_capabilities: Vec<String>,
    /// Capabilities out of the default set ("ALL" is all).
    pub drop_capabilities: Vec<String>,
    /// User; None is the image's.
    pub run_as_user: Option<i64>,
    /// Group; None is the image's.
    pub run_as_group: Option<i64>,
    /// More groups, fsGroup among them.
    pub supplemental_groups: Vec<i64>,
    /// The root file system can't be written.
    pub readonly_rootfs: bool,
    /// execve gives no more rights.
    pub no_new_privs: bool,
    /// /proc unmasked.
    pub unmasked_proc: bool,
    /// System calls; a privileged container has all.
    #[serde(default)]
    pub seccomp: Seccomp,
    /// AppArmor; a privileged container has none.
    #[serde(default)]
    pub app_armor: AppArmor,
    /// Groups that the image names its user in do not count.
    #[serde(default)]
    pub strict_groups: bool,
}
