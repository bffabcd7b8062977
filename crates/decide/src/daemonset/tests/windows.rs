//! Rollouts that wait for their window.

use api::rollout_policy::Phase;
use serde_json::json;

use super::super::*;
use super::fixture::{Cluster, node, set_image};
use super::policy::{governed, rolling};

/// The clock of a cluster begins at 13:46:40 UTC on 12 January 1970, a Monday.
fn at_three() -> Cluster {
    let window = json!({"windows": [{"start": "15:00", "durationSeconds": 600}]});
    let mut cluster = governed(&rolling(1), 40, window);
    set_image(&mut cluster.set, "x:2");
    cluster
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn nodes_are_updated_while_the_window_is_open() {
    let mut cluster = at_three();
    for _ in 0..5 {
        cluster.round();
    }
    assert_eq!((cluster.updated().len(), cluster.phase()), (0, Phase::WaitingForWindow));
    let opens = time("1970-01-12T15:00:00Z");
    assert_eq!(cluster.plan().requeue_at, Some(opens));
    assert_eq!(cluster.memory().unwrap().message.as_deref(), Some("the next window opens at 1970-01-12T15:00:00Z"));
    assert!(
        matches!(&cluster.plan().reasons["n-0"], Reason::Outdated { hold: Hold::Window(at), .. } if *at == Some(opens))
    );
    cluster.now = opens;
    cluster.round();
    assert_eq!(cluster.phase(), Phase::Rolling);
    for _ in 0..10 {
        cluster.round();
    }
    let done = cluster.updated().len();
    assert!((1..40).contains(&done), "{done}");
    cluster.now = time("1970-01-12T15:10:00Z");
    cluster.nodes.insert("m".into(), node("m"));
    for _ in 0..10 {
        cluster.round();
    }
    let after = cluster.updated().len();
    assert!(after <= done + 1, "what had begun ends, nothing else begins: {done} {after}");
    assert_eq!(cluster.phase(), Phase::WaitingForWindow);
    assert!(!cluster.updated().contains(&"m".to_owned()), "a node that joins gets the last good revision");
    assert_eq!(cluster.pods_on("m").len(), 1);
    cluster.now = time("1970-01-13T15:00:00Z");
    while cluster.phase() != Phase::Complete {
        cluster.round();
    }
    assert_eq!(cluster.updated().len(), 41);
}

#[test]
fn waiting_for_a_window_is_no_failure() {
    let mut cluster = at_three();
    cluster.round();
    cluster.now = time("1970-01-12T14:59:59Z");
    cluster.round();
    cluster.now = time("1970-01-13T14:59:59Z");
    cluster.round();
    assert_eq!(cluster.phase(), Phase::WaitingForWindow);
}

#[test]
fn the_way_back_waits_for_no_window() {
    let mut cluster = at_three();
    cluster.now = time("1970-01-12T15:00:00Z");
    while cluster.updated().len() < 3 {
        cluster.round();
    }
    cluster.now = time("1970-01-12T16:00:00Z");
    set_image(&mut cluster.set, "x:1");
    while cluster.phase() != Phase::Complete {
        cluster.round();
    }
    assert_eq!(cluster.updated().len(), 40);
}
