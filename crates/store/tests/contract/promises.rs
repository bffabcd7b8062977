//! Promises that every backend keeps.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{Entry, Expect, Op, Revision, Store, StoreError, Watch};

use crate::backends::{Backend, Behind, Direct, OnDisk};
use crate::etcd_process::{EtcdProcess, soon};

pub(crate) fn put(text: &str) -> Op {
    Op::Put(Bytes::from(text.to_owned()))
}

/// Each promise as a test of each backend.
macro_rules! on_every_backend {
    ($($name:ident),*) => {
        mod on_disk {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(OnDisk::new()).await; })*
        }
        mod direct {
            use super::*;
            $(#[tokio::test] async fn $name() {
                let etcd = EtcdProcess::start().await;
                super::$name(Direct::new(&etcd)).await;
            })*
        }
        mod behind_the_cache {
            use super::*;
            $(#[tokio::test] async fn $name() {
                let etcd = EtcdProcess::start().await;
                super::$name(Behind(Direct::new(&etcd))).await;
            })*
        }
    };
}

on_every_backend!(
    one_of_many_rivals_wins_each_round,
    what_is_compacted_is_refused_with_the_oldest,
    long_lists_and_their_pages,
    every_watcher_sees_every_event_once_and_in_order,
    what_was_there_is_there_after_a_restart,
    deleting_what_is_not_there_is_a_conflict
);

async fn one_of_many_rivals_wins_each_round(backend: impl Backend) {
    let store = backend.open().await;
    let mut at = store.commit(b"/k", Expect::Absent, put("0")).await.unwrap();
    for round in 1..20 {
        let rivals = (0..8).map(|rival| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(b"/k", Expect::At(at), put(&rival.to_string())).await })
        });
        let mut winners = Vec::new();
        for rival in rivals.collect::<Vec<_>>() {
            match rival.await.unwrap() {
                Ok(revision) => winners.push(revision),
                Err(StoreError::Conflict(Some(found))) => assert!(found.mod_revision > at),
                Err(e) => panic!("round {round}: {e}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(winners[0] > at);
        at = winners[0];
    }
    assert_eq!(store.get(b"/k").await.unwrap().0.unwrap().mod_revision, at);
}

async fn what_is_compacted_is_refused_with_the_oldest(backend: impl Backend) {
    let store = backend.open().await;
    let first = store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
    let at = store.commit(b"/k", Expect::At(first), put("y")).await.unwrap();
    let gone = store.commit(b"/k", Expect::At(at), Op::Delete).await.unwrap();
    let last = store.commit(b"/l", Expect::Absent, put("z")).await.unwrap();
    store.compact(gone).await.unwrap();
    store.compact(gone).await.unwrap(); // again: nothing to do
    store.compact(at).await.unwrap(); // less: nothing to do
    for error in [
        store.list(b"", b"", 0, Some(at)).await.map(|_| ()).unwrap_err(),
        store.watch(b"", at).await.map(|_| ()).unwrap_err(),
    ] {
        match error {
            StoreError::Compacted { wanted, oldest } => assert_eq!((wanted, oldest), (at, gone)),
            other => panic!("{other}"),
        }
    }
    assert!(store.list(b"", b"", 0, Some(gone)).await.unwrap().entries.is_empty());
    let mut watch = store.watch(b"", gone).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, last);
    let far = Revision(last.0 + 1000);
    assert!(matches!(store.compact(far).await, Err(StoreError::Future { .. })));
    assert!(matches!(store.watch(b"/", far).await.map(|_| ()), Err(StoreError::Future { .. })));
    assert!(matches!(store.list(b"/", b"", 0, Some(far)).await, Err(StoreError::Future { .. })));
}

