//! A difference, as it is shown.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// A pod was made where ours would have made none.
    Created,
    /// A pod ended that ours would have kept.
    Deleted,
    /// A pod is of another revision than ours would have made it of.
    Revision,
    /// More nodes are updated at a time than ours would.
    Budget,
    /// Ours would have done something that was not done.
    NotDone,
    /// The status says something else than ours would.
    Status,
}

/// A difference between what another controller does and what ours would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// When it was found to last.
    pub time: Timestamp,
    /// Namespace of the DaemonSet.
    pub namespace: String,
    /// Name of the DaemonSet.
    pub daemon_set: String,
    /// What differs.
    #[serde(rename = "difference")]
    pub kind: Kind,
    /// The node that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The pod that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What the other did.
    pub theirs: String,
    /// What ours would have done.
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.strftime("%H:%M:%S");
        write!(f, "{time} {}/{} {:?}", self.namespace, self.daemon_set, self.kind)?;
        if let Some(node) = &self.node {
            write!(f, " on {node}")?;
        }
        write!(f, ": the other {}; ours {}", self.theirs, self.ours)
    }
}
