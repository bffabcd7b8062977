//! The node agent: pods to containers.
pub mod agent;
mod disk_usage;
pub mod images;
pub mod local;
pub mod machine;
mod measure;
pub mod memory;
pub mod network;
mod probe;
pub mod runtime;
mod seccomp;
pub mod shim;
mod tunnel;
mod volumes;
