//! SIGKILL at random moments: what was acknowledged is there afterwards, and revisions only grow.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::embedded::{Embedded, Options};
use store::{Expect, Op, Revision, Store, StoreError, Watch};

const DIR: &str = "STORE_CRASH_TEST_DIR";
const TASKS: u64 = 6;
const KILLS: usize = 12;

fn options() -> Options {
    // Small, so that kills also hit compactions.
    Options { history_events_max: 200, ..Options::default() }
}

/// The child: each task changes its key again and again and tells each acknowledgement.
#[test]
#[ignore = "run by kill_nine_loses_nothing_acknowledged"]
fn child_writes() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Embedded::open(Path::new(&dir), options()).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let tasks = (0..TASKS).map(|task| tokio::spawn(write_on(store.clone(), task)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

async fn write_on(store: Embedded, task: u64) {
    let key = format!("/task/{task}");
    loop {
        let there = store.get(key.as_bytes()).await.unwrap().0;
        let count = there.as_ref().map_or(0, |entry| number(&entry.value));
        let expect = there.map_or(Expect::Absent, |entry| Expect::At(entry.mod_revision));
        let value = format!("{:0width$}", count + 1, width = 10 + 300 * task as usize);
        let revision = store.commit(key.as_bytes(), expect, Op::Put(Bytes::from(value))).await.unwrap();
        // A key that comes and goes, to have deletions in the log.
        let other = format!("/other/{task}");
        let made = store.commit(other.as_bytes(), Expect::Absent, Op::Put(Bytes::new())).await;
        if let Err(StoreError::Conflict(Some(entry))) = made {
            store.commit(other.as_bytes(), Expect::At(entry.mod_revision), Op::Delete).await.unwrap();
        }
        let line = format!("acknowledged {task} {} {}\n", count + 1, revision.0);
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Runs the child, kills it, and returns the newest acknowledged count of each task and the newest revision.
fn run_and_kill(dir: &Path, after: Duration) -> (BTreeMap<u64, u64>, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut acknowledged, mut newest, mut line) = (BTreeMap::new(), 0, String::new());
    let mut killer = None;
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some(rest) = line.split("acknowledged ").nth(1).filter(|_| line.ends_with('\n')) {
            let fields: Vec<u64> = rest.split_whitespace().map(|f| f.parse().unwrap()).collect();
            acknowledged.insert(fields[0], fields[1]);
            newest = newest.max(fields[2]);
            if killer.is_none() {
                let pid = child.id().to_string();
                killer = Some(std::thread::spawn(move || {
                    std::thread::sleep(after);
                    Command::new("kill").args(["-9", &pid]).status().unwrap()
                }));
            }
        }
        line.clear();
    }
    assert!(killer.expect("the child acknowledged something").join().unwrap().success());
    assert!(!child.wait().unwrap().success());
    (acknowledged, newest)
}

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut newest_ever = 0;
    for round in 0..KILLS {
        let random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
        let (acknowledged, newest) = run_and_kill(dir.path(), Duration::from_micros(u64::from(random % 60_000)));
        assert!(newest > newest_ever, "round {round}: revision {newest} after {newest_ever}");
        let store = Embedded::open(dir.path(), options()).unwrap();
        runtime.block_on(async {
            let revision = store.revision().await.unwrap();
            assert!(revision.0 >= newest, "round {round}: {revision:?} after {newest}");
            newest_ever = revision.0;
            for (task, count) in acknowledged {
                let there = store.get(format!("/task/{task}").as_bytes()).await.unwrap().0.expect("its key");
                let held = number(&there.value);
                // The commit that was under way may have made it.
                assert!(held == count || held == count + 1, "round {round}: {held} where {count} was acknowledged");
            }
            check_history(&store, revision).await;
        });
    }
}

/// The history ends in what the keys hold.
async fn check_history(store: &Embedded, revision: Revision) {
    let oldest = match store.watch(b"", Revision(0)).await {
        Err(StoreError::Compacted { oldest, .. }) => oldest,
        _ => Revision(0),
    };
    let mut rows: BTreeMap<_, _> = store
        .list(b"", b"", 0, Some(oldest))
        .await
        .unwrap()
        .entries
        .into_iter()
        .map(|entry| (entry.key.clone(), entry))
        .collect();
    let mut watch = store.watch(b"", oldest).await.unwrap();
    while watch.progress() < revision {
        let event = watch.next().await.unwrap().unwrap();
        let before = match event.current {
            Some(entry) => rows.insert(event.key.clone(), entry),
            None => rows.remove(&event.key),
        };
        assert_eq!(before, event.previous, "at {:?}", event.revision);
    }
    let now = store.list(b"", b"", 0, None).await.unwrap().entries;
    assert_eq!(rows.into_values().collect::<Vec<_>>(), now);
}
