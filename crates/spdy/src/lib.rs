//! SPDY/3.1, as far as kubectl and container runtimes speak it: several streams over one upgraded connection.
//!
//! kubectl before 1.31 speaks nothing else for exec, attach and port-forward, and newer ones send port-forward's SPDY
//! through a websocket. Runtimes of the Container Runtime Interface serve exec, attach and port-forward by it.
//!
//! # Invariants
//! - A peer holds at most one frame of 1 MiB here, and its headers unpack to a bounded size.
//! - Windows are not counted: Kubernetes' own implementation does not, on either side. TCP holds the sender back.
//!
//! # Absent
//! What only browsers used: push, priorities, credentials.

mod connection;
mod frame;
mod headers;

pub use connection::{Event, Reader, Writer, open};
pub use headers::Headers;
