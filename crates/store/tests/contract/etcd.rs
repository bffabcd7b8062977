//! What is etcd's own: TLS, errors in words, commits whose answer was lost, compaction by one of several servers.

use std::time::Duration;

use store::etcd::{Address, AddressError, Etcd, OpenError, Options, TlsFiles};
use store::{Expect, Op, Revision, Store, StoreError, Watch};

use crate::etcd_process::{Certificates, EtcdProcess, free_port, soon};
use crate::promises::put;
use crate::proxy::{Proxy, SWALLOW_ANSWER, SWALLOW_REQUEST};

async fn open(text: &str, files: TlsFiles) -> Result<Etcd, OpenError> {
    Etcd::open(Options::new(Address::parse(text, files).unwrap())).await
}

#[tokio::test]
async fn tls_with_a_client_certificate_and_clear_words_without() {
    let etcd = EtcdProcess::start_with(&[], true).await;
    let store = etcd.store("/tls").await;
    let at = store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
    let mut watch = store.watch(b"/", Revision(at.0 - 1)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, at);

    let good = etcd.tls.as_ref().unwrap().client();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Certificates::make(elsewhere.path()).client();
    let url = format!("etcds://127.0.0.1:{}", etcd.port);
    for (name, files) in [
        ("another authority", TlsFiles { ca: foreign.ca.clone(), ..good.clone() }),
        ("no client certificate", TlsFiles { cert: None, key: None, ..good.clone() }),
        ("a foreign client certificate", TlsFiles { ca: good.ca.clone(), ..foreign.clone() }),
    ] {
        let error = open(&url, files).await.unwrap_err();
        assert!(matches!(error, OpenError::Certificates { .. }), "{name}: {error}");
        assert!(error.to_string().contains("check --store-ca"), "{name}: {error}");
    }
    let missing = TlsFiles { ca: Some("/nowhere".into()), ..good.clone() };
    assert!(matches!(open(&url, missing).await, Err(OpenError::File { .. })));
    let garbage = elsewhere.path().join("garbage");
    std::fs::write(&garbage, "x").unwrap();
    let broken = TlsFiles { cert: Some(garbage.clone()), key: Some(garbage), ..good };
    let error = open(&url, broken).await.unwrap_err();
    assert!(error.to_string().contains("--store-cert"), "{error}");
    assert_eq!(Address::parse(&url, TlsFiles::default()), Err(AddressError::Authority));
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_named() {
    let port = free_port();
    let error = open(&format!("etcd://127.0.0.1:{port}"), TlsFiles::default()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    let line = error.to_string();
    assert!(line.contains(&port.to_string()) && line.contains("onnection refused") && !line.contains('\n'), "{line}");
}

#[tokio::test]
async fn an_etcd_that_asks_for_a_user_says_so() {
    let etcd = EtcdProcess::start().await;
    etcd.etcdctl(&["user", "add", "root:secret"]);
    etcd.etcdctl(&["user", "grant-role", "root", "root"]);
    etcd.etcdctl(&["auth", "enable"]);
    let error = open(&format!("etcd://127.0.0.1:{}", etcd.port), TlsFiles::default()).await.unwrap_err();
    assert!(matches!(error, OpenError::Refused { .. }) && error.to_string().contains("--store-cert"), "{error}");
}

#[tokio::test]
async fn a_member_that_is_down_is_passed_over() {
    let etcd = EtcdProcess::start().await;
    let text = format!("etcd://127.0.0.1:{},127.0.0.1:{}/x", free_port(), etcd.port);
    let store = open(&text, TlsFiles::default()).await.unwrap();
    store.commit(b"/k", Expect::Absent, put("x")).await.unwrap();
    assert!(store.watch(b"/", Revision(1)).await.is_ok());
}

#[tokio::test]
async fn what_is_too_large_is_refused_in_words() {
    let etcd = EtcdProcess::start().await;
    let store = etcd.store("/x").await;
    let error = store.commit(b"/k", Expect::Absent, put(&"x".repeat(2 << 20))).await.unwrap_err();
    assert!(matches!(&error, StoreError::TooLarge(why) if why.contains("larger than max")), "{error}");
    // Below the bound of a message, above that of a request.
    let error = store.commit(b"/k", Expect::Absent, put(&"x".repeat(1700 << 10))).await.unwrap_err();
    assert!(matches!(&error, StoreError::TooLarge(why) if why.contains("too large")), "{error}");
}

#[tokio::test]
async fn a_full_etcd_refuses_writes_until_there_is_room() {
    let etcd = EtcdProcess::start_with(&["--quota-backend-bytes", "4194304"], false).await;
    let store = etcd.store("/x").await;
    let mut at = store.commit(b"/k", Expect::Absent, put("0")).await.unwrap();
    let value = "x".repeat(200 << 10);
    let error = loop {
        match store.commit(b"/k", Expect::At(at), put(&value)).await {
            Ok(revision) => at = revision,
            Err(error) => break error,
        }
    };
    let StoreError::Unavailable(why) = error else { panic!("{error}") };
    assert!(why.contains("space exceeded") && why.contains("alarm disarm"), "{why}");
    // Reads go on.
    assert_eq!(store.get(b"/k").await.unwrap().0.unwrap().mod_revision, at);
    store.watch(b"/", at).await.unwrap();
    etcd.etcdctl(&["compact", &at.0.to_string()]);
    etcd.etcdctl(&["defrag"]);
    etcd.etcdctl(&["alarm", "disarm"]);
    store.commit(b"/k", Expect::At(at), put("1")).await.unwrap();
}

/// A commit whose answer is lost is looked up: it is not done twice and not called a conflict with itself.
#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    let etcd = EtcdProcess::start().await;
    let (proxy, direct) = (Proxy::start(etcd.port).await, etcd.store("/x").await);
    let wire = format!("etcd://127.0.0.1:{}/x", proxy.port);
    let store = open(&wire, TlsFiles::default()).await.unwrap();
    let mut expect = Expect::Absent;
    for op in [put("a"), put("b"), Op::Delete, put("c")] {
        let deletes = matches!(op, Op::Delete);
        proxy.set(SWALLOW_ANSWER);
        let at = store.commit(b"/k", expect, op).await.unwrap();
        assert!(proxy.is_whole(), "the answer was not swallowed");
        let found = direct.get(b"/k").await.unwrap().0;
        assert_eq!(found.map(|entry| entry.mod_revision), (!deletes).then_some(at));
        expect = if deletes { Expect::Absent } else { Expect::At(at) };
    }
    let history = async {
        let mut watch = direct.watch(b"/k", Revision(1)).await.unwrap();
        for _ in 0..4 {
            watch.next().await.unwrap().unwrap();
        }
    };
    soon("the fourth change", history).await;
}

/// A request that was lost on its way is sent again; what someone else did meanwhile is a conflict.
#[tokio::test]
async fn a_lost_request_is_sent_again() {
    let etcd = EtcdProcess::start().await;
    let (proxy, direct) = (Proxy::start(etcd.port).await, etcd.store("/x").await);
    let wire = format!("etcd://127.0.0.1:{}/x", proxy.port);
    let store = open(&wire, TlsFiles::default()).await.unwrap();
    proxy.set(SWALLOW_REQUEST);
    let at = store.commit(b"/k", Expect::Absent, put("a")).await.unwrap();
    let theirs = direct.commit(b"/k", Expect::At(at), put("theirs")).await.unwrap();
    direct.commit(b"/k", Expect::At(theirs), put("b")).await.unwrap();
    proxy.set(SWALLOW_REQUEST);
    // The very value that stands there now, but another change followed what was expected.
    let error = store.commit(b"/k", Expect::At(at), put("b")).await.unwrap_err();
    assert!(proxy.is_whole(), "the request was not swallowed");
    assert!(matches!(&error, StoreError::Conflict(Some(found)) if found.value == "b"), "{error:?}");
}

#[tokio::test]
async fn one_of_several_servers_compacts() {
    let etcd = EtcdProcess::start().await;
    let options = Options { compact_every: Some(Duration::from_millis(300)), ..Options::new(etcd.address("/x")) };
    let servers = [Etcd::open(options.clone()).await.unwrap(), Etcd::open(options).await.unwrap()];
    let first = servers[0].commit(b"/k", Expect::Absent, put("a")).await.unwrap();
    servers[1].commit(b"/k", Expect::At(first), put("b")).await.unwrap();
    let forgotten = async {
        while !matches!(servers[0].list(b"", b"", 0, Some(first)).await, Err(StoreError::Compacted { .. })) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("a compaction", forgotten).await;
    assert_eq!(servers[1].get(b"/k").await.unwrap().0.unwrap().value, "b");
}

/// Keys of others in the same etcd are neither shown nor touched.
#[tokio::test]
async fn others_in_the_same_etcd_are_left_alone() {
    let etcd = EtcdProcess::start().await;
    etcd.etcdctl(&["put", "/registry/pods/a", "kubernetes"]);
    etcd.etcdctl(&["put", "/everynode-other/keys/a", "other"]);
    let store = etcd.store("").await;
    let at = store.commit(b"/registry/pods/a", Expect::Absent, put("ours")).await.unwrap();
    etcd.etcdctl(&["put", "/registry/pods/b", "kubernetes"]);
    let page = store.list(b"", b"", 0, None).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!((page.entries[0].key.as_ref(), page.entries[0].mod_revision), (&b"/registry/pods/a"[..], at));
    assert!(page.revision > at);
}
