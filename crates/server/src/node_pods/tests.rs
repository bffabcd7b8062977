//! The index and what it hands out.

use super::*;

fn pod(name: &str, node: &str, revision: u64) -> Entry {
    let value = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"x":{{"nodeName":"no"}},"nodeName":"{node}"}}}}"#);
    Entry {
        key: Bytes::from(format!("{PREFIX}default/{name}")),
        value: Bytes::from(value),
        create_revision: Revision(1),
        mod_revision: Revision(revision),
    }
}

fn event(revision: u64, previous: Option<Entry>, current: Option<Entry>) -> Arc<Event> {
    let key = previous.iter().chain(&current).next().unwrap().key.clone();
    Arc::new(Event { revision: Revision(revision), key, current, previous })
}

fn names(pods: &NodePods, node: &str) -> Vec<String> {
    let keys = pods.keys(node).0;
    keys.iter().map(|key| String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned()).collect()
}

#[tokio::test]
async fn changes_reach_their_node_alone() {
    let pods = NodePods::default();
    pods.refill(&[pod("a", "n-1", 1), pod("z", "", 1)], Revision(1));
    let (_, one, registered) = pods.register("n-1");
    let (_, two, _) = pods.register("n-2");
    assert_eq!((names(&pods, "n-1"), registered), (vec!["default/a".to_owned()], Revision(1)));
    pods.take(&event(2, Some(pod("b", "", 1)), Some(pod("b", "n-2", 2))));
    pods.take(&event(3, Some(pod("a", "n-1", 1)), None));
    let (added, deleted) = (two.next().await.unwrap(), one.next().await.unwrap());
    assert_eq!((added.revision, deleted.revision), (Revision(2), Revision(3)));
    // Bound just now: it was not there before.
    assert_eq!((added.previous.clone(), added.current.is_some()), (None, true));
    assert!(deleted.previous.is_some() && deleted.current.is_none());
    assert!(one.is_empty() && two.is_empty());
    assert_eq!((names(&pods, "n-1"), names(&pods, "n-2")), (vec![], vec!["default/b".to_owned()]));
}

#[test]
fn nothing_is_kept_of_nodes_without_pods_and_watchers() {
    let pods = NodePods::default();
    let (id, _, _) = pods.register("n-1");
    pods.take(&event(2, None, Some(pod("a", "n-2", 2))));
    pods.take(&event(3, Some(pod("a", "n-2", 2)), None));
    pods.unregister("n-1", id);
    assert!(pods.locked().by_name.is_empty());
}

#[tokio::test]
async fn the_slow_and_those_of_before_a_refill_are_told() {
    let pods = NodePods::default();
    let (_, slow, _) = pods.register("n-1");
    for revision in 0..=NODE_EVENTS_MAX_AND_ONE {
        pods.take(&event(revision, None, Some(pod("a", "n-1", revision))));
    }
    assert!(slow.next().await.is_err());
    assert!(pods.locked().by_name["n-1"].watchers.is_empty());
    let (_, older, _) = pods.register("n-1");
    pods.refill(&[], Revision(99));
    assert!(older.next().await.is_err());
    assert!(pods.sees(Revision(99)).await);
}

const NODE_EVENTS_MAX_AND_ONE: u64 = crate::limits::NODE_EVENTS_MAX as u64 + 1;

#[tokio::test]
async fn a_pod_is_told_of_as_long_as_it_is_there() {
    let pods = NodePods::default();
    let ((_, one, _), (_, two, _)) = (pods.register("n-1"), pods.register("n-2"));
    pods.take(&event(2, None, Some(pod("a", "n-1", 2))));
    pods.take(&event(3, Some(pod("a", "n-1", 2)), Some(pod("a", "n-1", 3))));
    // No API server lets a pod move; a store that was written by others may.
    pods.take(&event(4, Some(pod("a", "n-1", 3)), Some(pod("a", "n-2", 4))));
    let seen = async |queue: &Queue| {
        let event = queue.next().await.unwrap();
        (event.revision.0, event.previous.is_some(), event.current.is_some())
    };
    assert_eq!(seen(&one).await, (2, false, true));
    assert_eq!(seen(&one).await, (3, true, true));
    assert_eq!(seen(&one).await, (4, true, false));
    assert_eq!(seen(&two).await, (4, false, true));
    assert!(one.is_empty() && two.is_empty());
}
