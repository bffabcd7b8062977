//! Role-based access control as pure rules: what a rule allows, what a role may grant, what aggregated roles gather,
//! and the roles and bindings that every cluster has.
//!
//! # Invariants
//! Rules only add: what no rule allows is not allowed.
//!
//! # Absent
//! Which roles and bindings there are, and who asks.

mod aggregate;
mod defaults;
mod escalation;
mod rule;

pub use aggregate::{aggregated, is_aggregated};
pub use defaults::{defaults, reconciled};
pub use escalation::{compact, describe, full_authority, missing};
pub use rule::{Asked, Rule};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
