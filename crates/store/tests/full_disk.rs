//! A full disk: nothing is acknowledged, reads go on, and writes work again when there is room.

use std::fs;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use store::embedded::{Embedded, Options};
use store::{Expect, Op, Revision, Store, StoreError, Watch};

const DIR: &str = "STORE_FULL_DISK_TEST_DIR";
const VALUE_BYTES: usize = 64 << 10;

fn value() -> Op {
    Op::Put(Bytes::from(vec![b'x'; VALUE_BYTES]))
}

/// Runs the child on a small filesystem of its own. Where the kernel grants no mount, there is nothing to test on.
#[test]
fn a_full_disk_stops_writes_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let unshare = |command: &str| {
        let mut it = Command::new("unshare");
        it.args(["--map-root-user", "--mount", "sh", "-c", command, "sh"]).env(DIR, dir.path());
        it
    };
    let mount = format!("mount -t tmpfs -o size=8m none \"${DIR}\"");
    if !unshare(&mount).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount in a namespace of our own here");
        return;
    }
    let child = unshare(&format!("{mount} && exec \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_fills_the_disk", "--ignored", "--nocapture"])
        .status()
        .unwrap();
    assert!(child.success());
}

#[test]
#[ignore = "run by a_full_disk_stops_writes_until_there_is_room"]
fn child_fills_the_disk() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(fill(dir));
}

async fn fill(dir: &Path) {
    let ballast = dir.join("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).unwrap();
    let data = dir.join("store");
    let store = Embedded::open(&data, Options::default()).unwrap();
    let mut watch = store.watch(b"", Revision(0)).await.unwrap();

    let mut acknowledged = Vec::new();
    let failed = loop {
        let key = format!("/k{:04}", acknowledged.len());
        match store.commit(key.as_bytes(), Expect::Absent, value()).await {
            Ok(revision) => acknowledged.push((key, revision)),
            Err(StoreError::Unavailable(_)) => break key,
            Err(e) => panic!("{e}"),
        }
        assert!(acknowledged.len() < 1000, "the disk does not fill");
    };
    let last = acknowledged.last().unwrap().1;
    for _ in 0..3 {
        let again = store.commit(failed.as_bytes(), Expect::Absent, value()).await;
        assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
    }
    assert_eq!(store.revision().await.unwrap(), last);
    assert_eq!(store.get(failed.as_bytes()).await.unwrap().0, None);
    assert_eq!(store.list(b"/", b"", 0, None).await.unwrap().entries.len(), acknowledged.len());

    fs::remove_file(&ballast).unwrap();
    let revision = store.commit(b"/after", Expect::Absent, value()).await.unwrap();
    assert!(revision > last);
    acknowledged.push(("/after".into(), revision));
    for (key, revision) in &acknowledged {
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!((event.key.as_ref(), event.revision), (key.as_bytes(), *revision));
    }

    drop(store);
    let store = Embedded::open(&data, Options::default()).unwrap();
    assert_eq!(store.revision().await.unwrap(), revision);
    assert_eq!(store.get(failed.as_bytes()).await.unwrap().0, None);
    for (key, revision) in &acknowledged {
        assert_eq!(store.get(key.as_bytes()).await.unwrap().0.unwrap().mod_revision, *revision);
    }
}
