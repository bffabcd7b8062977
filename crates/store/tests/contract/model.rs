//! Every backend against a plain model: random commits, pages, watches, compactions and restarts.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use store::{Entry, Event, Expect, Op, Revision, Store, StoreError, Watch};

use crate::backends::{Backend, Behind, Direct, OnDisk};
use crate::etcd_process::EtcdProcess;

/// A key's creation, last change and value.
type Row = (u64, u64, Vec<u8>);

/// What the store should be: all rows after each commit.
struct Model {
    /// The revision of each commit, and the rows after it; at first that of the empty store.
    states: Vec<(u64, BTreeMap<Vec<u8>, Row>)>,
    changes: Vec<(u64, Vec<u8>)>,
    compacted: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Create { key: u8, value: u8 },
    Update { key: u8, value: u8, stale: bool },
    Delete { key: u8, stale: bool },
    List { prefix: u8, limit: usize, back: u64 },
    Watch { prefix: u8, back: u64 },
    Compact { back: u64 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u8..12;
    let step = prop_oneof![
        6 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Create { key, value }),
        6 => (key.clone(), any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(key, value, stale)| Step::Update { key, value, stale }),
        4 => (key, prop::bool::weighted(0.2)).prop_map(|(key, stale)| Step::Delete { key, stale }),
        4 => (0u8..4, 0usize..4, 0u64..12).prop_map(|(prefix, limit, back)| Step::List { prefix, limit, back }),
        2 => (0u8..4, 0u64..12).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => (0u64..6).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn key(number: u8) -> Vec<u8> {
    // Three families; one key is the prefix of others.
    match number {
        0 => b"/a".to_vec(),
        n => format!("/{}/{}", ["a", "b", "c"][usize::from(n % 3)], n / 3).into_bytes(),
    }
}

/// Some values are longer than others, and can be packed.
fn text(number: u8) -> Vec<u8> {
    vec![number; if number.is_multiple_of(2) { 1 } else { 200 }]
}

fn prefix(number: u8) -> &'static [u8] {
    [b"".as_slice(), b"/a", b"/b/", b"/none/"][usize::from(number)]
}

fn row(entry: &Entry) -> (Vec<u8>, Row) {
    (entry.key.to_vec(), (entry.create_revision.0, entry.mod_revision.0, entry.value.to_vec()))
}

impl Model {
    fn new(begin: u64) -> Self {
        Self { states: vec![(begin, BTreeMap::new())], changes: Vec::new(), compacted: begin }
    }

    fn revision(&self) -> u64 {
        self.states.last().unwrap().0
    }

    /// The revision some commits ago.
    fn back(&self, commits: u64) -> u64 {
        self.states[self.states.len().saturating_sub(1 + commits as usize)].0
    }

    /// The rows at a revision, which may lie between two commits.
    fn rows(&self, at: u64) -> &BTreeMap<Vec<u8>, Row> {
        &self.states[self.states.partition_point(|(revision, _)| *revision <= at) - 1].1
    }

    fn now(&self) -> &BTreeMap<Vec<u8>, Row> {
        &self.states.last().unwrap().1
    }

    fn change(&mut self, key: &[u8], value: Option<Vec<u8>>, revision: u64) {
        assert!(revision > self.revision());
        let mut rows = self.now().clone();
        match value {
            Some(value) => {
                let created = rows.get(key).map_or(revision, |row| row.0);
                rows.insert(key.to_vec(), (created, revision, value));
            }
            None => {
                rows.remove(key);
            }
        }
        self.states.push((revision, rows));
        self.changes.push((revision, key.to_vec()));
    }

