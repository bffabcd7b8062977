//! Rights that the API server says this process lacks: told in one line each, naming verb and resource.
//!
//! Invariants: a line for each right and some time, however often it is missed; what lacks it is tried again by whoever
//! tried.
//!
//! Absent: other refusals, such as those by quota.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use tokio::time::Instant;

use crate::hub::lock;
use crate::limits::{RIGHT_SAID_AGAIN, RIGHTS_KNOWN};

/// A right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    verb: String,
    /// With its group, as in `daemonsets.apps/status`.
    resource: String,
    /// Empty for all of them.
    namespace: String,
    user: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing right: {} {}", self.verb, self.resource)?;
        if !self.namespace.is_empty() {
            write!(f, " in namespace {}", self.namespace)?;
        }
        write!(f, ": grant it to {}; trying again until it is there", self.user)
    }
}

impl Right {
    /// The right that a refusal names in these words of Kubernetes' authorization.
    pub(crate) fn missing(message: &str) -> Option<Self> {
        let (before, after) = message.split_once(" cannot ")?;
        let user = before.rsplit_once("User ")?.1.trim_matches('"');
        let (verb, after) = after.split_once(" resource \"")?;
        let (resource, after) = after.split_once('"')?;
        let quoted =
            |name: &str| after.split_once(name).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let (group, namespace) = (quoted("in API group \""), quoted("in the namespace \""));
        let resource = match (resource.split_once('/'), group) {
            (_, "") => resource.to_owned(),
            (Some((kind, sub)), group) => format!("{kind}.{group}/{sub}"),
            (None, group) => format!("{resource}.{group}"),
        };
        Some(Self { verb: verb.to_owned(), resource, namespace: namespace.to_owned(), user: user.to_owned() })
    }
}

/// The rights that were told of, and when.
#[derive(Debug, Default)]
pub(crate) struct Rights(Mutex<BTreeMap<Right, Instant>>);

impl Rights {
    /// Tells of the right that this refusal is about; false when it is about none.
    pub(crate) fn tell(&self, error: &kube::Error) -> bool {
        let kube::Error::Api(status) = error else { return false };
        let Some(right) = Right::missing(&status.message).filter(|_| status.code == 403) else { return false };
        if self.is_news(&right) {
            tracing::warn!("{right}");
        }
        true
    }

    fn is_news(&self, right: &Right) -> bool {
        let mut known = lock(&self.0);
        let now = Instant::now();
        known.retain(|_, at| now.duration_since(*at) < RIGHT_SAID_AGAIN);
        if known.len() >= RIGHTS_KNOWN || known.contains_key(right) {
            return false;
        }
        known.insert(right.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_verb_and_resource() {
        let cases = [
            (
                r#"daemonsets.apps is forbidden: User "u" cannot list resource "daemonsets" in API group "apps" at the cluster scope"#,
                Some("missing right: list daemonsets.apps: grant it to u; trying again until it is there"),
            ),
            (
                r#"daemonsets.apps "d" is forbidden: User "u" cannot update resource "daemonsets/status" in API group "apps" in the namespace "x""#,
                Some(
                    "missing right: update daemonsets.apps/status in namespace x: grant it to u; trying again until it is there",
                ),
            ),
            (
                r#"pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group "" in the namespace "x""#,
                Some(
                    "missing right: create pods in namespace x: grant it to system:serviceaccount:a:b; trying again until it is there",
                ),
            ),
            (r#"pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#, None),
        ];
        for (message, want) in cases {
            assert_eq!(Right::missing(message).map(|r| r.to_string()).as_deref(), want, "{message}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_is_told_of_once_in_a_while() {
        let rights = Rights::default();
        let right = |verb: &str| Right {
            verb: verb.into(),
            resource: "pods".into(),
            namespace: String::new(),
            user: "u".into(),
        };
        assert!(rights.is_news(&right("get")) && !rights.is_news(&right("get")) && rights.is_news(&right("list")));
        tokio::time::advance(RIGHT_SAID_AGAIN).await;
        assert!(rights.is_news(&right("get")));
        for i in 0..RIGHTS_KNOWN * 2 {
            rights.is_news(&right(&i.to_string()));
        }
        assert!(lock(&rights.0).len() <= RIGHTS_KNOWN);
    }
}
