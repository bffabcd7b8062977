//! The Kubernetes API as data and pure rules.
//!
//! One table of kinds (`kinds`), one table of types (`schema`), and the rules that every part shares:
//! decoding, patching, defaulting, validating, printing.
//!
//! Invariants: everything here is a function of its arguments.
//! Absent: I/O, async, clocks, randomness, global mutable state.

pub mod admission;
pub mod affinity;
pub mod apply;
mod cel;
pub mod convert;
pub mod crd;
pub mod decode;
pub mod defaults;
pub mod depth;
pub mod frames;
pub mod kinds;
pub mod openapi;
pub mod patch;
pub mod prepare;
pub mod protobuf;
pub mod quantity;
pub mod quote;
pub mod rbac;
pub mod references;
pub mod resources;
pub mod rollout_policy;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod taint;
pub mod unmanaged;
pub mod validate;
pub mod yaml;

/// The Kubernetes release whose API this crate speaks, as `gitVersion` and `kubeletVersion` report it.
pub const KUBERNETES_VERSION: &str = "v1.36.2";
