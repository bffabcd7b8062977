//! Several nodes on one machine: each a network namespace with its own address on a bridge of the machine.
//!
//! # Invariants
//! - All that is made is found again by its name, so a kill -9 at any step leaves nothing that the next call does not
//!   finish, and [`Machine::remove_all`] nothing that it does not take away.
//! - Two instances on one machine never share a subnet: the choice is made under one lock for all.
//!
//! # Absent
//! The nodes' processes: whoever calls this starts and ends them.

mod plan;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod topology;

pub use plan::NodeNet;
pub use topology::Machine;

/// Moves the calling thread into a node's network namespace; before the async runtime starts, that is the process.
pub use crate::network::enter;
