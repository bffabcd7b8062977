//! kubectl-compatible verbs over the Kubernetes API, and our own that tell what is decided: `why`.
//!
//! # Invariants
//! - Whatever a verb of kubectl's prints, standard output or standard error, reads as kubectl's would.
//! - The server is reached by its API alone, as any other client reaches it.
//!
//! # Absent
//! Flags of kubectl that DaemonSet users have no use for; they are refused, not ignored.

// Comments on flags are their help texts, where brackets mean what may be left out.
#![allow(rustdoc::broken_intra_doc_links)]

mod client;
mod columns;
mod command;
mod describe;
mod duration;
mod failure;
mod files;
mod globals;
mod gojson;
mod jsonpath;
mod mapping;
mod merge;
mod output;
mod reasons;
mod streams;
mod table;
mod targets;
mod terminal;
mod verbs;
mod watching;

pub use command::{Command, With, run};
pub use duration::parse as parse_duration;
pub use globals::GlobalArgs;
pub use reasons::{ReasonsQuery, reasons};
