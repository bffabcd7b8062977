//! Changing one key, and finding out what became of a change when etcd did not say.
//!
//! # Invariants
//! - A commit is acknowledged only when etcd shows it.
//! - A commit is called a conflict only when it can't have happened and can't happen any more: the key has moved on from
//!   what was expected by someone else's change.
//! - Who makes the very same change of the very same state shares its outcome: that can't be told apart from one's own.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::Core;
use super::client::{Tries, no_answer};
use super::failure::Failure;
use super::feed::EtcdWatch;
use super::limits::ATTEMPT_MAX;
use super::proto::{
    Compare, CompareTarget, CompareTo, DeleteRequest, KeyValue, PutRequest, RangeRequest, Request, RequestOp, TXN,
    TxnRequest, TxnResponse, revision, signed, unsigned,
};
use crate::{Entry, Event, Expect, Op, Revision, StoreError, Watch};

/// An entry under the store's key.
pub(super) fn entry(kv: KeyValue, key: Bytes) -> Entry {
    Entry {
        key,
        value: kv.value.into(),
        create_revision: Revision(unsigned(kv.create_revision)),
        mod_revision: Revision(unsigned(kv.mod_revision)),
    }
}

/// What etcd is asked: the change if the key is as expected, otherwise a look at it.
fn transaction(key: Vec<u8>, expect: Expect, op: &Op) -> TxnRequest {
    let at = if let Expect::At(at) = expect { at } else { Revision(0) };
    let change = match op {
        Op::Put(value) => Request::Put(PutRequest { key: key.clone(), value: value.to_vec() }),
        Op::Delete => Request::Delete(DeleteRequest { key: key.clone() }),
    };
    let look = Request::Range(RangeRequest { key: key.clone(), ..RangeRequest::default() });
    let compare = Compare { target: CompareTarget::Mod.into(), key, to: Some(CompareTo::ModRevision(signed(at))) };
    TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { request: Some(change) }],
        failure: vec![RequestOp { request: Some(look) }],
    }
}

/// Commits.
pub(super) async fn commit(core: &Arc<Core>, key: &[u8], expect: Expect, op: Op) -> Result<Revision, StoreError> {
    // There is nothing to delete, and no key has revision 0, which to etcd means none: the caller is told so, as by any
    // other surprise.
    if matches!((expect, &op), (Expect::Absent, Op::Delete) | (Expect::At(Revision(0)), _)) {
        return Err(StoreError::Conflict(core.get(key).await?.0));
    }
    // Before the first try, so that whatever a try does is after it.
    let since = core.client.newest();
    let request = transaction(core.layout.entry(key), expect, &op);
    let mut tries = Tries::new();
    let mut doubt = None;
    loop {
        let failure = match core.client.attempt::<_, TxnResponse>(TXN, request.clone()).await {
            Ok(answer) => {
                let at = revision(answer.header.as_ref());
                core.client.saw(at);
                if answer.succeeded {
                    return Ok(at);
                }
                let found = answer.responses.into_iter().find_map(|r| r.range?.kvs.into_iter().next());
                let found = found.map(|kv| entry(kv, Bytes::copy_from_slice(key)));
                return match doubt {
                    None => Err(StoreError::Conflict(found)),
                    Some(why) => read_back(core, key, expect, &op, since, found, why).await,
                };
            }
            Err(failure) => failure,
        };
        if matches!(failure, Failure::Unknown(_)) {
            doubt = Some(failure.words());
        }
        let again = matches!(failure, Failure::Unsent(_) | Failure::Unknown(_)) && tries.again(&failure).await;
        if !again {
            return Err(doubt.map_or_else(|| no_answer(failure), StoreError::Timeout));
        }
    }
}

/// An earlier try may be what changed the key: its history tells.
async fn read_back(
    core: &Arc<Core>,
    key: &[u8],
    expect: Expect,
    op: &Op,
    since: Revision,
    found: Option<Entry>,
    why: String,
) -> Result<Revision, StoreError> {
    let unknown = |error: StoreError| StoreError::Timeout(format!("{why}; and its history can't be read: {error}"));
    let after = if let Expect::At(at) = expect { at } else { since };
    let mut watch = EtcdWatch::open(core.clone(), key, after).await.map_err(unknown)?;
    loop {
        let next = timeout(ATTEMPT_MAX, watch.next()).await;
        let next = next.unwrap_or_else(|_| Err(no_answer(Failure::silence())));
        let Some(event) = next.map_err(unknown)? else { return Err(StoreError::Timeout(why)) };
        // The watch is of a prefix: longer keys are others.
        if event.key != key {
            continue;
        }
        match verdict(&event, expect, op, found.as_ref()) {
            Verdict::Ours => return Ok(event.revision),
            Verdict::Theirs => return Err(StoreError::Conflict(found)),
            Verdict::Earlier => {}
        }
    }
}

/// What an event of the key says about a commit that may be behind it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ours,
    Theirs,
    /// Nothing yet.
    Earlier,
}

fn verdict(event: &Event, expect: Expect, op: &Op, found: Option<&Entry>) -> Verdict {
    let same = match (op, &event.current) {
        (Op::Put(value), Some(current)) => current.value == *value,
        (Op::Delete, None) => true,
        _ => false,
    };
    match expect {
        // Only one change can follow the expected revision.
        Expect::At(_) if same => Verdict::Ours,
        Expect::At(_) => Verdict::Theirs,
        Expect::Absent => {
            let created = event.current.as_ref().is_some_and(|c| c.create_revision == c.mod_revision);
            if same && created {
                Verdict::Ours
            } else if found.is_none_or(|found| event.revision >= found.mod_revision) {
                Verdict::Theirs
            } else {
                Verdict::Earlier
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, value: Option<(&str, u64)>) -> Event {
        let key = Bytes::from("k");
        let current = value.map(|(value, created)| Entry {
            key: key.clone(),
            value: Bytes::from(value.to_owned()),
            create_revision: Revision(created),
            mod_revision: Revision(revision),
        });
        Event { revision: Revision(revision), key, current, previous: None }
    }

    #[test]
    fn the_change_behind_the_expected_revision_decides() {
        let put = Op::Put(Bytes::from("mine"));
        let found = event(9, Some(("theirs", 7))).current;
        let at = Expect::At(Revision(3));
        for (event, expect, op, want) in [
            (event(4, Some(("mine", 2))), at, &put, Verdict::Ours),
            (event(4, Some(("theirs", 2))), at, &put, Verdict::Theirs),
            (event(4, None), at, &put, Verdict::Theirs),
            (event(4, None), at, &Op::Delete, Verdict::Ours),
            (event(4, Some(("theirs", 2))), at, &Op::Delete, Verdict::Theirs),
            (event(5, Some(("mine", 5))), Expect::Absent, &put, Verdict::Ours),
            // Someone else's key that came and went, and one that only now holds the same.
            (event(5, Some(("theirs", 5))), Expect::Absent, &put, Verdict::Earlier),
            (event(6, None), Expect::Absent, &put, Verdict::Earlier),
            (event(8, Some(("mine", 7))), Expect::Absent, &put, Verdict::Earlier),
            (event(9, Some(("theirs", 7))), Expect::Absent, &put, Verdict::Theirs),
        ] {
            assert_eq!(verdict(&event, expect, op, found.as_ref()), want, "{event:?} {expect:?} {op:?}");
        }
    }
}
