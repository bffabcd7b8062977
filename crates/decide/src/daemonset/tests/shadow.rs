//! What a shadow says of another controller: nothing of one that does as ours does, and each thing of one that does not.

use jiff::SignedDuration;
use serde_json::json;

use super::super::*;
use super::fixture::{Cluster, set, set_image};
use crate::shadow::{Kind, Memory as Seen, Terms, compare};
use crate::view::{Phase, PodView};

const PATIENCE_S: i64 = 10;

/// A cluster with somebody who looks on.
struct Watched {
    cluster: Cluster,
    seen: Seen,
    made: usize,
    ended: usize,
    told: Vec<String>,
}

impl Watched {
    fn new(cluster: Cluster) -> Self {
        let mut watched = Self { cluster, seen: Seen::default(), made: 0, ended: 0, told: Vec::new() };
        watched.look();
        watched
    }

    fn look(&mut self) {
        let terms = Terms { patience: SignedDuration::from_secs(PATIENCE_S) };
        let seen = std::mem::take(&mut self.seen);
        let cluster = &self.cluster;
        let look = cluster.observe(|o| compare(seen, &cluster.set, o, &|_, _| false, terms, cluster.now));
        self.seen = look.memory;
        self.made += look.made;
        self.ended += look.ended;
        let word = |d: crate::shadow::Difference| {
            let node = d.node.map(|n| format!(" on {n}")).unwrap_or_default();
            format!("{:?}{node}: {}; ours {}", d.kind, d.theirs, d.ours)
        };
        self.told.extend(look.differences.into_iter().map(word));
    }

    /// The other does as ours does, for some rounds, with looks between the writes of a plan.
    fn rounds(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let plan = self.cluster.plan();
            for action in &plan.actions {
                self.cluster.write(&plan, action);
                self.look();
            }
            let rest = Plan { actions: Vec::new(), ..plan };
            self.cluster.apply(&rest);
            self.look();
            self.cluster.nodes_work();
            self.look();
            self.cluster.pass(1);
            self.look();
        }
    }

    /// Nobody does anything for longer than the patience.
    fn wait(&mut self) {
        for _ in 0..=PATIENCE_S {
            self.cluster.pass(1);
            self.look();
        }
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn relabel(cluster: &mut Cluster, node: &str, value: &str) {
    cluster.nodes.get_mut(node).unwrap().labels.insert("on".into(), value.into());
}

#[test]
fn one_that_does_as_ours_does_is_told_nothing_of() {
    let strategies = [
        "{}",
        r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":3}},"minReadySeconds":3}"#,
        r#"{"updateStrategy":{"rollingUpdate":{"maxSurge":2,"maxUnavailable":0}}}"#,
        r#"{"updateStrategy":{"type":"OnDelete"}}"#,
    ];
    for spec in strategies {
        let mut watched = Watched::new(Cluster::new(set(spec), 6));
        watched.rounds(8);
        set_image(&mut watched.cluster.set, "x:2");
        watched.rounds(40);
        watched.cluster.nodes.remove("n-5");
        watched.cluster.pods.retain(|_, p| p.node.as_deref() != Some("n-5"));
        watched.rounds(15);
        assert_eq!(watched.told(), [""; 0], "{spec}");
        let replaced = if spec.contains("OnDelete") { 0 } else { 6 };
        assert_eq!((watched.made, watched.ended), (6 + replaced, replaced + 1), "{spec}");
    }
}

#[test]
fn nodes_that_come_and_go_and_waves_are_no_difference() {
    let mut watched = Watched::new(Cluster::new(set(r#"{"template":{"spec":{"nodeSelector":{"on":"true"}}}}"#), 4));
    watched.cluster.govern(json!({"waves": [{"name": "w", "nodes": {"count": 1}, "bakeSeconds": 5}]}));
    watched.rounds(4);
    for node in ["n-0", "n-1", "n-2"] {
        relabel(&mut watched.cluster, node, "true");
        watched.rounds(3);
    }
    set_image(&mut watched.cluster.set, "x:2");
    watched.rounds(30);
    relabel(&mut watched.cluster, "n-0", "false");
    watched.rounds(15);
    assert_eq!(watched.told(), [""; 0]);
    assert_eq!(watched.cluster.updated(), ["n-1", "n-2"]);
}

#[test]
fn another_order_of_nodes_is_no_difference() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 5));
    set_image(&mut watched.cluster.set, "x:2");
    for node in ["n-3", "n-0", "n-4", "n-1", "n-2"] {
        let name = watched.cluster.pod_on(node).name.clone();
        watched.rounds(0);
        let plan = watched.cluster.plan();
        for action in plan.actions.iter().filter(|a| !matches!(a, Action::DeletePod(_))) {
            watched.cluster.write(&plan, action);
        }
        watched.look();
        let uid = watched.cluster.pods[&name].uid.clone();
        watched.cluster.write(&plan, &Action::DeletePod(Target { name, uid }));
        for _ in 0..4 {
            watched.look();
            watched.cluster.nodes_work();
            let mut plan = watched.cluster.plan();
            plan.actions.retain(|a| !matches!(a, Action::DeletePod(_)));
            watched.cluster.apply(&plan);
            watched.cluster.pass(1);
        }
    }
    watched.wait();
    assert_eq!(watched.told(), [""; 0]);
    assert_eq!(watched.cluster.updated().len(), 5);
}

#[test]
fn a_pod_that_is_deleted_for_no_reason_is_told_of() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 3));
    watched.cluster.pod_on("n-1").deleting = Some(watched.cluster.now);
    watched.look();
    assert_eq!(watched.told(), [""; 0], "it may turn out to be right");
    watched.rounds(12);
    let said =
        "Deleted on n-1: ended pod d-0002; ours would keep it: it is of the newest revision, and its node wants one";
    assert_eq!(watched.told(), [said]);
}