    fn under(&self, prefix: &[u8], at: u64) -> Vec<(Vec<u8>, Row)> {
        self.rows(at).iter().filter(|(k, _)| k.starts_with(prefix)).map(|(k, r)| (k.clone(), r.clone())).collect()
    }
}

async fn commit(store: &impl Store, model: &mut Model, key: &[u8], expect: Expect, value: Option<Vec<u8>>) {
    let there = model.now().get(key).cloned();
    let fits = match expect {
        Expect::Absent => there.is_none() && value.is_some(),
        Expect::At(revision) => there.as_ref().is_some_and(|row| row.1 == revision.0),
    };
    let op = value.clone().map_or(Op::Delete, |value| Op::Put(Bytes::from(value)));
    match store.commit(key, expect, op).await {
        Ok(revision) => {
            assert!(fits, "{expect:?} should not fit {there:?}");
            model.change(key, value, revision.0);
        }
        Err(StoreError::Conflict(found)) => {
            assert!(!fits, "{expect:?} should fit {there:?}");
            assert_eq!(found.as_ref().map(|entry| row(entry).1), there);
        }
        Err(e) => panic!("{e}"),
    }
}

/// Reads all pages as of one revision, as a client with `continue` does.
async fn check_list(store: &impl Store, model: &Model, prefix: &[u8], limit: usize, at: u64) {
    let (mut after, mut seen) = (Vec::new(), Vec::new());
    loop {
        let page = match store.list(prefix, &after, limit, Some(Revision(at))).await {
            Ok(page) => page,
            Err(StoreError::Compacted { wanted, oldest }) => {
                assert!(at < model.compacted && wanted.0 == at && oldest.0 == model.compacted);
                return;
            }
            Err(e) => panic!("{e}"),
        };
        assert!(at >= model.compacted);
        assert_eq!(page.revision.0, at);
        assert!(limit == 0 || page.entries.len() <= limit);
        assert_eq!(page.more, page.remaining > 0);
        seen.extend(page.entries.iter().map(row));
        assert_eq!(seen.len() as u64 + page.remaining, model.under(prefix, at).len() as u64);
        match page.entries.last() {
            Some(last) if page.more => after = last.key.to_vec(),
            _ => break,
        }
    }
    assert_eq!(seen, model.under(prefix, at));
}

async fn check_watch(store: &impl Store, model: &Model, prefix: &[u8], after: u64, memory: bool) {
    let mut watch = match store.watch(prefix, Revision(after)).await {
        Ok(watch) => watch,
        Err(StoreError::Compacted { .. }) => return assert!(after < model.compacted),
        Err(e) => panic!("{e}"),
    };
    assert!(after >= model.compacted);
    for (revision, key) in model.changes.iter().filter(|(r, k)| *r > after && k.starts_with(prefix)) {
        let event = watch.next().await.unwrap().unwrap();
        check_event(&event, model, *revision, key);
        assert!(watch.progress().0 >= *revision);
    }
    assert!(watch.progress() <= store.revision().await.unwrap());
    assert!(!memory || watch.progress().0 >= model.revision());
}

fn check_event(event: &Event, model: &Model, revision: u64, key: &[u8]) {
    assert_eq!((event.revision.0, event.key.as_ref()), (revision, key));
    let at = |revision: u64| model.rows(revision).get(key).cloned();
    assert_eq!(event.current.as_ref().map(|entry| row(entry).1), at(revision));
    assert_eq!(event.previous.as_ref().map(|entry| row(entry).1), at(revision - 1));
}

async fn play<B: Backend>(backend: &B, steps: Vec<Step>) {
    let mut store = backend.open().await;
    let begin = store.revision().await.unwrap();
    let mut model = Model::new(begin.0);
    let mut live = store.watch(b"", begin).await.unwrap();
    let mut watched = 0;
    for step in steps {
        match step {
            Step::Create { key: k, value } => {
                commit(&store, &mut model, &key(k), Expect::Absent, Some(text(value))).await;
            }
            Step::Update { key: k, value, stale } => {
                let at = model.now().get(&key(k)).map_or(1, |row| row.1) - u64::from(stale);
                commit(&store, &mut model, &key(k), Expect::At(Revision(at)), Some(text(value))).await;
            }
            Step::Delete { key: k, stale } => {
                let at = model.now().get(&key(k)).map(|row| Revision(row.1 - u64::from(stale)));
                commit(&store, &mut model, &key(k), at.map_or(Expect::Absent, Expect::At), None).await;
            }
            Step::List { prefix: p, limit, back } => {
                check_list(&store, &model, prefix(p), limit, model.back(back)).await;
            }
            Step::Watch { prefix: p, back } => {
                check_watch(&store, &model, prefix(p), model.back(back), B::MEMORY).await;
            }
            Step::Compact { back } => {
                let upto = model.back(back);
                // etcd may compact what a watch is still to be sent, and tells it so.
                while !B::MEMORY && watched < model.changes.len() {
                    let event = live.next().await.unwrap().unwrap();
                    check_event(&event, &model, event.revision.0, &model.changes[watched].1);
                    watched += 1;
                }
                store.compact(Revision(upto)).await.unwrap();
                model.compacted = model.compacted.max(upto);
            }
            Step::Reopen => {
                drop(store);
                // Watches of a memory end with it, after what waits.
                while B::MEMORY
                    && let Some(event) = live.next().await.unwrap()
                {
                    watched += 1;
                    check_event(&event, &model, event.revision.0, &model.changes[watched - 1].1);
                }
                store = backend.open().await;
                let after = model.changes.get(watched.max(1) - 1).filter(|_| watched > 0).map_or(begin.0, |c| c.0);
                if after >= model.compacted {
                    live = store.watch(b"", Revision(after)).await.unwrap();
                } else {
                    live = store.watch(b"", Revision(model.revision())).await.unwrap();
                    watched = model.changes.len();
                }
            }
        }
        assert!(store.revision().await.unwrap().0 >= model.revision());
    }
    for (name, want) in model.now() {
        assert_eq!(row(&store.get(name).await.unwrap().0.unwrap()), (name.clone(), want.clone()));
    }
    while watched < model.changes.len() {
        let event = live.next().await.unwrap().unwrap();
        check_event(&event, &model, event.revision.0, &model.changes[watched].1);
        watched += 1;
    }
}

/// Plays random steps; the backend is emptied before each case.
fn run<B: Backend>(runtime: &tokio::runtime::Runtime, mut backend: B, cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let cell = std::cell::RefCell::new(&mut backend);
    let played = runner.run(&steps(), |steps| {
        let backend = &mut **cell.borrow_mut();
        runtime.block_on(async {
            backend.fresh().await;
            play(backend, steps).await;
        });
        Ok(())
    });
    played.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn on_disk_behaves_as_the_model() {
    run(&runtime(), OnDisk::new(), 96);
}

#[test]
fn etcd_behaves_as_the_model() {
    let runtime = runtime();
    let etcd = runtime.block_on(EtcdProcess::start());
    run(&runtime, Direct::new(&etcd), 32);
}

#[test]
fn etcd_behind_the_cache_behaves_as_the_model() {
    let runtime = runtime();
    let etcd = runtime.block_on(EtcdProcess::start());
    run(&runtime, Behind(Direct::new(&etcd)), 32);
}
