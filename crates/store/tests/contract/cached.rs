//! What the cache adds: one watch of etcd for all, consistent reads on several servers, breaks that nobody notices.

use store::cached::{Cached, Options};
use store::etcd::Etcd;
use store::{Expect, Op, Revision, Store, StoreError, Watch};

use crate::etcd_process::{EtcdProcess, free_port, soon};
use crate::promises::put;

async fn server(etcd: &EtcdProcess) -> Cached<Etcd> {
    Cached::open(etcd.store("/x").await, Options::default()).await.unwrap()
}

#[tokio::test]
async fn many_watchers_are_one_watch_of_etcd() {
    let etcd = EtcdProcess::start().await;
    let store = server(&etcd).await;
    let begin = store.seen();
    let mut watchers = Vec::new();
    for _ in 0..50 {
        watchers.push(store.watch(b"/", begin).await.unwrap());
    }
    let at = store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
    for watch in &mut watchers {
        assert_eq!(soon("an event", watch.next()).await.unwrap().unwrap().revision, at);
    }
    assert_eq!(etcd.metric("etcd_debugging_mvcc_watcher_total").await, 1.0);
}

/// Whatever one server acknowledged, another one shows: by get, by list, and by a watch that came from the first.
#[tokio::test]
async fn two_servers_show_each_others_writes() {
    let etcd = EtcdProcess::start().await;
    let servers = [server(&etcd).await, server(&etcd).await];
    let mut at = servers[0].commit(b"/k", Expect::Absent, put("0")).await.unwrap();
    for number in 1..200 {
        let (writer, reader) = (&servers[number % 2], &servers[(number + 1) % 2]);
        at = writer.commit(b"/k", Expect::At(at), put(&number.to_string())).await.unwrap();
        match number % 3 {
            0 => assert_eq!(reader.get(b"/k").await.unwrap().0.unwrap().mod_revision, at),
            1 => assert_eq!(reader.list(b"/", b"", 0, None).await.unwrap().entries[0].mod_revision, at),
            _ => assert!(reader.watch(b"/", at).await.unwrap().progress() >= at),
        }
    }
}

#[tokio::test]
async fn a_reader_does_not_wait_for_ever_for_revisions_of_others() {
    let etcd = EtcdProcess::start().await;
    let store = server(&etcd).await;
    let watch = store.watch(b"/", store.seen()).await.unwrap();
    etcd.etcdctl(&["put", "/foreign", "x"]);
    let before = store.seen();
    let page = store.list(b"/", b"", 0, None).await.unwrap();
    assert!(page.revision > before && page.entries.is_empty());
    // The bookmark of a quiet watcher moves on too.
    assert!(watch.progress() >= page.revision);
}

#[tokio::test]
async fn a_restart_of_etcd_is_not_noticed_by_watchers() {
    let mut etcd = EtcdProcess::start().await;
    let store = server(&etcd).await;
    let mut watch = store.watch(b"/", store.seen()).await.unwrap();
    let first = store.commit(b"/k", Expect::Absent, put("a")).await.unwrap();
    etcd.kill();
    // What is known is still shown to who does not insist on the newest.
    assert_eq!(store.list(b"/", b"", 0, Some(store.seen())).await.map(|_| ()).ok(), Some(()));
    etcd.run(etcd.port).await;
    let second = store.commit(b"/k", Expect::At(first), put("b")).await.unwrap();
    for want in [first, second] {
        assert_eq!(soon("an event", watch.next()).await.unwrap().unwrap().revision, want);
    }
}

/// etcd forgot what a server missed while it was cut off: its watchers are told, and what it shows is right.
#[tokio::test]
async fn what_was_compacted_meanwhile_makes_watchers_list_again() {
    let mut etcd = EtcdProcess::start().await;
    let store = server(&etcd).await;
    let at = store.commit(b"/gone", Expect::Absent, put("a")).await.unwrap();
    store.commit(b"/stays", Expect::Absent, put("a")).await.unwrap();
    let begin = store.revision().await.unwrap();
    let mut watch = store.watch(b"/", begin).await.unwrap();
    etcd.kill();
    let (ours, elsewhere) = (etcd.port, free_port());
    etcd.port = elsewhere;
    etcd.run(elsewhere).await;
    let direct = etcd.store("/x").await;
    direct.commit(b"/gone", Expect::At(at), Op::Delete).await.unwrap();
    let last = direct.commit(b"/new", Expect::Absent, put("b")).await.unwrap();
    direct.compact(last).await.unwrap();
    etcd.kill();
    etcd.port = ours;
    etcd.run(ours).await;
    let told = soon("the end of the watch", watch.next()).await;
    assert!(matches!(told, Err(StoreError::Lagged)), "{told:?}");
    let page = store.list(b"/", b"", 0, None).await.unwrap();
    let keys: Vec<_> = page.entries.iter().map(|entry| entry.key.as_ref()).collect();
    assert_eq!(keys, [b"/new".as_slice(), b"/stays"]);
    assert!(matches!(store.watch(b"/", begin).await.map(|_| ()), Err(StoreError::Compacted { .. })));
    let mut watch = store.watch(b"/", page.revision).await.unwrap();
    let next = store.commit(b"/next", Expect::Absent, put("c")).await.unwrap();
    assert_eq!(soon("an event", watch.next()).await.unwrap().unwrap().revision, next);
}

#[tokio::test]
async fn an_etcd_that_was_set_back_is_read_anew() {
    let mut etcd = EtcdProcess::start().await;
    let store = server(&etcd).await;
    for number in 0..5 {
        store.commit(format!("/k{number}").as_bytes(), Expect::Absent, put("a")).await.unwrap();
    }
    let mut watch = store.watch(b"/", store.revision().await.unwrap()).await.unwrap();
    etcd.kill();
    std::fs::remove_dir_all(etcd.dir.path().join("data")).unwrap();
    etcd.run(etcd.port).await;
    let told = soon("the end of the watch", watch.next()).await;
    assert!(matches!(told, Err(StoreError::Lagged)), "{told:?}");
    let page = soon("a list", store.list(b"/", b"", 0, None)).await.unwrap();
    assert!(page.entries.is_empty());
    let at = store.commit(b"/k", Expect::Absent, put("b")).await.unwrap();
    assert_eq!(store.get(b"/k").await.unwrap().0.unwrap().mod_revision, at);
}

/// A server that has just started serves watchers that come from one that has run for long.
#[tokio::test]
async fn a_new_server_knows_the_history() {
    let etcd = EtcdProcess::start().await;
    let old = server(&etcd).await;
    let begin = old.revision().await.unwrap();
    let mut at = old.commit(b"/k", Expect::Absent, put("0")).await.unwrap();
    let mut revisions = vec![at];
    for number in 1..20 {
        at = old.commit(b"/k", Expect::At(at), put(&number.to_string())).await.unwrap();
        revisions.push(at);
    }
    let new = server(&etcd).await;
    let mut watch = new.watch(b"/", begin).await.unwrap();
    for want in &revisions {
        assert_eq!(soon("an event", watch.next()).await.unwrap().unwrap().revision, *want);
    }
    assert_eq!(new.list(b"/", b"", 0, Some(revisions[7])).await.unwrap().entries[0].value, "7");
    assert!(matches!(new.watch(b"/", Revision(at.0 + 100)).await.map(|_| ()), Err(StoreError::Future { .. })));
}