#[test]
fn a_pod_that_ends_because_it_is_deleted_has_not_ended_by_itself() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 3));
    let now = watched.cluster.now;
    let pod = watched.cluster.pod_on("n-1");
    (pod.deleting, pod.phase, pod.ready) = (Some(now), Phase::Succeeded, false);
    watched.look();
    watched.rounds(12);
    let told = watched.told();
    assert!(told[0].starts_with("Deleted on n-1: ended pod d-0002"), "{told:?}");
}

#[test]
fn evictions_and_ended_pods_are_no_difference() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 3));
    watched.cluster.pod_on("n-1").disrupted = true;
    watched.look();
    watched.cluster.pod_on("n-1").deleting = Some(watched.cluster.now);
    watched.cluster.pod_on("n-2").phase = Phase::Failed;
    watched.look();
    watched.rounds(15);
    assert_eq!(watched.told(), [""; 0]);
}

fn copy(cluster: &mut Cluster, from: &str, name: &str, change: impl FnOnce(&mut PodView)) {
    let mut pod = cluster.pod_on(from).clone();
    (pod.name, pod.uid, pod.created) = (name.into(), format!("uid-{name}"), Some(cluster.now));
    change(&mut pod);
    cluster.pods.insert(name.into(), pod);
}

#[test]
fn a_pod_too_many_is_told_of_also_when_it_ends_at_once() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 2));
    copy(&mut watched.cluster, "n-0", "more", |_| {});
    watched.wait();
    let made = "Created on n-0: made pod more; ours would make none: another pod is there";
    let left = "NotDone on n-0: has not; ours would end pod more";
    assert_eq!(watched.told(), [made, left]);

    let mut watched = Watched::new(Cluster::settled(set("{}"), 2));
    let now = watched.cluster.now;
    copy(&mut watched.cluster, "n-0", "more", |p| p.deleting = Some(now));
    watched.look();
    watched.cluster.pods.remove("more");
    watched.wait();
    assert_eq!(watched.told().len(), 0, "gone before it counts");
    copy(&mut watched.cluster, "n-0", "again", |p| p.deleting = Some(now));
    watched.wait();
    assert_eq!(watched.told(), ["Created on n-0: made pod again; ours would make none: another pod is there"]);
}

