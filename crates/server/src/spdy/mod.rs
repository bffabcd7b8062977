//! SPDY/3.1, as far as kubectl speaks it: several streams over one upgraded connection.
//!
//! kubectl before 1.31 speaks nothing else for exec, attach and port-forward, and newer ones send port-forward's SPDY
//! through a websocket.
//!
//! # Invariants
//! - A peer holds at most one frame of [`frame::FRAME_BYTES_MAX`] here, and its headers unpack to a bounded size.
//! - Windows are not counted: Kubernetes' own implementation does not, on either side. TCP holds the sender back.
//!
//! # Absent
//! What only browsers used: push, priorities, credentials.

pub(crate) mod connection;
mod frame;
mod headers;

pub(crate) use connection::{Event, Reader, Writer, open};
