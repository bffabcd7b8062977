//! What a failed request to etcd means: nothing happened, or nobody knows.
//!
//! # Invariants
//! Only what surely changed nothing is called so; anything else is unknown, and a commit looks again.

use tonic::{Code, ConnectError, Status};

use super::limits::ATTEMPT_MAX;
use crate::StoreError;

/// How one attempt failed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// No member took the request: trying again can't do a thing twice.
    Unsent(String),
    /// It was sent, and what became of it is not known.
    Unknown(String),
    /// The revision is not there any more.
    Compacted,
    /// The revision is not there yet.
    Future,
    /// etcd will not do it, now or later.
    Refused(StoreError),
}

impl Failure {
    /// The member did not answer at all.
    pub(super) fn silence() -> Failure {
        Failure::Unknown(format!("etcd did not answer within {} s", ATTEMPT_MAX.as_secs()))
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        match self {
            Failure::Unsent(why) | Failure::Unknown(why) => why.clone(),
            Failure::Compacted => "etcd has compacted the revision".to_owned(),
            Failure::Future => "etcd does not have the revision yet".to_owned(),
            Failure::Refused(StoreError::Unavailable(why) | StoreError::TooLarge(why)) => why.clone(),
            Failure::Refused(error) => error.to_string(),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let said = status.message();
        match status.code() {
            Code::OutOfRange if said.contains("compacted") => Failure::Compacted,
            Code::OutOfRange if said.contains("future") => Failure::Future,
            Code::InvalidArgument if said.contains("too large") => {
                Failure::Refused(StoreError::TooLarge(said.to_owned()))
            }
            Code::ResourceExhausted if said.contains("message larger than max") => {
                Failure::Refused(StoreError::TooLarge(said.to_owned()))
            }
            Code::ResourceExhausted if said.contains("space exceeded") => Failure::Refused(full(said)),
            // Too many requests: etcd takes none while it lags behind itself.
            Code::ResourceExhausted if said.starts_with("etcdserver:") => Failure::Unsent(said.to_owned()),
            Code::InvalidArgument | Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => {
                Failure::Refused(StoreError::Unavailable(format!("etcd refuses: {said}")))
            }
            _ if never_connected(&status) => Failure::Unsent(chain(&status)),
            _ => Failure::Unknown(chain(&status)),
        }
    }
}

fn full(said: &str) -> StoreError {
    StoreError::Unavailable(format!(
        "{said}: etcd takes no writes until there is room: compact and defragment it or raise its --quota-backend-bytes, \
         then `etcdctl alarm disarm`"
    ))
}

fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The status and what caused it, each said once.
fn chain(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let said = error.to_string();
        if said != "transport error" && !words.contains(&said) {
            words = if words.is_empty() { said } else { format!("{words}: {said}") };
        }
        cause = error.source();
    }
    if words.is_empty() { status.code().description().to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surely_changed_nothing_is_called_so() {
        let cases = [
            (Code::Unavailable, "etcdserver: leader changed", "unknown"),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure", "unknown"),
            (Code::Cancelled, "", "unknown"),
            (Code::Unknown, "context canceled", "unknown"),
            (Code::Internal, "h2 protocol error", "unknown"),
            (Code::ResourceExhausted, "etcdserver: too many requests", "unsent"),
            (Code::ResourceExhausted, "grpc: received message larger than max (2 vs. 1)", "refused"),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", "refused"),
            (Code::InvalidArgument, "etcdserver: request is too large", "refused"),
            (Code::PermissionDenied, "etcdserver: permission denied", "refused"),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", "compacted"),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision", "future"),
        ];
        for (code, said, want) in cases {
            let got = match Failure::from(Status::new(code, said)) {
                Failure::Unsent(_) => "unsent",
                Failure::Unknown(words) => {
                    assert!(!words.is_empty());
                    "unknown"
                }
                Failure::Compacted => "compacted",
                Failure::Future => "future",
                Failure::Refused(_) => "refused",
            };
            assert_eq!(got, want, "{code:?} {said}");
        }
    }
}
