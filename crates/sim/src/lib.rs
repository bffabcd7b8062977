//! Seeded simulation of the DaemonSet rules over a cluster in memory whose controller lives dangerously: its view of the
//! cluster is old, it crashes between two writes, its writes are lost, nodes and pods come, fail and go.
//!
//! A run has two phases. While faults happen, [`check`] holds every step to what must never happen. Then the faults stop
//! and the cluster must become what the user asked for in bounded time. A run is a function of its seed: what failed
//! once fails again.
//!
//! Invariants: no clock, no threads, no randomness but the seed.
//!
//! Absent: the API server and the watch; `control` is tested against the real ones.

pub mod check;
pub mod cluster;
pub mod controller;
pub mod random;
pub mod run;