async fn long_lists_and_their_pages(backend: impl Backend) {
    const KEYS: usize = 350;
    let store = backend.open().await;
    let commits = (0..KEYS).map(|n| {
        let store = store.clone();
        // Every hundredth is large, so that pages have to get smaller and larger again.
        let value = if n % 100 == 0 { "x".repeat(1 << 20) } else { n.to_string() };
        tokio::spawn(async move { store.commit(format!("/l/{n:04}").as_bytes(), Expect::Absent, put(&value)).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.unwrap().unwrap();
    }
    store.commit(b"/m", Expect::Absent, put("other")).await.unwrap();
    let all = store.list(b"/l/", b"", 0, None).await.unwrap();
    assert_eq!(all.entries.len(), KEYS);
    assert!(all.entries.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert!(!all.more && all.remaining == 0);
    let first = store.list(b"/l/", b"", 120, None).await.unwrap();
    assert_eq!((first.entries.len(), first.more, first.remaining), (120, true, KEYS as u64 - 120));
    // What changes in between does not show in the pages.
    let second = all.entries[200].clone();
    store.commit(&second.key, Expect::At(second.mod_revision), Op::Delete).await.unwrap();
    let rest = store.list(b"/l/", &first.entries[119].key, 0, Some(first.revision)).await.unwrap();
    assert_eq!(rest.entries, all.entries[120..]);
}

const WRITERS: usize = 8;
const WRITES: usize = 25;

/// Follows the writers' keys below a prefix to their end; the last number seen of each.
async fn follow(store: impl Store, prefix: &'static str, begin: Revision) -> BTreeMap<Bytes, usize> {
    let number = |entry: &Entry| String::from_utf8_lossy(&entry.value).parse::<usize>().unwrap();
    let mut watch = store.watch(prefix.as_bytes(), begin).await.unwrap();
    let count = if prefix == "/w/" { WRITERS * WRITES } else { WRITES };
    let (mut seen, mut last) = (BTreeMap::new(), begin);
    for _ in 0..count {
        let event = watch.next().await.unwrap().unwrap();
        assert!(event.revision > last);
        last = event.revision;
        assert_eq!(event.previous.as_ref().map(number), seen.get(&event.key).copied());
        seen.insert(event.key, number(&event.current.unwrap()));
    }
    seen
}

async fn every_watcher_sees_every_event_once_and_in_order(backend: impl Backend) {
    let store = backend.open().await;
    let begin = store.revision().await.unwrap();
    let early = tokio::spawn(follow(store.clone(), "/w/", begin));
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let (key, mut expect) = (format!("/w/{writer}"), Expect::Absent);
            for number in 0..WRITES {
                expect = Expect::At(store.commit(key.as_bytes(), expect, put(&number.to_string())).await.unwrap());
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for (seen, keys) in [
        (soon("the early watcher's end", early).await.unwrap(), WRITERS),
        (soon("a late watcher's end", follow(store.clone(), "/w/", begin)).await, WRITERS),
        (soon("the end of one key's watcher", follow(store.clone(), "/w/3", begin)).await, 1),
    ] {
        assert_eq!(seen.len(), keys);
        assert!(seen.values().all(|last| *last == WRITES - 1));
    }
}

async fn what_was_there_is_there_after_a_restart(backend: impl Backend) {
    let store = backend.open().await;
    let begin = store.revision().await.unwrap();
    let first = store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
    drop(store);
    let store = backend.open().await;
    let entry = store.get(b"/k").await.unwrap().0.unwrap();
    assert_eq!((entry.value.as_ref(), entry.mod_revision, entry.create_revision), (&b"x"[..], first, first));
    // The history is there too: a watcher of before goes on.
    let mut watch = store.watch(b"/", begin).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, first);
    let second = store.commit(b"/k", Expect::At(first), put("y")).await.unwrap();
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!((event.revision, event.previous.unwrap().value.as_ref()), (second, &b"x"[..]));
}

async fn deleting_what_is_not_there_is_a_conflict(backend: impl Backend) {
    let store = backend.open().await;
    for expect in [Expect::Absent, Expect::At(Revision(1))] {
        assert!(matches!(store.commit(b"/k", expect, Op::Delete).await, Err(StoreError::Conflict(None))));
    }
    let at = store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
    match store.commit(b"/k", Expect::Absent, Op::Delete).await {
        Err(StoreError::Conflict(Some(found))) => assert_eq!(found.mod_revision, at),
        other => panic!("{other:?}"),
    }
}
