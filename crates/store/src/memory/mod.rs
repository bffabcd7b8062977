//! What a backend keeps in memory for readers and watchers: the keys as they stand, the recent history, the watchers.
//!
//! Both backends answer from it: the embedded one, whose memory is fed by its writer, and the cached one, whose memory is
//! fed by one watch of a far store.
//!
//! # Absent
//! Where commits come from, and the disk.

mod hub;
mod limits;
mod packing;
mod state;

pub(crate) use hub::Hub;
pub use hub::MemoryWatch;
pub(crate) use limits::{COMPACT_SHARE, HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, WATCH_QUEUE_EVENTS_MAX};
pub(crate) use packing::Packer;
pub(crate) use state::{State, Step};