#[test]
fn a_pod_where_none_is_wanted_is_told_of_with_the_reason() {
    let mut watched = Watched::new(Cluster::settled(set(r#"{"template":{"spec":{"nodeSelector":{"on":"true"}}}}"#), 2));
    relabel(&mut watched.cluster, "n-0", "true");
    watched.rounds(15);
    assert_eq!(watched.told(), [""; 0]);
    copy(&mut watched.cluster, "n-0", "stray", |p| p.node = Some("n-1".into()));
    watched.look();
    let plan = watched.cluster.plan();
    assert_eq!(super::fixture::moves(&plan), ["-stray"]);
    watched.wait();
    let told = watched.told();
    assert!(told[0].starts_with("Created on n-1: made pod stray; ours would make none: "), "{told:?}");
    assert!(told[1].starts_with("NotDone on n-1: has not; ours would end pod stray: "), "{told:?}");
}

#[test]
fn another_revision_is_told_of() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 2));
    watched.cluster.pods.retain(|_, p| p.node.as_deref() != Some("n-1"));
    watched.look();
    let hash = watched.cluster.plan().hash;
    copy(&mut watched.cluster, "n-0", "odd", |p| {
        p.node = Some("n-1".into());
        p.labels.insert(HASH_LABEL.into(), "odd".into());
    });
    watched.look();
    watched.cluster.pass(PATIENCE_S);
    watched.look();
    let told = watched.told();
    let said = format!("Revision on n-1: made pod odd of revision odd; ours would make it of revision {hash}");
    assert!(told.contains(&said), "{told:?}");
}

#[test]
fn more_updates_at_a_time_than_the_budget_are_told_of() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 4));
    set_image(&mut watched.cluster.set, "x:2");
    let plan = watched.cluster.plan();
    let creates = plan.actions.iter().filter(|a| matches!(a, Action::CreateRevision(_)));
    creates.for_each(|a| watched.cluster.write(&plan, a));
    watched.look();
    for node in ["n-0", "n-1", "n-2"] {
        watched.cluster.pod_on(node).deleting = Some(watched.cluster.now);
    }
    watched.look();
    watched.look();
    let said = "Budget: updates 3 nodes at a time: n-0, n-1, n-2; ours would update no more than 1 (maxUnavailable)";
    assert_eq!(watched.told(), [said], "once");
}

#[test]
fn what_a_policy_holds_is_not_the_others_to_update() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 3));
    watched.cluster.govern(json!({"waves": [{"name": "w", "nodes": {"count": 1}, "gate": "Manual"}]}));
    watched.rounds(3);
    set_image(&mut watched.cluster.set, "x:2");
    watched.rounds(12);
    assert_eq!(watched.told(), [""; 0]);
    let later = watched.cluster.pods.values().find(|p| p.labels[HASH_LABEL] != watched.cluster.plan().hash).unwrap();
    let node = later.node.clone().unwrap();
    watched.cluster.pod_on(&node).deleting = Some(watched.cluster.now);
    watched.rounds(15);
    let told = watched.told();
    assert!(told[0].starts_with(&format!("Deleted on {node}: ended pod ")), "{told:?}");
}

#[test]
fn what_is_left_undone_is_told_of() {
    let mut watched =
        Watched::new(Cluster::settled(set(r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":2}}}"#), 2));
    set_image(&mut watched.cluster.set, "x:2");
    watched.cluster.nodes.insert("n-9".into(), super::fixture::node("n-9"));
    watched.wait();
    let told = watched.told();
    let words = [
        "NotDone: has not; ours would store the template as revision d-",
        "NotDone on n-0: has not; ours would end pod d-0001 for the update",
        "NotDone on n-9: has not; ours would make a pod there",
        "Status: says desiredNumberScheduled 2; ours would say 3",
        "Status: says observedGeneration 1; ours would say 2",
        "Status: says updatedNumberScheduled 2; ours would say 0",
    ];
    for said in words {
        assert!(told.iter().any(|t| t.starts_with(said)), "{said}: {told:#?}");
    }
    watched.wait();
    assert_eq!(watched.told(), [""; 0], "once");
}

#[test]
fn a_wrong_status_is_told_of_and_conditions_are_ours_alone() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 2));
    let status = watched.cluster.set.status.as_mut().unwrap();
    (status.number_ready, status.conditions) = (7, None);
    watched.wait();
    assert_eq!(watched.told(), ["Status: says numberReady 7; ours would say 2"]);
}

#[test]
fn a_first_look_and_a_new_daemon_set_accuse_nobody() {
    let mut watched = Watched::new(Cluster::settled(set("{}"), 2));
    watched.cluster.set.metadata.uid = Some("uid-again".into());
    watched.cluster.pods.values_mut().for_each(|p| p.controller.as_mut().unwrap().uid = "uid-again".into());
    watched.wait();
    assert!(!watched.told().iter().any(|t| t.contains(&format!("{:?}", Kind::Created)) || t.contains("Deleted")));
    watched.cluster.set.metadata.deletion_timestamp = Some(watched.cluster.now.into());
    watched.cluster.pods.clear();
    watched.wait();
    assert_eq!(watched.told(), [""; 0]);
}
