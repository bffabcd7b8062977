//! What admission adds to a new pod, as far as it can be said without looking anything up.
//!
//! Invariants: called on creation only; what the author of the pod wrote wins or is refused, never
//! silently replaced.
//!
//! Absent: finding the priority class or the service account (the caller does), quotas.

mod limits;
mod priority;
mod runtime_class;
mod service_account;
mod tolerations;

pub use limits::{check_claim, check_pod, default_resources};
pub use priority::{PriorityClass, resolve_priority};
pub use runtime_class::use_runtime_class;
pub use service_account::{Account, use_service_account};
pub use tolerations::default_toleration_seconds;

/// Why admission refuses a pod; the sentence goes into a `forbidden` answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);
