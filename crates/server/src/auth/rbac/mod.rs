//! Role-based access control: the stored roles and bindings, asked in memory.
//!
//! # Invariants
//! - What was written through this server counts from the answer on: writers wait until the index has seen their write.
//! - What no rule allows is denied.

mod follow;
mod index;

use std::ops::ControlFlow;
use std::sync::{PoisonError, RwLock};

use api::rbac::Rule;
use store::Revision;
use tokio::sync::{Notify, watch};

pub(crate) use follow::{aggregate, start};
pub(crate) use index::{PREFIX, RoleRef};

use super::{Attributes, Decision, User};
use crate::limits::INDEX_WAIT;
use index::Index;

/// The authorizer.
pub(crate) struct Rbac {
    /// Held only while a request is decided or a change is taken over, never across a wait.
    index: RwLock<Index>,
    seen: watch::Sender<Revision>,
    /// A cluster role changed: others may gather from it.
    cluster_roles: Notify,
}

impl Default for Rbac {
    fn default() -> Self {
        Rbac { index: RwLock::default(), seen: watch::Sender::new(Revision(0)), cluster_roles: Notify::new() }
    }
}

impl Rbac {
    /// Whether a user may do something, and why.
    pub(crate) fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        let namespace = match attributes {
            Attributes::Resource { namespace, .. } => namespace,
            Attributes::Path { .. } => "",
        };
        let allows = |rule: &Rule| match attributes {
            Attributes::Resource { asked, .. } => rule.allows(asked),
            Attributes::Path { path, verb } => rule.allows_path(verb, path),
        };
        let mut missing = Vec::new();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let found = index.visit(user, namespace, |grant| match grant.rules {
            Some(rules) if rules.iter().any(allows) => ControlFlow::Break(grant.reason()),
            Some(_) => ControlFlow::Continue(()),
            None => {
                missing.push(grant.missing());
                ControlFlow::Continue(())
            }
        });
        match (found, missing.as_slice()) {
            (Some(reason), _) => Decision::Allow(reason),
            (None, []) => Decision::Deny(String::new()),
            (None, [one]) => Decision::Deny(format!("RBAC: {one}")),
            (None, many) => Decision::Deny(format!("RBAC: [{}]", many.join(", "))),
        }
    }

    /// Every rule that holds for a user in a namespace (empty for the cluster alone), and the roles that are missing.
    pub(crate) fn rules(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut missing) = (Vec::new(), Vec::new());
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.visit(user, namespace, |grant| -> ControlFlow<()> {
            match grant.rules {
                Some(found) => rules.extend(found.iter().cloned()),
                None => missing.push(grant.missing()),
            }
            ControlFlow::Continue(())
        });
        (rules, missing)
    }

    /// The rules of the role that a binding in `namespace` (empty for the cluster) names.
    pub(crate) fn role(&self, role: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.role(role, namespace).map(|rules| rules.to_vec())
    }

    /// Returns when the index has seen a revision of a role or binding, or when that takes too long: the write is
    /// durable then all the same.
    pub(crate) async fn sees(&self, revision: Revision) {
        let mut seen = self.seen.subscribe();
        let wait = seen.wait_for(|seen| *seen >= revision);
        let _ = tokio::time::timeout(INDEX_WAIT, wait).await;
    }
}
