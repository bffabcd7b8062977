//! A revisioned key-value store of bytes: compare-and-set, list, watch from a revision, compaction.
//!
//! Two backends: [`embedded`] on this machine's disk, and [`etcd`], which several servers share, with [`cached`] before it.
//!
//! # Invariants
//! - One sequence of revisions that only grows, never reused, also not after a crash.
//! - A commit that was acknowledged is on the disk.
//! - A watcher sees every event of its prefix after its revision, once and in order, or is told that it can't.
//!
//! # Absent
//! Kubernetes types: keys and values are bytes.

mod any;
pub mod cached;
pub mod embedded;
pub mod etcd;
mod memory;
mod types;

pub use any::AnyStore;
pub use memory::MemoryWatch;
pub use types::*;
