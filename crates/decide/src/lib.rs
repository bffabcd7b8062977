//! The decisions of everynode as pure functions: which nodes run a daemon and why, what a rollout does next, how many
//! replicas, where a pod fits, a pod's next step on its node, how healthy a node is, what the garbage collector removes,
//! which tokens and certificate requests have had their time.
//!
//! Invariants: the same input gives the byte-same answer; input is read once per call; `now` comes from the caller;
//! everything is visited in the order of its name.
//!
//! Absent: async, clients, clocks, randomness, hash maps (their order differs from run to run).

pub mod bootstrap_tokens;
pub mod certificate_requests;
pub mod claim;
pub mod daemonset;
pub mod dead_man;
pub mod disruption;
pub mod forecast;
pub mod leader;
pub mod limits;
pub mod node_health;
pub mod node_pressure;
pub mod node_readiness;
pub mod node_shutdown;
pub mod owners;
pub mod pod_gc;
pub mod pod_lifecycle;
pub mod pre_pull;
pub mod replicaset;
pub mod resources;
pub mod schedule;
pub mod shadow;
pub mod static_pods;
pub mod terms;
pub mod view;
pub mod why;
