//! The embedded store's promises, one by one: group commit, bounds of the history, slow watchers, the directory.

use bytes::Bytes;
use store::embedded::{Embedded, OpenError, Options, Patient};
use store::{Expect, Op, Revision, Store, StoreError, Watch};

fn put(text: &str) -> Op {
    Op::Put(Bytes::from(text.to_owned()))
}

#[tokio::test]
async fn history_stays_within_its_bounds_also_after_a_restart() {
    let by_events = Options { history_events_max: 16, ..Options::default() };
    let by_bytes = Options { history_bytes_max: 16 * 2048, ..Options::default() };
    let by_age = Options { history_age_max: Some(std::time::Duration::ZERO), ..Options::default() };
    for options in [by_events, by_bytes, by_age] {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), options.clone()).unwrap();
        let mut at = store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
        for _ in 0..100 {
            at = store.commit(b"/k", Expect::At(at), put(&"x".repeat(2048))).await.unwrap();
        }
        let oldest = |error: StoreError| match error {
            StoreError::Compacted { oldest, .. } => oldest.0,
            e => panic!("{e}"),
        };
        let before = oldest(store.watch(b"/k", Revision(1)).await.unwrap_err());
        assert!(before >= 80, "{options:?}: {before}");
        drop(store);
        let store = Embedded::open(dir.path(), options.clone()).unwrap();
        assert_eq!(oldest(store.watch(b"/k", Revision(1)).await.unwrap_err()), before, "{options:?}");
        assert_eq!(store.revision().await.unwrap(), at);
        assert!(store.watch(b"/k", Revision(before)).await.is_ok());
    }
}

#[tokio::test]
async fn compaction_lets_go_of_what_is_gone_but_not_of_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let at = store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
    let at = store.commit(b"/k", Expect::At(at), Op::Delete).await.unwrap();
    store.compact(at).await.unwrap();
    store.compact(at).await.unwrap(); // again: nothing to do
    assert!(matches!(store.compact(Revision(9)).await, Err(StoreError::Future { .. })));
    drop(store);
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.revision().await.unwrap(), Revision(2));
    assert_eq!(store.commit(b"/k", Expect::Absent, put("y")).await.unwrap(), Revision(3));
}

#[tokio::test]
async fn a_slow_watcher_is_told_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { watch_queue_events_max: 4, ..Options::default() };
    let store = Embedded::open(dir.path(), options).unwrap();
    let mut slow = store.watch(b"/", Revision(0)).await.unwrap();
    let mut other = store.watch(b"/other", Revision(0)).await.unwrap();
    for number in 0..5 {
        store.commit(format!("/k{number}").as_bytes(), Expect::Absent, put("x")).await.unwrap();
    }
    assert!(matches!(slow.next().await, Err(StoreError::Lagged)));
    store.commit(b"/other", Expect::Absent, put("x")).await.unwrap();
    assert_eq!(other.next().await.unwrap().unwrap().revision, Revision(6));
    assert!(matches!(store.watch(b"/", Revision(7)).await, Err(StoreError::Future { .. })));
    drop(store);
    assert!(other.next().await.unwrap().is_none());
}

#[test]
fn a_directory_in_use_or_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let second = Embedded::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    drop(store);
    std::fs::write(dir.path().join("FORMAT"), "everynode-store 99\n").unwrap();
    let newer = Embedded::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { found: 99, .. }), "{newer}");
    std::fs::write(dir.path().join("FORMAT"), "everynode-store 1\n").unwrap();
    Embedded::open(dir.path(), Options::default()).unwrap();
    std::fs::write(dir.path().join("log.redb"), "not a log").unwrap();
    let damaged = Embedded::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
}

#[tokio::test]
async fn what_may_wait_goes_with_the_first_that_may_not() {
    use std::time::Duration;
    let dir = tempfile::tempdir().unwrap();
    // So long that nothing but the other commit can end the wait.
    let patient = Patient { prefix: "beat/".into(), pause: Duration::from_secs(3600) };
    let store = Embedded::open(dir.path(), Options { patient: Some(patient), ..Options::default() }).unwrap();
    let renew = |name: &'static [u8]| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(name, Expect::Absent, Op::Put("x".into())).await.unwrap() })
    };
    let (first, second) = (renew(b"beat/a"), renew(b"beat/b"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!first.is_finished() && !second.is_finished(), "they wait for company");
    assert_eq!(store.get(b"beat/a").await.unwrap().0, None, "what is not on the disk is not shown");
    let urgent = store.commit(b"other", Expect::Absent, Op::Put("x".into())).await.unwrap();
    let mut all = vec![first.await.unwrap(), second.await.unwrap()];
    all.sort();
    assert!(all[1] < urgent, "{all:?} {urgent:?}");
    // A store that closes takes along what waits, whether or not anybody still waits for it.
    let last = renew(b"beat/c");
    tokio::time::sleep(Duration::from_millis(50)).await;
    last.abort();
    assert!(last.await.is_err());
    drop(store);
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    assert!(store.get(b"beat/c").await.unwrap().0.is_some());
}
