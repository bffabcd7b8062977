//! etcd killed and halted in mid-write.

use std::time::Duration;

use store::cached::{Cached, Options};
use store::{Expect, Store, StoreError, Watch};

use crate::etcd_process::{EtcdProcess, soon};
use crate::promises::put;

pub(crate) const TASKS: usize = 6;
const KILLS: usize = 4;

/// One writer a key: every conflict is false, and what was acknowledged has to be there.
pub(crate) async fn count(store: impl Store, task: usize, stop: tokio_util::sync::CancellationToken) -> usize {
    let key = format!("/task/{task}");
    let (mut expect, mut acknowledged, mut number) = (Expect::Absent, 0, 0);
    while !stop.is_cancelled() {
        number += 1;
        match store.commit(key.as_bytes(), expect, put(&number.to_string())).await {
            Ok(revision) => {
                expect = Expect::At(revision);
                acknowledged = number;
            }
            Err(StoreError::Conflict(found)) => panic!("{key}: {number} is no conflict: {found:?}"),
            // Nobody knows: look.
            Err(StoreError::Timeout(_) | StoreError::Unavailable(_)) => {
                let found = loop {
                    if let Ok((found, _)) = store.get(key.as_bytes()).await {
                        break found;
                    }
                };
                expect = found.as_ref().map_or(Expect::Absent, |entry| Expect::At(entry.mod_revision));
                number = found.map_or(0, |entry| String::from_utf8_lossy(&entry.value).parse().unwrap());
                assert!(number == acknowledged || number == acknowledged + 1, "{key}: {number} after {acknowledged}");
                acknowledged = number;
            }
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

/// Writes a key until it is there.
pub(crate) async fn a_write(store: &impl Store, key: &str) {
    let writing = async {
        // A conflict is with one of these tries, of which etcd did not tell.
        while !matches!(
            store.commit(key.as_bytes(), Expect::Absent, put("x")).await,
            Ok(_) | Err(StoreError::Conflict(Some(_)))
        ) {}
    };
    soon("a write", writing).await;
}

/// A watcher sees every number of every task once and in order.
pub(crate) async fn all_seen(watch: &mut impl Watch, last: &[usize]) {
    let mut seen = vec![0; TASKS];
    while seen != last {
        let event = soon("an event", watch.next()).await.unwrap().unwrap();
        let task: usize = String::from_utf8_lossy(&event.key["/task/".len()..]).parse().unwrap();
        let number: usize = String::from_utf8_lossy(&event.current.unwrap().value).parse().unwrap();
        assert_eq!(number, seen[task] + 1, "task {task}");
        seen[task] = number;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_of_etcd_in_mid_write_loses_and_doubles_nothing() {
    let mut etcd = EtcdProcess::start().await;
    let store = Cached::open(etcd.store("/x").await, Options::default()).await.unwrap();
    let mut watch = store.watch(b"/task/", store.seen()).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(count(store.clone(), task, stop.clone()))).collect();
    for round in 0..KILLS {
        // So far that writes are under way again.
        a_write(&store, &format!("/round/{round}")).await;
        etcd.kill_and_restart().await;
    }
    stop.cancel();
    let mut last = Vec::new();
    for task in tasks {
        last.push(soon("the end of a writer", task).await.unwrap());
    }
    all_seen(&mut watch, &last).await;
    assert!(last.iter().all(|count| *count > 0), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_etcd_is_an_answer_in_time_and_not_a_wait_for_ever() {
    let etcd = EtcdProcess::start().await;
    let store = Cached::open(etcd.store("/x").await, Options::default()).await.unwrap();
    let first = store.commit(b"/k", Expect::Absent, put("a")).await.unwrap();
    let mut watch = store.watch(b"/", first).await.unwrap();
    etcd.signal("-STOP");
    let (write, many) = tokio::join!(
        soon("the end of a write", store.commit(b"/k", Expect::At(first), put("b"))),
        // Those who wait are told together.
        futures::future::join_all((0..20).map(|_| soon("the end of a read", store.get(b"/k")))),
    );
    assert!(matches!(write, Err(StoreError::Timeout(_))), "{write:?}");
    assert!(many.iter().all(|read| matches!(read, Err(StoreError::Timeout(_)))), "{many:?}");
    assert_eq!(store.list(b"/", b"", 0, Some(store.seen())).await.unwrap().entries[0].value, "a");
    etcd.signal("-CONT");
    // The write may have waited there; either way the key goes on from what it is.
    let after = loop {
        match store.get(b"/k").await {
            Ok((Some(entry), _)) => break entry,
            other => assert!(!matches!(other, Ok((None, _)))),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let last = match store.commit(b"/k", Expect::At(after.mod_revision), put("c")).await {
        Ok(revision) => revision,
        Err(StoreError::Conflict(Some(late))) => {
            assert_eq!(late.value, "b");
            store.commit(b"/k", Expect::At(late.mod_revision), put("c")).await.unwrap()
        }
        Err(error) => panic!("{error}"),
    };
    while soon("an event", watch.next()).await.unwrap().unwrap().revision < last {}
}
