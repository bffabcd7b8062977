//! Forgetting history: one of all servers compacts etcd, some minutes behind.
//!
//! Every server tries to move one key on, once an interval, from the version that it saw last; who succeeds compacts to
//! the revision of the interval before. The key says up to where, so that all servers know how old a revision may be.
//!
//! # Invariants
//! - What became known less than an interval ago is never compacted.
//! - The key is written before etcd compacts: a revision that it allows to read can be read.

use std::sync::Arc;

use tokio::time::{Duration, sleep};

use super::client::no_answer;
use super::failure::Failure;
use super::proto::{
    COMPACT, CompactionRequest, Compare, CompareTarget, CompareTo, Done, PUT, PutRequest, RangeRequest, Request,
    RequestOp, TXN, TxnRequest, TxnResponse, revision, signed,
};
use super::{COMPACTION, Core};
use crate::{Revision, StoreError};

/// What the key says: a revision in decimal.
pub(super) fn read(value: &[u8]) -> Option<Revision> {
    std::str::from_utf8(value).ok()?.parse().ok().map(Revision)
}

/// Compacts now, and tells the others.
pub(super) async fn compact(core: &Core, upto: Revision) -> Result<(), StoreError> {
    if upto <= Revision(0) {
        return Ok(());
    }
    let newest = core.revision().await?;
    if upto > newest {
        return Err(StoreError::Future { wanted: upto, newest });
    }
    if core.compacted().await?.is_none_or(|before| before < upto) {
        let put = PutRequest { key: core.layout.fact(COMPACTION), value: upto.0.to_string().into_bytes() };
        core.client.ask::<_, Done>(PUT, put).await.map_err(no_answer)?;
    }
    forget(core, upto).await
}

async fn forget(core: &Core, upto: Revision) -> Result<(), StoreError> {
    match core.client.ask::<_, Done>(COMPACT, CompactionRequest { revision: signed(upto) }).await {
        // Someone else was faster or went further.
        Ok(_) | Err(Failure::Compacted) => Ok(()),
        Err(failure) => Err(no_answer(failure)),
    }
}

/// How far a server is.
#[derive(Debug, Default)]
struct Turn {
    /// The version of the key that it saw last.
    version: i64,
    /// The newest revision at that time.
    revision: Revision,
}

/// Takes turns with the other servers, for ever.
pub(super) async fn run(core: Arc<Core>, interval: Duration) {
    let mut turn = Turn::default();
    loop {
        sleep(interval).await;
        match step(&core, &mut turn).await {
            Ok(Some(upto)) => tracing::debug!(upto = upto.0, "compacted etcd"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "etcd could not be compacted"),
        }
    }
}

/// One turn: the revision compacted to, if it was this server's.
async fn step(core: &Core, turn: &mut Turn) -> Result<Option<Revision>, StoreError> {
    let key = core.layout.fact(COMPACTION);
    let value = turn.revision.0.to_string().into_bytes();
    let request = TxnRequest {
        compare: vec![Compare {
            target: CompareTarget::Version.into(),
            key: key.clone(),
            to: Some(CompareTo::Version(turn.version)),
        }],
        success: vec![RequestOp { request: Some(Request::Put(PutRequest { key: key.clone(), value })) }],
        failure: vec![RequestOp { request: Some(Request::Range(RangeRequest { key, ..RangeRequest::default() })) }],
    };
    // Sent twice it does no harm: the second one finds the version moved on, and the turn is someone's.
    let answer: TxnResponse = core.client.ask(TXN, request).await.map_err(no_answer)?;
    let upto = turn.revision;
    turn.revision = revision(answer.header.as_ref());
    if !answer.succeeded {
        let kv = answer.responses.into_iter().find_map(|r| r.range?.kvs.into_iter().next());
        turn.version = kv.map_or(0, |kv| kv.version);
        return Ok(None);
    }
    turn.version += 1;
    if upto == Revision(0) {
        return Ok(None);
    }
    forget(core, upto).await.map(|()| Some(upto))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_read_or_ignored() {
        assert_eq!(read(b"17"), Some(Revision(17)));
        assert_eq!(read(b"x"), None);
        assert_eq!(read(b"\xff"), None);
    }
}
